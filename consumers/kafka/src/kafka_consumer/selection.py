"""What to ask the server for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from kafka_consumer.messages import LEDGER
from stellar_arrow_client.choice import chosen_streams
from stellar_arrow_client.request import StreamRequest

if TYPE_CHECKING:
    from stellar_arrow_client.client import Client
    from stellar_arrow_client.options import Selection


def requests(client: Client, streams: Sequence[str], selection: Selection) -> list[StreamRequest]:
    """A request for each stream that was chosen; the ledger is always its first column.

    Raises:
        UnknownStreamError: the server has no stream of that name; names the nearest.
        InvalidRequestError: the range or a name is not valid.
    """
    if selection.columns is not None:
        columns = (LEDGER, *(name for name in selection.columns if name != LEDGER))
        selection = replace(selection, columns=columns)
    return [selection.request(stream.name) for stream in chosen_streams(client, streams)]

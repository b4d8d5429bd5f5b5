"""Which streams a command was asked for, and what of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import pyarrow as pa

from stellar_arrow_client.command import did_you_mean
from stellar_arrow_client.errors import UnknownStreamError
from stellar_arrow_client.request import LEDGER, StreamRequest

if TYPE_CHECKING:
    from stellar_arrow_client.client import Client, StreamInfo
    from stellar_arrow_client.options import Selection

ALL: Final = "all"


@dataclass(frozen=True, slots=True)
class Chosen:
    """A stream that is to be read.

    Attributes:
        description: what one row is.
        request: range, columns and condition.
        schema: of the columns that are asked for, with what the server says of them as metadata.
    """

    description: str
    request: StreamRequest
    schema: pa.Schema

    @property
    def stream(self) -> str:
        """Its name."""
        return self.request.stream


def choose(
    client: Client, streams: Sequence[str], selection: Selection, *, first: Sequence[str] = (LEDGER,)
) -> list[Chosen]:
    """The streams, each once, that were chosen by name or alias, with commas between them, or as ``all``.

    Args:
        first: columns that are read before all others, whether or not they were asked for.

    Raises:
        UnknownStreamError: the server has no stream of that name; names the nearest.
        UnknownColumnError: a stream has no column of that name; names the nearest.
        InvalidRequestError: the range or a name is not valid.
    """
    if selection.columns is not None:
        columns = (*first, *(name for name in selection.columns if name not in first))
        selection = replace(selection, columns=columns)
    return [
        Chosen(info.description, selection.request(info.name), client.schema(info.name, selection.columns))
        for info in _named(client.streams(), streams)
    ]


def _named(streams: Sequence[StreamInfo], choice: Sequence[str]) -> list[StreamInfo]:
    offered = {stream.name: stream for stream in streams}
    canonical = {alias: stream.name for stream in offered.values() for alias in (*stream.aliases, stream.name)}
    names: dict[str, None] = {}
    for name in (name.strip() for text in choice for name in text.split(",")):
        if name == ALL:
            names.update(dict.fromkeys(offered))
        elif name in canonical:
            names[canonical[name]] = None
        else:
            hint = did_you_mean(name, [*canonical, ALL]) or f"; it has {', '.join(offered)}"
            raise UnknownStreamError(f"the server has no stream {name!r}{hint}")
    return [offered[name] for name in names]

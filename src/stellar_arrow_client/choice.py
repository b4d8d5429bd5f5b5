"""Which streams a command was asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from stellar_arrow_client.command import did_you_mean
from stellar_arrow_client.errors import UnknownStreamError

if TYPE_CHECKING:
    from stellar_arrow_client.client import Client, StreamInfo

ALL: Final = "all"


def chosen_streams(client: Client, choice: Sequence[str]) -> list[StreamInfo]:
    """The streams, each once, that were chosen by name or alias, with commas between them, or as ``all``.

    Raises:
        UnknownStreamError: the server has no stream of that name; names the nearest.
    """
    offered = {stream.name: stream for stream in client.streams()}
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

"""Which streams a command was asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from stellar_arrow_client.command import did_you_mean
from stellar_arrow_client.errors import UnknownStreamError

if TYPE_CHECKING:
    from stellar_arrow_client.client import Client

ALL: Final = "all"


def chosen_streams(client: Client, choice: Sequence[str]) -> list[str]:
    """The names of streams, each once, that were chosen by name or alias, with commas between them, or as ``all``.

    Raises:
        UnknownStreamError: the server has no stream of that name; names the nearest.
    """
    offered = client.streams()
    canonical = {alias: stream.name for stream in offered for alias in (*stream.aliases, stream.name)}
    names: dict[str, None] = {}
    for name in (name.strip() for text in choice for name in text.split(",")):
        if name == ALL:
            names.update((found.name, None) for found in offered)
        elif name in canonical:
            names[canonical[name]] = None
        else:
            known = [*canonical, ALL]
            hint = did_you_mean(name, known) or f"; it has {', '.join(found.name for found in offered)}"
            raise UnknownStreamError(f"the server has no stream {name!r}{hint}")
    return list(names)

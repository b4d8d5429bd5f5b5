"""What the server serves: the streams, and the decoder that makes their rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from stellar_arrow_source.tables import LedgerDecoder, Stream


class Tables(NamedTuple):
    """The catalog of streams with its decoder; one value, so that a server can serve another one.

    Attributes:
        streams: all streams.
        find: stream by name or alias; raises UnknownStreamError.
        decoder: makes a decoder, of (stream name → column names) and ``passphrase``.
    """

    streams: Sequence[Stream]
    find: Callable[[str], Stream]
    decoder: Callable[..., LedgerDecoder]

"""What the server serves: the streams, and the decoder that makes their rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from stellar_arrow_source.modes import TransferMode

if TYPE_CHECKING:
    from stellar_arrow_source.tables import LedgerDecoder, Stream


class Tables(NamedTuple):
    """The catalog of streams with its decoder; one value, so that a server can serve another one.

    Attributes:
        streams: all streams.
        find: stream by name or alias; raises UnknownStreamError.
        decoder: makes a decoder, of (stream name → column names) and ``passphrase``.
        unprepared: names of the streams whose code must be compiled first; empty where nothing is compiled.
        together: as what ``unprepared`` names the code for several streams in one call; None if there is no such call.
    """

    streams: Sequence[Stream]
    find: Callable[[str], Stream]
    decoder: Callable[..., LedgerDecoder]
    unprepared: Callable[[], Sequence[str]] = tuple
    together: str | None = None


def ledger_tables(ttp_mode: TransferMode = "auto") -> Tables:
    """The streams of the catalog, with token-transfer events from where ``ttp_mode`` says."""
    from stellar_arrow_source.tables import STREAMS, LedgerDecoder, find_stream
    from stellar_arrow_source.tables.prepare import TOGETHER, is_prepared
    from stellar_arrow_source.tables.transfers.stream import ttp_stream

    transfers = ttp_stream(ttp_mode)

    def find(name: str) -> Stream:
        found = find_stream(name)
        return transfers if found.name == transfers.name else found

    def decoder(requests: Mapping[str, Sequence[str] | None], *, passphrase: str | None) -> LedgerDecoder:
        # All combinations of streams have one program: one of its own would take each 2 s to compile.
        beside = STREAMS if len(requests) > 1 else ()
        found: dict[str | Stream, Sequence[str] | None] = {find(name): requests[name] for name in requests}
        return LedgerDecoder(found, passphrase=passphrase, beside=beside)

    def unprepared() -> list[str]:
        # Last is what no stream waits for.
        return [name for name in (*(stream.name for stream in STREAMS), TOGETHER) if not is_prepared(name)]

    return Tables([find(stream.name) for stream in STREAMS], find, decoder, unprepared, TOGETHER)

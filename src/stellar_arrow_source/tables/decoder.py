"""Decodes raw ledgers into record batches, one per stream asked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from stellar_arrow_source.errors import DecodeError
from stellar_arrow_source.tables.catalog import find_stream
from stellar_arrow_source.tables.expressions import Need
from stellar_arrow_source.tables.frame import CLOSE_TIME, SEQUENCE, Batch
from stellar_arrow_source.tables.match import MATCH_NEEDS, match_transactions
from stellar_arrow_source.tables.relations import CHANGE, FEE_CHANGE, RELATIONS
from stellar_arrow_source.tables.spec import Column, Stream, needs_of
from stellar_arrow_source.xdr import Arena, LedgerBuffer, Program, compile_program
from stellar_arrow_source.xdr.arena import MAX_LEDGER_BYTES


@dataclass(frozen=True, slots=True)
class DecodedBatch:
    """What a call of :meth:`LedgerDecoder.decode` gives.

    Attributes:
        sequences: uint32 (n,), of the ledgers in the order given.
        batches: stream name → its rows of all ledgers.
        row_ends: stream name → int64 (n,), the number of rows up to and with each ledger.
        passphrase: of the network; None while it is not known.
        skipped: "stream: reason" → number of what gave no row although its kind should.
    """

    sequences: NDArray[np.uint32]
    batches: dict[str, pa.RecordBatch]
    row_ends: dict[str, NDArray[np.int64]]
    passphrase: str | None
    skipped: dict[str, int]


class LedgerDecoder:
    """Decodes raw ledgers. Its buffers are reused: use one decoder per thread. Kernels release the interpreter lock.

    Args:
        requests: stream, or its name or alias → columns, None for all that are not opt-in.
        passphrase: of the network; None to recognise a known one.
        beside: streams whose usual columns are marked too, so that decoders of any of them share a program.

    Raises:
        UnknownStreamError, UnknownColumnError: a request names what does not exist.
    """

    def __init__(
        self,
        requests: Mapping[str | Stream, Sequence[str] | None],
        *,
        passphrase: str | None = None,
        beside: Iterable[Stream] = (),
    ) -> None:
        self._streams: list[tuple[Stream, tuple[Column, ...]]] = []
        needs = set(needs_of((SEQUENCE, CLOSE_TIME, *MATCH_NEEDS)))
        for name, names in requests.items():
            stream = name if isinstance(name, Stream) else find_stream(name)
            columns = stream.select(names)
            self._streams.append((stream, columns))
            # What is not asked for is marked too: so a stream has two programs at most, each compiled once (in 2 s).
            opted = any(column.opt_in for column in columns)
            needs.update(_needs(stream, stream.columns if opted else stream.select()))
        for stream in beside:
            needs.update(_needs(stream, stream.select()))
        self._passphrase = passphrase
        self.buffer = LedgerBuffer()
        """Where :meth:`decode_buffer` reads ledgers from; fill it directly to save a copy."""
        self._arena = Arena(_program(frozenset(needs)))

    @property
    def columns(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """Names of the streams that it makes, each with its columns."""
        return tuple((stream.name, tuple(column.name for column in columns)) for stream, columns in self._streams)

    def decode(self, ledgers: Sequence[bytes | memoryview]) -> DecodedBatch:
        """Decode LedgerCloseMeta XDR, one item per ledger, in any number.

        Raises:
            DecodeError: a ledger is malformed; nothing is returned of the others.
            NetworkMismatchError: the ledgers are of another network.
        """
        self.buffer.clear()
        # At once, for each step of growing leaves a hole behind; what is too large is refused before it takes room.
        self.buffer.reserve(sum(len(xdr) for xdr in ledgers if len(xdr) <= MAX_LEDGER_BYTES))
        for xdr in ledgers:
            self.buffer.append(xdr)
        return self.decode_buffer()

    def decode_buffer(self) -> DecodedBatch:
        """Decode the ledgers in :attr:`buffer`; errors as in :meth:`decode`."""
        words, bounds = self.buffer.words, self.buffer.bounds
        try:
            self._arena.walk(words, bounds)
        except DecodeError as error:
            raise self._name_ledger(error, words, bounds) from None
        batch = Batch(self._arena, words, bounds)
        self._passphrase = match_transactions(batch, self._passphrase)
        batches, row_ends = {}, {}
        numbers = np.arange(len(bounds), dtype=np.int64)
        for stream, columns in self._streams:
            frame = stream.frame(batch)
            schema = _schema(stream, tuple(column.name for column in columns), self._passphrase)
            arrays = [column.read(frame) for column in columns]
            batches[stream.name] = pa.RecordBatch.from_arrays(arrays, schema=schema)
            row_ends[stream.name] = np.searchsorted(frame.ledger, numbers, side="right")
        sequences, skipped = batch.sequences.astype(np.uint32), batch.skipped
        batch.close()
        return DecodedBatch(sequences, batches, row_ends, self._passphrase, skipped)

    def _name_ledger(self, error: DecodeError, words: NDArray[np.uint32], bounds: NDArray[np.int64]) -> DecodeError:
        """The same error with the ledger's sequence, if the walk came past it."""
        at = self._arena.unfinished(SEQUENCE.relation.name, SEQUENCE.paths[0])
        fault = int(bounds[error.index, 0]) + error.offset // 4
        sequence = int(words[at].byteswap()) if 0 < at < fault else None
        return DecodeError(error.reason, ledger=sequence, index=error.index, offset=error.offset, path=error.path)


def _needs(stream: Stream, columns: Iterable[Column]) -> Iterator[Need]:
    yield from needs_of(stream.reads)
    for column in columns:
        yield from column.needs()


@lru_cache(maxsize=256)
def _schema(stream: Stream, names: tuple[str, ...], passphrase: str | None) -> pa.Schema:
    return stream.schema(names, passphrase)


@lru_cache(maxsize=256)
def _program(needs: frozenset[Need]) -> Program:
    if any(need.relation == CHANGE.name for need in needs):
        # A change is a row of one relation only: all of them include those of fees.
        needs = frozenset(
            need._replace(relation=CHANGE.name) if need.relation == FEE_CHANGE.name else need for need in needs
        )
    wanted = {need.relation for need in needs}
    for relation in RELATIONS:
        if relation.name in wanted:
            wanted.update(parent for parent, _ in relation.sites)
    fields: dict[str, set[str]] = {name: set() for name in wanted}
    ends: dict[str, set[str]] = {name: set() for name in wanted}
    for need in needs:
        if need.end:
            ends[need.relation].add(need.path)
        elif need.path:
            fields[need.relation].add(need.path)
    return compile_program(
        [relation for relation in RELATIONS if relation.name in wanted],
        {name: frozenset(paths) for name, paths in fields.items()},
        {name: frozenset(paths) for name, paths in ends.items()},
    )

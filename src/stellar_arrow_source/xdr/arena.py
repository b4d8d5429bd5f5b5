"""Buffers of raw ledgers and of the rows found in them, kept from one decoding to the next.

Fresh memory pages double the time of decompression and of the walk, so both buffers are reused and only grow.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from stellar_arrow_source.errors import DecodeError
from stellar_arrow_source.xdr import walk as kernel
from stellar_arrow_source.xdr.native import FAULT_WORDS, native_walk
from stellar_arrow_source.xdr.plan import Location, Program

MAX_LEDGER_BYTES: Final = 1 << 30
"""Greatest LedgerCloseMeta accepted; positions are int32 words, so a whole batch is bounded to 8 GiB."""

_REASONS: Final = {
    kernel.TRUNCATED: "the data ends too early",
    kernel.BAD_DISCRIMINANT: "unknown union discriminant",
    kernel.BAD_LENGTH: "a length or count that is over its limit or runs past the end",
    kernel.BAD_BOOL: "an optional's flag is neither 0 nor 1",
    kernel.TOO_DEEP: f"nesting deeper than {kernel.DEPTH}",
    kernel.TRAILING: "bytes are left over after the end",
    kernel.BAD_PADDING: "padding that is not zero",
    kernel.BAD_VALUE: "a value outside its enumeration or fixed set",
    kernel.BAD_PROGRAM: "the reader's own program is faulty",
}
Stop = tuple[int, int, int, list[int]]
"""Where a walk ended: status, ledger, word, instructions from the outermost caller to the last."""

_FIRST_WORD: Final = 1  # word 0 is never data, so that position 0 can mean "absent"


def words_of(xdr: memoryview) -> NDArray[np.uint32]:
    """uint32 (n,): the words of XDR where it lies, as loaded by this machine.

    Raises:
        DecodeError: the size is not a whole number of words, or over :data:`MAX_LEDGER_BYTES`.
    """
    _require_words(len(xdr), 0, 0)
    return np.asarray(xdr).view(np.uint32)


def _require_words(size: int, skip: int, index: int) -> None:
    if size % 4 or skip % 4 or size > MAX_LEDGER_BYTES:
        reason = "over the accepted size" if size > MAX_LEDGER_BYTES else "not a whole number of words"
        raise DecodeError(f"{size} bytes, {reason}", ledger=None, index=index, offset=size, path="LedgerCloseMeta")


class LedgerBuffer:
    """Raw ledgers one after the other in one reused uint32 buffer."""

    def __init__(self) -> None:
        self._words = np.zeros(1 << 16, np.uint32)
        self._bounds: list[tuple[int, int]] = []
        self._next = _FIRST_WORD

    def clear(self) -> None:
        """Forget the ledgers; the memory is kept."""
        self._bounds.clear()
        self._next = _FIRST_WORD

    def reserve(self, size: int) -> memoryview:
        """Room for ``size`` bytes to write a ledger into; :meth:`commit` says how many of them it took."""
        self._grow((size + 3) // 4)
        view = self._words.view(np.uint8).data
        return view[self._next * 4 : self._next * 4 + size]

    def commit(self, size: int, skip: int = 0) -> None:
        """Take the first ``size`` bytes of what was reserved as a ledger, but for its first ``skip`` bytes.

        Raises:
            DecodeError: the size is not a whole number of words, or over :data:`MAX_LEDGER_BYTES`.
        """
        _require_words(size, skip, len(self._bounds))
        self._bounds.append((self._next + skip // 4, self._next + size // 4))
        self._next += size // 4

    def append(self, xdr: bytes | memoryview) -> None:
        """Copy one ledger in. Raises DecodeError as :meth:`commit` does."""
        view = memoryview(xdr).cast("B")
        if len(view) <= MAX_LEDGER_BYTES:
            np.asarray(self.reserve(len(view)))[:] = np.asarray(view)  # memoryviews keep the interpreter lock
        self.commit(len(view))

    def _grow(self, words: int) -> None:
        need = self._next + words
        if need > len(self._words):
            grown = np.zeros(max(need, len(self._words) * 5 // 4), np.uint32)
            grown[: self._next] = self._words[: self._next]
            self._words = grown

    @property
    def words(self) -> NDArray[np.uint32]:
        """All words, as loaded by this machine from big-endian bytes."""
        return self._words

    @property
    def bounds(self) -> NDArray[np.int64]:
        """int64 (n, 2): first and past-the-last word of each ledger."""
        return np.array(self._bounds, np.int64).reshape(-1, 2)


class Arena:
    """The rows of one program's relations."""

    def __init__(self, program: Program, capacity: int = 1024) -> None:
        self.program = program
        self._capacities = np.full(len(program.relations), capacity, np.int64)
        self._rows = np.zeros(len(program.relations), np.int64)
        self._ledger_rows = np.zeros((1, len(program.relations)), np.int64)
        self._stack = tuple(np.zeros(kernel.DEPTH, np.int64) for _ in range(3))
        self._native = native_walk(program)
        self._views: dict[str, NDArray[np.int32]] = {}
        self._fault = np.zeros(FAULT_WORDS, np.int64)
        self._allocate()

    def _allocate(self) -> None:
        sizes = self._capacities * self.program.widths
        self._bases = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int64)
        self._words = np.empty(int(sizes.sum()), np.int32)

    def walk(self, words: NDArray[np.uint32], bounds: NDArray[np.int64]) -> None:
        """Find the rows of all ledgers in ``words``.

        Raises:
            DecodeError: a ledger is not valid XDR; ``ledger`` is None, ``index`` tells which one.
        """
        self._rows[:] = 0
        self._views.clear()
        self._ledger_rows = np.zeros((len(bounds) + 1, len(self.program.relations)), np.int64)
        first = 0
        while True:
            status, ledger, word, trail = self._run(words, bounds, first)
            if status == kernel.OK:
                break
            if status != kernel.GROW:
                begin, end = bounds[ledger]
                raise DecodeError(
                    _REASONS[status],
                    ledger=None,
                    index=ledger,
                    offset=int(min(word, end) - begin) * 4,
                    path=self._path(trail),
                )
            first = ledger
            self._grow()
        self._ledger_rows[-1] = self._rows

    def _run(self, words: NDArray[np.uint32], bounds: NDArray[np.int64], first: int) -> Stop:
        if self._native is None:
            return self._interpret(words, bounds, first)
        tables = np.stack([self._bases, self._capacities, self._bases], axis=1).reshape(-1)
        for ledger, (begin, end) in enumerate(bounds[first:].tolist(), first):
            self._ledger_rows[ledger] = self._rows
            status = self._native.walk(words, begin, end, self._words, self._rows, tables, self._fault, ledger)
            if status != kernel.OK:
                self._rows[:] = self._ledger_rows[ledger]
                word, length = self._fault[1:3].tolist()
                return status, ledger, word, self._fault[3 : 3 + length][::-1].tolist()
        return kernel.OK, len(bounds), 0, []

    def _interpret(self, words: NDArray[np.uint32], bounds: NDArray[np.int64], first: int) -> Stop:
        program, stack = self.program, self._stack
        status, ledger, word, instruction, depth = kernel.walk(
            program.code, program.table, program.start, words, bounds, first,
            self._words, self._bases, program.widths, self._capacities, self._rows, self._ledger_rows, *stack,
        )  # fmt: skip
        callers = [at - 1 for at in stack[0][1:depth].tolist()] if status != kernel.OK else []
        last = int(instruction) if instruction >= 0 else program.start  # below 0: the program was at its end
        return int(status), int(ledger), int(word), [*callers, last]

    def _grow(self) -> None:
        old_words, old_bases = self._words, self._bases
        self._capacities = self._capacities * 2
        self._allocate()
        for base, old, size in zip(self._bases, old_bases, self._rows * self.program.widths, strict=True):
            self._words[base : base + size] = old_words[old : old + size]

    def _path(self, trail: list[int]) -> str:
        """Schema path of a fault: where its callers stand, then itself."""
        crumbs = [self.program.breadcrumbs[at] for at in trail]
        if len(crumbs) > 12:  # a bomb's path would be a thousand crumbs
            crumbs = [*crumbs[:8], "…", *crumbs[-3:]]
        return " > ".join(crumbs)

    def unfinished(self, relation: str, path: str) -> int:
        """The position of a field in the row that a failed walk had begun last; 0 when it did not come so far."""
        number = self.program.index[relation]
        location = self.location(relation, path)
        mark = int(self._words[self._bases[number] + self._rows[number] * self.program.widths[number] + location.slot])
        return mark + location.offset if mark > 0 else 0

    # -- what was found

    def count(self, relation: str) -> int:
        """Rows of a relation."""
        return int(self._rows[self.program.index[relation]])

    def rows(self, relation: str) -> NDArray[np.int32]:
        """int32 (rows, width): the rows of a relation; a view that the next walk overwrites."""
        view = self._views.get(relation)
        if view is None:
            number = self.program.index[relation]
            base, width, count = (int(part[number]) for part in (self._bases, self.program.widths, self._rows))
            view = self._views[relation] = self._words[base : base + width * count].reshape(count, width)
        return view

    def ledger_rows(self, relation: str) -> NDArray[np.int64]:
        """int64 (ledgers + 1): the row of a relation at which each ledger begins, then their number."""
        return self._ledger_rows[:, self.program.index[relation]]

    def location(self, relation: str, path: str) -> Location:
        """Where a wanted field lies in the rows of a relation."""
        return self.program.locations[self.program.index[relation]][path]

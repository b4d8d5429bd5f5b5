"""Lists of instructions under construction: what the compiler writes into."""

from __future__ import annotations

from collections.abc import Sequence

from stellar_arrow_source.xdr.plan import Op


class Emitter:
    """Instructions, switch tables and the schema path of each instruction."""

    def __init__(self) -> None:
        self._clear()

    def _clear(self) -> None:
        self._code: list[list[int]] = []
        self._crumbs: list[str] = []
        self._crumb = ""
        self._table: list[int] = []
        self._skip = 0

    def _emit(self, op: Op, a: int = 0, b: int = 0, c: int = 0, d: int = 0) -> int:
        self._code.append([op, self._skip, a, b, c, d])
        self._crumbs.append(self._crumb)
        self._skip = 0
        return len(self._code) - 1

    def _target(self, at: int, operand: int = 0) -> None:
        """Let operand ``operand`` of instruction ``at`` point to the next instruction."""
        self._code[at][2 + operand] = len(self._code)

    def _close_branch(self) -> None:
        """A pending skip belongs to the branch alone: end it with a jump to what follows."""
        if self._skip:
            self._emit(Op.JUMP, len(self._code) + 1)

    def _switch_table(self, starts: Sequence[tuple[tuple[int | None, ...], int]]) -> int:
        targets: dict[int, int] = {}
        default = -1
        for labels, start in starts:
            for label in labels:
                if label is None:
                    default = start
                else:
                    targets[label] = start
        low, high = min(targets, default=0), max(targets, default=-1)
        base = len(self._table)
        # low, count, then (target, words to skip) for the default and for every value
        self._table += [low, high - low + 1, default, 0]
        for value in range(low, high + 1):
            self._table += [targets.get(value, default), 0]
        return base

    # -- peephole: jumps to jumps and to returns

    def _thread_jumps(self) -> None:
        changed = True
        while changed:
            changed = False
            for instruction in self._code:
                if instruction[0] != Op.JUMP:
                    continue
                target = self._code[instruction[2]]
                if target[0] in (Op.JUMP, Op.RETURN) and target is not instruction:
                    instruction[0] = target[0]
                    instruction[1] += target[1]
                    instruction[2] = target[2]
                    changed = True
            for instruction in self._code:
                if instruction[0] == Op.SWITCH:
                    changed |= self._thread_table(instruction[2])

    def _thread_table(self, base: int) -> bool:
        changed = False
        for entry in [base + 2, *(base + 4 + 2 * i for i in range(self._table[base + 1]))]:
            target = self._table[entry]
            if target >= 0 and self._code[target][0] == Op.JUMP:
                self._table[entry] = self._code[target][2]
                self._table[entry + 1] += self._code[target][1]
                changed = True
        return changed

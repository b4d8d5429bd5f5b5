"""Translates a program to LLVM assembly.

Every instruction becomes a basic block, every routine (what CALL, REPEAT and ROW lead to) a function, so that the
processor predicts each branch of the schema by itself instead of one shared dispatch.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from stellar_arrow_source.xdr import walk as kernel
from stellar_arrow_source.xdr.plan import INSTRUCTION_WORDS, Op, Program

_ARGUMENTS: Final = "ptr %words, i64 %end, ptr %arena, ptr %rows, ptr %tables, ptr %fault, i64 %ledger"
_PRELUDE: Final = """
declare i32 @llvm.bswap.i32(i32)
declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)

define internal i64 @fail(ptr %fault, i64 %status, i64 %pos, i64 %at) cold noinline {
  store i64 %status, ptr %fault
  %word = getelementptr i64, ptr %fault, i64 1
  store i64 %pos, ptr %word
  %length = getelementptr i64, ptr %fault, i64 2
  store i64 1, ptr %length
  %first = getelementptr i64, ptr %fault, i64 3
  store i64 %at, ptr %first
  ret i64 -1
}

define internal i64 @trace(ptr %fault, i64 %at) cold noinline {
  %length = getelementptr i64, ptr %fault, i64 2
  %known = load i64, ptr %length
  %more = add i64 %known, 1
  store i64 %more, ptr %length
  %next = add i64 %known, 3
  %place = getelementptr i64, ptr %fault, i64 %next
  store i64 %at, ptr %place
  ret i64 -1
}
"""


class Translation:
    """The LLVM assembly of one program."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._code = program.code.reshape(-1, INSTRUCTION_WORDS).tolist()
        self._entries = self._find_entries()
        self._temporary = 0

    def _find_entries(self) -> set[int]:
        entries = {self._program.start}
        for op, _, a, _, _, entry in self._code:
            if op in (Op.CALL, Op.REPEAT):
                entries.add(a)
            elif op == Op.ROW:
                entries.add(entry)
        return entries

    def text(self) -> Iterator[str]:
        yield _PRELUDE
        for entry in sorted(self._entries):
            yield from self._routine(entry)
        yield self._main()

    # -- routines

    def _main(self) -> str:
        return f"""
define i64 @walk(ptr %words, i64 %begin, i64 %end, ptr %arena, ptr %rows, ptr %tables, ptr %fault, i64 %ledger) {{
  %pos = call i64 @r{self._program.start}({_ARGUMENTS}, i64 %begin, i64 1)
  %failed = icmp slt i64 %pos, 0
  br i1 %failed, label %fault_known, label %compare
fault_known:
  %status = load i64, ptr %fault
  ret i64 %status
compare:
  %exact = icmp eq i64 %pos, %end
  br i1 %exact, label %done, label %inexact
done:
  ret i64 0
inexact:
  %short = icmp slt i64 %pos, %end
  %wrong = select i1 %short, i64 {kernel.TRAILING}, i64 {kernel.TRUNCATED}
  %unused = call i64 @fail(ptr %fault, i64 %wrong, i64 %pos, i64 {self._program.start})
  ret i64 %wrong
}}
"""

    def _routine(self, entry: int) -> Iterator[str]:
        yield f"\ndefine internal i64 @r{entry}({_ARGUMENTS}, i64 %from, i64 %depth) {{\n"
        yield "  %p = alloca i64\n  store i64 %from, ptr %p\n"
        yield f"  br label %i{entry}\n"
        for at in self._blocks(entry):
            yield f"i{at}:\n" + self._instruction(at)
        yield "}\n"

    def _blocks(self, entry: int) -> list[int]:
        seen, stack = {entry}, [entry]
        while stack:
            for target in self._successors(stack.pop()):
                if target not in seen and target not in self._entries:
                    seen.add(target)
                    stack.append(target)
        return [entry, *sorted(seen - {entry})]

    def _successors(self, at: int) -> list[int]:
        op, _, a, _, _, _ = self._code[at]
        match op:
            case Op.SWITCH:
                return [target for _, target, _ in self._cases(a) if target >= 0]
            case Op.RETURN | Op.ROW:
                return []
            case Op.JUMP:
                return [a]
            case Op.OPTIONAL:
                return [a, at + 1]
        return [at + 1]

    def _cases(self, base: int) -> list[tuple[int | None, int, int]]:
        """(value or None for the default, target, words to skip) of a SWITCH table."""
        table = self._program.table
        low, count = int(table[base]), int(table[base + 1])
        cases: list[tuple[int | None, int, int]] = [(None, int(table[base + 2]), int(table[base + 3]))]
        for i in range(count):
            entry = base + 4 + 2 * i
            cases.append((low + i, int(table[entry]), int(table[entry + 1])))
        return cases

    # -- pieces

    def _name(self) -> str:
        self._temporary += 1
        return f"t{self._temporary}"

    def _go(self, target: int) -> str:
        """Continue at ``target``; another routine's begin is called and its end returned."""
        if target not in self._entries:
            return f"  br label %i{target}\n"
        pos, result = self._name(), self._name()
        return (
            f"  %{pos} = load i64, ptr %p\n"
            f"  %{result} = tail call i64 @r{target}({_ARGUMENTS}, i64 %{pos}, i64 %depth)\n"
            f"  ret i64 %{result}\n"
        )

    def _fail(self, at: int, status: int, pos: str) -> str:
        result = self._name()
        return f"  %{result} = call i64 @fail(ptr %fault, i64 {status}, i64 %{pos}, i64 {at})\n  ret i64 %{result}\n"

    def _check(self, at: int, condition: str, status: int, pos: str) -> str:
        """Fail where the i1 ``condition`` is false; the rest follows."""
        good, bad = self._name(), self._name()
        return f"  br i1 %{condition}, label %{good}, label %{bad}\n{bad}:\n{self._fail(at, status, pos)}{good}:\n"

    def _skipped(self, words: int) -> tuple[str, str]:
        """The position after ``words`` words: its name and the code."""
        old, pos = self._name(), self._name()
        return pos, f"  %{old} = load i64, ptr %p\n  %{pos} = add i64 %{old}, {words}\n"

    def _read(self, at: int, pos: str) -> tuple[str, str]:
        """The big-endian word at ``pos``, which is checked to be there."""
        inside, place, raw, value = (self._name() for _ in range(4))
        code = f"  %{inside} = icmp slt i64 %{pos}, %end\n" + self._check(at, inside, kernel.TRUNCATED, pos)
        code += f"  %{place} = getelementptr i32, ptr %words, i64 %{pos}\n  %{raw} = load i32, ptr %{place}, align 4\n"
        return value, code + f"  %{value} = call i32 @llvm.bswap.i32(i32 %{raw})\n"

    def _advance(self, pos: str, words: str) -> str:
        after = self._name()
        return f"  %{after} = add i64 %{pos}, {words}\n  store i64 %{after}, ptr %p\n"

    def _count(self, at: int, pos: str, limit: int, words_each: int) -> tuple[str, str, str]:
        """A count, checked against its limit and the words that are left: (count, words it takes, code)."""
        value, code = self._read(at, pos)
        count, below, size, left, room, fits, both = (self._name() for _ in range(7))
        code += (
            f"  %{count} = zext i32 %{value} to i64\n"
            f"  %{below} = icmp sle i64 %{count}, {limit}\n"
            f"  %{size} = mul i64 %{count}, {words_each}\n"
            f"  %{left} = sub i64 %end, %{pos}\n"
            f"  %{room} = sub i64 %{left}, 1\n"
            f"  %{fits} = icmp sle i64 %{size}, %{room}\n"
            f"  %{both} = and i1 %{below}, %{fits}\n"
        )
        return count, size, code + self._check(at, both, kernel.BAD_LENGTH, pos)

    def _enter(self, at: int, target: int, pos: str) -> tuple[str, str]:
        """Call a routine one level deeper: (position after it, code). A fault is passed on with the caller's trace."""
        deeper, result, failed, good, bad, traced = (self._name() for _ in range(6))
        return result, (
            f"  %{deeper} = add i64 %depth, 1\n"
            f"  %{result} = call i64 @r{target}({_ARGUMENTS}, i64 %{pos}, i64 %{deeper})\n"
            f"  %{failed} = icmp slt i64 %{result}, 0\n"
            f"  br i1 %{failed}, label %{bad}, label %{good}\n"
            f"{bad}:\n"
            f"  %{traced} = call i64 @trace(ptr %fault, i64 {at})\n  ret i64 %{traced}\n"
            f"{good}:\n"
        )

    def _depth(self, at: int, pos: str) -> str:
        shallow = self._name()
        code = f"  %{shallow} = icmp slt i64 %depth, {kernel.DEPTH}\n"
        return code + self._check(at, shallow, kernel.TOO_DEEP, pos)

    # -- instructions

    def _instruction(self, at: int) -> str:
        op, skip, a, b, c, d = self._code[at]
        pos, code = self._skipped(skip)
        match op:
            case Op.SWITCH:
                return code + self._switch(at, pos, a)
            case Op.RETURN:
                return code + f"  ret i64 %{pos}\n"
            case Op.RANGE:
                value, read = self._read(at, pos)
                high, low, both = (self._name() for _ in range(3))
                code += read + f"  %{low} = icmp sge i32 %{value}, {a}\n  %{high} = icmp sle i32 %{value}, {b}\n"
                code += f"  %{both} = and i1 %{low}, %{high}\n"
                code += self._check(at, both, kernel.BAD_VALUE, pos) + self._advance(pos, "1")
            case Op.ROW:
                return code + self._row(at, pos, a, b, c, d)
            case Op.MARK:
                code += self._advance(pos, "0") + self._mark(pos, a, b)
            case Op.CALL:
                after, call = self._enter(at, a, pos)
                code += self._depth(at, pos) + call + f"  store i64 %{after}, ptr %p\n"
            case Op.JUMP:
                return code + self._advance(pos, "0") + self._go(a)
            case Op.OPTIONAL:
                return code + self._optional(at, pos, a)
            case Op.REPEAT:
                return code + self._repeat(at, pos, a, b, c)
            case Op.OPAQUE:
                code += self._opaque(at, pos, a)
            case Op.FIXED_ARRAY:
                _, size, read = self._count(at, pos, b, a)
                after = self._name()
                code += read + f"  %{after} = add i64 %{size}, 1\n" + self._advance(pos, f"%{after}")
        return code + self._go(at + 1)

    def _switch(self, at: int, pos: str, base: int) -> str:
        value, code = self._read(at, pos)
        default, labels = "", ""
        arms: dict[tuple[int, int], str] = {}
        cases = self._cases(base)
        for label, target, skip in cases:
            if label is not None and (target, skip) == cases[0][1:]:
                continue  # the default does it
            name = arms.setdefault((target, skip), self._name())
            if label is None:
                default = name
            else:
                labels += f" i32 {label}, label %{name}"
        code += f"  switch i32 %{value}, label %{default} [{labels} ]\n"
        for (target, skip), name in arms.items():
            code += f"{name}:\n"
            if target < 0:
                code += self._fail(at, kernel.BAD_DISCRIMINANT, pos)
            else:
                code += self._advance(pos, str(1 + skip)) + self._go(target)
        return code

    def _optional(self, at: int, pos: str, absent: int) -> str:
        value, code = self._read(at, pos)
        no, yes, bad = (self._name() for _ in range(3))
        code += f"  switch i32 %{value}, label %{bad} [ i32 0, label %{no} i32 1, label %{yes} ]\n"
        code += f"{bad}:\n{self._fail(at, kernel.BAD_BOOL, pos)}"
        code += f"{no}:\n{self._advance(pos, '1')}{self._go(absent)}"
        return code + f"{yes}:\n{self._advance(pos, '1')}{self._go(at + 1)}"

    def _repeat(self, at: int, pos: str, body: int, limit: int, least: int) -> str:
        count, _, code = self._count(at, pos, limit, least)
        begin, some, none, deep, loop, n, here, left, more, done = (self._name() for _ in range(10))
        code += f"  %{begin} = add i64 %{pos}, 1\n  store i64 %{begin}, ptr %p\n"
        code += f"  %{none} = icmp eq i64 %{count}, 0\n  br i1 %{none}, label %{done}, label %{deep}\n"
        code += f"{deep}:\n{self._depth(at, begin)}  br label %{some}\n{some}:\n  br label %{loop}\n"
        after, call = self._enter(at, body, here)
        # the call's good label ends the loop's body: the phis name it
        good = call.rstrip().rsplit("\n", 1)[-1].rstrip(":")
        code += f"{loop}:\n  %{n} = phi i64 [ %{count}, %{some} ], [ %{left}, %{good} ]\n"
        code += f"  %{here} = phi i64 [ %{begin}, %{some} ], [ %{after}, %{good} ]\n" + call
        code += f"  store i64 %{after}, ptr %p\n  %{left} = sub i64 %{n}, 1\n  %{more} = icmp sgt i64 %{left}, 0\n"
        return code + f"  br i1 %{more}, label %{loop}, label %{done}\n{done}:\n" + self._go(at + 1)

    def _opaque(self, at: int, pos: str, limit: int) -> str:
        value, code = self._read(at, pos)
        count, below, sum_, size, left, room, fits, both = (self._name() for _ in range(8))
        code += f"  %{count} = zext i32 %{value} to i64\n  %{below} = icmp sle i64 %{count}, {limit}\n"
        code += f"  %{sum_} = add i64 %{count}, 3\n  %{size} = lshr i64 %{sum_}, 2\n"
        code += f"  %{left} = sub i64 %end, %{pos}\n  %{room} = sub i64 %{left}, 1\n"
        code += f"  %{fits} = icmp sle i64 %{size}, %{room}\n  %{both} = and i1 %{below}, %{fits}\n"
        code += self._check(at, both, kernel.BAD_LENGTH, pos)
        last, odd, part, padded, whole = (self._name() for _ in range(5))
        code += f"  %{last} = add i64 %{pos}, %{size}\n  %{part} = and i64 %{count}, 3\n"
        code += f"  %{odd} = icmp ne i64 %{part}, 0\n  br i1 %{odd}, label %{padded}, label %{whole}\n{padded}:\n"
        place, raw, bits, shift, rest, zero = (self._name() for _ in range(6))
        code += f"  %{place} = getelementptr i32, ptr %words, i64 %{last}\n  %{raw} = load i32, ptr %{place}, align 4\n"
        code += f"  %{bits} = mul i64 %{part}, 8\n  %{shift} = trunc i64 %{bits} to i32\n"
        code += f"  %{rest} = lshr i32 %{raw}, %{shift}\n  %{zero} = icmp eq i32 %{rest}, 0\n"
        code += self._check(at, zero, kernel.BAD_PADDING, last) + f"  br label %{whole}\n{whole}:\n"
        return code + self._advance(last, "1")

    def _table(self, index: int) -> tuple[str, str]:
        """A word of ``tables``: (value, code)."""
        place, value = self._name(), self._name()
        code = f"  %{place} = getelementptr i64, ptr %tables, i64 {index}\n  %{value} = load i64, ptr %{place}\n"
        return value, code

    def _mark(self, pos: str, relation: int, slot: int) -> str:
        row, code = self._table(3 * relation + 2)
        index, place, short = (self._name() for _ in range(3))
        code += f"  %{index} = add i64 %{row}, {slot}\n  %{place} = getelementptr i32, ptr %arena, i64 %{index}\n"
        return code + f"  %{short} = trunc i64 %{pos} to i32\n  store i32 %{short}, ptr %{place}, align 4\n"

    def _row(self, at: int, pos: str, relation: int, site: int, parent: int, entry: int) -> str:
        width = int(self._program.widths[relation])
        counter, count, fits = (self._name() for _ in range(3))
        capacity, code = self._table(3 * relation + 1)
        code += f"  %{counter} = getelementptr i64, ptr %rows, i64 {relation}\n  %{count} = load i64, ptr %{counter}\n"
        code += f"  %{fits} = icmp slt i64 %{count}, %{capacity}\n" + self._check(at, fits, kernel.GROW, pos)
        base, load_base = self._table(3 * relation)
        more, offset, row, current, place, short = (self._name() for _ in range(6))
        code += f"  %{more} = add i64 %{count}, 1\n  store i64 %{more}, ptr %{counter}\n" + load_base
        code += f"  %{offset} = mul i64 %{count}, {width}\n  %{row} = add i64 %{base}, %{offset}\n"
        code += f"  %{current} = getelementptr i64, ptr %tables, i64 {3 * relation + 2}\n"
        code += f"  store i64 %{row}, ptr %{current}\n"
        code += f"  %{place} = getelementptr i32, ptr %arena, i64 %{row}\n"
        code += f"  call void @llvm.memset.p0.i64(ptr align 4 %{place}, i8 0, i64 {4 * width}, i1 false)\n"
        code += f"  %{short} = trunc i64 %{pos} to i32\n  store i32 %{short}, ptr %{place}, align 4\n"
        owner, load_owner = self._owner(parent)
        second, third = self._name(), self._name()
        code += (
            load_owner + f"  %{second} = getelementptr i32, ptr %{place}, i64 1\n  store i32 %{owner}, ptr %{second}\n"
        )
        code += f"  %{third} = getelementptr i32, ptr %{place}, i64 2\n  store i32 {site}, ptr %{third}\n"
        return code + self._advance(pos, "0") + self._go(entry)

    def _owner(self, parent: int) -> tuple[str, str]:
        owner = self._name()
        if parent < 0:
            return owner, f"  %{owner} = trunc i64 %ledger to i32\n"
        place, count, last = (self._name() for _ in range(3))
        return owner, (
            f"  %{place} = getelementptr i64, ptr %rows, i64 {parent}\n  %{count} = load i64, ptr %{place}\n"
            f"  %{last} = sub i64 %{count}, 1\n  %{owner} = trunc i64 %{last} to i32\n"
        )

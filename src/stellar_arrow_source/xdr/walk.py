"""The walk kernel: runs a compiled program over raw ledgers and notes positions.

It is the only code that follows XDR structure. Every discriminant, boolean, enumeration, length and padding byte is
checked, every count is bounded by the words that are left, nesting by :data:`DEPTH`, and a ledger must end exactly
where its bytes end. The kernel allocates nothing that the input could size.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from stellar_arrow_source.xdr.jit import Positions, Words, kernel, load32

DEPTH: Final = 1024
"""Greatest nesting of calls and repetitions."""

OK: Final = 0
TRUNCATED: Final = 1
BAD_DISCRIMINANT: Final = 2
BAD_LENGTH: Final = 3
BAD_BOOL: Final = 4
TOO_DEEP: Final = 5
GROW: Final = 6
TRAILING: Final = 7
BAD_PADDING: Final = 8
BAD_VALUE: Final = 9
BAD_PROGRAM: Final = 10

Integers32 = NDArray[np.int32]


@kernel
def walk(
    code: Integers32,
    table: Integers32,
    start: int,
    words: Words,
    bounds: Positions,
    first: int,
    arena: Integers32,
    bases: Positions,
    widths: Positions,
    capacities: Positions,
    rows: Positions,
    ledger_rows: Positions,
    returns: Positions,
    repeats: Positions,
    bodies: Positions,
) -> tuple[int, int, int, int, int]:
    """Walk ledgers ``first`` to the last.

    Args:
        code, table, start: the program; operands by instruction:
            SWITCH (table), RETURN, ROW (relation, site, parent relation, entry), MARK (relation, slot), CALL (target),
            JUMP (target), OPTIONAL (target if absent), REPEAT (body, limit, least words of an element),
            OPAQUE (limit), FIXED_ARRAY (words of an element, limit), RANGE (low, high).
        words: uint32, raw XDR.
        bounds: int64 (n, 2), first and past-the-last word of each ledger.
        arena: int32, rows of all relations; relation t's begin at bases[t], widths[t] words each, capacities[t] rows.
        rows: int64, rows of each relation so far (in and out).
        ledger_rows: int64 (n + 1, relations), rows before each ledger (out; the last line is the caller's).
        returns, repeats, bodies: int64 (DEPTH,), the stack; after an error it tells where the reader stood.

    Returns:
        (status, ledger, word, instruction, stack depth)
    """
    current = np.empty(rows.shape[0], np.int64)
    for ledger in range(first, bounds.shape[0]):
        pos = bounds[ledger, 0]
        end = bounds[ledger, 1]
        for t in range(rows.shape[0]):
            ledger_rows[ledger, t] = rows[t]
        returns[0] = -1
        repeats[0] = 0
        sp = 1
        pc = np.int64(start)
        status = 0
        while True:
            k = np.uint64(pc * 6)
            op = code[k]
            pos += code[k + np.uint64(1)]
            if op == 0:  # SWITCH
                if pos >= end:
                    status = 1
                    break
                base = np.int64(code[k + np.uint64(2)])
                value = np.int64(np.int32(load32(words, pos))) - table[np.uint64(base)]
                entry = base + 2 if value < 0 or value >= table[np.uint64(base + 1)] else base + 4 + 2 * value
                target = np.int64(table[np.uint64(entry)])
                if target < 0:
                    status = 2
                    break
                pc = target
                pos += 1 + table[np.uint64(entry + 1)]
            elif op == 1:  # RETURN
                left = repeats[np.uint64(sp - 1)]
                if left > 1:
                    repeats[np.uint64(sp - 1)] = left - 1
                    pc = bodies[np.uint64(sp - 1)]
                else:
                    sp -= 1
                    pc = returns[np.uint64(sp)]
                    if pc < 0:
                        break
            elif op == 10:  # RANGE
                if pos >= end:
                    status = 1
                    break
                value = np.int64(np.int32(load32(words, pos)))
                if value < code[k + np.uint64(2)] or value > code[k + np.uint64(3)]:
                    status = 9
                    break
                pos += 1
                pc += 1
            elif op == 2:  # ROW
                relation = np.uint64(code[k + np.uint64(2)])
                row = rows[relation]
                if row >= capacities[relation]:
                    status = 6
                    break
                p = bases[relation] + row * widths[relation]
                rows[relation] = row + 1
                current[relation] = p
                for i in range(3, widths[relation]):
                    arena[np.uint64(p + i)] = 0
                arena[np.uint64(p)] = pos
                parent = np.int64(code[k + np.uint64(4)])
                arena[np.uint64(p + 1)] = rows[np.uint64(parent)] - 1 if parent >= 0 else ledger
                arena[np.uint64(p + 2)] = code[k + np.uint64(3)]
                pc = np.int64(code[k + np.uint64(5)])
            elif op == 3:  # MARK
                arena[np.uint64(current[np.uint64(code[k + np.uint64(2)])] + code[k + np.uint64(3)])] = pos
                pc += 1
            elif op == 4:  # CALL
                if sp >= 1024:
                    status = 5
                    break
                returns[np.uint64(sp)] = pc + 1
                repeats[np.uint64(sp)] = 0
                sp += 1
                pc = np.int64(code[k + np.uint64(2)])
            elif op == 5:  # JUMP
                pc = np.int64(code[k + np.uint64(2)])
            elif op == 6:  # OPTIONAL
                if pos >= end:
                    status = 1
                    break
                flag = words[np.uint64(pos)]
                if flag == 0:
                    pc = np.int64(code[k + np.uint64(2)])
                elif flag == 0x01000000:
                    pc += 1
                else:
                    status = 4
                    break
                pos += 1
            elif op == 7:  # REPEAT
                if pos >= end:
                    status = 1
                    break
                count = np.int64(load32(words, pos))
                if count > code[k + np.uint64(3)] or count * code[k + np.uint64(4)] > end - pos - 1:
                    status = 3
                    break
                pos += 1
                if count > 0:
                    if sp >= 1024:
                        status = 5
                        break
                    returns[np.uint64(sp)] = pc + 1
                    repeats[np.uint64(sp)] = count
                    pc = np.int64(code[k + np.uint64(2)])
                    bodies[np.uint64(sp)] = pc
                    sp += 1
                else:
                    pc += 1
            elif op == 8:  # OPAQUE
                if pos >= end:
                    status = 1
                    break
                count = np.int64(load32(words, pos))
                size = (count + 3) >> 2
                if count > code[k + np.uint64(2)] or size > end - pos - 1:
                    status = 3
                    break
                pos += size
                if count & 3 and (words[np.uint64(pos)] >> np.uint32((count & 3) * 8)) != 0:
                    status = 8
                    break
                pos += 1
                pc += 1
            elif op == 9:  # FIXED_ARRAY
                if pos >= end:
                    status = 1
                    break
                count = np.int64(load32(words, pos))
                if count > code[k + np.uint64(3)] or count * code[k + np.uint64(2)] > end - pos - 1:
                    status = 3
                    break
                pos += 1 + count * code[k + np.uint64(2)]
                pc += 1
            else:
                status = 10
                break
        if status == 0 and pos != end:
            status = 7 if pos < end else 1
        if status != 0:
            for t in range(rows.shape[0]):
                rows[t] = ledger_rows[ledger, t]
            return status, ledger, int(pos), int(pc), sp
    return 0, int(bounds.shape[0]), 0, 0, 0

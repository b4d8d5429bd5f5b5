"""SHA-256 over spans of the raw XDR: ``hash_spans``, ``transaction_hashes``, ``opaque_hashes``.

Digests are rows of eight uint32 words in memory order, so that they compare directly with hash words of the
XDR. On x86 processors with the SHA extensions (checked at run time) two messages are hashed interleaved by
the SHA-NI instructions; elsewhere, and without the JIT, by hashlib.
"""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Callable
from typing import Any

import llvmlite.binding as llvm
import numba
import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from stellar_arrow_source.xdr.jit import Mask, Positions, Words, helper, kernel

Digests = npt.NDArray[np.uint32]
"""(n, 8) uint32, each row a SHA-256 digest in memory order."""

_TRANSACTION_TAG = np.frombuffer(bytes([0, 0, 0, 2, 0, 0, 0, 0]), np.uint32)
"""ENVELOPE_TYPE_TX and KEY_TYPE_ED25519: what the hash of a V0 transaction's body is prefixed with."""
_NO_PREFIX = np.empty(0, np.uint32)


def _processor_has_sha() -> bool:
    # an explicit target (NUMBA_CPU_NAME, NUMBA_CPU_FEATURES) may lack what the host has
    if numba.config.DISABLE_JIT or numba.config.CPU_NAME or numba.config.CPU_FEATURES:
        return False
    return platform.machine() in ("x86_64", "AMD64") and bool(llvm.get_host_cpu_features().get("sha"))


HAS_SHA_INSTRUCTIONS = _processor_has_sha()


def hash_spans(
    words: Words, start: Positions, end: Positions, prefix: Words = _NO_PREFIX, out: Digests | None = None
) -> Digests:
    """sha256(prefix ‖ words[start:end]) of each row; zeros where start is 0."""
    digests = np.empty((len(start), 8), np.uint32) if out is None else out
    _hash(words, start, end, prefix, _NO_PREFIX, np.zeros(len(start), np.bool_), digests)
    return digests


def transaction_hashes(words: Words, network_id: bytes, start: Positions, end: Positions, is_v0: Mask) -> Digests:
    """Transaction hashes: sha256(network id ‖ tag ‖ transaction).

    A span is that of an envelope from its discriminant to the end of `tx`, without the signatures. The
    discriminant is the tag, except that a V0 transaction counts as ENVELOPE_TYPE_TX with an ed25519 source.
    """
    digests = np.empty((len(start), 8), np.uint32)
    _hash(words, start, end, np.frombuffer(network_id, np.uint32), _TRANSACTION_TAG, is_v0, digests)
    return digests


def opaque_hashes(words: Words, pos: Positions) -> Digests:
    """sha256 of the bytes of variable-length opaques; zeros where absent."""
    digests = np.zeros((len(pos), 8), np.uint32)
    raw = words.view(np.uint8)
    for i in np.flatnonzero(pos):
        length = int.from_bytes(raw[pos[i] * 4 : pos[i] * 4 + 4].tobytes(), "big")
        first = int(pos[i] + 1) * 4
        digests[i] = np.frombuffer(hashlib.sha256(raw[first : first + length].data).digest(), np.uint32)
    return digests


def _hash_with_hashlib(
    words: Words,
    start: Positions,
    end: Positions,
    prefix: Words,
    tag: Words,
    tagged: Mask,
    out: Digests,
) -> None:
    """As :func:`_hash_with_instructions`."""
    prefixed, retagged = hashlib.sha256(prefix.data), hashlib.sha256(prefix.tobytes() + tag.tobytes())
    rows = zip(start.tolist(), end.tolist(), tagged.tolist(), strict=True)
    for i, (first, last, is_tagged) in enumerate(rows):
        if first == 0:
            out[i] = 0
            continue
        digest = (retagged if is_tagged else prefixed).copy()
        digest.update(words[first + is_tagged : last].data)
        out[i] = np.frombuffer(digest.digest(), np.uint32)


# The SHA-NI instructions keep the state as two vectors of four words: F E B A and H G D C.
_INITIAL = np.array(
    [0x9B05688C, 0x510E527F, 0xBB67AE85, 0x6A09E667, 0x5BE0CD19, 0x1F83D9AB, 0xA54FF53A, 0x3C6EF372], np.uint32
)
_STATE_TO_DIGEST = np.array([3, 2, 7, 6, 1, 0, 5, 4], np.int64)
_V4 = ir.VectorType(ir.IntType(32), 4)


def _primes(count: int) -> list[int]:
    found: list[int] = []
    candidate = 2
    while len(found) < count:
        if all(candidate % p for p in found):
            found.append(candidate)
        candidate += 1
    return found


def _cube_root_fraction(n: int) -> int:
    """The first 32 bits of the fraction of n's cube root."""
    scaled, root = n << 96, 0
    for bit in range(36, -1, -1):
        if (root | 1 << bit) ** 3 <= scaled:
            root |= 1 << bit
    return root & 0xFFFFFFFF


_ROUND_CONSTANTS = [_cube_root_fraction(p) for p in _primes(64)]
"""K of FIPS 180-4 section 4.2.2."""


def _emit_blocks(builder: Any, lanes: list[tuple[Any, Any]]) -> None:
    """Emit the compression of one 64-byte block for each (state, block) address, interleaved."""

    def declare(name: str, operands: int) -> Any:
        signature = ir.FunctionType(_V4, [_V4] * operands)
        return cgutils.get_or_insert_function(builder.module, signature, f"llvm.{name}")

    def shuffle(a: Any, b: Any, *lanes: int) -> Any:
        return builder.shuffle_vector(a, b, ir.Constant(_V4, lanes))

    rounds, schedule1 = declare("x86.sha256rnds2", 3), declare("x86.sha256msg1", 2)
    schedule2, byteswap = declare("x86.sha256msg2", 2), declare("bswap.v4i32", 1)

    def at(base: Any, index: int) -> Any:
        return builder.gep(base, [ir.IntType(32)(index)])

    states = [builder.inttoptr(state, _V4.as_pointer()) for state, _ in lanes]
    blocks = [builder.inttoptr(block, _V4.as_pointer()) for _, block in lanes]
    before = [[builder.load(at(state, half), align=4) for half in (0, 1)] for state in states]
    now = [list(pair) for pair in before]
    messages: list[list[Any]] = [[] for _ in lanes]
    for i in range(16):
        for (abef, cdgh), block, message, pair in zip(now, blocks, messages, now, strict=True):
            if i < 4:
                w = builder.call(byteswap, [builder.load(at(block, i), align=4)])
            else:
                w = builder.call(schedule1, [message[i - 4], message[i - 3]])
                w = builder.add(w, shuffle(message[i - 2], message[i - 1], 1, 2, 3, 4))
                w = builder.call(schedule2, [w, message[i - 1]])
            message.append(w)
            keyed = builder.add(w, ir.Constant(_V4, _ROUND_CONSTANTS[4 * i : 4 * i + 4]))
            pair[1] = builder.call(rounds, [cdgh, abef, keyed])
            pair[0] = builder.call(rounds, [abef, pair[1], shuffle(keyed, keyed, 2, 3, 0, 0)])
    for state, pair, start in zip(states, now, before, strict=True):
        for half in (0, 1):
            builder.store(builder.add(pair[half], start[half]), at(state, half), align=4)


@intrinsic  # type: ignore[untyped-decorator]
def _compress(typing_context: Any, state: Any, block: Any) -> tuple[Any, Callable[..., Any]]:
    """Absorb the 64-byte block at one address into the state at another."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        _emit_blocks(builder, [(args[0], args[1])])
        return context.get_dummy_value()

    return types.void(types.intp, types.intp), generate


@intrinsic  # type: ignore[untyped-decorator]
def _compress_two(
    typing_context: Any, state1: Any, block1: Any, state2: Any, block2: Any
) -> tuple[Any, Callable[..., Any]]:
    """``_compress`` for two independent messages: the second fills the latency of the first."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        _emit_blocks(builder, [(args[0], args[1]), (args[2], args[3])])
        return context.get_dummy_value()

    return types.void(types.intp, types.intp, types.intp, types.intp), generate


@helper
def _swap(v: np.uint32) -> np.uint32:
    """Reverse the bytes of a word."""
    return np.uint32(
        (v >> np.uint32(24))
        | ((v >> np.uint32(8)) & np.uint32(0xFF00))
        | ((v << np.uint32(8)) & np.uint32(0xFF0000))
        | ((v << np.uint32(24)) & np.uint32(0xFF000000))
    )


@helper
def _stage(
    words: Words, start: int, end: int, prefix: Words, tag: Words, tagged: bool, staged: Words, base: int
) -> int:
    """Write the padded message (FIPS 180-4 section 5.1.1) to staged[base:]; returns its number of blocks."""
    o = base
    for k in range(prefix.shape[0]):
        staged[o] = prefix[k]
        o += 1
    if tagged:
        for k in range(tag.shape[0]):
            staged[o] = tag[k]
            o += 1
        start += 1
    for k in range(end - start):
        staged[np.uint64(o + k)] = words[np.uint64(start + k)]
    o += max(end - start, 0)
    bits = (o - base) * 32
    staged[o] = np.uint32(0x80)
    o += 1
    while (o - base) & 15 != 14:
        staged[o] = 0
        o += 1
    staged[o] = _swap(np.uint32(bits >> 32))
    staged[o + 1] = _swap(np.uint32(bits & 0xFFFFFFFF))
    return (o + 2 - base) >> 4


@kernel
def _hash_with_instructions(
    words: Words,
    start: Positions,
    end: Positions,
    prefix: Words,
    tag: Words,
    tagged: Mask,
    out: Digests,
) -> None:
    """sha256(prefix ‖ words[start:end]), where tagged sha256(prefix ‖ tag ‖ words[start + 1:end])."""
    n = start.shape[0]
    longest = 0
    for i in range(n):
        longest = max(longest, end[i] - start[i])
    room = longest + prefix.shape[0] + tag.shape[0] + 18  # padding: 1 word, up to 15 zeros, 2 of length
    staged = np.empty(2 * room, np.uint32)
    state = np.empty(16, np.uint32)
    state1 = state.ctypes.data
    state2 = state1 + 32
    message1 = staged.ctypes.data
    message2 = message1 + 4 * room
    for i in range(0, n, 2):
        for k in range(8):
            state[k] = _INITIAL[k]
            state[8 + k] = _INITIAL[k]
        blocks1 = _stage(words, start[i], end[i], prefix, tag, tagged[i], staged, 0)
        blocks2 = 0
        if i + 1 < n:
            blocks2 = _stage(words, start[i + 1], end[i + 1], prefix, tag, tagged[i + 1], staged, room)
        both = min(blocks1, blocks2)
        for b in range(both):
            _compress_two(state1, message1 + 64 * b, state2, message2 + 64 * b)
        for b in range(both, blocks1):
            _compress(state1, message1 + 64 * b)
        for b in range(both, blocks2):
            _compress(state2, message2 + 64 * b)
        for lane in range(min(2, n - i)):
            for k in range(8):
                word = _swap(state[8 * lane + _STATE_TO_DIGEST[k]])
                out[i + lane, k] = word if start[i + lane] > 0 else np.uint32(0)


_hash = _hash_with_instructions if HAS_SHA_INSTRUCTIONS else _hash_with_hashlib

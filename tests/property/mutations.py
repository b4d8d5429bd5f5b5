"""Ways in which a ledger's XDR can be damaged."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Sequence

Mutation = Callable[[bytearray, random.Random, Sequence[bytes]], bytearray]

WORDS = (0, 1, 2, 3, 0x7F, 0xFF, 1000, 0xFFFF, 2**20, 2**30, 2**31 - 1, 2**31, 2**32 - 4, 2**32 - 2, 2**32 - 1)
"""Values that counts, discriminants and flags go wrong at."""


def word_at(data: bytearray, chance: random.Random) -> int:
    """Offset of a word, the first few thousand bytes (headers, transaction sets) more often."""
    words = len(data) // 4
    if chance.random() < 0.5:
        words = min(words, 600)
    return 4 * chance.randrange(words) if words else 0


def set_words(data: bytearray, chance: random.Random, seeds: Sequence[bytes]) -> bytearray:
    """Some words take values that counts and discriminants go wrong at."""
    for _ in range(chance.choice((1, 1, 1, 2, 5))):
        value = chance.choice((*WORDS, chance.randrange(40), chance.getrandbits(32)))
        struct.pack_into(">I", data, word_at(data, chance), value)
    return data


def nudge_word(data: bytearray, chance: random.Random, seeds: Sequence[bytes]) -> bytearray:
    """A count or discriminant off by one or two."""
    offset = word_at(data, chance)
    (value,) = struct.unpack_from(">I", data, offset)
    struct.pack_into(">I", data, offset, (value + chance.choice((-2, -1, 1, 2))) & 0xFFFFFFFF)
    return data


def swap_counts(data: bytearray, chance: random.Random, seeds: Sequence[bytes]) -> bytearray:
    """Two words that look like lengths change places."""
    offsets = [offset for offset in range(0, len(data) - 3, 4) if data[offset : offset + 3] == b"\0\0\0"]
    if len(offsets) > 1:
        a, b = chance.sample(offsets, 2)
        data[a : a + 4], data[b : b + 4] = data[b : b + 4], data[a : a + 4]
    return data


def flip_byte(data: bytearray, chance: random.Random, seeds: Sequence[bytes]) -> bytearray:
    """One byte anywhere: text, padding, keys."""
    data[chance.randrange(len(data))] ^= chance.randrange(1, 256)
    return data


def truncate(data: bytearray, chance: random.Random, seeds: Sequence[bytes]) -> bytearray:
    """The end is missing, at a word's boundary or within a word."""
    del data[chance.choice((chance.randrange(len(data)), word_at(data, chance), max(0, len(data) - 4))) :]
    return data


def extend(data: bytearray, chance: random.Random, seeds: Sequence[bytes]) -> bytearray:
    """There is more behind the end."""
    return data + chance.choice((bytes(chance.randrange(1, 40)), chance.randbytes(chance.randrange(1, 40))))


def insert(data: bytearray, chance: random.Random, seeds: Sequence[bytes]) -> bytearray:
    """Words are pushed in."""
    offset = word_at(data, chance)
    data[offset:offset] = chance.randbytes(4 * chance.randrange(1, 4))
    return data


def remove(data: bytearray, chance: random.Random, seeds: Sequence[bytes]) -> bytearray:
    """Words are taken out."""
    offset = word_at(data, chance)
    del data[offset : offset + 4 * chance.randrange(1, 9)]
    return data


def splice(data: bytearray, chance: random.Random, seeds: Sequence[bytes]) -> bytearray:
    """A piece of another ledger lies in the middle."""
    other = chance.choice(seeds)
    start, length = 4 * chance.randrange(len(other) // 4), 4 * chance.randrange(1, 64)
    offset = word_at(data, chance)
    data[offset : offset + length] = other[start : start + length]
    return data


MUTATIONS: tuple[Mutation, ...] = (
    set_words,
    set_words,
    set_words,
    nudge_word,
    nudge_word,
    swap_counts,
    flip_byte,
    truncate,
    extend,
    insert,
    remove,
    splice,
)


def mutant(seeds: Sequence[bytes], chance: random.Random) -> bytes:
    """A damaged copy of one of the seeds."""
    data = bytearray(chance.choice(seeds))
    for _ in range(chance.choice((1, 1, 1, 2))):
        if len(data) < 8:
            break
        data = chance.choice(MUTATIONS)(data, chance, seeds)
    return bytes(data)

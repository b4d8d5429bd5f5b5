"""Makers of columns of what effects show: one for each way in which a fact is read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import pyarrow as pa

from stellar_arrow_source.tables.columns import Reader, derived
from stellar_arrow_source.tables.effects.assemble import Effects, effects_of
from stellar_arrow_source.tables.effects.layout import Fact
from stellar_arrow_source.tables.frame import Frame, Integers, Mask
from stellar_arrow_source.tables.spec import Column
from stellar_arrow_source.xdr import readers

ASSET_SIZES: Final = np.array([1, 11, 13, 0], np.int64)
"""Words of an Asset by its type; the last is for -1, no asset."""
AssetParts = tuple[Integers, Integers, Integers]
"""Types (-1 absent), positions of codes, positions of issuers' keys; int64 (rows,)."""
Positions = Callable[[Frame], Integers]


def shown(name: str, type: pa.DataType, read: Callable[[Frame], pa.Array], description: str, **rest: Any) -> Column:
    """A column that some effects show."""
    return derived(name, type, read, description, nullable=True, **rest)


def at(fact: Fact, offset: int = 0) -> Positions:
    """Positions that a fact is, some words further."""
    return further(lambda frame: effects_of(frame)[fact], offset)


def further(base: Positions, words: int) -> Positions:
    """Other positions, some words further where there are any."""

    def read(frame: Frame) -> Integers:
        positions = base(frame)
        return positions if words == 0 else (positions + words) * (positions > 0)

    return _once(read)


def after_asset(positions: Positions, split: Callable[[Frame], AssetParts]) -> Positions:
    """Where the assets there end."""
    return _once(lambda frame: positions(frame) + ASSET_SIZES[split(frame)[0]])


def _once(positions: Positions) -> Positions:
    return lambda frame: frame.once(positions, lambda: positions(frame))


def located(
    name: str, type: pa.DataType, reader: Reader, where: Fact | Positions, description: str, *args: Any, **rest: Any
) -> Column:
    """What a reader of :mod:`stellar_arrow_source.xdr.readers` makes of positions in the ledgers."""
    positions = at(where) if isinstance(where, Fact) else where
    return shown(name, type, lambda frame: reader(frame.batch.words, positions(frame), *args), description, **rest)


def text(name: str, reader: Reader, where: Fact | Positions, description: str, *args: Any) -> Column:
    """A strkey or other text."""
    return located(name, pa.string(), reader, where, description, *args)


def account(name: str, where: Fact, description: str) -> Column:
    """A key as a G strkey."""
    return text(name, readers.account, where, description)


def number(name: str, type: pa.DataType, where: Fact | Positions, description: str, **rest: Any) -> Column:
    """A word or hyper."""
    return located(name, type, readers.u32 if type.bit_width == 32 else readers.i64, where, description, type, **rest)


def stroops(name: str, where: Fact | Positions, description: str) -> Column:
    """A hyper of stroops."""
    return number(name, pa.int64(), where, description, unit="stroop")


def flag(name: str, read: Callable[[Effects], tuple[Mask, Mask]], description: str) -> Column:
    """A flag and whether it is known."""
    return shown(name, pa.bool_(), lambda frame: readers.from_bool(*read(effects_of(frame))), description)


def asset(
    prefix: str, description: str, split: Callable[[Frame], AssetParts], words: Callable[[Frame], Any]
) -> tuple[Column, ...]:
    """An asset as ``…type``, ``…code`` and ``…issuer``."""

    def column(name: str, read: Callable[[Any, AssetParts], pa.Array], what: str) -> Column:
        return shown(
            prefix + name, pa.string(), lambda frame: read(words(frame), split(frame)), f"{what} of {description}"
        )

    return (
        column("type", lambda words, parts: readers.asset_type(parts[0]), "type"),
        column("code", lambda words, parts: readers.asset_code(words, parts[0], parts[1]), "code"),
        column("issuer", lambda words, parts: readers.account(words, parts[2]), "issuer"),
    )


def split_at(positions: Positions) -> Callable[[Frame], AssetParts]:
    """The parts of the assets there, found once."""

    def split(frame: Frame) -> AssetParts:
        types, code, _, issuer = readers.split_asset(frame.batch.words, positions(frame))
        return types, code, issuer

    return lambda frame: frame.once(split, lambda: split(frame))


def words_of(frame: Frame) -> Any:
    return frame.batch.words


def asset_with_amount(prefix: str, positions: Positions, description: str) -> tuple[Column, ...]:
    """An asset in the ledgers and the amount that follows it."""
    split = split_at(positions)
    return (
        *asset(f"{prefix}asset_", description, split, words_of),
        stroops(f"{prefix}amount", after_asset(positions, split), f"amount of {description}"),
    )

"""What a person may narrow an analysis to: assets and a least amount."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

from stellar_arrow_client.errors import InvalidRequestError

STROOPS_PER_UNIT = 10_000_000  # every classic asset has seven decimals
MAX_STROOPS = 2**63 - 1
NATIVE = "native"

_CODE = re.compile(r"[A-Za-z0-9]{1,12}")
_UNITS = re.compile(r"([0-9]{1,19})(?:\.([0-9]{1,7}))?")
_VERSIONS = {"G": 6 << 3, "C": 2 << 3}  # SEP-23: version bytes of accounts' and contracts' strkeys


def parse_units(text: str) -> int:
    """Stroops of a decimal amount such as ``1000`` or ``0.0000001``, exactly.

    Raises:
        InvalidRequestError: not a plain decimal number, more than seven decimals, or beyond int64.
    """
    match = _UNITS.fullmatch(text)
    if match is None:
        raise InvalidRequestError(
            f"{text[:80]!r} is not an amount: write units with at most seven decimals, such as 1000 or 0.5"
        )
    whole, decimals = match.groups(default="")
    stroops = int(whole) * STROOPS_PER_UNIT + int(decimals.ljust(7, "0"))
    if stroops > MAX_STROOPS:
        raise InvalidRequestError(f"{text} is more than an amount can be, {format_units(MAX_STROOPS)}")
    return stroops


def format_units(stroops: int) -> str:
    """A number of stroops as units with seven decimals, exactly: ``12,345.0000001``."""
    whole, part = divmod(abs(stroops), STROOPS_PER_UNIT)
    return f"{'-' if stroops < 0 else ''}{whole:,}.{part:07d}"


def is_strkey(text: str, kind: Literal["G", "C"]) -> bool:
    """Whether the text is the strkey (SEP-23) of an ed25519 account (G) or of a contract (C)."""
    if re.fullmatch(f"{kind}[A-Z2-7]{{55}}", text) is None:
        return False
    raw = base64.b32decode(text)
    return raw[0] == _VERSIONS[kind] and binascii.crc_hqx(raw[:-2], 0) == int.from_bytes(raw[-2:], "little")


@dataclass(frozen=True, slots=True)
class AssetFilter:
    """The assets that count: full names (``native``, ``CODE:ISSUER``, a token's contract) and codes of any issuer."""

    names: frozenset[str] = frozenset()
    codes: frozenset[str] = frozenset()

    @classmethod
    def parse(cls, texts: Iterable[str]) -> AssetFilter:
        """The filter of ``native``, ``CODE:ISSUER``, ``CODE`` (that code of whichever issuer) and contracts of tokens.

        Raises:
            InvalidRequestError: a code or issuer that cannot exist, or the ambiguous ``XLM``.
        """
        names, codes = set(), set()
        for text in texts:
            code, colon, issuer = text.partition(":")
            if text == NATIVE or is_strkey(text, "C"):
                names.add(text)
            elif text == "XLM":
                raise InvalidRequestError("write native for lumens, or XLM:ISSUER for an issued asset of that code")
            elif _CODE.fullmatch(code) is None:
                raise InvalidRequestError(
                    f"{text[:60]!r} is no asset: write native, CODE, CODE:ISSUER or a contract; "
                    "a code has 1 to 12 letters or digits"
                )
            elif not colon:
                codes.add(code)
            elif is_strkey(issuer, "G"):
                names.add(text)
            else:
                raise InvalidRequestError(
                    f"{issuer[:80]!r} is not an issuer: an account has 56 characters, G first, and a valid checksum"
                )
        return cls(frozenset(names), frozenset(codes))

    def mask(self, name: pa.ChunkedArray, code: pa.ChunkedArray) -> pa.ChunkedArray:
        """bool per row: whether the asset called ``name``, with that ``code``, is one of these (never null)."""
        by_name = pc.is_in(name, value_set=pa.array(sorted(self.names), pa.string()))
        by_code = pc.and_(
            pc.is_in(code, value_set=pa.array(sorted(self.codes), pa.string())), pc.not_equal(name, NATIVE)
        )
        return pc.fill_null(pc.or_(by_name, by_code), False)


@dataclass(frozen=True, slots=True)
class Selection:
    """What the person asked an analysis to look at.

    Attributes:
        assets: only these assets; None = those the analysis looks at by itself.
        threshold: least amount in stroops, for an analysis that honours it.
    """

    assets: AssetFilter | None = None
    threshold: int = 1000 * STROOPS_PER_UNIT

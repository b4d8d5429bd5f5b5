"""Which events a person wants, as a condition that the server evaluates."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from stellar_arrow_client.errors import InvalidRequestError

NATIVE: Final = "native"
MAX_DIGITS: Final = 38
"""Of an amount that can be compared."""

_CODE: Final = re.compile(r"[A-Za-z0-9]{1,12}")
_VERSIONS: Final = {"G": 6 << 3, "C": 2 << 3, "L": 11 << 3, "B": 1 << 3}
"""Letter and version byte of the strkeys (SEP-23) that hold balances."""


@dataclass(frozen=True, slots=True)
class Selection:
    """What narrows the events; conditions of one kind are alternatives, different kinds must all hold.

    Attributes:
        assets: ``native``, ``CODE:ISSUER``, or ``CODE`` of whichever issuer.
        accounts: strkeys of who gives or gets.
        contracts: strkeys of tokens' contracts.
        event_types: transfer, mint, burn, clawback, fee.
        min_amount: least amount in the token's smallest unit.

    Raises:
        InvalidRequestError: a value that cannot exist.
    """

    assets: tuple[str, ...] = ()
    accounts: tuple[str, ...] = ()
    contracts: tuple[str, ...] = ()
    event_types: tuple[str, ...] = ()
    min_amount: int | None = None

    def __post_init__(self) -> None:
        for asset in self.assets:
            _check_asset(asset)
        for account in self.accounts:
            _check_strkey(account, "GCLB")
        for contract in self.contracts:
            _check_strkey(contract, "C")
        if self.min_amount is not None and abs(self.min_amount) >= 10**MAX_DIGITS:
            raise InvalidRequestError(f"--min-amount has more than {MAX_DIGITS} digits; no more can be compared")

    @property
    def condition(self) -> str | None:
        """The filter of the ticket; None for all events."""
        parts = [
            *_any(self.assets, _asset),
            *_any(("from_address", "to_address") if self.accounts else (), lambda side: _in(side, self.accounts)),
            *_any(("contract_id",) if self.contracts else (), lambda column: _in(column, self.contracts)),
            *_any(("event_type",) if self.event_types else (), lambda column: _in(column, self.event_types)),
        ]
        if self.min_amount is not None:
            # An amount of more digits than the column holds is null there.
            parts.append(f"(amount >= {self.min_amount} OR (amount IS NULL AND NOT amount_raw LIKE '-%'))")
        return " AND ".join(parts) or None

    def holds(self, holder: str) -> bool:
        """Whether a holder is one of those asked for."""
        return not self.accounts or holder in self.accounts

    def has_asset(self, name: str) -> bool:
        """Whether ``native`` or ``CODE:ISSUER`` is one of the assets asked for."""
        return not self.assets or name in self.assets or name.partition(":")[0] in set(self.assets) - {NATIVE}


def _any(values: Sequence[str], condition: Callable[[str], str]) -> Iterable[str]:
    return [f"({' OR '.join(condition(value) for value in values)})"] if values else []


def _in(column: str, values: Sequence[str]) -> str:
    return f"{column} IN ({', '.join(map(_quoted, values))})"


def _asset(asset: str) -> str:
    if asset == NATIVE:
        return "is_native_asset"
    code, _, issuer = asset.partition(":")
    held = f"asset_issuer = {_quoted(issuer)}" if issuer else "asset_issuer IS NOT NULL"
    return f"(asset_code = {_quoted(code)} AND {held})"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _check_asset(asset: str) -> None:
    code, colon, issuer = asset.partition(":")
    if asset == NATIVE:
        return
    if asset == "XLM":
        raise InvalidRequestError("write native for lumens, or XLM:ISSUER for an issued asset of that code")
    if _CODE.fullmatch(code) is None:
        raise InvalidRequestError(f"{asset[:80]!r} is not an asset; write native, CODE or CODE:ISSUER")
    if colon:
        _check_strkey(issuer, "G")


def _check_strkey(text: str, letters: str) -> None:
    if re.fullmatch(f"[{letters}](?:[A-Z2-7]{{55}}|[A-Z2-7]{{57}})", text):
        raw = base64.b32decode(text + "=" * (-len(text) % 8))
        sound = raw[0] == _VERSIONS[text[0]] and len(raw) == (36 if text[0] == "B" else 35)
        if sound and binascii.crc_hqx(raw[:-2], 0) == int.from_bytes(raw[-2:], "little"):
            return
    kinds = ", ".join(f"{letter}…" for letter in letters)
    raise InvalidRequestError(f"{text[:80]!r} is not an address ({kinds}): a letter of it is missing or wrong")

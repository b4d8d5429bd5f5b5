"""An arm or member that the XDR of today does not have is refused, wherever it stands, whatever stream is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from functools import cache
from typing import Any

import pytest
from stellar_sdk import xdr

from stellar_arrow_source.errors import DecodeError
from tests.property.hostile import attempt
from tests.support.corpus import PUBNET
from tests.support.decoding import STREAMS, full_decoder
from tests.support.made_ledgers import made_ledger

LEDGERS = 120
MARGIN = 1000
"""Beyond every version that a place may have, when it is met with one of them."""

Place = tuple[str, str]
"""Type that holds the number, and the enumeration that it is of (``v`` for the number of a version)."""


@contextmanager
def noted(found: dict[Place, int], monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """While it lasts, packing notes the offset of the first number of each place."""
    within = ["LedgerCloseMeta"]

    def wrapped(kind: type, pack: Any) -> Any:
        def note(self: Any, packer: Any) -> None:
            at = len(packer.get_buffer()) if (within[-1], kind.__name__) not in found else 0
            if isinstance(self, IntEnum):
                found.setdefault((within[-1], kind.__name__), at)
                pack(self, packer)
                return
            within.append(kind.__name__)
            if hasattr(self, "v") and isinstance(self.v, int) and (kind.__name__, "v") not in found:
                found[kind.__name__, "v"] = len(packer.get_buffer())
            pack(self, packer)
            within.pop()

        return note

    with monkeypatch.context() as patch:
        for kind in vars(xdr).values():
            if isinstance(kind, type) and hasattr(kind, "pack"):
                patch.setattr(kind, "pack", wrapped(kind, kind.pack))
        yield


@cache
def places() -> dict[Place, tuple[bytes, int]]:
    """Place → a ledger that has it, and its offset there."""
    found: dict[Place, tuple[bytes, int]] = {}
    for seed in range(LEDGERS):
        data = made_ledger(seed, PUBNET, budget=1500)
        meta, here = xdr.LedgerCloseMeta.from_xdr_bytes(data), dict[Place, int]()
        with noted(here, pytest.MonkeyPatch()):
            assert meta.to_xdr_bytes() == data
        for place, offset in here.items():
            found.setdefault(place, (data, offset))
    return found


def unknown(place: Place, data: bytes, offset: int) -> Iterator[bytes]:
    """The ledger with numbers at the place that mean nothing: one that may come to mean something, and extremes."""
    met = int.from_bytes(data[offset : offset + 4], "big")
    next_one = met + MARGIN if place[1] == "v" else max(getattr(xdr, place[1])) + 1
    for number in (next_one, 2**31 - 1, -(2**31)):
        yield data[:offset] + number.to_bytes(4, "big", signed=True) + data[offset + 4 :]


def test_what_is_met_is_all_that_a_ledger_can_hold() -> None:
    """Types that the streams read, and more."""
    met = {place[0] for place in places()}
    assert met >= {
        "LedgerEntryChange", "LedgerEntryData", "LedgerKey", "TransactionMeta", "SorobanTransactionMetaExt",
        "ContractEvent", "ContractEventBody", "TransactionEvent", "SCVal", "SCAddress", "SCError", "ContractExecutable",
        "ClaimAtom", "ClaimPredicate", "Claimant", "ClaimableBalanceID", "LiquidityPoolEntryBody", "TrustLineAsset",
        "AssetCode", "SignerKey", "ConfigSettingEntry", "LedgerUpgrade", "OperationBody", "OperationResultTr",
    }  # fmt: skip
    assert len(places()) >= 100


@pytest.mark.parametrize("streams", [STREAMS, *((stream,) for stream in STREAMS)])
def test_unknown_numbers_are_refused_where_they_stand(streams: tuple[str, ...]) -> None:
    """By each stream alone too: what is served does not depend on what else is asked for."""
    decoder = full_decoder(PUBNET, streams)
    for place, (data, offset) in places().items():
        for spoilt in unknown(place, data, offset):
            outcome = attempt(decoder, spoilt)
            assert isinstance(outcome, DecodeError), place
            assert outcome.offset == offset, f"{place}: {outcome}"

"""Contract events of every shape: what CAP-67 allows becomes a row, all else is counted by its reason."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
from stellar_sdk import Address, scval, xdr

from stellar_arrow_source.tables import LedgerDecoder
from tests.differential.expected.join import Ledger
from tests.differential.expected.ttp_events import ttp_rows
from tests.support.corpus import PUBNET, files, read, requires_corpus
from tests.support.decoding import differences

pytestmark = requires_corpus

POOL = xdr.SCAddress(
    xdr.SCAddressType.SC_ADDRESS_TYPE_LIQUIDITY_POOL, liquidity_pool_id=xdr.PoolID(xdr.Hash(bytes(range(32))))
)
MUXED = xdr.SCAddress(
    xdr.SCAddressType.SC_ADDRESS_TYPE_MUXED_ACCOUNT,
    muxed_account=xdr.MuxedEd25519Account(xdr.Uint64(7), xdr.Uint256(bytes(range(32)))),
)
SOMEBODY = Address("GA5ZSEJYB37JRC5AVCIA5MOP4RHTM335X2KGX3IHOJAPP5RE34K4KZVN").to_xdr_sc_address()


def address(value: Any) -> Any:
    return xdr.SCVal(xdr.SCValType.SCV_ADDRESS, address=value)


def data(**entries: Any) -> Any:
    return scval.to_map({scval.to_symbol(name): value for name, value in sorted(entries.items())})


LARGE = {str(n): scval.to_int128(n) for n in (2**127 - 1, -(2**127), 10**38 - 1, 10**38, -(10**38), 1 - 10**38, 0, -1)}
NESTED = scval.to_vec([scval.to_map({scval.to_symbol("k"): scval.to_vec([scval.to_string("x"), scval.to_void()])})])
DATA = {
    **LARGE,
    "id": data(amount=scval.to_int128(5), to_muxed_id=scval.to_uint64(2**64 - 1)),
    "text": data(amount=scval.to_int128(5), to_muxed_id=scval.to_string("café")),
    "bytes": data(amount=scval.to_int128(5), to_muxed_id=scval.to_string(b"\xff\xfe")),
    "hash": data(amount=scval.to_int128(5), to_muxed_id=scval.to_bytes(bytes(32))),
    "none": data(amount=scval.to_int128(5), to_muxed_id=scval.to_void()),
    "more": data(a=NESTED, amount=scval.to_int128(5), b=address(MUXED), to_muxed_id=scval.to_uint64(1)),
}
WRONG_DATA = {
    "a number": (scval.to_uint64(5), "event whose amount is not an i128"),
    "no amount": (data(to_muxed_id=scval.to_uint64(1)), "event whose amount is not an i128"),
    "a text": (data(amount=scval.to_string("5")), "event whose amount is not an i128"),
    "short hash": (
        data(amount=scval.to_int128(5), to_muxed_id=scval.to_bytes(b"12")),
        "event whose data map has a wrong key or value",
    ),
    "a key": (
        scval.to_map({scval.to_string("amount"): scval.to_int128(5)}),
        "event whose data map has a wrong key or value",
    ),
    "null map": (xdr.SCVal(xdr.SCValType.SCV_MAP), "event whose amount is not an i128"),
}


def ledger_with(change: Callable[[Any], None], kind: str = "transfer") -> tuple[bytes, int]:
    """A ledger with events of core's whose operation events of a kind are changed, and their number."""
    for file in files("pubnet"):
        for ledger in read(file):
            if "30822020" not in file and "30822016" not in file:
                continue
            meta = xdr.LedgerCloseMeta.from_xdr_bytes(ledger.xdr)
            found = 0
            for processed in (meta.v0 or meta.v1 or meta.v2).tx_processing:
                for operation in processed.tx_apply_processing.v4.operations:
                    for event in operation.events:
                        if event.body.v0.topics[0].sym.sc_symbol == kind.encode():
                            change(event)
                            found += 1
            if found:
                return meta.to_xdr_bytes(), found
    raise AssertionError(f"no ledger has a {kind}")


def decode(ledger: bytes) -> tuple[list[dict[str, Any]], dict[str, int]]:
    decoded = LedgerDecoder({"ttp_events": None}, passphrase=PUBNET).decode([ledger])
    decoded.batches["ttp_events"].validate(full=True)
    return decoded.batches["ttp_events"].to_pylist(), decoded.skipped


def expected(ledger: bytes) -> list[dict[str, Any]]:
    return ttp_rows(Ledger(xdr.LedgerCloseMeta.from_xdr_bytes(ledger), PUBNET))


@pytest.mark.parametrize("shape", DATA)
def test_data_of_every_shape_is_read(shape: str) -> None:
    def change(event: Any) -> None:
        event.body.v0.data = DATA[shape]

    ledger, count = ledger_with(change)
    rows, skipped = decode(ledger)
    assert not differences(shape, expected(ledger), rows)
    assert skipped == {}
    assert sum(row["event_type"] == "transfer" for row in rows) == count


@pytest.mark.parametrize("shape", WRONG_DATA)
def test_data_that_does_not_parse_is_counted(shape: str) -> None:
    value, reason = WRONG_DATA[shape]

    def change(event: Any) -> None:
        event.body.v0.data = value

    ledger, count = ledger_with(change)
    rows, skipped = decode(ledger)
    assert not differences(shape, expected(ledger), rows)
    assert skipped == {f"ttp_events: {reason}": count}


def topics_of(event: Any, *topics: Any) -> None:
    event.body.v0.topics = [event.body.v0.topics[0], *topics]


def unknown_contract(event: Any) -> None:
    event.contract_id = xdr.ContractID(xdr.Hash(bytes(31) + b"\1"))


def no_contract(event: Any) -> None:
    event.contract_id = None


TOPICS: dict[str, tuple[Callable[[Any], None], str | None]] = {
    "too few": (lambda event: topics_of(event, address(POOL)), "event with too few topics"),
    "no address": (
        lambda event: topics_of(event, address(POOL), scval.to_uint64(1)), "event whose topic is not an address"
    ),
    "custom": (lambda event: topics_of(event, address(POOL), address(SOMEBODY)), None),
    "muxed": (lambda event: topics_of(event, address(MUXED), address(MUXED)), None),
    "surplus": (lambda event: topics_of(event, *[address(POOL)] * 5), None),
    "no asset": (lambda event: topics_of(event, address(POOL), address(POOL), scval.to_string("XLM:G")), None),
    "another asset": (
        lambda event: topics_of(event, address(POOL), address(POOL), scval.to_string("native" * 9)), None
    ),
    "wrong checksum": (
        lambda event: topics_of(event, address(POOL), address(POOL), scval.to_string("USD:G" + "A" * 55)), None
    ),
    "unknown contract": (unknown_contract, None),
    "no contract": (no_contract, "event without a contract id"),
}  # fmt: skip


@pytest.mark.parametrize("shape", TOPICS)
def test_topics_of_every_shape(shape: str) -> None:
    change, reason = TOPICS[shape]
    ledger, count = ledger_with(change)
    rows, skipped = decode(ledger)
    assert not differences(shape, expected(ledger), rows)
    assert skipped == ({} if reason is None else {f"ttp_events: {reason}": count})


def test_mints_and_clawbacks_that_name_three_addresses_are_flagged() -> None:
    def change(event: Any) -> None:
        name = chance.choice(["mint", "clawback", "burn", "approve"])
        event.body.v0.topics = [scval.to_symbol(name), address(SOMEBODY), address(POOL), scval.to_string("native")]

    chance = random.Random(1)
    ledger, _ = ledger_with(change)
    rows, skipped = decode(ledger)
    assert not differences("administrators", expected(ledger), rows)
    assert skipped == {}
    flagged = {row["event_type"] for row in rows if row["names_administrator"]}
    assert flagged == {"mint", "clawback"}


def test_a_fee_event_of_another_contract_is_no_fee() -> None:
    file = next(file for file in files("pubnet") if "30822020" in file)
    meta = xdr.LedgerCloseMeta.from_xdr_bytes(read(file)[0].xdr)
    [first, *_] = (meta.v0 or meta.v1 or meta.v2).tx_processing
    unknown_contract(first.tx_apply_processing.v4.events[0].event)
    ledger = meta.to_xdr_bytes()
    rows, skipped = decode(ledger)
    assert not differences("fee", expected(ledger), rows)
    assert skipped == {"ttp_events: fee event of another form, or not of the native asset": 1}

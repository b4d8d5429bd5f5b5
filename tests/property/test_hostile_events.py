"""Events that a contract may emit to hurt who reads them: deep, wide, huge, and of odd text."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
from stellar_sdk import Address, Asset, StrKey, scval, xdr

from stellar_arrow_source.errors import DecodeError
from stellar_arrow_source.tables import DecodedBatch
from tests.differential.expected import expected_rows
from tests.differential.expected.join import Ledger
from tests.property.hostile import attempt
from tests.property.nesting import MARK, VALUES, words
from tests.support.corpus import PUBNET
from tests.support.decoding import differences, full_decoder
from tests.support.made_ledgers import made_ledger

STREAMS = ("contract_events", "diagnostic_events", "ttp_events", "effects")
PLACEHOLDER = xdr.SCVal(xdr.SCValType.SCV_U64, u64=xdr.Uint64(MARK))
LUMENS = xdr.ContractID(xdr.Hash(StrKey.decode_contract(Asset.native().contract_id(PUBNET))))
HOLDERS = [Address(StrKey.encode_contract(bytes([n]) * 32)).to_xdr_sc_address() for n in (1, 2)]


def of_operation(meta: Any) -> list[Any]:
    return [event for operation in meta.v4.operations for event in operation.events] if meta.v4 is not None else []


def of_soroban(meta: Any) -> list[Any]:
    return list(meta.v3.soroban_meta.events) if meta.v3 is not None and meta.v3.soroban_meta is not None else []


def of_transaction(meta: Any) -> list[Any]:
    return [happened.event for happened in meta.v4.events] if meta.v4 is not None else []


def of_diagnosis(meta: Any) -> list[Any]:
    if meta.v4 is not None:
        return [told.event for told in meta.v4.diagnostic_events]
    soroban = meta.v3.soroban_meta if meta.v3 is not None else None
    return [told.event for told in soroban.diagnostic_events] if soroban is not None else []


PLACES: dict[str, Callable[[Any], list[Any]]] = {
    "operation": of_operation,
    "soroban": of_soroban,
    "transaction": of_transaction,
    "diagnosis": of_diagnosis,
}
"""Lists of events that a transaction's meta has."""


@cache
def seed_of(place: str) -> int:
    """A ledger of successful calls of contracts with an event at the place."""
    for seed in range(400):
        ledger = Ledger(xdr.LedgerCloseMeta.from_xdr_bytes(made_call(seed)), PUBNET)
        for tx in ledger.transactions:
            meta = tx.processed.tx_apply_processing
            if PLACES[place](meta) and any(operation.successful for operation in tx.operations):
                return seed
    raise AssertionError(f"no ledger has an event of {place}")


def made_call(seed: int) -> bytes:
    return made_ledger(seed, PUBNET, budget=600, kind=xdr.OperationType.INVOKE_HOST_FUNCTION)


def ledger_with(place: str, topics: list[Any], data: Any) -> bytes:
    """A ledger with one event that the contract of lumens emits, of these topics and data."""
    meta = xdr.LedgerCloseMeta.from_xdr_bytes(made_call(seed_of(place)))
    for tx in Ledger(meta, PUBNET).transactions:
        if events := PLACES[place](tx.processed.tx_apply_processing):
            [event, *_] = events
            event.contract_id = LUMENS
            if place != "diagnosis":
                event.type = xdr.ContractEventType.CONTRACT
            event.body.v0.topics, event.body.v0.data = topics, data
            return bytes(meta.to_xdr_bytes())
    raise AssertionError(f"no event of {place}")


def transfer_of(place: str, data: Any) -> bytes:
    return ledger_with(place, [scval.to_symbol("transfer"), *map(address, HOLDERS), scval.to_string("native")], data)


def address(value: Any) -> Any:
    return xdr.SCVal(xdr.SCValType.SCV_ADDRESS, address=value)


def instead(ledger: bytes, value: bytes) -> bytes:
    """The ledger with these bytes where it has the placeholder."""
    placeholder = PLACEHOLDER.to_xdr_bytes()
    assert ledger.count(placeholder) == 1
    return ledger.replace(placeholder, value)


def assert_equal_to_oracle(where: str, data: bytes) -> dict[str, list[dict[str, Any]]]:
    decoded = attempt(full_decoder(PUBNET, STREAMS), data)
    assert isinstance(decoded, DecodedBatch), f"{where}: {decoded}"
    expected = expected_rows(data, PUBNET)
    rows = {stream: decoded.batches[stream].to_pylist() for stream in STREAMS}
    found = [line for stream in STREAMS for line in differences(f"{where} {stream}", expected[stream], rows[stream])]
    assert not found, "\n".join(found[:20])
    return rows


EVENTS: dict[str, Callable[[str], bytes]] = {
    "data": lambda place: ledger_with(place, [scval.to_symbol("x")], PLACEHOLDER),
    "topic": lambda place: ledger_with(place, [scval.to_symbol("x"), PLACEHOLDER], scval.to_void()),
    "first topic": lambda place: ledger_with(place, [PLACEHOLDER], scval.to_void()),
    "amount": lambda place: transfer_of(place, PLACEHOLDER),
    "beside the amount": lambda place: transfer_of(
        place, scval.to_map({scval.to_symbol("amount"): scval.to_int128(5), scval.to_symbol("z"): PLACEHOLDER})
    ),
}
"""Where in an event a value of the contract's choice stands."""


@pytest.mark.parametrize("part", EVENTS)
@pytest.mark.parametrize("place", PLACES)
def test_nested_values(place: str, part: str) -> None:
    ledger, decoder = EVENTS[part](place), full_decoder(PUBNET, STREAMS)
    for kind, nest in VALUES.items():
        for depth in (0, 1, 5, 60):
            assert_equal_to_oracle(f"{kind} of depth {depth}", instead(ledger, nest(depth)))
        for depth in (490, 1000, 1024, 1500, 20_000, 400_000):
            outcome = attempt(decoder, instead(ledger, nest(depth)))
            if depth <= 490:
                assert isinstance(outcome, DecodedBatch), f"refused a depth that the network could reach: {outcome}"
            if depth >= 1500:
                assert isinstance(outcome, DecodeError), f"{kind} of depth {depth}"


WIDE = {
    "voids": words(16, 1, 60_000) + words(1) * 60_000,
    "pairs": words(17, 1, 30_000) + words(1, 1) * 30_000,
    "empty vectors": words(16, 1, 20_000) + words(16, 1, 0) * 20_000,
    "bytes": words(13, 1_000_000) + b"\xff" * 1_000_000,
    "text that is not UTF-8": words(14, 1_000_000) + b"\xff" * 1_000_000,
    "text to escape": words(14, 600_000) + b'"\\\n\0\x1f\x7f' * 100_000,
    "numbers of 39 digits": words(16, 1, 10_000) + words(10, 0x80000000, 0, 0, 0) * 10_000,
}
"""SCVals of a megabyte or so, with what grows most when it is written as JSON."""


@pytest.mark.parametrize("shape", WIDE)
def test_wide_values_are_read(shape: str) -> None:
    for part in ("data", "first topic", "beside the amount"):
        rows = assert_equal_to_oracle(shape, instead(EVENTS[part]("operation"), WIDE[shape]))
        assert sum(len(row["data"]) + sum(map(len, row["topics"])) for row in rows["contract_events"]) > 200_000


SHORT = {
    "vector": words(16, 1, 2**32 - 1),
    "vector of few": words(16, 1, 2**31) + words(1) * 1000,
    "map": words(17, 1, 2**31),
    "bytes": words(13, 2**32 - 1),
    "text": words(14, 2**31 + 4),
    "long symbol": words(15, 33) + b"a" * 36,
}
"""SCVals that claim more than there is, or more than may be."""


@pytest.mark.parametrize("shape", SHORT)
def test_what_claims_too_much_is_refused_at_once(shape: str) -> None:
    decoder = full_decoder(PUBNET, STREAMS)
    for place in PLACES:
        for part in EVENTS:
            assert isinstance(attempt(decoder, instead(EVENTS[part](place), SHORT[shape])), DecodeError)


EXTREMES = (2**127 - 1, -(2**127), 10**38 - 1, 10**38, 1 - 10**38, -(10**38), 2**64, -(2**64), -1, 0)


@pytest.mark.parametrize("place", ["operation", "soroban"])
def test_extreme_amounts_are_exact_in_every_stream(place: str) -> None:
    """Beyond 38 digits ``amount`` is null; ``amount_raw``, and the event's JSON, have all digits."""
    for amount in EXTREMES:
        rows = assert_equal_to_oracle(str(amount), transfer_of(place, scval.to_int128(amount)))
        assert f'{{"i128":"{amount}"}}' in [row["data"] for row in rows["contract_events"]]
        ours = [row for row in rows["ttp_events"] if row["from_address"] == StrKey.encode_contract(bytes([1]) * 32)]
        assert [row["amount_raw"] for row in ours] == [str(amount)]
        told = [row for row in rows["effects"] if row["contract"] in (ours[0]["from_address"], ours[0]["to_address"])]
        assert [row["amount_raw"] for row in told] == [str(amount)] * 2
        assert {row["amount"] is None for row in ours + told} == {abs(amount) >= 10**38}


WIDEST = {
    "u256": scval.to_uint256(2**256 - 1),
    "i256": scval.to_int256(-(2**255)),
    "u128": scval.to_uint128(2**128 - 1),
    "u64": scval.to_uint64(2**64 - 1),
    "i64": scval.to_int64(-(2**63)),
    "timepoint": scval.to_timepoint(2**64 - 1),
    "duration": scval.to_duration(2**64 - 1),
}
ODD = (
    b"\xff\xfe",
    b"\xc0\x80",
    b"\xed\xa0\x80",
    b"\xef\xbb\xbfx",
    b"\xf4\x90\x80\x80",
    b"a\0b",
    b'"\\/',
    b"\xe2\x80\xa8",
    b"\x1b[31m",
)
"""Not UTF-8, overlong, a surrogate, a byte order mark, beyond Unicode, NUL, quotes, a line separator, an escape."""


TEXTS = [
    xdr.SCVal(xdr.SCValType.SCV_SYMBOL, sym=xdr.SCSymbol(text)) if kind == "symbol" else scval.to_string(text)
    for text in ODD
    for kind in ("symbol", "string")
]


@pytest.mark.parametrize("place", PLACES)
def test_widest_numbers_and_odd_texts(place: str) -> None:
    values = [*WIDEST.values(), *TEXTS, *map(scval.to_bytes, ODD)]
    rows = assert_equal_to_oracle(place, ledger_with(place, values, scval.to_vec(values)))
    stream = "diagnostic_events" if place == "diagnosis" else "contract_events"
    assert len(values) in [len(row["topics"]) for row in rows[stream]]


@pytest.mark.parametrize("text", TEXTS)
def test_odd_first_topics(text: Any) -> None:
    """The first topic has a column of its own, and says what a transfer is."""
    assert_equal_to_oracle(str(text), ledger_with("operation", [text, *map(address, HOLDERS)], scval.to_int128(1)))

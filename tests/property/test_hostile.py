"""Every byte may be hostile: damaged ledgers give rows or one telling error, never anything else."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from enum import Enum
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from stellar_sdk import xdr

from stellar_arrow_client.errors import IntegrityError
from stellar_arrow_source.errors import DecodeError
from stellar_arrow_source.tables import DecodedBatch, LedgerDecoder
from tests.differential.expected import expected_rows
from tests.differential.expected.join import Ledger, transaction_hash
from tests.differential.expected.schema import SCHEMAS
from tests.differential.expected.values import arm
from tests.property.hostile import assert_tells_where, attempt, run, seeds
from tests.property.mutations import mutant
from tests.property.nesting import (
    NESTS,
    VALUES,
    ledger_around,
    nested_entry,
    nested_ledger,
    nested_predicate,
    nested_value,
    words,
)
from tests.support.corpus import PUBNET
from tests.support.decoding import STREAMS, differences, full_decoder
from tests.support.made_ledgers import made_ledger

MUTANTS = int(os.environ.get("STELLAR_FUZZ_MUTANTS", "20000"))
PARTS = 8
CHECKED = 1500
"""Mutants of the run with bounds checks, whose kernels are several times slower."""


@pytest.mark.parametrize("part", range(PARTS))
def test_damaged_ledgers_are_refused_or_decoded(part: int) -> None:
    met = run(MUTANTS // PARTS, seed=part)
    assert met["DecodedBatch"] > 0
    assert met["DecodeError"] > met["DecodedBatch"]


def test_no_read_beyond_an_array(tmp_path: Path) -> None:
    """The same in a process whose kernels check every index; its compiled code needs a folder of its own."""
    environment = {**os.environ, "NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-m", "tests.property.hostile", "--mutants", str(CHECKED), "--seed", "99"]
    root = Path(__file__).resolve().parents[2]
    ended = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, timeout=580)
    assert ended.returncode == 0, ended.stderr[-4000:]


ENTRY_STREAMS = ("ledger_entry_changes", "contract_data")
NETWORK_ID = sha256(PUBNET.encode()).digest()


@pytest.mark.parametrize("kind", NESTS)
def test_shallow_nesting_is_read(kind: str) -> None:
    for depth in (0, 1, 5, 60):
        data = nested_ledger(kind, depth, NETWORK_ID)
        batches = full_decoder(PUBNET).decode([data]).batches
        expected = expected_rows(data, PUBNET)
        for stream in STREAMS:
            assert not differences(f"depth {depth}", expected[stream], batches[stream].to_pylist())


@pytest.mark.parametrize("depth", [490, 1000, 1023, 1024, 1025, 1500, 20_000, 400_000])
@pytest.mark.parametrize("kind", NESTS)
def test_deep_nesting_neither_crashes_nor_hangs(kind: str, depth: int) -> None:
    outcome = attempt(full_decoder(PUBNET), nested_ledger(kind, depth, NETWORK_ID))
    if depth <= 490:
        assert isinstance(outcome, DecodedBatch), f"refused a depth that the network could reach: {outcome}"
    if depth >= 1500:
        assert isinstance(outcome, DecodeError)


@pytest.mark.parametrize("place", ["key", "val", "storage"])
@pytest.mark.parametrize("kind", VALUES)
def test_nested_contract_data_is_read_or_refused(kind: str, place: str) -> None:
    decoder = full_decoder(PUBNET, ENTRY_STREAMS)
    for depth in (0, 1, 5, 60):
        data = nested_entry(VALUES[kind](depth), place)
        batches = decoder.decode([data]).batches
        expected = expected_rows(data, PUBNET)
        for stream in ENTRY_STREAMS:
            assert len(expected[stream]) == 1
            assert not differences(f"depth {depth}", expected[stream], batches[stream].to_pylist())
    for depth in (490, 1000, 1023, 1024, 1025, 1500, 20_000, 400_000):
        outcome = attempt(decoder, nested_entry(VALUES[kind](depth), place))
        if depth <= 490:
            assert isinstance(outcome, DecodedBatch), f"refused a depth that the network could reach: {outcome}"
        if depth >= 1500:
            assert isinstance(outcome, DecodeError)


def test_much_storage_takes_linear_time() -> None:
    """A million keys that are nearly the one looked for, in an instance of an asset's contract."""
    count = 1_000_000
    near = words(16, 1, 1, 15, 9) + b"AssetInfx\0\0\0" + words(1)  # ["AssetInfx"] → void
    one = nested_entry(near[:-4], "storage")
    at = one.index(words(1) + near)
    data = one[:at] + words(count) + near * count + one[at + 4 + len(near) :]
    columns = {"contract_data": ("contract_id", "asset_type", "balance_raw")}
    decoder = LedgerDecoder(columns, passphrase=PUBNET)
    decoder.decode([one])
    began = time.perf_counter()
    assert decoder.decode([data]).batches["contract_data"].to_pylist()[0]["asset_type"] is None
    assert time.perf_counter() - began < 5


def test_absent_pointers_are_null_in_json() -> None:
    """SEP-51: an optional that is absent is null. stellar_sdk cannot say so for these three."""
    decoder = full_decoder(PUBNET)

    def operation(found: tuple[Any, bytes, bytes]) -> dict[str, Any]:
        outcome = attempt(decoder, ledger_around(*found, NETWORK_ID))
        assert isinstance(outcome, DecodedBatch)
        (row,) = outcome.batches["operations"].to_pylist()
        return row

    assert operation(nested_value(words(16, 0)))["parameters"] == ['{"vec":null}']
    assert operation(nested_value(words(17, 0)))["parameters"] == ['{"map":null}']
    assert operation(nested_predicate(words(3, 0)))["claimants"][0]["predicate"] == '{"not":null}'


def test_nesting_costs_no_stack() -> None:
    """A chain of negations holds nothing back on the way down, so its length alone must not end the process."""
    outcome = attempt(full_decoder(PUBNET), nested_ledger("ClaimPredicate not", 4_000_000, NETWORK_ID))
    assert isinstance(outcome, DecodeError)


def test_the_bad_ledger_of_a_batch_is_named() -> None:
    chance = random.Random(5)
    decoder = full_decoder(PUBNET)
    good = [made_ledger(seed, PUBNET, budget=1500) for seed in range(12)]
    sequences = decoder.decode(good).sequences.tolist()
    tried = 0
    while tried < 200:
        index = chance.randrange(len(good))
        bad = mutant([good[index]], chance)
        try:
            decoder.decode([bad])
        except DecodeError as error:
            alone = error
        except IntegrityError:
            continue
        else:
            continue
        tried += 1
        with pytest.raises(DecodeError) as raised:
            decoder.decode([*good[:index], bad, *good[index + 1 :]])
        assert_tells_where(raised.value, bad, index)
        told = raised.value
        assert (told.offset, told.path, told.reason) == (alone.offset, alone.path, alone.reason)
        assert told.ledger == alone.ledger
    assert decoder.decode(good).sequences.tolist() == sequences


def test_cut_anywhere() -> None:
    """Every prefix of a ledger is refused, and so is anything appended."""
    decoder = full_decoder(PUBNET)
    data = min((made_ledger(seed, PUBNET, budget=600) for seed in range(30)), key=len)
    for end in range(len(data)):
        assert isinstance(attempt(decoder, data[:end]), DecodeError), f"accepted the first {end} bytes"
    for more in range(1, 9):
        assert isinstance(attempt(decoder, data + bytes(more)), DecodeError), f"accepted {more} bytes more"
    assert isinstance(attempt(decoder, data), DecodedBatch)


def sdk_reads(data: bytes) -> xdr.LedgerCloseMeta | None:
    """What stellar_sdk makes of it; None where it refuses, or would write other bytes (padding, flags)."""
    try:
        meta = xdr.LedgerCloseMeta.from_xdr_bytes(data)
    except (ValueError, EOFError, RecursionError):
        return None
    return meta if meta.to_xdr_bytes() == data else None


def test_agreement_with_stellar_sdk_on_what_is_xdr() -> None:
    """What the decoder takes, stellar_sdk reads and writes back unchanged; what stellar_sdk so reads, is not
    refused as malformed XDR, unless for a value that no column can hold or a result that does not fit."""
    chance = random.Random(17)
    agreed = {True: 0, False: 0}
    for passphrase, ledgers in seeds().items():
        decoder = full_decoder(passphrase)
        small = [ledger for ledger in ledgers if len(ledger) < 12_000]
        for _ in range(500):
            data = mutant(small, chance)
            outcome = attempt(decoder, data)
            is_canonical = sdk_reads(data) is not None
            if isinstance(outcome, DecodedBatch):
                assert is_canonical, f"accepted what stellar_sdk does not: {data.hex()}"
            if isinstance(outcome, DecodeError):
                assert not is_canonical or is_beyond_columns(data), f"refused {data.hex()}: {outcome}"
            agreed[is_canonical] += 1
    assert min(agreed.values()) > 100, agreed


def is_beyond_columns(data: bytes) -> bool:
    """Well-formed XDR that the streams cannot show truly: a ledger sequence or time, or a difference of fees, that
    does not fit its type, negative amounts in trades, and results or meta that do not belong to their transaction."""
    meta = xdr.LedgerCloseMeta.from_xdr_bytes(data)
    if Ledger(meta, PUBNET).sequence >= 2**31:
        return True
    try:
        rows = expected_rows(data, PUBNET)
    except (KeyError, ValueError, OverflowError, OSError):
        return True  # no envelope has a result's hash, too many or few results, a time that Python cannot tell
    types = {(stream, column.name): column.type for stream in STREAMS for column in SCHEMAS[stream]}
    for stream, found in rows.items():
        for row in found:
            for name, value in row.items():
                if types[stream, name] == "int64" and value is not None and not -(2**63) <= value < 2**63:
                    return True
    transactions = Ledger(meta, PUBNET).transactions
    if any(
        len(operation_metas(tx.processed.tx_apply_processing)) not in {0, len(tx.operations)} for tx in transactions
    ):
        return True
    return any(amount < 0 for amount in traded_amounts(meta)) or any(
        op.inner is not None and op.result.tr.type != op.type for tx in transactions for op in tx.operations
    )


def operation_metas(meta: Any) -> list[Any]:
    return meta.operations if meta.v == 0 else arm(meta).operations


def traded_amounts(value: object) -> Iterator[int]:
    """Every amount that a successful strict-receive's result names."""
    if isinstance(value, xdr.PathPaymentStrictReceiveResultSuccess):
        yield value.last.amount.int64
        for atom in value.offers:
            yield (atom.v0 or atom.order_book or atom.liquidity_pool).amount_bought.int64
    for part in value if isinstance(value, list) else vars(value).values() if hasattr(value, "__dict__") else ():
        if not isinstance(part, Enum):
            yield from traded_amounts(part)


def test_damaged_then_rejoined_ledgers_equal_the_oracle() -> None:
    """Damage that leaves XDR well-formed, with hashes put right: odd contents reach every column."""
    chance = random.Random(23)
    decoder = full_decoder(PUBNET)
    ledgers = [ledger for ledger in seeds()[PUBNET] if len(ledger) < 16_000]
    found: list[str] = []
    compared = 0
    for _ in range(3000):
        meta = sdk_reads(mutant(ledgers, chance))
        data = rejoined(meta) if meta is not None else None
        if data is None:
            continue
        outcome = attempt(decoder, data)
        if not isinstance(outcome, DecodedBatch):
            assert is_beyond_columns(data), f"{outcome}: {data.hex()}"
            continue
        try:
            rows = expected_rows(data, PUBNET)
        except AssertionError:  # stellar_sdk writes no JSON of a vector, map or negation that is absent
            continue
        compared += 1
        for stream, expected in rows.items():
            found += differences(f"{data.hex()[:80]} {stream}", expected, outcome.batches[stream].to_pylist())
    assert not found, "\n".join(found[:20])
    assert compared > 300, compared


def rejoined(meta: xdr.LedgerCloseMeta) -> bytes | None:
    """The ledger with the result hashes of its envelopes and a time that Python can tell; None where the
    numbers of results and envelopes differ."""
    ledger = Ledger(meta, PUBNET)
    ledger.header.scp_value.close_time = xdr.TimePoint(xdr.Uint64(1_500_000_000))
    hashes = [transaction_hash(envelope, ledger.network_id) for envelope in ledger.envelopes()]
    pairs = [processed.result for processed in ledger.body.tx_processing]
    missing = {pair.transaction_hash.hash for pair in pairs} - set(hashes)
    spare = [value for value in hashes if value not in {pair.transaction_hash.hash for pair in pairs}]
    if len(missing) != len(spare):
        return None
    for pair in pairs:
        if pair.transaction_hash.hash in missing:
            pair.transaction_hash = xdr.Hash(spare.pop())
    return bytes(meta.to_xdr_bytes())

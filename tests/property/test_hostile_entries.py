"""Ledger entries at and beyond what the network would hold: lists at their limits, odd signers, deep predicates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from stellar_sdk import xdr

from stellar_arrow_source.errors import DecodeError
from stellar_arrow_source.tables import DecodedBatch
from tests.differential.expected import expected_rows
from tests.property.hostile import attempt
from tests.property.nesting import conjunctions, negations, words
from tests.support.corpus import PUBNET
from tests.support.decoding import differences, full_decoder
from tests.support.generate import Generator
from tests.support.made_ledgers import made_ledger

STREAMS = ("account_signers", "claimable_balances", "liquidity_pools", "config_settings", "ledger_entry_changes")
TYPE = xdr.LedgerEntryType
PREDICATE = xdr.ClaimPredicateType
MARK = 0x5EED_FACE_0DDB_A11


def ledger_of(*entries: Any) -> bytes:
    """A ledger whose last changes create these entries."""
    meta = xdr.LedgerCloseMeta.from_xdr_bytes(made_ledger(3, PUBNET, budget=300))
    created = xdr.LedgerEntryChangeType.LEDGER_ENTRY_CREATED
    changes = [xdr.LedgerEntryChange(created, created=entry) for entry in entries]
    upgrade = Generator(3).make(xdr.UpgradeEntryMeta, changes=xdr.LedgerEntryChanges(changes))
    (meta.v0 or meta.v1 or meta.v2).upgrades_processing = [upgrade]
    return bytes(meta.to_xdr_bytes())


def entry_of(kind: xdr.LedgerEntryType, name: str, body: Any) -> Any:
    return Generator(5).make(xdr.LedgerEntry, data=xdr.LedgerEntryData(kind, **{name: body}))


def account_with(signers: Sequence[Any]) -> Any:
    draw = Generator(11)
    body = draw.make(xdr.AccountEntry, signers=list(signers))
    sponsors = [draw.make(xdr.SponsorshipDescriptor) for _ in signers]
    v2 = draw.make(xdr.AccountEntryExtensionV2, signer_sponsoring_i_ds=sponsors)
    v1 = draw.make(xdr.AccountEntryExtensionV1, ext=xdr.AccountEntryExtensionV1Ext(2, v2=v2))
    body.ext = xdr.AccountEntryExt(1, v1=v1)
    return body


def assert_equal_to_oracle(data: bytes) -> dict[str, list[dict[str, Any]]]:
    outcome = attempt(full_decoder(PUBNET, STREAMS), data)
    assert isinstance(outcome, DecodedBatch), outcome
    expected = expected_rows(data, PUBNET)
    rows = {stream: outcome.batches[stream].to_pylist() for stream in STREAMS}
    for stream in STREAMS:
        assert not differences(stream, expected[stream], rows[stream])
    return rows


def assert_refused(data: bytes) -> None:
    assert isinstance(attempt(full_decoder(PUBNET, STREAMS), data), DecodeError)


def test_as_many_signers_as_xdr_holds() -> None:
    draw = Generator(2)
    signers = [draw.make(xdr.Signer) for _ in range(20)]
    rows = assert_equal_to_oracle(ledger_of(entry_of(TYPE.ACCOUNT, "account", account_with(signers))))
    given = [row for row in rows["account_signers"] if not row["deleted"]][-20:]
    assert len({row["signer"] for row in given}) == 20
    assert {row["sponsor"] is None for row in given} == {True, False}


def test_one_signer_more_is_refused() -> None:
    draw = Generator(2)
    signers = [draw.make(xdr.Signer) for _ in range(20)]
    one = signers[0].to_xdr_bytes()
    data = ledger_of(entry_of(TYPE.ACCOUNT, "account", account_with(signers)))
    assert data.count(words(20) + one) == 1
    assert_refused(data.replace(words(20) + one, words(21) + one + one))


def test_signers_that_core_would_not_keep() -> None:
    """One twice, the account itself, no weight, a weight beyond a byte, signed payloads of every length."""
    key_type = xdr.SignerKeyType
    same = xdr.SignerKey(key_type.SIGNER_KEY_TYPE_HASH_X, hash_x=xdr.Uint256(bytes(range(32))))
    body = account_with([])
    own = xdr.SignerKey(key_type.SIGNER_KEY_TYPE_ED25519, ed25519=body.account_id.account_id.ed25519)
    body.thresholds = xdr.Thresholds(b"\x07\0\0\0")
    payloads = [
        xdr.SignerKey(
            key_type.SIGNER_KEY_TYPE_ED25519_SIGNED_PAYLOAD,
            ed25519_signed_payload=xdr.SignerKeyEd25519SignedPayload(xdr.Uint256(bytes(32)), bytes(length)),
        )
        for length in (0, 1, 3, 4, 29, 64)
    ]
    listed = [(same, 1), (own, 0), (same, 2**32 - 1), *((key, 255) for key in payloads)]
    body.signers = [xdr.Signer(key, xdr.Uint32(weight)) for key, weight in listed]
    body.ext = xdr.AccountEntryExt(0)
    rows = assert_equal_to_oracle(ledger_of(entry_of(TYPE.ACCOUNT, "account", body)))["account_signers"]
    assert [row["weight"] for row in rows if row["account_id"] == row["signer"]][-1] == 0
    assert [row["weight"] for row in rows if row["signer"][0] == "X"][-1] == 2**32 - 1
    assert sum(row["signer"][0] == "P" for row in rows) >= len(payloads)


def balance_with(*predicates: Any) -> Any:
    draw = Generator(7)
    claimants = [
        xdr.Claimant(xdr.ClaimantType.CLAIMANT_TYPE_V0, v0=xdr.ClaimantV0(draw.make(xdr.AccountID), predicate))
        for predicate in predicates
    ]
    body = draw.make(xdr.ClaimableBalanceEntry, claimants=claimants)
    return entry_of(TYPE.CLAIMABLE_BALANCE, "claimable_balance", body)


def test_claimants_at_the_limit_of_xdr() -> None:
    draw = Generator(13)
    full = balance_with(*(draw.make(xdr.ClaimPredicate) for _ in range(10)))
    data = ledger_of(balance_with(), full)
    none, ten = assert_equal_to_oracle(data)["claimable_balances"][-2:]
    assert none["claimants"] == []
    assert len(ten["claimants"]) == 10
    one = full.data.claimable_balance.claimants[0].to_xdr_bytes()
    assert data.count(words(10) + one) == 1
    assert_refused(data.replace(words(10) + one, words(11) + one + one))


@pytest.mark.parametrize("nest", [negations, conjunctions])
@pytest.mark.parametrize("depth", [0, 1, 60, 490, 1500, 100_000])
def test_deep_predicates_of_entries(nest: Any, depth: int) -> None:
    placeholder = xdr.ClaimPredicate(PREDICATE.CLAIM_PREDICATE_BEFORE_ABSOLUTE_TIME, abs_before=xdr.Int64(MARK))
    data = ledger_of(balance_with(placeholder))
    assert data.count(placeholder.to_xdr_bytes()) == 1
    deep = data.replace(placeholder.to_xdr_bytes(), nest(depth))
    if depth > 1024:
        assert_refused(deep)
    elif depth <= 60:
        assert_equal_to_oracle(deep)
    else:
        outcome = attempt(full_decoder(PUBNET, STREAMS), deep)
        assert isinstance(outcome, DecodedBatch)
        text = outcome.batches["claimable_balances"].to_pylist()[-1]["claimants"][0]["predicate"]
        assert text.count("{") == depth
        assert text.count("}") == depth


def setting(name: str, **arm: Any) -> Any:
    body = xdr.ConfigSettingEntry(xdr.ConfigSettingID[f"CONFIG_SETTING_{name}"], **arm)
    return entry_of(TYPE.CONFIG_SETTING, "config_setting", body)


def test_settings_with_lists_at_their_limits() -> None:
    draw = Generator(17)
    costs = xdr.ContractCostParams([draw.make(xdr.ContractCostParamEntry) for _ in range(1024)])
    window = [xdr.Uint64(value) for value in (0, 2**64 - 1, *range(5000))]
    frozen = [xdr.EncodedLedgerKey(bytes(length)) for length in (0, 1, 2, 3, 4, 70_000)]
    hashes = [xdr.Hash(bytes([value]) * 32) for value in range(200)]
    data = ledger_of(
        setting("CONTRACT_COST_PARAMS_CPU_INSTRUCTIONS", contract_cost_params_cpu_insns=costs),
        setting("LIVE_SOROBAN_STATE_SIZE_WINDOW", live_soroban_state_size_window=window),
        setting("FROZEN_LEDGER_KEYS_DELTA", frozen_ledger_keys_delta=xdr.FrozenLedgerKeysDelta(frozen, frozen[:2])),
        setting("FREEZE_BYPASS_TXS_DELTA", freeze_bypass_txs_delta=xdr.FreezeBypassTxsDelta([], hashes)),
        setting("FROZEN_LEDGER_KEYS", frozen_ledger_keys=xdr.FrozenLedgerKeys([])),
    )
    rows = assert_equal_to_oracle(data)["config_settings"][-5:]
    assert len(rows[0]["contract_cost_params_cpu_insns"]) == 1024
    assert rows[2]["frozen_ledger_keys_to_unfreeze"] == [b"", b"\0"]
    assert rows[3]["freeze_bypass_txs_to_add"] == rows[4]["frozen_ledger_keys"] == []
    assert rows[4]["frozen_ledger_keys_to_freeze"] is None
    one = costs.contract_cost_params[0].to_xdr_bytes()
    assert data.count(words(1024) + one) == 1
    assert_refused(data.replace(words(1024) + one, words(1025) + one + one))
    assert data.count(words(5002, 0, 0)) == 1
    for count in (5001, 5003, 2**31, 2**32 - 1):
        assert_refused(data.replace(words(5002, 0, 0), words(count, 0, 0)))

"""The stream ``effects``: one row per effect of a successful operation, as Horizon defines them and in its order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

import numpy as np
import pyarrow as pa

from stellar_arrow_source.tables.amounts import DECIMAL, decimal_texts, decimals
from stellar_arrow_source.tables.columns import HASH, derived
from stellar_arrow_source.tables.common import LEDGER_COLUMNS, TRANSACTION_COLUMNS, TRANSACTION_HASH
from stellar_arrow_source.tables.effects.assemble import READS, Effects, effect_frame, effects_of
from stellar_arrow_source.tables.effects.facts import (
    AssetParts,
    account,
    asset,
    asset_with_amount,
    at,
    flag,
    number,
    shown,
    stroops,
    text,
)  # fmt: skip
from stellar_arrow_source.tables.effects.layout import EffectType, Fact
from stellar_arrow_source.tables.effects.pool_columns import POOL_COLUMNS
from stellar_arrow_source.tables.effects.text import effect_ids
from stellar_arrow_source.tables.frame import Frame, Mask
from stellar_arrow_source.tables.operation_facts import OPERATION_COLUMNS, operation_ids
from stellar_arrow_source.tables.spec import Column, Stream
from stellar_arrow_source.tables.transfers.layout import EVENT_TYPES
from stellar_arrow_source.xdr import readers
from stellar_arrow_source.xdr.predicate import predicate_json
from stellar_arrow_source.xdr.readers import EnumTable

_NAMES: Final = EnumTable.from_mapping({effect.value: effect.name.lower() for effect in EffectType})
_EVENT_NAMES: Final = EnumTable.from_mapping({kind + 1: name for kind, name in EVENT_TYPES.items()})


def _muxed(name: str, muxed_id: Fact, key: Fact, description: str) -> Column:
    def read(frame: Frame) -> pa.Array:
        effects = effects_of(frame)
        return readers.muxed_account(frame.batch.words, effects[muxed_id], effects[key])

    return shown(name, pa.string(), read, description)


def _split_asset(frame: Frame) -> AssetParts:
    def split() -> AssetParts:
        effects = effects_of(frame)
        types, code, _, issuer = readers.split_asset(effects.staged, effects[Fact.ASSET])
        return types, code, issuer

    return frame.once(_split_asset, split)


def _changed_flag(name: str, effect: EffectType, bit: int, description: str) -> Column:
    """True where an effect of that type sets the flag, False where it clears it."""

    def read(effects: Effects) -> tuple[Mask, Mask]:
        chosen = effects[Fact.TYPE] == effect
        cleared = effects[Fact.FLAGS_CLEARED] & bit > 0
        return ~cleared, chosen & (cleared | (effects[Fact.FLAGS_SET] & bit > 0))

    return flag(name, read, f"whether {description} was set (true) or cleared (false)")


def _account_flag(name: str, bit: int, description: str) -> Column:
    return _changed_flag(name, EffectType.ACCOUNT_FLAGS_UPDATED, bit, description)


def _line_flag(name: str, bit: int, description: str) -> Column:
    return _changed_flag(name, EffectType.TRUSTLINE_FLAGS_UPDATED, bit, description)


def _one_more(name: str, fact: Fact, description: str) -> Column:
    """A number of which the fact is one more."""

    def read(frame: Frame) -> pa.Array:
        values = effects_of(frame)[fact]
        return readers.from_numpy((values - 1).astype(np.uint32), pa.uint32(), values > 0)

    return shown(name, pa.uint32(), read, description)


_HASHES: Final = pa.list_(HASH)


def _read_entries(frame: Frame) -> pa.Array:
    effects = effects_of(frame)
    counts = effects[Fact.ENTRIES]
    if not counts.any():
        return frame.nulls(_HASHES)
    offsets = np.zeros(frame.length + 1, np.int32)
    np.cumsum(np.maximum(counts - 1, 0), out=offsets[1:])
    hashes = readers.fixed(frame.batch.words, effects.entries, 32)
    return readers.list_array(offsets, hashes, counts > 0, _HASHES)


def _effect(name: str, type: pa.DataType, read: Callable[[Frame], pa.Array], description: str) -> Column:
    return derived(name, type, read, description)


EFFECTS: Final = Stream(
    name="effects",
    description="one row per effect of a successful operation, as Horizon defines them and in its order",
    frame=effect_frame,
    reads=READS,
    columns=(
        *LEDGER_COLUMNS,
        *TRANSACTION_COLUMNS,
        *OPERATION_COLUMNS,
        TRANSACTION_HASH,
        _effect(
            "effect_index",
            pa.uint32(),
            lambda frame: readers.from_numpy(effects_of(frame)[Fact.INDEX].astype(np.uint32), pa.uint32()),
            "position of the effect in its operation, from 1",
        ),
        _effect(
            "effect_id",
            pa.string(),
            lambda frame: effect_ids(operation_ids(frame), effects_of(frame)[Fact.INDEX]),
            "Horizon's id of the effect: operation_id in 19 digits, a dash and effect_index in 10 digits",
        ),
        _effect(
            "effect_type",
            pa.int32(),
            lambda frame: readers.from_numpy(effects_of(frame)[Fact.TYPE].astype(np.int32), pa.int32()),
            "Horizon's code of the effect's type",
        ),
        _effect(
            "effect_type_string",
            pa.string(),
            lambda frame: readers.enum(effects_of(frame)[Fact.TYPE], _NAMES),
            "Horizon's name of the effect's type",
        ),
        replace(account("address", Fact.ADDRESS, "account that the effect is on"), nullable=False),
        _muxed("address_muxed", Fact.ADDRESS_ID, Fact.ADDRESS, "M address of address, where it is a muxed one"),
        *asset("asset_", "the asset moved, or of a trust line", _split_asset, lambda frame: effects_of(frame).staged),
        shown(
            "amount",
            DECIMAL,
            lambda frame: decimals(effects_of(frame).staged, effects_of(frame)[Fact.AMOUNT]),
            "amount moved; null where it has more than 38 digits, or the meta does not tell",
            unit="stroop",
        ),
        shown(
            "amount_raw",
            pa.string(),
            lambda frame: decimal_texts(effects_of(frame).staged, effects_of(frame)[Fact.AMOUNT]),
            "the same amount as an exact decimal integer",
            unit="stroop",
        ),
        text(
            "contract",
            readers.address,
            Fact.CONTRACT,
            "who was credited or debited where no account was: a C, B or L strkey; address is the operation's source",
        ),
        shown(
            "contract_event_type",
            pa.string(),
            lambda frame: readers.enum(effects_of(frame)[Fact.EVENT_KIND], _EVENT_NAMES),
            "kind of event of the Stellar Asset Contract that tells of the effect: transfer, mint, burn, clawback",
        ),
        stroops("starting_balance", Fact.STARTING_BALANCE, "balance of the account created"),
        account("seller", Fact.SELLER, "whom the address traded with; it had, or took, the offer"),
        _muxed("seller_muxed", Fact.SELLER_ID, Fact.SELLER, "M address of seller, where it is a muxed one"),
        number("offer_id", pa.int64(), Fact.OFFER, "the offer"),
        *asset_with_amount("sold_", at(Fact.SOLD), "what the address, or the pool, gave"),
        *asset_with_amount("bought_", at(Fact.BOUGHT), "what the address, or the pool, got"),
        text("balance_id", readers.claimable_balance, Fact.BALANCE, "the claimable balance; a B strkey"),
        text("predicate", predicate_json, Fact.PREDICATE, "when the claimant may claim, as XDR-JSON (SEP-51)"),
        flag(
            "claimable_balance_clawback_enabled_flag",
            lambda effects: (effects[Fact.CLAWBACK] == 2, effects[Fact.CLAWBACK] > 0),
            "whether the issuer may claw the balance back",
        ),
        text("signer_key", readers.signer_key, Fact.SIGNER, "the signer; a G, T, X or P strkey"),
        _one_more("signer_weight", Fact.WEIGHT, "weight of the signer"),
        number("low_threshold", pa.uint32(), Fact.LOW_THRESHOLD, "low threshold set"),
        number("med_threshold", pa.uint32(), Fact.MED_THRESHOLD, "medium threshold set"),
        number("high_threshold", pa.uint32(), Fact.HIGH_THRESHOLD, "high threshold set"),
        text("home_domain", readers.text, Fact.HOME_DOMAIN, "home domain set"),
        account("inflation_destination", Fact.INFLATION_DESTINATION, "inflation destination set"),
        _account_flag("auth_required_flag", 1, "that trust lines need authorization"),
        _account_flag("auth_revocable_flag", 2, "that authorization may be revoked"),
        _account_flag("auth_immutable_flag", 4, "that these flags cannot change"),
        _account_flag("auth_clawback_enabled_flag", 8, "that what the account issues may be clawed back"),
        account("trustor", Fact.TRUSTOR, "account whose trust line the issuer changed"),
        stroops("limit", Fact.LIMIT, "limit of the trust line"),
        _line_flag("authorized_flag", 1, "that the account may use the asset"),
        _line_flag("authorized_to_maintain_liabilities_flag", 2, "that the account may keep its offers"),
        _line_flag("clawback_enabled_flag", 4, "that what the account holds may be clawed back"),
        text("data_name", readers.text, Fact.DATA_NAME, "name of a data entry"),
        shown(
            "data_value",
            pa.binary(),
            lambda frame: readers.binary(frame.batch.words, effects_of(frame)[Fact.DATA_VALUE]),
            "value of the data entry",
        ),
        number("new_seq", pa.int64(), Fact.SEQUENCE, "sequence number of the account after it was bumped"),
        account("sponsor", Fact.SPONSOR, "who sponsors the entry or signer from now on; none did before"),
        account("new_sponsor", Fact.NEW_SPONSOR, "who sponsors it instead of another"),
        account("former_sponsor", Fact.FORMER_SPONSOR, "who sponsored it before"),
        *POOL_COLUMNS,
        shown(
            "entries",
            _HASHES,
            _read_entries,
            "hashes of the LedgerKeys of the entries whose life was extended, or that were restored, in order",
        ),
        number("extend_to", pa.uint32(), Fact.EXTEND_TO, "ledgers from now to which the entries' life is extended"),
    ),
)

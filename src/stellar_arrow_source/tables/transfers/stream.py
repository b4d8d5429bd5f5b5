"""The stream ``ttp_events``: one row per token-transfer event (CAP-67), in CAP-67's order within a ledger."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
import pyarrow as pa

from stellar_arrow_source.modes import TransferMode
from stellar_arrow_source.tables.amounts import DECIMAL, decimal_texts, decimals
from stellar_arrow_source.tables.columns import derived, either
from stellar_arrow_source.tables.common import LEDGER_COLUMNS, TRANSACTION_COLUMNS, TRANSACTION_HASH
from stellar_arrow_source.tables.frame import Frame, Mask
from stellar_arrow_source.tables.spec import Column, Stream
from stellar_arrow_source.tables.transfers.assemble import READS, Events, event_frame, events_of
from stellar_arrow_source.tables.transfers.layout import (
    AMOUNT,
    ASSET,
    CONTRACT,
    EVENT_TYPES,
    FEE,
    FROM,
    MUX,
    MUX_HASH,
    MUX_ID,
    MUXED_KINDS,
    NO_ASSET,
    TO,
    Fact,
)  # fmt: skip
from stellar_arrow_source.xdr import readers
from stellar_arrow_source.xdr.readers import EnumTable
from stellar_arrow_source.xdr.strkey import Version

_KINDS = EnumTable.from_mapping(EVENT_TYPES)
_MUXED_KINDS = EnumTable.from_mapping(MUXED_KINDS)
_MODES = EnumTable.from_mapping({0: "derived", 1: "unified"})


def _column(
    name: str, type: pa.DataType, read: Callable[[Events], pa.Array], description: str, nullable: bool = False
) -> Column:
    return derived(name, type, lambda frame: read(events_of(frame)), description, nullable=nullable)


def _flag(name: str, read: Callable[[Events], Mask], description: str) -> Column:
    return _column(name, pa.bool_(), lambda events: readers.from_bool(read(events)), description)


def _all(events: Events) -> Mask:
    return np.ones(len(events.facts), np.bool_)


def _operation_id(frame: Frame) -> pa.Array:
    events = events_of(frame)
    ordinal = events.fact(Fact.ORDINAL)
    ids = frame.batch.transaction_ids[events.fact(Fact.TRANSACTION)] + ordinal + 1
    return readers.from_numpy(ids, pa.int64(), ordinal >= 0)


def _address(word: int, fact: Fact) -> Callable[[Events], pa.Array]:
    return lambda events: readers.address(events.records, events.positions(word, events.fact(fact) == 1))


def _asset_parts(events: Events) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    present = events.fact(Fact.ASSET_STATE) != NO_ASSET
    types, code, _, issuer = readers.split_asset(events.records, events.positions(ASSET, present))
    return types, code, issuer


def _amount(events: Events) -> pa.Array:
    return decimals(events.records, events.positions(AMOUNT, _all(events)))


def _amount_raw(events: Events) -> pa.Array:
    return decimal_texts(events.records, events.positions(AMOUNT, _all(events)))


def _texts(frame: Frame) -> tuple[pa.Array, pa.Array]:
    return frame.once(
        "muxed text", lambda: readers.utf8_or_null(frame.batch.words, events_of(frame).fact(Fact.TEXT).copy())
    )


def _muxed_id(frame: Frame) -> pa.Array:
    events = events_of(frame)
    kind = events.fact(Fact.MUX_KIND)
    ids = readers.decimal_u64(events.records, events.positions(MUX, kind == MUX_ID))
    hashes = readers.base64_fixed(events.records, events.positions(MUX, kind == MUX_HASH), 32)
    return either(_texts(frame)[0], either(ids, hashes))


def _is_native(events: Events) -> Mask:
    native: Mask = _asset_parts(events)[0] == 0
    return native


COLUMNS: Final[tuple[Column, ...]] = (
    *LEDGER_COLUMNS,
    *TRANSACTION_COLUMNS,
    derived(
        "operation_id",
        pa.int64(),
        _operation_id,
        "id of the operation (SEP-35); null for fees",
        nullable=True,
    ),
    _column(
        "operation_index",
        pa.uint32(),
        lambda events: readers.from_numpy(
            (events.fact(Fact.ORDINAL) + 1).astype(np.uint32), pa.uint32(), events.fact(Fact.ORDINAL) >= 0
        ),
        "position of the operation in its transaction, from 1; null for fees",
        nullable=True,
    ),
    _column(
        "event_index",
        pa.uint32(),
        lambda events: readers.from_numpy(events.index.astype(np.uint32), pa.uint32()),
        "position of the event in its ledger, from 0, in CAP-67's order: the fees charged, the operations' events, "
        "refunds (before protocol 23 each after its transaction's operations)",
    ),
    TRANSACTION_HASH,
    derived(
        "successful",
        pa.bool_(),
        lambda frame: readers.from_bool(frame.transaction_successful),
        "whether the transaction succeeded; a failed one has fee events only",
    ),
    _column(
        "event_type",
        pa.string(),
        lambda events: readers.enum(events.fact(Fact.KIND).copy(), _KINDS),
        "transfer, mint, burn, clawback or fee",
    ),
    _column(
        "from_address",
        pa.string(),
        _address(FROM, Fact.HAS_FROM),
        "who gives: a G, C, L (liquidity pool) or B (claimable balance) strkey; of a fee, the account that pays it; "
        "null for a mint",
        nullable=True,
    ),
    _column(
        "to_address",
        pa.string(),
        _address(TO, Fact.HAS_TO),
        "who gets, as from_address; null but for a transfer or mint",
        nullable=True,
    ),
    _column(
        "to_muxed_kind",
        pa.string(),
        lambda events: readers.enum(events.fact(Fact.MUX_KIND).copy(), _MUXED_KINDS),
        "what tells the receiver's customers apart: id (of a muxed address or memo), text or hash (of a memo), or as "
        "a contract says; null for none",
        nullable=True,
    ),
    derived(
        "to_muxed_id",
        pa.string(),
        _muxed_id,
        "that id in decimal, text, or hash in Base64; null for text that is not UTF-8",
        nullable=True,
    ),
    derived(
        "to_muxed_bytes",
        pa.binary(),
        lambda frame: _texts(frame)[1],
        "that text where it is not UTF-8",
        nullable=True,
    ),
    _column(
        "asset_type",
        pa.string(),
        lambda events: readers.asset_type(_asset_parts(events)[0]),
        "type of the asset; null for a token that is no Stellar asset",
        nullable=True,
    ),
    _column(
        "asset_code",
        pa.string(),
        lambda events: readers.asset_code(events.records, *_asset_parts(events)[:2]),
        "code of the asset; XLM for native",
        nullable=True,
    ),
    _column(
        "asset_issuer",
        pa.string(),
        lambda events: readers.account(events.records, _asset_parts(events)[2]),
        "issuer of the asset; null for native",
        nullable=True,
    ),
    _column(
        "contract_id",
        pa.string(),
        lambda events: readers.strkey(events.records, events.positions(CONTRACT, _all(events)), Version.CONTRACT),
        "contract of the token; of a Stellar asset the one that is derived from it, deployed or not",
    ),
    _column(
        "amount",
        DECIMAL,
        _amount,
        "amount in the token's smallest unit (of a Stellar asset, the stroop); null where it has more than 38 digits; "
        "of a refund negative",
        nullable=True,
    ),
    _column("amount_raw", pa.string(), _amount_raw, "the same amount as an exact decimal integer, always"),
    _flag("is_native_asset", _is_native, "whether the asset is the lumen"),
    _flag("is_fee", lambda events: events.fact(Fact.KIND) == FEE, "whether a fee charged or refunded"),
    _flag("is_fee_refund", lambda events: events.fact(Fact.REFUND) == 1, "whether a refund of a fee"),
    _flag(
        "names_administrator",
        lambda events: (events.fact(Fact.ADMIN) == 1) & (events.fact(Fact.ASSET_STATE) == NO_ASSET),
        "whether a custom token's mint or clawback names three addresses, as contracts built before protocol 23 do: "
        "then from_address or to_address is the administrator",
    ),
    _column(
        "events_mode",
        pa.string(),
        lambda events: readers.enum(events.fact(Fact.UNIFIED).copy(), _MODES),
        "unified: read from the events in the transaction's meta; derived: from operations, results and entry changes",
    ),
)


def ttp_stream(mode: TransferMode = "auto") -> Stream:
    """The stream, with events from where ``mode`` says."""
    return Stream(
        name="ttp_events",
        aliases=("token_transfers",),
        description="one row per token-transfer event (CAP-67): transfer, mint, burn, clawback, fee",
        frame=event_frame(mode),
        reads=READS,
        columns=COLUMNS,
    )


TTP_EVENTS: Final = ttp_stream()

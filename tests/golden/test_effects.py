"""Our effects against stellar-etl's rows for twelve pubnet ledgers of 2020, ``details`` included."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from itertools import groupby
from typing import Any

import pytest

from tests.golden.fields import Fields, Row, column, compare, report, timestamp
from tests.support.corpus import PUBNET, files, peer_rows, read, requires_corpus, requires_peers
from tests.support.decoding import all_columns, decode_rows

pytestmark = [requires_corpus, requires_peers]

EFFECT: Fields = {
    "address": column("address"),
    "address_muxed": column("address_muxed"),
    "closed_at": timestamp,
    "id": lambda row: f"{row['operation_id']}-{row['their_index']}",
    "index": column("their_index"),
    "ledger_sequence": column("ledger_sequence"),
    "operation_id": column("operation_id"),
    "type": column("effect_type"),
    "type_string": column("effect_type_string"),
}
NOT_CARRIED = {"details": "compared field by field, see DETAILS"}


def seven_places(name: str) -> Any:
    """Stroops as they write them, exactly."""
    return lambda row: f"{Decimal(row[name]).scaleb(-7):.7f}"


def asset(prefix: str = "") -> Fields:
    """They leave code and issuer out for the native asset; ours says XLM there, so that grouping works."""
    return {f"{prefix}asset_{part}": column(f"{prefix}asset_{part}") for part in ("type", "code", "issuer")}


DETAILS: Fields = {
    **asset(),
    **asset("sold_"),
    **asset("bought_"),
    "amount": seven_places("amount"),
    "sold_amount": seven_places("sold_amount"),
    "bought_amount": seven_places("bought_amount"),
    "offer_id": column("offer_id"),
    "seller": column("seller"),
    "trustor": column("trustor"),
    "authorized_flag": column("authorized_flag"),
    "authorized_to_maintain_liabilites": column("authorized_to_maintain_liabilities_flag"),  # their spelling
    "low_threshold": column("low_threshold"),
    "med_threshold": column("med_threshold"),
    "high_threshold": column("high_threshold"),
}
CARRIES = {
    "amount_raw": "amount",
    "authorized_to_maintain_liabilities_flag": "authorized_to_maintain_liabilites",
    "sold_asset_code": "sold_asset_type",
    "bought_asset_code": "bought_asset_type",
    "asset_code": "asset_type",
}
"""Column of ours → the field of theirs without which it says too much, where that has another name."""
OF_ALL = {"transaction_id", "transaction_index", "operation_index", "transaction_hash", "ledger_close_time"} | {
    "effect_index", "effect_id", *EFFECT, "effect_type", "effect_type_string",
}  # fmt: skip
"""Columns that every effect has."""

FLAGS_UPDATED = {"effect_type": 26, "effect_type_string": "trustline_flags_updated"}
AUTHORISATIONS = {
    "trustline_authorized", "trustline_deauthorized", "trustline_authorized_to_maintain_liabilities"
}  # fmt: skip
OF_OFFERS = {32: "offer_updated", 31: "offer_removed", 30: "offer_created"}


def as_theirs(effects: list[Row]) -> Iterator[Row]:
    """The effects of one operation as they tell them.

    Horizon has codes for three effects of offers, but makes none of them: an offer that trades has the effect
    ``trade``. They tell each trade again under these three types, whatever became of the offer: here every trade
    both removed its offer and created it, which cannot be.

    Horizon tells of an allow_trust first under its old name, without flags, then as trustline_flags_updated with
    them. They have given the first the second's name also.
    """
    index = 0
    for is_trade, rows in groupby(effects, key=lambda row: row["effect_type_string"] == "trade"):
        found = list(rows)
        pairs = zip(found[::2], found[1::2], strict=True) if is_trade else [(row,) for row in found]
        for told in pairs:
            renames: list[dict[str, Any]] = [{}]
            if is_trade:
                renames += [{"effect_type": code, "effect_type_string": name} for code, name in OF_OFFERS.items()]
            elif told[0]["effect_type_string"] in AUTHORISATIONS:
                renames = [FLAGS_UPDATED]
            for renamed in renames:
                for row in told:
                    yield {**row, **renamed, "their_index": index}
                    index += 1


def disagreements(theirs: Row, ours: Row) -> Iterator[str]:
    where, details = f"effect {theirs['id']}", theirs["details"]
    yield from compare(where, theirs, ours, EFFECT, NOT_CARRIED)
    yield from compare(f"{where}.details", details, ours, DETAILS, {})
    for name in all_columns("effects"):
        if ours[name] is not None and name not in OF_ALL and CARRIES.get(name, name) not in details:
            yield f"{where}: they do not say {name}, ours is {ours[name]!r}"


@pytest.mark.parametrize("store", ["pubnet", "pubnet-2020-meta-v2"])
def test_effects(store: str) -> None:
    data = [ledger.xdr for file in files(store) if "--308" in file for ledger in read(file)]
    rows = sorted(decode_rows(data, PUBNET, ("effects",))["effects"], key=lambda row: row["effect_id"])
    assert [row["effect_index"] for row in rows] == [
        index for _, found in groupby(rows, key=lambda row: row["operation_id"]) for index, _ in enumerate(found, 1)
    ]
    ours = [row for _, found in groupby(rows, key=lambda row: row["operation_id"]) for row in as_theirs(list(found))]
    theirs = sorted(peer_rows("stellar-etl/effects.jsonl.gz"), key=lambda row: (row["operation_id"], row["index"]))
    assert [row["id"] for row in theirs] == [EFFECT["id"](row) for row in ours]
    found = [line for their_row, row in zip(theirs, ours, strict=True) for line in disagreements(their_row, row)]
    assert not found, report(found)
    kinds = Counter(row["type_string"] for row in theirs)
    assert len(theirs) == 155
    assert kinds["trade"] == 8
    assert sum(kinds[name] for name in OF_OFFERS.values()) == 24
    assert kinds["trustline_flags_updated"] == 104
    assert sum(row["effect_type_string"] in AUTHORISATIONS for row in rows) == 52

"""Our operations against stellar-etl's rows for twelve pubnet ledgers of 2020, ``details`` included."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.golden.fields import Fields, Row, column, compare, go_enum, price, real, report, snake_of_go, timestamp
from tests.support.corpus import PUBNET, peer_rows, read, requires_corpus, requires_peers
from tests.support.corpus import files as corpus_files
from tests.support.decoding import decode_rows

pytestmark = [requires_corpus, requires_peers]


def trace_code(row: Row) -> str:
    """``PaymentResultCodePaymentUnderfunded`` for PAYMENT_UNDERFUNDED, compared without its prefix."""
    return str(row["operation_trace_code"])


OPERATIONS: Fields = {
    "closed_at": timestamp,
    "id": column("operation_id"),
    "ledger_sequence": column("ledger_sequence"),
    "operation_result_code": go_enum("operation_result_code", "OperationResultCode", "op"),
    "operation_trace_code": trace_code,
    "source_account": column("source_account"),
    "source_account_muxed": column("source_account_muxed"),
    "transaction_id": column("transaction_id"),
    "type": column("operation_type"),
    "type_string": column("operation_type_string"),
}
OPERATIONS_NOT_CARRIED = {
    "details": "compared field by field, see DETAILS",
    "details_json": "the same as details, which the test asserts",
}


def asset(prefix: str = "") -> Fields:
    """They leave code and issuer out for the native asset; ours says XLM there, so that grouping works."""
    names = ("type", "code", "issuer")
    return {f"{prefix}asset_{name}": column(f"{prefix}asset_{name}") for name in names}


def path(row: Row) -> list[dict[str, Any]]:
    """Their path has neither code nor issuer for the native asset."""
    return [{"asset_type": "native"} if hop["asset_type"] == "native" else dict(hop) for hop in row["path"]]


def sent(row: Row) -> float | str:
    """Theirs is text "0.0000000" for a payment that failed, where ours is null: nothing was sent."""
    if row["source_amount"] is None:
        return "0.0000000"
    return real("source_amount")(row)


def price_ratio(row: Row) -> dict[str, int]:
    return {"n": row["price_n"], "d": row["price_d"]}


OFFER: Fields = {
    **asset("buying_"),
    **asset("selling_"),
    "amount": real("amount"),
    "offer_id": column("offer_id"),
    "price": price,
    "price_r": price_ratio,
}

DETAILS: dict[str, Fields] = {
    "create_account": {
        "account": column("destination"),
        "funder": column("source_account"),
        "starting_balance": real("starting_balance"),
    },
    "payment": {
        **asset(),
        "amount": real("amount"),
        "from": column("source_account"),
        "to": column("destination"),
    },
    "path_payment_strict_receive": {
        **asset(),
        **asset("source_"),
        "amount": real("amount"),
        "from": column("source_account"),
        "path": path,
        "source_amount": sent,
        "source_max": real("source_max"),
        "to": column("destination"),
    },
    "manage_buy_offer": OFFER,
    "manage_sell_offer": OFFER,
    "set_options": {
        "high_threshold": column("high_threshold"),
        "low_threshold": column("low_threshold"),
        "med_threshold": column("med_threshold"),
    },
    "change_trust": {
        **asset(),
        "limit": real("limit"),
        "trustee": column("asset_issuer"),
        "trustor": column("source_account"),
    },
    "allow_trust": {
        **asset(),
        # Theirs splits the flags that the operation's one number holds.
        "authorize": lambda row: row["authorize"] & 1 == 1,
        "authorize_to_maintain_liabilities": lambda row: row["authorize"] & 2 == 2,
        "trustee": column("source_account"),
        "trustor": column("trustor"),
    },
}
DETAILS_NOT_CARRIED = {
    f"{prefix}asset_id": "a FarmHash of code, issuer and type: an id of their warehouse, not of the ledger"
    for prefix in ("", "source_", "buying_", "selling_")
}


def disagreements(theirs: Row, ours: Row) -> Iterator[str]:
    where = f"operation {theirs['id']}"
    kind, _, member = theirs["operation_trace_code"].partition("ResultCode")
    yield from compare(
        where, {**theirs, "operation_trace_code": snake_of_go(member)}, ours, OPERATIONS, OPERATIONS_NOT_CARRIED
    )
    if kind.lower() != ours["operation_type_string"].replace("_", ""):
        yield f"{where}: their result is of {kind}, ours of {ours['operation_type_string']}"
    if theirs["details_json"] != theirs["details"]:
        yield f"{where}: their details and details_json differ"
    mapped = DETAILS[theirs["type_string"]]
    yield from compare(f"{where}.details", theirs["details"], ours, mapped, DETAILS_NOT_CARRIED)
    for name, value_of in mapped.items():
        absent_by_rule = name.endswith(("asset_code", "asset_issuer", "to_maintain_liabilities"))
        if name not in theirs["details"] and not (absent_by_rule and value_of(ours) in (None, "XLM", False)):
            yield f"{where}.details: they leave {name} out, ours means {value_of(ours)!r}"


@pytest.mark.parametrize("store", ["pubnet", "pubnet-2020-meta-v2"])
def test_operations(store: str) -> None:
    wanted = [file for file in corpus_files(store) if "--308" in file.rsplit("/", 1)[1]]
    data = [ledger.xdr for file in wanted for ledger in read(file)]
    ours = {row["operation_id"]: row for row in decode_rows(data, PUBNET, ("operations",))["operations"]}
    theirs = peer_rows("stellar-etl/operations.jsonl.gz")
    assert {row["id"] for row in theirs} == ours.keys()
    assert len(theirs) == 2228
    found = [line for row in theirs for line in disagreements(row, ours[row["id"]])]
    assert not found, report(found)

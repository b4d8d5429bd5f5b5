"""stellar-etl's table of assets, which needs no stream of its own: a query over ours of operations gives it.

What stellar-etl exports are the assets of payments and the assets sold by manage_sell_offer, of failed transactions
too, each once: in the ledger of the export that names it first. The export here is of pubnet 30822015 to 30822025.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from tests.golden.fields import Fields, Row, column, compare, report, timestamp
from tests.support.corpus import PUBNET, files, peer_rows, read, requires_corpus, requires_peers
from tests.support.decoding import LedgerDecoder

pytestmark = [requires_corpus, requires_peers]

FIRST, LAST = 30822015, 30822025
COLUMNS = (
    "ledger_sequence", "ledger_close_time", "operation_id", "operation_type_string",
    "asset_type", "asset_code", "asset_issuer",
    "selling_asset_type", "selling_asset_code", "selling_asset_issuer",
)  # fmt: skip
ASSETS = f"""
    with named as (
        select operation_id, ledger_sequence, ledger_close_time, asset_type, asset_code, asset_issuer
        from operations
        where operation_type_string = 'payment'
        union all
        select operation_id, ledger_sequence, ledger_close_time,
               selling_asset_type, selling_asset_code, selling_asset_issuer
        from operations
        where operation_type_string = 'manage_sell_offer'
    )
    select asset_type, asset_code, asset_issuer,
           min(ledger_sequence) as ledger_sequence, min(ledger_close_time) as ledger_close_time
    from named
    where ledger_sequence between {FIRST} and {LAST}
    group by all
    order by min(operation_id)
"""


def unless_native(name: str) -> Callable[[Row], Any]:
    """They leave code and issuer of lumens empty; ours says XLM, so that grouping works."""
    return lambda row: "" if row["asset_type"] == "native" else row[name]


FIELDS: Fields = {
    "asset_code": unless_native("asset_code"),
    "asset_issuer": unless_native("asset_issuer"),
    "asset_type": column("asset_type"),
    "closed_at": timestamp,
    "ledger_sequence": column("ledger_sequence"),
}
NOT_CARRIED = {"asset_id": "a FarmHash of code, issuer and type: an id of their warehouse, not of the ledger"}


def identity(row: Row) -> tuple[object, ...]:
    return tuple(row[name] for name in ("asset_type", "asset_code", "asset_issuer"))


@pytest.mark.parametrize("store", ["pubnet", "pubnet-2020-meta-v2"])
def test_assets(store: str) -> None:
    decoder = LedgerDecoder({"operations": COLUMNS}, passphrase=PUBNET)
    data = [ledger.xdr for file in files(store) if "--308" in file.rsplit("/", 1)[1] for ledger in read(file)]
    operations = pa.Table.from_batches([decoder.decode(data).batches["operations"]])
    with duckdb.connect() as connection:
        connection.execute("set timezone = 'UTC'")
        connection.register("operations", operations)
        found = connection.sql(ASSETS).to_arrow_table().to_pylist()
    ours = {tuple(FIELDS[name](row) for name in ("asset_type", "asset_code", "asset_issuer")): row for row in found}
    theirs = peer_rows("stellar-etl/assets.jsonl.gz")
    assert len(found) == len(theirs) == 48
    assert {identity(row) for row in theirs} == ours.keys()
    differences = [
        line
        for row in theirs
        for line in compare(f"asset {identity(row)}", row, ours[identity(row)], FIELDS, NOT_CARRIED)
    ]
    assert not differences, report(differences)

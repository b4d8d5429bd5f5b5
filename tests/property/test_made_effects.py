"""The effects of random operations of each type, with changes that fit them, equal the oracle's.

Real ledgers seldom hold some of them: sponsorships that change hands, signers, data, revocations out of pools.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
from stellar_sdk import xdr

from tests.differential.expected.effects import CODES, effect_rows
from tests.differential.expected.join import Ledger
from tests.differential.expected.schema import SCHEMAS
from tests.support.corpus import PUBNET
from tests.support.decoding import assert_true_nullability, differences, full_decoder, rows_by_ledger
from tests.support.made_ledgers import made_ledger

LEDGERS = 16
STREAM = "effects"


@cache
def made(kind: xdr.OperationType) -> list[bytes]:
    return [made_ledger(1000 * kind + seed, PUBNET, budget=1500, kind=kind) for seed in range(LEDGERS)]


@cache
def expected(kind: xdr.OperationType) -> list[list[dict[str, Any]]]:
    ledgers = [Ledger(xdr.LedgerCloseMeta.from_xdr_bytes(data), PUBNET) for data in made(kind)]
    return [
        [row for tx in ledger.transactions for op in tx.operations for row in effect_rows(op)] for ledger in ledgers
    ]


@pytest.mark.parametrize("kind", xdr.OperationType, ids=lambda kind: kind.name.lower())
def test_rows_equal_the_oracle(kind: xdr.OperationType) -> None:
    decoded = full_decoder(PUBNET, (STREAM,)).decode(made(kind))
    assert_true_nullability(decoded.batches[STREAM])
    found: list[str] = []
    for index, (want, got) in enumerate(zip(expected(kind), rows_by_ledger(decoded, STREAM), strict=True)):
        found += differences(f"{kind.name} {index}", want, got)
    assert not found, "\n".join(found[:20])


def test_every_effect_and_column_occurs() -> None:
    rows = [row for kind in xdr.OperationType for ledger in expected(kind) for row in ledger]
    assert {row["effect_type_string"] for row in rows} == set(CODES)
    for column in SCHEMAS[STREAM]:
        values = [row[column.name] for row in rows]
        assert any(value is not None for value in values), f"{column.name} never has a value"
        assert any(value is None for value in values) == column.nullable, f"{column.name} never is null"

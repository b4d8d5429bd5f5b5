"""Running the decoder under test, and showing where rows differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Any

import pyarrow as pa

from stellar_arrow_source.tables import DecodedBatch, LedgerDecoder, find_stream

STREAMS = (
    "ledgers",
    "transactions",
    "operations",
    "payments",
    "ttp_events",
    "trades",
    "effects",
    "contract_events",
    "diagnostic_events",
    "ledger_entry_changes",
    "accounts",
    "account_signers",
    "trust_lines",
    "offers",
    "claimable_balances",
    "liquidity_pools",
    "config_settings",
    "contract_data",
    "contract_code",
    "ttl",
    "restored_keys",
    "evicted_keys",
)

Row = dict[str, Any]


def all_columns(stream: str) -> list[str]:
    """Every column of a stream, opt-in ones too."""
    return [column.name for column in find_stream(stream).columns]


def full_decoder(passphrase: str | None, streams: Sequence[str] = STREAMS) -> LedgerDecoder:
    """A decoder that gives every column of these streams."""
    return LedgerDecoder({stream: all_columns(stream) for stream in streams}, passphrase=passphrase)


def decode_rows(
    ledgers: Sequence[bytes], passphrase: str | None, streams: Sequence[str] = STREAMS
) -> dict[str, list[Row]]:
    """Stream → rows of these ledgers, decoded in one call, every column."""
    batches = full_decoder(passphrase, streams).decode(ledgers).batches
    return {stream: batches[stream].to_pylist() for stream in streams}


def rows_by_ledger(decoded: DecodedBatch, stream: str) -> Iterator[list[Row]]:
    """The rows of each ledger in turn, as ``row_ends`` cuts them."""
    rows, start = decoded.batches[stream].to_pylist(), 0
    ends = decoded.row_ends[stream].tolist()
    assert len(ends) == len(decoded.sequences)
    assert (ends[-1] if ends else 0) == len(rows), "row_ends does not cover the batch"
    for end in ends:
        assert end >= start, "row_ends must not fall"
        yield rows[start:end]
        start = end


def assert_true_nullability(batch: pa.RecordBatch) -> None:
    """The batch is valid, and no column that is declared non-nullable holds a null, at any depth."""
    batch.validate(full=True)
    for field, column in zip(batch.schema, batch.columns, strict=True):
        assert_no_hidden_null(field, column, field.name)


def assert_no_hidden_null(field: pa.Field, array: pa.Array, path: str) -> None:
    assert field.nullable or array.null_count == 0, f"{path} is declared non-nullable and holds nulls"
    if pa.types.is_list(field.type):
        assert_no_hidden_null(field.type.value_field, array.flatten(), f"{path}[]")
    elif pa.types.is_struct(field.type):
        for index, child in enumerate(field.type):
            assert_no_hidden_null(child, array.field(index), f"{path}.{child.name}")


def differences(
    where: str, expected: Sequence[Mapping[str, Any]], actual: Sequence[Mapping[str, Any]], limit: int = 10
) -> list[str]:
    """At most ``limit`` lines saying ledger, row and column, and both values."""
    found = []
    if len(expected) != len(actual):
        found.append(f"{where}: {len(expected)} rows expected, {len(actual)} given")
    for index, (want, got) in enumerate(zip_longest(expected, actual, fillvalue={})):
        if want == got:
            continue
        for column in dict.fromkeys([*want, *got]):
            if column not in want or column not in got or want[column] != got[column]:
                values = f"expected {want.get(column, 'no such row')!r}, got {got.get(column, 'no such row')!r}"
                found.append(f"{where} row {index} column {column}: {values}")
        if len(found) >= limit:
            return [*found[:limit], "…"]
    return found

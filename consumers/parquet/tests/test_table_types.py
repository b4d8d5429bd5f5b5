"""What tables lack types for is kept exactly all the same, or refused."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pyarrow as pa
import pytest
from parquet_consumer.table_types import table_schema, to_table

from stellar_arrow_client.errors import OutputMismatchError


def test_numbers_that_tables_lack_stay_exact() -> None:
    members = pa.struct([pa.field("small", pa.uint32(), nullable=False), pa.field("large", pa.decimal256(40, 0))])
    schema = pa.schema(
        [
            ("byte", pa.uint8()),
            ("word", pa.uint64()),
            ("words", pa.list_(pa.uint64())),
            ("huge", pa.decimal256(76, 2)),
            ("i128", pa.decimal128(38, 0)),
            ("members", pa.list_(members)),
            ("paris", pa.timestamp("s", "Europe/Paris")),
        ]
    )
    huge, i128 = Decimal("-" + "9" * 70 + ".12"), Decimal("-" + "9" * 38)
    values = [[255, None], [2**64 - 1, None], [[2**64 - 1, None], None], [huge, None], [i128, None],
              [[{"small": 2**32 - 1, "large": Decimal("9" * 40)}], None], [1, None]]  # fmt: skip
    rows = pa.record_batch([pa.array(column, kind) for column, kind in zip(values, schema.types, strict=True)], schema)
    stored = to_table(rows, table_schema(schema)).to_pydict()
    assert stored["byte"] == [255, None]
    assert stored["word"] == [Decimal(2**64 - 1), None]
    assert stored["words"] == [[Decimal(2**64 - 1), None], None]
    assert stored["huge"] == [str(huge), None]
    assert stored["i128"] == [i128, None]
    assert stored["members"] == [[{"small": 2**32 - 1, "large": "9" * 40}], None]
    assert stored["paris"] == [datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC), None]


@pytest.mark.parametrize(
    "kind", [pa.timestamp("ns", "UTC"), pa.time64("us"), pa.map_(pa.string(), pa.int8()), pa.null()]
)
def test_types_that_no_table_holds_exactly_are_refused(kind: pa.DataType) -> None:
    with pytest.raises(OutputMismatchError, match="no table can hold the column odd, of type"):
        table_schema(pa.schema([("odd", pa.list_(kind))]))

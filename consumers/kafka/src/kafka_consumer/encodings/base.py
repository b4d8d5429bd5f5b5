"""What all encodings have in common."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from kafka_consumer.errors import EncodingError
from stellar_arrow_client import json_rows
from stellar_arrow_client.cells import at_zero
from stellar_arrow_client.errors import InvalidRequestError
from stellar_arrow_client.json_rows import Kind


class Messages(NamedTuple):
    """The values of messages, and the row of the batch with which each begins: int64 (messages,)."""

    values: list[bytes]
    rows: npt.NDArray[np.int64]


class RowTooLargeError(Exception):
    """A row is larger than a message may be.

    Attributes:
        ledger: of the row.
        size: in bytes, as a message.
    """

    def __init__(self, ledger: int, size: int) -> None:
        super().__init__(f"a row of ledger {ledger} has {size} bytes")
        self.ledger, self.size = ledger, size


class Encoding(Protocol):
    """Turns batches of one schema into messages."""

    def encode(self, batch: pa.RecordBatch) -> Messages:
        """The messages of a batch, in its order.

        Raises:
            EncodingError: the encoding has no form for a value.
            RowTooLargeError: a message would be larger than allowed.
        """

    def schema_files(self, name: str) -> Mapping[str, bytes]:
        """What a reader needs to know of the rows called ``name``, as files: their endings and what is in them."""


class RowEncoding(Encoding):
    """An encoding with one message a row. The first column is never null.

    Args:
        schema: of the batches.

    Raises:
        EncodingError: the encoding has no form for a column.
    """

    def __init__(self, schema: pa.Schema, _max_bytes: int = 0) -> None:
        self.schema = schema

    def encode(self, batch: pa.RecordBatch) -> Messages:
        """One message a row."""
        cells = self.rows([at_zero(column) for column in batch.columns], batch.num_rows)
        return Messages(cells.to_pylist(), np.arange(batch.num_rows, dtype=np.int64))

    @abstractmethod
    def rows(self, columns: list[pa.Array], count: int) -> pa.Array:
        """The messages as cells, of which none is null."""


def kind_of(type_: pa.DataType, column: str) -> Kind:
    """The kind of a type.

    Raises:
        EncodingError: it is none of those that streams have.
    """
    try:
        return json_rows.kind_of(type_, column)
    except InvalidRequestError:
        raise EncodingError(f"column {column} is of type {type_}, for which there is only --encoding arrow") from None


def description(field: pa.Field) -> str:
    """What the server says of a column, with its unit; empty when it says nothing."""
    metadata: dict[bytes, bytes] = field.metadata or {}
    text, unit = (metadata.get(name, b"").decode(errors="replace") for name in (b"description", b"unit"))
    return f"{text} ({unit})" if unit else text

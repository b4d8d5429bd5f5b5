"""The command as a process, and documents as the rows that they were."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa

from tests.support import consumers as support
from tests.support.opensearch import OpenSearchServer

PROGRAM = support.program("elasticsearch-consumer")


def value(said: Any, type_: pa.DataType) -> Any:
    """What a value of a document was."""
    if said is None:
        return None
    if pa.types.is_list(type_):
        return [value(item, type_.value_type) for item in said]
    if pa.types.is_struct(type_):
        return {part.name: value(said[part.name], part.type) for part in type_}
    if pa.types.is_binary(type_) or pa.types.is_fixed_size_binary(type_):
        return bytes.fromhex(said)
    if pa.types.is_timestamp(type_):
        return datetime.fromisoformat(said)
    if pa.types.is_decimal(type_):
        return Decimal(said)
    return int(said) if pa.types.is_integer(type_) else said


def rows(documents: Sequence[Mapping[str, Any]], schema: pa.Schema) -> pa.Table:
    """The rows that documents were made of."""
    unknown = {name for document in documents for name in document} - set(schema.names)
    assert not unknown, f"documents have fields that the stream has not: {unknown}"
    return pa.Table.from_pylist(
        [{part.name: value(document.get(part.name), part.type) for part in schema} for document in documents], schema
    )


class Command(support.Command):
    """Runs ``elasticsearch-consumer`` as a process of its own, with one prefix."""

    name = "elasticsearch-consumer"
    settings = ("ELASTICSEARCH_CONSUMER_",)

    def __init__(self, search: OpenSearchServer, prefix: str) -> None:
        super().__init__()
        self.search, self.prefix = search, prefix

    def line(self, server: str, *arguments: object, url: str | None = None) -> list[str]:
        options = ["--prefix", self.prefix, "--progress", "none", "--setting", "index.number_of_replicas=0"]
        return super().line(server, url or self.search.url, *arguments, *options)

    def table(self, stream: str, schema: pa.Schema) -> pa.Table:
        """All rows of a stream."""
        return rows(self.search.documents(f"{self.prefix}-{stream}"), schema)

    def held(self, stream: str) -> list[tuple[int, int]]:
        """The ledgers of the checkpoint, both ends inclusive."""
        found = self.search.ask("GET", f"/{self.prefix}-checkpoints/_doc/{self.prefix}-{stream}")
        return [(ledgers["gte"], ledgers["lte"]) for ledgers in found["_source"]["ledgers"]]

    def held_until(self, stream: str) -> int:
        """The last ledger of the checkpoint, 0 while there is none."""
        document = f"/{self.prefix}-checkpoints/_doc/{self.prefix}-{stream}"
        return max((held["lte"] for held in self.search.look(document).get("ledgers", ())), default=0)

    def wait_until_held(self, stream: str, ledger: int, seconds: float) -> None:
        """Wait until the checkpoint has come to a ledger."""
        until = time.monotonic() + seconds
        while self.held_until(stream) < ledger:
            assert time.monotonic() < until, f"{stream} does not come to ledger {ledger}"
            time.sleep(0.05)

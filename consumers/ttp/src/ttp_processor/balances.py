"""Running balances: what each holder got and gave of each asset, over a range of ledgers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from stellar_arrow_client.request import Cursor, StreamRequest
from ttp_processor.selection import Selection

EVENT_COLUMNS: Final = (
    "ledger_sequence",
    "event_type",
    "from_address",
    "to_address",
    "asset_type",
    "asset_code",
    "asset_issuer",
    "contract_id",
    "amount_raw",
)
INTEGER: Final = pa.decimal256(76, 0)
"""Holds the sum of any 10³⁷ amounts."""

Key = tuple[str, str]
"""Holder and asset: ``native``, ``CODE:ISSUER``, or the contract of a token that is no Stellar asset."""


@dataclass(slots=True)
class Flow:
    """What one holder got and gave of one asset, in its smallest unit.

    Attributes:
        received: by transfers and mints.
        sent: by transfers, burns and clawbacks.
        fees: charged, without what was refunded.
    """

    received: int = 0
    sent: int = 0
    fees: int = 0

    @property
    def change(self) -> int:
        return self.received - self.sent - self.fees


class RangeSink:
    """A :class:`stellar_arrow_client.sink.Sink` that hands rows to a function; nothing of it is durable."""

    def __init__(self, take: Callable[[pa.RecordBatch], None]) -> None:
        self._take = take

    def open(self, schema: pa.Schema, request: StreamRequest) -> int | None:
        """Nothing is kept from an earlier run."""
        return None

    def write(self, batch: pa.RecordBatch, cursor: Cursor) -> None:
        """Take the rows of whole ledgers."""
        if batch.num_rows:
            self._take(batch)

    def checkpoint(self) -> int | None:
        return None

    def close(self, *, complete: bool = True) -> None:
        """Nothing is held."""


class Balances:
    """The flows of all holders and assets that are selected; memory grows with their number.

    Attributes:
        flows: by holder and asset; those that cancel out are there too.
    """

    def __init__(self, selection: Selection) -> None:
        self.flows: dict[Key, Flow] = defaultdict(Flow)
        self._selection = selection

    def add(self, batch: pa.RecordBatch) -> None:
        """Count events.

        Args:
            batch: with :data:`EVENT_COLUMNS`.
        """
        assets = pc.coalesce(asset_names(batch), batch["contract_id"])
        amounts = batch["amount_raw"].cast(INTEGER)
        fees = pc.equal(batch["event_type"], "fee")
        for holder, asset, fee, amount in sums(batch["from_address"], assets, fees, amounts=amounts):
            if self._selection.holds(holder):
                flow = self.flows[holder, asset]
                if fee:
                    flow.fees += amount
                else:
                    flow.sent += amount
        for holder, asset, amount in sums(batch["to_address"], assets, amounts=amounts):
            if self._selection.holds(holder):
                self.flows[holder, asset].received += amount


def asset_names(batch: pa.RecordBatch) -> pa.Array:
    """``native``, ``CODE:ISSUER`` or null of each row: string (rows,)."""
    issued = pc.binary_join_element_wise(batch["asset_code"], batch["asset_issuer"], ":")
    return pc.if_else(pc.fill_null(pc.equal(batch["asset_type"], "native"), False), "native", issued)


def sums(holders: pa.Array, *keys: pa.Array, amounts: pa.Array) -> Iterator[tuple[Any, ...]]:
    """Holder, the other keys, and the exact sum of their amounts; rows without a holder are left out."""
    names = [f"key{number}" for number in range(len(keys))]
    table = pa.table([holders, *keys, amounts], names=["holder", *names, "amount"]).filter(holders.is_valid())
    grouped = table.group_by(["holder", *names]).aggregate([("amount", "sum")])
    for row in zip(*(grouped[name].to_pylist() for name in ("holder", *names)), grouped["amount_sum"], strict=True):
        yield *row[:-1], int(row[-1].as_py())

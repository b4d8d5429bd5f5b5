"""Checks that what token-transfer events move is what the ledger's entries changed by.

For each transaction, holder and asset, the sum of the stream ``ttp_events`` must be the change of the account's or
trust line's balance, of the claimable balance, of the pool's reserve, or of what the asset's contract keeps for a
contract. Issuers are aside, as they hold none of their asset, and what is of no Stellar asset, whose entries have no
common form; what a contract keeps is taken for an asset's once an event, proved by the contract's id, says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from stellar_arrow_source.tables import DecodedBatch, LedgerDecoder, find_stream
from stellar_arrow_source.tables.changes import Site, changes, sites
from stellar_arrow_source.tables.columns import derived
from stellar_arrow_source.tables.frame import Frame
from stellar_arrow_source.tables.relations import OPERATION_META, TX_RESULT
from stellar_arrow_source.tables.spec import Stream
from stellar_arrow_source.xdr import readers

GROUP, GROUP_BYTES = 64, 8 << 20
"""Ledgers, and bytes of them, that are decoded at a time."""
MOST_DIFFERENCES: Final = 1000
"""How many are kept in a report; all are counted."""
WIDE: Final = pa.decimal256(76, 0)
"""Of sums: 2^32 amounts of 128 bits fit."""
OTHER_EVENTS: Final = "events of tokens that are no Stellar asset"
OTHER_ENTRIES: Final = "changes of balances that a contract keeps which no event shows to be an asset's"
NO_FEES: Final = "the meta holds no changes of fees"
NO_OPERATIONS: Final = "the meta holds no changes of operations"

_CREATED, _UPDATED, _STATE, _RESTORED = 0, 1, 3, 4  # LedgerEntryChangeType
_ASSET: Final = ("asset_type", "asset_code", "asset_issuer")
_KEY: Final = ("transaction_id", "holder", *_ASSET)
_EVENT_COLUMNS: Final = ("transaction_id", "from_address", "to_address", *_ASSET, "contract_id", "amount_raw")


def _entry_changes() -> Stream:
    """Every change, with what a holder's entry says of its balance."""
    every, pools, data = map(find_stream, ("ledger_entry_changes", "liquidity_pools", "contract_data"))
    return Stream(
        name="balance_changes",
        description="one row per change of a ledger entry",
        frame=changes,
        reads=every.reads,
        columns=(
            *every.select(
                ["transaction_id", "change_type_code", "pre_change_index", "account_id", "balance_id", "balance"]
            ),
            *every.select(["liquidity_pool_id", "asset_type", "asset_code", "asset_issuer"]),
            *pools.select([f"asset_{side}_{part}" for side in "ab" for part in ("type", "code", "issuer", "amount")]),
            *data.select(["contract_address", "balance_holder", "balance_raw"]),
        ),
    )


def _transactions() -> Stream:
    """Every transaction, with what its meta holds."""
    every = find_stream("transactions")
    return Stream(
        name="transactions_with_meta",
        description="one row per transaction",
        frame=lambda batch: batch.transactions,
        reads=(*every.reads, *find_stream("ledger_entry_changes").reads),
        columns=(
            *every.select(["ledger_sequence", "transaction_id", "transaction_hash", "successful", "fee_charged"]),
            derived("has_fees", pa.bool_(), _has_fees, "whether fee changes are there"),
            derived("has_operations", pa.bool_(), _has_operations, "whether the operations' changes are there"),
        ),
    )


def _has_fees(frame: Frame) -> pa.Array:
    made = changes(frame.batch)
    charged = np.zeros(frame.length, np.bool_)
    charged[made.rows[TX_RESULT.name][sites(made) == Site.FEE_PROCESSING]] = True
    return readers.from_bool(charged)


def _has_operations(frame: Frame) -> pa.Array:
    batch = frame.batch
    return readers.from_bool(batch.runs(OPERATION_META, TX_RESULT)[1] == batch.operation_counts)


@dataclass(frozen=True, slots=True)
class Difference:
    """A holder whose entries changed by another amount than the events move; amounts in the smallest unit.

    Attributes:
        transaction: hash, hexadecimal.
        holder: strkey of an account, contract, claimable balance or liquidity pool.
        asset: ``native`` or ``CODE:ISSUER``.
        events, entries: what the events move to the holder, what its entries changed by.
    """

    ledger: int
    transaction: str
    holder: str
    asset: str
    events: int
    entries: int

    def __str__(self) -> str:
        return (
            f"ledger {self.ledger}, transaction {self.transaction}: {self.holder} holds {self.entries:+} more of "
            f"{self.asset}, but the events move {self.events:+}"
        )


@dataclass(slots=True)
class BalanceReport:
    """What has been checked.

    Attributes:
        ledgers, transactions: that were compared.
        balances: holders' changes that were compared.
        unchecked: reason → ledgers whose meta does not tell enough.
        aside: what → how many there were of it.
        different: holders' changes that differ, all of them.
        differences: the first of them, :data:`MOST_DIFFERENCES` at most.
    """

    ledgers: int = 0
    transactions: int = 0
    balances: int = 0
    unchecked: dict[str, int] = field(default_factory=dict)
    aside: dict[str, int] = field(default_factory=dict)
    different: int = 0
    differences: list[Difference] = field(default_factory=list)

    def lines(self) -> Iterator[str]:
        """The report for people."""
        yield (
            f"compared the events of {self.transactions} transactions in {self.ledgers} ledgers with their entries: "
            f"{self.balances} changes of balances, {self.different} differ"
        )
        yield from map(str, self.differences)
        if self.different > len(self.differences):
            yield f"and {self.different - len(self.differences)} more"
        for reason, ledgers in self.unchecked.items():
            yield f"not compared: {ledgers} ledgers, as {reason}"
        for what, number in self.aside.items():
            yield f"not compared: {number} {what}"


class BalanceCheck:
    """Checks ledgers in groups; what contracts are of which asset is learnt from the events.

    Args:
        passphrase: of the network; None = found among the known ones.
    """

    def __init__(self, passphrase: str | None = None) -> None:
        self.report = BalanceReport()
        self._changes, self._transactions = _entry_changes(), _transactions()
        self._decoder = LedgerDecoder(
            {"ttp_events": _EVENT_COLUMNS, self._changes: None, self._transactions: None}, passphrase=passphrase
        )
        self._assets: dict[str, tuple[str | None, ...]] = {}
        self._group: list[bytes | memoryview] = []

    def add(self, ledger: bytes | memoryview) -> None:
        """Compare the events of a ledger with its entries, at the latest in :meth:`finish`.

        Raises:
            DecodeError, NetworkMismatchError: as :meth:`LedgerDecoder.decode` does, of any ledger added before.
        """
        self._group.append(ledger)
        if len(self._group) == GROUP or sum(map(len, self._group)) > GROUP_BYTES:
            self._check()

    def finish(self) -> BalanceReport:
        """The report of all ledgers added; errors as in :meth:`add`."""
        if self._group:
            self._check()
        return self.report

    def _check(self) -> None:
        decoded = self._decoder.decode(self._group)
        self._group.clear()
        transactions = decoded.batches[self._transactions.name]
        told = self._complete(decoded, transactions)
        compared = pa.concat_tables([*self._moved(decoded), *self._changed(decoded)])
        sums = compared.group_by(list(_KEY)).aggregate([("events", "sum"), ("entries", "sum")])
        sums = sums.filter(pc.is_in(sums["transaction_id"], told["transaction_id"]))
        self.report.balances += sums.num_rows
        different = sums.filter(pc.not_equal(sums["events_sum"], sums["entries_sum"]))
        self.report.different += different.num_rows
        hashes = dict(zip(told["transaction_id"].to_pylist(), told["transaction_hash"], strict=True))
        for row in different.to_pylist()[: MOST_DIFFERENCES - len(self.report.differences)]:
            asset = row["asset_type"] if row["asset_issuer"] is None else f"{row['asset_code']}:{row['asset_issuer']}"
            transaction = row["transaction_id"]
            self.report.differences.append(
                Difference(
                    transaction >> 32,
                    hashes[transaction].as_py().hex(),
                    row["holder"],
                    asset,
                    int(row["events_sum"]),
                    int(row["entries_sum"]),
                )
            )

    def _complete(self, decoded: DecodedBatch, transactions: pa.RecordBatch) -> pa.Table:
        """The transactions of the ledgers whose meta tells enough."""
        sequences = transactions["ledger_sequence"]
        lacks = {
            NO_FEES: pc.and_not(pc.greater(transactions["fee_charged"], 0), transactions["has_fees"]),
            NO_OPERATIONS: pc.and_not(transactions["successful"], transactions["has_operations"]),
        }
        left = np.unique(decoded.sequences)
        for reason, bad in lacks.items():
            incomplete = np.intersect1d(left, sequences.filter(bad).to_numpy())
            _count(self.report.unchecked, reason, len(incomplete))
            left = np.setdiff1d(left, incomplete)
        told = pa.Table.from_batches([transactions]).filter(pc.is_in(sequences, pa.array(left)))
        self.report.ledgers += len(left)
        self.report.transactions += told.num_rows
        return told

    def _moved(self, decoded: DecodedBatch) -> list[pa.Table]:
        """What events take and give; no issuer is a holder."""
        events = pa.Table.from_batches([decoded.batches["ttp_events"]])
        _count(self.report.aside, OTHER_EVENTS, events["asset_type"].null_count)
        events = events.filter(pc.is_valid(events["asset_type"]))
        assets = [events[name] for name in _ASSET]
        named = ["contract_id", *_ASSET]
        for row in events.group_by(named).aggregate([]).to_pylist():
            self._assets[row["contract_id"]] = tuple(row[name] for name in _ASSET)
        amounts = pc.cast(events["amount_raw"], WIDE)
        return [
            _table(events["transaction_id"], events[holder], assets, events=moved)
            for holder, moved in (("from_address", pc.negate(amounts)), ("to_address", amounts))
        ]

    def _changed(self, decoded: DecodedBatch) -> list[pa.Table]:
        """What entries held before a change, taken off, and what they hold after it."""
        every = decoded.batches[self._changes.name]
        types = every["change_type_code"].to_numpy()
        after = (types == _CREATED) | (types == _UPDATED)
        # what is restored is held as before, unless the next change starts from it
        starts = np.append(every["pre_change_index"].is_valid().to_numpy(zero_copy_only=False)[1:], False)
        counts = after | (types == _STATE) | ((types == _RESTORED) & starts[: len(types)])
        counts &= every["transaction_id"].is_valid().to_numpy(zero_copy_only=False)
        rows = pa.Table.from_batches([every]).filter(pa.array(counts))
        signed = partial(_signed, pa.array(after[counts]))
        own = pc.and_(pc.is_null(rows["liquidity_pool_id"]), pc.is_valid(rows["asset_type"]))
        holder = pc.if_else(own, pc.coalesce(rows["account_id"], rows["balance_id"]), None)
        transactions = rows["transaction_id"]
        tables = [_table(transactions, holder, [rows[name] for name in _ASSET], entries=signed(rows["balance"]))]
        for side in "ab":
            asset = [rows[f"asset_{side}_{part}"] for part in ("type", "code", "issuer")]
            pool = pc.if_else(pc.is_valid(asset[0]), rows["liquidity_pool_id"], None)
            tables.append(_table(transactions, pool, asset, entries=signed(rows[f"asset_{side}_amount"])))
        asset = self._assets_of(rows["contract_address"])
        others = rows["balance_holder"].filter(pc.is_null(asset[0]))
        _count(self.report.aside, OTHER_ENTRIES, len(others) - others.null_count)
        of_asset = pc.if_else(pc.is_valid(asset[0]), rows["balance_holder"], None)
        return [*tables, _table(transactions, of_asset, asset, entries=signed(rows["balance_raw"]))]

    def _assets_of(self, contracts: pa.ChunkedArray) -> list[pa.Array]:
        """Type, code and issuer of the assets that are known to be of these contracts."""
        known = pa.array(self._assets, pa.string())
        places = pc.index_in(contracts, known)
        parts = zip(*self._assets.values(), strict=True) if self._assets else ((), (), ())
        return [pa.array(part, pa.string()).take(places) for part in parts]


def _count(into: dict[str, int], what: str, number: int) -> None:
    if number:
        into[what] = into.get(what, 0) + number


def _signed(positive: pa.Array, amounts: pa.ChunkedArray) -> pa.ChunkedArray:
    wide = pc.cast(amounts, WIDE)
    return pc.if_else(positive, wide, pc.negate(wide))


def _table(
    transactions: pa.ChunkedArray,
    holders: pa.ChunkedArray,
    asset: Sequence[pa.ChunkedArray],
    *,
    events: pa.ChunkedArray | None = None,
    entries: pa.ChunkedArray | None = None,
) -> pa.Table:
    """Rows to add up; without those of no holder, and of issuers, who hold none of their asset."""
    none = pa.repeat(pa.scalar(0, WIDE), len(transactions))
    amounts = [none if events is None else events, none if entries is None else entries]
    table = pa.Table.from_arrays([transactions, holders, *asset, *amounts], [*_KEY, "events", "entries"])
    issuers = pc.fill_null(pc.equal(table["holder"], table["asset_issuer"]), False)
    return table.filter(pc.and_not(pc.is_valid(table["holder"]), issuers))

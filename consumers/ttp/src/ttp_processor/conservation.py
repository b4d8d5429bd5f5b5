"""The ledger's own numbers: by how much the entries that hold balances changed over a range of ledgers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from stellar_sdk import Asset, xdr

from stellar_arrow_client.errors import IntegrityError
from stellar_arrow_client.request import StreamRequest
from ttp_processor.balances import Balances, Key, asset_names, sums
from ttp_processor.selection import NATIVE, Selection

STREAM: Final = "ledger_entry_changes"
_KEY_COLUMNS: Final = ("ledger_sequence", "change_index", "pre_change_index", "change_type", "liquidity_pool_id")
ENTRY_COLUMNS: Final = (
    *_KEY_COLUMNS,
    *("account_id", "balance_id", "balance", "asset_type", "asset_code", "asset_issuer"),
)
ENTRIES: Final = (
    "ledger_entry_type IN ('account', 'claimable_balance') "
    "OR (ledger_entry_type = 'trustline' AND liquidity_pool_id IS NULL)"
)
POOL_COLUMNS: Final = (*_KEY_COLUMNS, "ledger_entry_xdr")
_STROOPS: Final = pa.decimal128(38, 0)
POOLS: Final = "ledger_entry_type = 'liquidity_pool'"


def requests(start: int, end: int) -> tuple[StreamRequest, StreamRequest]:
    """What to ask for: the entries with one balance, and the pools."""
    return (
        StreamRequest(STREAM, start, end, ENTRY_COLUMNS, ENTRIES),
        StreamRequest(STREAM, start, end, POOL_COLUMNS, POOLS),
    )


class EntryDeltas:
    """By how much the balances of accounts, trust lines, claimable balances and pools changed.

    What contracts hold lies in their own data, in any form, and is left out.
    """

    def __init__(self, selection: Selection) -> None:
        self.deltas: dict[Key, int] = defaultdict(int)
        self._selection = selection

    def add_entries(self, batch: pa.RecordBatch) -> None:
        """Count changes of entries with one balance; ``batch`` has :data:`ENTRY_COLUMNS`."""
        rows, before, has_before = _changes(batch)
        balances = pc.fill_null(batch["balance"], 0).to_numpy()
        # A claimable balance that is removed tells its asset only before.
        names = asset_names(batch)
        assets = pc.coalesce(names.take(rows), names.take(before))
        holders = pc.coalesce(batch["account_id"], batch["balance_id"]).take(rows)
        for sign, amounts in ((1, balances[rows]), (-1, np.where(has_before, balances[before], 0))):
            for holder, asset, amount in sums(holders, assets, amounts=pa.array(amounts).cast(_STROOPS)):
                self._add(holder, asset, sign * amount)

    def add_pools(self, batch: pa.RecordBatch) -> None:
        """Count changes of pools' reserves; ``batch`` has :data:`POOL_COLUMNS`."""
        rows, before, has_before = _changes(batch)
        reserves = [_reserves(entry) for entry in batch["ledger_entry_xdr"].to_pylist()]
        pools = batch["liquidity_pool_id"].to_pylist()
        for row, earlier in zip(rows.tolist(), np.where(has_before, before, -1).tolist(), strict=True):
            changes = defaultdict(int, reserves[row])
            for asset, amount in reserves[earlier].items() if earlier >= 0 else ():
                changes[asset] -= amount
            for asset, amount in changes.items():
                self._add(pools[row], asset, amount)

    def _add(self, holder: str, asset: str, change: int) -> None:
        if change and self._selection.holds(holder) and self._selection.has_asset(asset):
            self.deltas[holder, asset] += change


def is_comparable(key: Key) -> bool:
    """Whether the ledger has an entry for this balance: contracts keep theirs, and other tokens, in their own data."""
    holder, asset = key
    return not holder.startswith("C") and (asset == NATIVE or ":" in asset)


def differences(balances: Balances, ledger: EntryDeltas) -> list[tuple[Key, int, int]]:
    """Holder and asset, change by the events, change of the entries, wherever these differ."""
    events = {key: flow.change for key, flow in balances.flows.items() if is_comparable(key)}
    return [
        (key, events.get(key, 0), ledger.deltas.get(key, 0))
        for key in sorted(events.keys() | ledger.deltas.keys())
        if events.get(key, 0) != ledger.deltas.get(key, 0)
    ]


def _changes(batch: pa.RecordBatch) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """Rows that changed an entry, the rows that say what it was before, and whether there is such a row.

    Raises:
        IntegrityError: an entry was updated or removed, and the meta does not say what it was before.
    """
    types = batch["change_type"]
    changed = pc.is_in(types, pa.array([f"LEDGER_ENTRY_{kind}" for kind in ("CREATED", "UPDATED", "REMOVED")]))
    rows = np.flatnonzero(changed.to_numpy(zero_copy_only=False))
    places = batch["ledger_sequence"].to_numpy().astype(np.int64) << 32 | batch["change_index"].to_numpy()
    wanted = pc.fill_null(batch["pre_change_index"], 0).to_numpy()[rows].astype(np.int64)
    has_before = wanted > 0
    before = np.searchsorted(places, places[rows] >> 32 << 32 | wanted).clip(max=max(len(places) - 1, 0))
    created = pc.equal(types, "LEDGER_ENTRY_CREATED").to_numpy(zero_copy_only=False)[rows]
    if (~has_before & ~created).any():
        ledger = places[rows[np.argmax(~has_before & ~created)]] >> 32
        raise IntegrityError(
            f"the meta of ledger {ledger} does not say what its entries were before, so it cannot be checked"
        )
    return rows, before, has_before


def _reserves(entry: bytes | None) -> Mapping[str, int]:
    """Asset → reserve of a LedgerEntry that is a pool; empty for none."""
    if entry is None:
        return {}
    pool = xdr.LedgerEntry.from_xdr_bytes(entry).data.liquidity_pool
    if pool is None or pool.body.constant_product is None:
        raise IntegrityError("the server sent a pool whose entry is none")
    body = pool.body.constant_product
    sides = ((body.params.asset_a, body.reserve_a), (body.params.asset_b, body.reserve_b))
    return {_name(Asset.from_xdr_object(asset)): reserve.int64 for asset, reserve in sides}


def _name(asset: Asset) -> str:
    return NATIVE if asset.is_native() else f"{asset.code}:{asset.issuer}"

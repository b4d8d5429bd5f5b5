"""Books kept over a synthetic ledger: what its changes say, what its events say, what its entries hold.

Read with stellar_sdk's objects alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from stellar_sdk import xdr

NATIVE = "native"
Balances = Counter[tuple[bytes, str]]
"""(holder: SCAddress, asset: SEP-11 name) → units."""

Kind = xdr.LedgerEntryChangeType


def all_changes(meta: xdr.LedgerCloseMetaV2) -> Iterator[xdr.LedgerEntryChange]:
    """All changes in the order in which they happen: fees, transactions one by one, refunds."""
    for one in meta.tx_processing:
        yield from one.fee_processing.ledger_entry_changes
    for one in meta.tx_processing:
        v4 = one.tx_apply_processing.v4
        yield from v4.tx_changes_before.ledger_entry_changes
        for operation in v4.operations:
            yield from operation.changes.ledger_entry_changes
        yield from v4.tx_changes_after.ledger_entry_changes
    for one in meta.tx_processing:
        yield from one.post_tx_apply_fee_processing.ledger_entry_changes


def entry_key(entry: xdr.LedgerEntry) -> bytes:
    """``LedgerKey`` of an entry."""
    data = entry.data
    kind = xdr.LedgerEntryType
    key = xdr.LedgerKey(data.type)
    match data.type:
        case kind.ACCOUNT:
            key.account = xdr.LedgerKeyAccount(data.account.account_id)
        case kind.TRUSTLINE:
            key.trust_line = xdr.LedgerKeyTrustLine(data.trust_line.account_id, data.trust_line.asset)
        case kind.OFFER:
            key.offer = xdr.LedgerKeyOffer(data.offer.seller_id, data.offer.offer_id)
        case kind.DATA:
            key.data = xdr.LedgerKeyData(data.data.account_id, data.data.data_name)
        case kind.CLAIMABLE_BALANCE:
            key.claimable_balance = xdr.LedgerKeyClaimableBalance(data.claimable_balance.balance_id)
        case kind.LIQUIDITY_POOL:
            key.liquidity_pool = xdr.LedgerKeyLiquidityPool(data.liquidity_pool.liquidity_pool_id)
        case kind.CONTRACT_DATA:
            place = data.contract_data
            key.contract_data = xdr.LedgerKeyContractData(place.contract, place.key, place.durability)
        case kind.TTL:
            key.ttl = xdr.LedgerKeyTtl(data.ttl.key_hash)
        case other:
            raise AssertionError(other)
    return key.to_xdr_bytes()


def asset_name(asset: xdr.Asset | xdr.TrustLineAsset) -> str:
    """As SEP-11 writes it."""
    from stellar_sdk import Asset

    if asset.type == xdr.AssetType.ASSET_TYPE_NATIVE:
        return NATIVE
    made = Asset.from_xdr_object(asset)
    return f"{made.code}:{made.issuer}"


def holdings(entry: xdr.LedgerEntry) -> Balances:
    """What an entry holds of assets; shares of pools and tokens without an asset are left out."""
    data, kind = entry.data, xdr.LedgerEntryType
    held: Balances = Counter()
    match data.type:
        case kind.ACCOUNT:
            held[_account(data.account.account_id), NATIVE] = data.account.balance.int64
        case kind.TRUSTLINE if data.trust_line.asset.type != xdr.AssetType.ASSET_TYPE_POOL_SHARE:
            line = data.trust_line
            held[_account(line.account_id), asset_name(line.asset)] = line.balance.int64
        case kind.CLAIMABLE_BALANCE:
            balance = data.claimable_balance
            address = xdr.SCAddress(
                xdr.SCAddressType.SC_ADDRESS_TYPE_CLAIMABLE_BALANCE, claimable_balance_id=balance.balance_id
            )
            held[address.to_xdr_bytes(), asset_name(balance.asset)] = balance.amount.int64
        case kind.LIQUIDITY_POOL:
            pool = data.liquidity_pool
            address = xdr.SCAddress(
                xdr.SCAddressType.SC_ADDRESS_TYPE_LIQUIDITY_POOL, liquidity_pool_id=pool.liquidity_pool_id
            ).to_xdr_bytes()
            state = pool.body.constant_product
            held[address, asset_name(state.params.asset_a)] = state.reserve_a.int64
            held[address, asset_name(state.params.asset_b)] = state.reserve_b.int64
    return held


def changed(changes: Iterable[xdr.LedgerEntryChange]) -> Balances:
    """By how much balances change."""
    total: Balances = Counter()
    before: dict[bytes, Balances] = {}
    for change in changes:
        match change.type:
            case Kind.LEDGER_ENTRY_STATE:
                before[entry_key(change.state)] = holdings(change.state)
            case Kind.LEDGER_ENTRY_CREATED:
                total.update(holdings(change.created))
            case Kind.LEDGER_ENTRY_UPDATED:
                total.update(holdings(change.updated))
                total.subtract(before.pop(entry_key(change.updated)))
            case Kind.LEDGER_ENTRY_REMOVED:
                total.subtract(before.pop(change.removed.to_xdr_bytes()))
            case other:
                raise AssertionError(other)
    assert not before, "a STATE without what follows it"
    return _without_zeros(total)


def moved(events: Iterable[xdr.ContractEvent]) -> Balances:
    """By how much balances change according to the events of assets; fees count for XLM."""
    total: Balances = Counter()
    for event in events:
        topics, data = event.body.v0.topics, event.body.v0.data
        name = topics[0].sym.sc_symbol.decode()
        if name == "fee":
            asset = NATIVE
        elif topics[-1].type == xdr.SCValType.SCV_STRING:
            asset = topics[-1].str.sc_string.decode()
        else:
            continue  # a token without an asset
        if data.type == xdr.SCValType.SCV_MAP:
            data = data.map.sc_map[0].val
        amount = (data.i128.hi.int64 << 64) | data.i128.lo.uint64
        addresses = [topic.address.to_xdr_bytes() for topic in topics if topic.type == xdr.SCValType.SCV_ADDRESS]
        if name != "mint":
            total[addresses[0], asset] -= amount
        if name in ("transfer", "mint"):
            total[addresses[-1], asset] += amount
    return _without_zeros(total)


def events_of(one: xdr.TransactionResultMetaV1) -> list[xdr.ContractEvent]:
    """All events of a transaction, fees included."""
    v4 = one.tx_apply_processing.v4
    return [event.event for event in v4.events] + [event for op in v4.operations for event in op.events]


def changes_of(one: xdr.TransactionResultMetaV1) -> list[xdr.LedgerEntryChange]:
    """All changes of a transaction, fee and refund included."""
    v4 = one.tx_apply_processing.v4
    lists = [
        one.fee_processing,
        v4.tx_changes_before,
        *(operation.changes for operation in v4.operations),
        v4.tx_changes_after,
        one.post_tx_apply_fee_processing,
    ]
    return [change for changes in lists for change in changes.ledger_entry_changes]


def _account(account: xdr.AccountID) -> bytes:
    address = xdr.SCAddress(xdr.SCAddressType.SC_ADDRESS_TYPE_ACCOUNT, account_id=account)
    return address.to_xdr_bytes()


def _without_zeros(total: Balances) -> Balances:
    return Counter({key: amount for key, amount in total.items() if amount})

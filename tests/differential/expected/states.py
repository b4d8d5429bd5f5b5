"""Expected rows of the state streams: the last change of each key in a ledger."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from stellar_sdk import xdr

from .changes import CHANGE, TYPE, Change, sponsor
from .schema import SCHEMAS
from .settings import setting_values
from .values import account, arm, asset_columns, balance_id, claimant_struct, plain, pool_strkey, signer_key, text51


def last_changes(changes: Iterable[Change], kind: xdr.LedgerEntryType) -> list[Change]:
    """In the order of the changes; what only tells an earlier state is none."""
    last: dict[bytes, Change] = {}
    for change in changes:
        if change.key.type == kind and change.type != CHANGE.LEDGER_ENTRY_STATE:
            last[change.key_xdr] = change
    return sorted(last.values(), key=lambda change: change.index)


def state_rows(changes: list[Change]) -> dict[str, list[dict[str, Any]]]:
    """Stream → rows of one ledger."""
    return {"account_signers": signer_rows(changes)} | {
        stream: [state_row(stream, change, read) for change in last_changes(changes, kind)]
        for stream, (kind, read) in STATES.items()
    }


def state_row(stream: str, change: Change, read: Callable[[Any, Any], dict[str, Any]]) -> dict[str, Any]:
    entry = change.entry
    row: dict[str, Any] = {
        **dict.fromkeys(column.name for column in SCHEMAS[stream]),
        **change.ledger.position_columns,
        "last_modified_ledger": plain(entry.last_modified_ledger_seq) if entry is not None else None,
        "ledger_entry_change": int(change.type),
        "deleted": entry is None,
        "ledger_key_hash": change.key_hash,
        "ledger_entry_xdr": entry.to_xdr_bytes() if entry is not None else None,
    }
    if "sponsor" in row:
        row["sponsor"] = sponsor(entry)
    values = read(arm(change.key), arm(entry.data) if entry is not None else None)
    assert values.keys() <= row.keys(), f"not columns of {stream}: {sorted(values.keys() - row.keys())}"
    return row | values


def signer_rows(changes: list[Change]) -> list[dict[str, Any]]:
    """Expected rows of ``account_signers``: of accounts in the order of their last changes; signers lost come first."""
    rows = []
    of_account: dict[bytes, list[Change]] = {}
    for change in changes:
        of_account.setdefault(change.key_xdr, []).append(change)
    for last in last_changes(changes, TYPE.ACCOUNT):
        named: dict[str, None] = {}
        for change in of_account[last.key_xdr]:
            if change.index <= last.index:
                for signer in signers(change.entry):
                    named.pop(signer, None)
                    named[signer] = None
        left = signers(last.entry)
        for signer in named:
            weight, its_sponsor = left.get(signer, (None, None))
            rows.append(
                {
                    **last.ledger.position_columns,
                    "account_id": account(last.key.account.account_id),
                    "signer": signer,
                    "weight": weight,
                    "sponsor": its_sponsor,
                    "last_modified_ledger": plain(last.entry.last_modified_ledger_seq) if last.entry else None,
                    "ledger_entry_change": int(last.type),
                    "deleted": signer not in left,
                    "ledger_key_hash": last.key_hash,
                }
            )
    return rows


def signers(entry: Any) -> dict[str, tuple[int, str | None]]:
    """Signer → weight and sponsor, of an account or of none."""
    if entry is None:
        return {}
    body = entry.data.account
    found = {}
    if plain(body.thresholds)[0] > 0:
        found[str(account(body.account_id))] = (plain(body.thresholds)[0], None)
    v2 = body.ext.v1.ext.v2 if body.ext.v1 is not None else None
    sponsors = [each.sponsorship_descriptor for each in v2.signer_sponsoring_i_ds] if v2 is not None else []
    for signer, its_sponsor in zip(body.signers, sponsors or [None] * len(body.signers), strict=True):
        key = signer_key(signer.key)
        found.pop(key, None)
        found[key] = (plain(signer.weight), account(its_sponsor))
    return found


def liabilities(entry: Any) -> dict[str, Any]:
    if entry.ext.v1 is None:
        return {}
    owed = entry.ext.v1.liabilities
    return {"buying_liabilities": plain(owed.buying), "selling_liabilities": plain(owed.selling)}


def account_values(key: Any, entry: Any) -> dict[str, Any]:
    row = {"account_id": account(key.account_id)}
    if entry is None:
        return row
    master, low, medium, high = plain(entry.thresholds)
    row |= {
        "balance": plain(entry.balance),
        **liabilities(entry),
        "sequence_number": plain(entry.seq_num),
        "num_subentries": plain(entry.num_sub_entries),
        "inflation_destination": account(entry.inflation_dest),
        "flags": plain(entry.flags),
        "home_domain": text51(plain(entry.home_domain)),
        "master_weight": master,
        "threshold_low": low,
        "threshold_medium": medium,
        "threshold_high": high,
    }
    v2 = entry.ext.v1.ext.v2 if entry.ext.v1 is not None else None
    if v2 is not None:
        row |= {"num_sponsored": plain(v2.num_sponsored), "num_sponsoring": plain(v2.num_sponsoring)}
        if v2.ext.v3 is not None:
            row |= {"sequence_ledger": plain(v2.ext.v3.seq_ledger), "sequence_time": plain(v2.ext.v3.seq_time)}
    return row


def line_values(key: Any, entry: Any) -> dict[str, Any]:
    pool = key.asset.liquidity_pool_id
    row = {
        "account_id": account(key.account_id),
        **asset_columns("asset", key.asset),
        "liquidity_pool_id": pool_strkey(plain(pool)) if pool is not None else None,
    }
    if entry is not None:
        row |= {"balance": plain(entry.balance), "trust_line_limit": plain(entry.limit), **liabilities(entry)}
        row["flags"] = plain(entry.flags)
    return row


def offer_values(key: Any, entry: Any) -> dict[str, Any]:
    row = {"seller_id": account(key.seller_id), "offer_id": plain(key.offer_id)}
    if entry is not None:
        row |= {
            **asset_columns("selling_asset", entry.selling),
            **asset_columns("buying_asset", entry.buying),
            "amount": plain(entry.amount),
            "price_n": plain(entry.price.n),
            "price_d": plain(entry.price.d),
            "flags": plain(entry.flags),
        }
    return row


def balance_values(key: Any, entry: Any) -> dict[str, Any]:
    row = {"balance_id": balance_id(key.balance_id)}
    if entry is not None:
        row |= {
            "claimants": [claimant_struct(claimant) for claimant in entry.claimants],
            **asset_columns("asset", entry.asset),
            "asset_amount": plain(entry.amount),
            "flags": plain(entry.ext.v1.flags) if entry.ext.v1 is not None else None,
        }
    return row


def pool_values(key: Any, entry: Any) -> dict[str, Any]:
    row = {"liquidity_pool_id": pool_strkey(plain(key.liquidity_pool_id))}
    if entry is not None:
        pool = entry.body.constant_product
        row |= {
            "type": entry.body.type.name.removeprefix("LIQUIDITY_POOL_").lower(),
            "fee": plain(pool.params.fee),
            "trustline_count": plain(pool.pool_shares_trust_line_count),
            "pool_share_count": plain(pool.total_pool_shares),
            **asset_columns("asset_a", pool.params.asset_a),
            "asset_a_amount": plain(pool.reserve_a),
            **asset_columns("asset_b", pool.params.asset_b),
            "asset_b_amount": plain(pool.reserve_b),
        }
    return row


STATES = {
    "accounts": (TYPE.ACCOUNT, account_values),
    "trust_lines": (TYPE.TRUSTLINE, line_values),
    "offers": (TYPE.OFFER, offer_values),
    "claimable_balances": (TYPE.CLAIMABLE_BALANCE, balance_values),
    "liquidity_pools": (TYPE.LIQUIDITY_POOL, pool_values),
    "config_settings": (TYPE.CONFIG_SETTING, setting_values),
}

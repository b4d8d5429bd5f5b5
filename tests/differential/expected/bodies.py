"""The columns of ``operations`` that each operation type fills, one function per type."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from stellar_sdk import xdr
from stellar_sdk.xdr import OperationType

from .join import Operation
from .soroban import extend_footprint_ttl, invoke_host_function
from .values import (
    account,
    asset_code,
    asset_columns,
    asset_struct,
    balance_id,
    claimant_struct,
    digest,
    muxed,
    muxed_columns,
    plain,
    pool_strkey,
    signer_key,
    text51,
)

Columns = dict[str, Any]

NATIVE = xdr.Asset(xdr.AssetType.ASSET_TYPE_NATIVE)


def nothing(op: Operation) -> Columns:
    return {}


def create_account(op: Operation) -> Columns:
    balance = plain(op.body.starting_balance)
    return {
        "destination": account(op.body.destination),
        **asset_columns("asset", NATIVE),
        "amount": balance,
        "starting_balance": balance,
    }


def payment(op: Operation) -> Columns:
    return {
        **muxed_columns("destination", op.body.destination),
        **asset_columns("asset", op.body.asset),
        "amount": plain(op.body.amount),
    }


def path_payment(op: Operation) -> Columns:
    """What both kinds have in common."""
    return {
        **muxed_columns("destination", op.body.destination),
        **asset_columns("asset", op.body.dest_asset),
        **asset_columns("source_asset", op.body.send_asset),
        "path": [asset_struct(asset) for asset in op.body.path],
    }


def strict_receive(op: Operation) -> Columns:
    return {
        **path_payment(op),
        "amount": plain(op.body.dest_amount),
        "source_amount": sent_amount(op.effect) if op.effect is not None else None,
        "source_max": plain(op.body.send_max),
    }


def strict_send(op: Operation) -> Columns:
    return {
        **path_payment(op),
        "amount": plain(op.effect.last.amount) if op.effect is not None else None,
        "source_amount": plain(op.body.send_amount),
        "destination_min": plain(op.body.dest_min),
    }


def sent_amount(success: Any) -> int:
    """What a strict-receive took: all that the first hop's offers bought, or what arrived if no hop traded."""
    atoms = [atom.v0 or atom.order_book or atom.liquidity_pool for atom in success.offers]
    if not atoms:
        return int(plain(success.last.amount))
    sent = 0
    for atom in atoms:
        if atom.asset_bought != atoms[0].asset_bought:
            break
        sent += plain(atom.amount_bought)
    return sent


def account_merge(op: Operation) -> Columns:
    # The destination is the body's own arm, the merged balance the result's.
    return {
        **muxed_columns("destination", op.body),
        **asset_columns("asset", NATIVE),
        "amount": plain(op.effect),
    }


def offer(op: Operation, amount: Any, offer_id: Any) -> Columns:
    effect = op.effect.offer if op.effect is not None else None
    is_created = effect is not None and effect.effect == xdr.ManageOfferEffect.MANAGE_OFFER_CREATED
    return {
        **asset_columns("selling_asset", op.body.selling),
        **asset_columns("buying_asset", op.body.buying),
        "amount": plain(amount),
        "offer_id": plain(offer_id),
        "created_offer_id": plain(effect.offer.offer_id) if is_created else None,
        "price_n": plain(op.body.price.n),
        "price_d": plain(op.body.price.d),
    }


def manage_sell_offer(op: Operation) -> Columns:
    return offer(op, op.body.amount, op.body.offer_id)


def manage_buy_offer(op: Operation) -> Columns:
    return offer(op, op.body.buy_amount, op.body.offer_id)


def create_passive_sell_offer(op: Operation) -> Columns:
    return offer(op, op.body.amount, None)


def set_options(op: Operation) -> Columns:
    body = op.body
    return {
        "inflation_destination": account(body.inflation_dest),
        "clear_flags": plain(body.clear_flags),
        "set_flags": plain(body.set_flags),
        "master_key_weight": plain(body.master_weight),
        "low_threshold": plain(body.low_threshold),
        "med_threshold": plain(body.med_threshold),
        "high_threshold": plain(body.high_threshold),
        "home_domain": text51(plain(body.home_domain)),
        "signer_key": signer_key(body.signer.key) if body.signer is not None else None,
        "signer_weight": plain(body.signer.weight) if body.signer is not None else None,
    }


def change_trust(op: Operation) -> Columns:
    columns = {**asset_columns("asset", op.body.line), "limit": plain(op.body.limit)}
    if op.body.line.liquidity_pool is None:
        return columns
    parameters = op.body.line.liquidity_pool
    pool = parameters.constant_product
    return {
        **columns,
        "liquidity_pool_id": pool_strkey(digest(parameters)),
        **asset_columns("reserve_a_asset", pool.asset_a),
        **asset_columns("reserve_b_asset", pool.asset_b),
        "liquidity_pool_fee": plain(pool.fee),
    }


def allow_trust(op: Operation) -> Columns:
    short = op.body.asset.type == xdr.AssetType.ASSET_TYPE_CREDIT_ALPHANUM4
    return {
        "asset_type": "credit_alphanum4" if short else "credit_alphanum12",
        "asset_code": asset_code(op.body.asset.asset_code4 if short else op.body.asset.asset_code12),
        "asset_issuer": muxed(op.source)[0],
        "trustor": account(op.body.trustor),
        "authorize": plain(op.body.authorize),
    }


def manage_data(op: Operation) -> Columns:
    return {"data_name": text51(plain(op.body.data_name)), "data_value": plain(op.body.data_value)}


def bump_sequence(op: Operation) -> Columns:
    return {"bump_to": plain(op.body.bump_to)}


def create_claimable_balance(op: Operation) -> Columns:
    return {
        **asset_columns("asset", op.body.asset),
        "amount": plain(op.body.amount),
        "balance_id": balance_id(op.effect),
        "claimants": [claimant_struct(claimant) for claimant in op.body.claimants],
    }


def of_claimable_balance(op: Operation) -> Columns:
    return {"balance_id": balance_id(op.body.balance_id)}


def begin_sponsoring(op: Operation) -> Columns:
    return {"sponsored_id": account(op.body.sponsored_id)}


def revoke_sponsorship(op: Operation) -> Columns:
    if op.body.signer is not None:
        signer = op.body.signer
        return {
            "sponsorship_entry_type": "signer",
            "sponsorship_account": account(signer.account_id),
            "signer_key": signer_key(signer.signer_key),
        }
    key = op.body.ledger_key
    return {"sponsorship_entry_type": key.type.name.lower(), **sponsored_entry(key)}


def sponsored_entry(key: Any) -> Columns:
    """Whose entry a LedgerKey names, and which."""
    entry = xdr.LedgerEntryType
    match key.type:
        case entry.ACCOUNT:
            return {"sponsorship_account": account(key.account.account_id)}
        case entry.TRUSTLINE:
            asset = key.trust_line.asset
            pool = plain(asset.liquidity_pool_id)
            return {
                "sponsorship_account": account(key.trust_line.account_id),
                **asset_columns("asset", asset),
                "liquidity_pool_id": pool_strkey(pool) if pool is not None else None,
            }
        case entry.OFFER:
            return {
                "sponsorship_account": account(key.offer.seller_id),
                "offer_id": plain(key.offer.offer_id),
            }
        case entry.DATA:
            return {
                "sponsorship_account": account(key.data.account_id),
                "data_name": text51(plain(key.data.data_name)),
            }
        case entry.CLAIMABLE_BALANCE:
            return {"balance_id": balance_id(key.claimable_balance.balance_id)}
        case entry.LIQUIDITY_POOL:
            return {"liquidity_pool_id": pool_strkey(plain(key.liquidity_pool.liquidity_pool_id))}
    return {}


def clawback(op: Operation) -> Columns:
    return {
        **asset_columns("asset", op.body.asset),
        **muxed_columns("from_account", op.body.from_),
        "amount": plain(op.body.amount),
    }


def set_trust_line_flags(op: Operation) -> Columns:
    return {
        **asset_columns("asset", op.body.asset),
        "trustor": account(op.body.trustor),
        "clear_flags": plain(op.body.clear_flags),
        "set_flags": plain(op.body.set_flags),
    }


def liquidity_pool_deposit(op: Operation) -> Columns:
    return {
        "liquidity_pool_id": pool_strkey(plain(op.body.liquidity_pool_id)),
        "reserve_a_max_amount": plain(op.body.max_amount_a),
        "reserve_b_max_amount": plain(op.body.max_amount_b),
        "min_price_n": plain(op.body.min_price.n),
        "min_price_d": plain(op.body.min_price.d),
        "max_price_n": plain(op.body.max_price.n),
        "max_price_d": plain(op.body.max_price.d),
    }


def liquidity_pool_withdraw(op: Operation) -> Columns:
    return {
        "liquidity_pool_id": pool_strkey(plain(op.body.liquidity_pool_id)),
        "shares": plain(op.body.amount),
        "reserve_a_min_amount": plain(op.body.min_amount_a),
        "reserve_b_min_amount": plain(op.body.min_amount_b),
    }


BODIES: dict[OperationType, Callable[[Operation], Columns]] = {
    OperationType.CREATE_ACCOUNT: create_account,
    OperationType.PAYMENT: payment,
    OperationType.PATH_PAYMENT_STRICT_RECEIVE: strict_receive,
    OperationType.MANAGE_SELL_OFFER: manage_sell_offer,
    OperationType.CREATE_PASSIVE_SELL_OFFER: create_passive_sell_offer,
    OperationType.SET_OPTIONS: set_options,
    OperationType.CHANGE_TRUST: change_trust,
    OperationType.ALLOW_TRUST: allow_trust,
    OperationType.ACCOUNT_MERGE: account_merge,
    OperationType.INFLATION: nothing,
    OperationType.MANAGE_DATA: manage_data,
    OperationType.BUMP_SEQUENCE: bump_sequence,
    OperationType.MANAGE_BUY_OFFER: manage_buy_offer,
    OperationType.PATH_PAYMENT_STRICT_SEND: strict_send,
    OperationType.CREATE_CLAIMABLE_BALANCE: create_claimable_balance,
    OperationType.CLAIM_CLAIMABLE_BALANCE: of_claimable_balance,
    OperationType.BEGIN_SPONSORING_FUTURE_RESERVES: begin_sponsoring,
    OperationType.END_SPONSORING_FUTURE_RESERVES: nothing,
    OperationType.REVOKE_SPONSORSHIP: revoke_sponsorship,
    OperationType.CLAWBACK: clawback,
    OperationType.CLAWBACK_CLAIMABLE_BALANCE: of_claimable_balance,
    OperationType.SET_TRUST_LINE_FLAGS: set_trust_line_flags,
    OperationType.LIQUIDITY_POOL_DEPOSIT: liquidity_pool_deposit,
    OperationType.LIQUIDITY_POOL_WITHDRAW: liquidity_pool_withdraw,
    OperationType.INVOKE_HOST_FUNCTION: invoke_host_function,
    OperationType.EXTEND_FOOTPRINT_TTL: extend_footprint_ttl,
    OperationType.RESTORE_FOOTPRINT: nothing,
}

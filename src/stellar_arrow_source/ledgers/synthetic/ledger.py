"""Closes one ledger after another: LedgerCloseMeta V2 with true hashes, from the simulated world."""

from __future__ import annotations

from hashlib import sha256
from random import Random

from stellar_sdk.xdr import StellarValueType, TxSetComponentType

from stellar_arrow_source.ledgers.synthetic.packing import (
    VOID,
    account_id,
    array,
    i64,
    opaque,
    some,
    u32,
    u64,
)
from stellar_arrow_source.ledgers.synthetic.transactions import Transaction
from stellar_arrow_source.ledgers.synthetic.world import XLM, World

PROTOCOL = 24
FIRST_CLOSE_TIME = 1_759_275_300  # 2025-09-30T23:35:00Z: the month ends with the 300th ledger
SECONDS_PER_LEDGER = 5

_TOTAL_COINS = 50_001_806_812 * XLM
_BASE_RESERVE = XLM // 2
_MAX_TX_SET_SIZE = 1_000
_EMPTY_EVERY = 97  # ledgers; one without transactions
_SURGE_EVERY = 40  # ledgers; one with a base fee above the minimum
_CLUSTERS = 2
_SKIPS = (50, 5_000, 50_000, 500_000)  # ledgers between two values of each slot of the header's skip list


def close_ledger(world: World, number: int, transactions: int) -> bytes:
    """Close the next ledger of the world.

    Args:
        number: 0-based place of the ledger in the synthetic history, which sets its close time.
        transactions: how many there are in an average ledger.

    Returns:
        XDR of LedgerCloseMeta.
    """
    world.sequence += 1
    rng = Random(f"{world.seed}/ledger/{world.sequence}")
    close_time = FIRST_CLOSE_TIME + SECONDS_PER_LEDGER * number
    base_fee = 100 if world.sequence % _SURGE_EVERY else 250
    applied = _apply(world, rng, number, transactions, base_fee, close_time)
    tx_set = _transaction_set(world, applied, base_fee)
    pairs = [transaction.result_pair() for transaction in applied]
    header = _header(world, rng, sha256(tx_set).digest(), sha256(array(pairs)).digest(), close_time)
    world.previous_hash = sha256(header).digest()
    return b"".join(
        (
            u32(2),
            some(VOID + i64(11_800 + number)),  # LedgerCloseMetaExtV1.sorobanFeeWrite1KB
            world.previous_hash,
            header,
            VOID,
            tx_set,
            array([transaction.result_meta(pair) for transaction, pair in zip(applied, pairs, strict=True)]),
            VOID,  # upgradesProcessing
            VOID,  # scpInfo
            u64(1_000_000_000 + 96 * len(world.token_balances)),  # totalByteSizeOfLiveSorobanState
            VOID,  # evictedKeys
        )
    )


def _apply(
    world: World, rng: Random, number: int, transactions: int, base_fee: int, close_time: int
) -> list[Transaction]:
    """The transactions in apply order: all are charged, then all are applied, then all are refunded."""
    count = int(transactions * (0.5 + rng.random()) + 0.5)
    if number % _EMPTY_EVERY == _EMPTY_EVERY - 1:
        count = 0
    sources = rng.sample(world.users, count)
    drawn = [Transaction.draw(world, rng, source, base_fee) for source in sources]
    ordered = sorted(drawn, key=lambda transaction: transaction.soroban)
    for transaction in ordered:
        transaction.charge(world)
    for transaction in ordered:
        transaction.apply(world, rng, close_time)
    for transaction in ordered:
        transaction.give_back(world)
    return ordered


def _transaction_set(world: World, transactions: list[Transaction], base_fee: int) -> bytes:
    """``GeneralizedTransactionSet``: a classic phase, then a parallel one of a single stage."""
    fee = some(i64(base_fee))
    classic = _by_hash([one.envelope for one in transactions if not one.soroban])
    parallel = _by_hash([one.envelope for one in transactions if one.soroban])
    component = u32(TxSetComponentType.TXSET_COMP_TXS_MAYBE_DISCOUNTED_FEE) + fee + array(classic)
    clusters = [array(part) for start in range(_CLUSTERS) if (part := parallel[start::_CLUSTERS])]
    stages = array([array(clusters)] if clusters else [])
    phases = [VOID + array([component] if classic else []), u32(1) + fee + stages]
    return u32(1) + world.previous_hash + array(phases)


def _by_hash(envelopes: list[bytes]) -> list[bytes]:
    return sorted(envelopes, key=lambda envelope: sha256(envelope).digest())


def _header(world: World, rng: Random, tx_set: bytes, results: bytes, close_time: int) -> bytes:
    """``LedgerHeader``; the bucket list is not simulated, its hash is drawn."""
    buckets, node = rng.randbytes(32), sha256(f"{world.seed}/node".encode()).digest()
    signed = u32(StellarValueType.STELLAR_VALUE_SIGNED) + account_id(node) + opaque(rng.randbytes(64))
    value = tx_set + u64(close_time) + VOID + signed
    _skip(world, buckets)
    return b"".join(
        (
            u32(PROTOCOL),
            world.previous_hash,
            value,
            results,
            buckets,
            u32(world.sequence),
            i64(_TOTAL_COINS),
            i64(world.fee_pool),
            u32(0),  # inflationSeq
            u64(world.id_pool),
            u32(100),  # baseFee
            u32(_BASE_RESERVE),
            u32(_MAX_TX_SET_SIZE),
            *world.skip_list,
            VOID,
        )
    )


def _skip(world: World, buckets: bytes) -> None:
    """Keep bucket-list hashes of the past: each slot takes over from the one before it in its own rhythm."""
    for slot in reversed(range(1, len(_SKIPS))):
        if world.sequence % _SKIPS[slot] == sum(_SKIPS[:slot]):
            world.skip_list[slot] = world.skip_list[slot - 1]
    if world.sequence % _SKIPS[0] == 0:
        world.skip_list[0] = buckets

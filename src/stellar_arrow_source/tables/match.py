"""Joins transactions to their results, by hash: the transaction set has an order of its own.

The hash starts from the network id, so the join also proves which network the ledgers belong to.
Source: TransactionSignaturePayload; CAP-15 for fee bumps.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stellar_arrow_source.errors import NetworkMismatchError
from stellar_arrow_source.networks import KNOWN_NETWORKS, network_id, network_name
from stellar_arrow_source.tables.expressions import At, End, Expression
from stellar_arrow_source.tables.frame import RESULT_PAIR, Batch, Frame
from stellar_arrow_source.tables.relations import ENVELOPE, TX_RESULT
from stellar_arrow_source.xdr.positions import match_hashes
from stellar_arrow_source.xdr.sha256 import transaction_hashes

_ENVELOPE = At(ENVELOPE)
_SIGNED_END = End(ENVELOPE, "v0.tx", "v1.tx", "feeBump.tx")
_ENVELOPE_TYPE_TX_V0 = 0

MATCH_NEEDS: tuple[Expression, ...] = (_ENVELOPE, _SIGNED_END, RESULT_PAIR)


def match_transactions(batch: Batch, passphrase: str | None) -> str | None:
    """Find the envelope of every result and store them in ``batch``.

    Args:
        batch: walked ledgers.
        passphrase: of the network, or None to try the known ones.

    Returns:
        the passphrase; None while it is unknown and the ledgers hold no transaction.

    Raises:
        NetworkMismatchError: the transactions belong to another network.
        DecodeError: a result names a transaction that the ledger does not hold, or the other way round.
    """
    _refuse_surplus(batch)
    if passphrase is None:
        if not batch.results.length:
            return None
        passphrase = _recognise(batch)
    if passphrase is None:
        names = ", ".join(KNOWN_NETWORKS)
        raise NetworkMismatchError(
            f"ledger {batch.sequences[0]} belongs to none of the known networks ({names}); "
            "give the passphrase of its network as NETWORK_PASSPHRASE"
        )
    matched = _match(batch, passphrase)
    if (matched < 0).any():
        _explain(batch, passphrase, matched < 0)
    batch.envelope_of_result, batch.network_id = matched, network_id(passphrase)
    return passphrase


def _refuse_surplus(batch: Batch) -> None:
    envelopes = np.diff(batch.arena.ledger_rows(ENVELOPE.name))
    results = np.diff(batch.arena.ledger_rows(TX_RESULT.name))
    if (envelopes != results).any():
        index = int(np.flatnonzero(envelopes != results)[0])
        reason = f"{results[index]} results for {envelopes[index]} transactions"
        raise batch.error(reason, index, int(batch.bounds[index, 0]), "txProcessing")


def _recognise(batch: Batch) -> str | None:
    return next((known for known in KNOWN_NETWORKS.values() if (_match(batch, known) >= 0).any()), None)


def _match(batch: Batch, passphrase: str) -> NDArray[np.int64]:
    arena = batch.arena
    envelope_rows = arena.ledger_rows(ENVELOPE.name)
    envelopes = Frame(
        batch,
        np.zeros(arena.count(ENVELOPE.name), np.int64),
        {ENVELOPE.name: np.arange(arena.count(ENVELOPE.name), dtype=np.int64)},
    )
    hashes = transaction_hashes(
        batch.words,
        network_id(passphrase),
        envelopes.positions(_ENVELOPE),
        envelopes.positions(_SIGNED_END),
        envelopes.words(_ENVELOPE) == _ENVELOPE_TYPE_TX_V0,
    )
    largest = int(np.diff(envelope_rows).max(initial=1))
    matched = np.empty(arena.count(TX_RESULT.name), np.int64)
    match_hashes(
        batch.words,
        hashes,
        envelope_rows,
        arena.ledger_rows(TX_RESULT.name),
        batch.results.positions(RESULT_PAIR),
        matched,
        np.empty(4 * largest + 16, np.int64),
        np.empty(largest, np.int64),
    )
    return matched


def _explain(batch: Batch, passphrase: str, missing: NDArray[np.bool_]) -> None:
    ledger = int(batch.ledger_of_result[np.flatnonzero(missing)[0]])
    if missing[batch.ledger_of_result == ledger].all():
        actual = _recognise(batch)
        found = f"of {network_name(actual)} ({actual!r})" if actual else "of another network"
        raise NetworkMismatchError(
            f"ledger {batch.sequences[ledger]} is {found}, not of {network_name(passphrase)} ({passphrase!r}); "
            "give the passphrase of the network that the source serves as NETWORK_PASSPHRASE"
        )
    raise batch.error(
        "a result names a transaction that the ledger does not hold",
        ledger,
        int(batch.results.positions(RESULT_PAIR)[np.flatnonzero(missing)[0]]),
        "TransactionResultMeta.result.transactionHash",
    )

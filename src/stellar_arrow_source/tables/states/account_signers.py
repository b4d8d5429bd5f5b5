"""The stream ``account_signers``: who may sign for the accounts that a ledger changed.

As in Horizon, an account's signers are its own key, the master key, while that has a weight, and the Signers of its
AccountEntry. Whoever takes the rows in order and keeps the latest of each account and signer holds the signers of the
accounts: a signer that an account had before a change of the ledger and that its last change leaves out, or that is
lost with the account, gives a row that says so.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np
import pyarrow as pa
from stellar_sdk.xdr import LedgerEntryChangeType, LedgerEntryType

from stellar_arrow_source.tables.changes import (
    CHANGE_NEEDS,
    CHANGE_TYPE,
    KEY_NEEDS,
    change_types,
    changes,
    entry_types,
    in_entry,
    key_hashes,
    take,
)  # fmt: skip
from stellar_arrow_source.tables.columns import account, derived, strings
from stellar_arrow_source.tables.common import LEDGER_COLUMNS
from stellar_arrow_source.tables.expressions import At, FirstOf, Plus, Where
from stellar_arrow_source.tables.frame import Batch, Frame, Integers, Mask
from stellar_arrow_source.tables.ledger_entry_changes import LEDGER_KEY_HASH, OWNER
from stellar_arrow_source.tables.relations import CHANGE, SIGNER, SIGNER_SPONSOR
from stellar_arrow_source.tables.spec import Stream
from stellar_arrow_source.tables.states.common import CHANGE_COLUMNS, last_rows
from stellar_arrow_source.xdr import readers
from stellar_arrow_source.xdr.sha256 import hash_spans

_STATE: Final = int(LedgerEntryChangeType.LEDGER_ENTRY_STATE)
_ACCOUNT_WORDS: Final = 9  # AccountID: the key's type, then 32 bytes; as a SignerKey of that type
_THRESHOLDS: Final = in_entry({LedgerEntryType.ACCOUNT: "account.thresholds"})
_LISTED: Final = At(SIGNER)
_LISTED_WEIGHT: Final = At(SIGNER, "weight")
_DESCRIPTOR: Final = At(SIGNER_SPONSOR)
_SPONSOR: Final = Where(Plus(_DESCRIPTOR, 2), lambda frame: frame.words(_DESCRIPTOR) == 1)


def _master_weights(frame: Frame) -> Integers:
    weights: Integers = frame.words(_THRESHOLDS) >> 24
    return weights


def _signers(batch: Batch) -> Frame:
    """One row per account changed and signer that it has after the ledger, or had before one of its changes.

    Raises:
        DecodeError: an account lists another number of sponsors than of signers.
    """
    _check_sponsors(batch)
    every = changes(batch)
    made = take(every, np.flatnonzero(entry_types(every) == LedgerEntryType.ACCOUNT))
    final = _final_changes(made, last_rows(key_hashes(made), made.ledger))
    # the signers that the changes up to the last name: the master key, then those listed
    change, listed, start, end = _mentions(made, final)
    order = np.argsort(change, kind="stable")
    change, listed, start, end = (part[order] for part in (change, listed, start, end))
    # of the mentions of each signer the last tells: it is gone unless that is the account's last change
    last = last_rows(hash_spans(batch.words, start, end), final[change])
    chosen = np.flatnonzero(last == np.arange(len(last)))
    chosen = chosen[np.argsort(final[change[chosen]], kind="stable")]
    change, listed = change[chosen], listed[chosen]
    kept = take(made, final[change])
    kept.rows[SIGNER.name] = listed
    deleted = change != final[change]
    kept.rows[SIGNER_SPONSOR.name] = np.where(deleted, -1, _sponsor_rows(batch, kept.rows[CHANGE.name], listed))
    kept.once("deleted", lambda: deleted)
    return kept


def _final_changes(made: Frame, group: Integers) -> Integers:
    """int64 (rows,): the last change of each row's account in its ledger; -1 where the ledger but tells a state."""
    final = np.full(made.length, -1, np.int64)
    own = np.flatnonzero(change_types(made) != _STATE)
    final[group[own]] = own  # of several the last is kept
    return final[group]


def _last_masters(made: Frame, final: Integers) -> Integers:
    """int64: of each account the last row, up to its ``final`` one, in which its master key has a weight."""
    ends = final == np.arange(made.length)
    ended = np.flatnonzero(ends)
    weighs = _master_weights(take(made, ended)) > 0
    # nearly always the last change says it; else all those before have to be looked at
    masters = ended[weighs]
    without = np.zeros(made.length + 1, np.bool_)
    without[ended[~weighs]] = True
    before = np.flatnonzero(without[final] & (np.arange(made.length) < final))
    before = before[_master_weights(take(made, before)) > 0]
    last = np.full(made.length, -1, np.int64)
    last[final[before]] = before
    return np.concatenate([masters, last[last >= 0]])


def _mentions(made: Frame, final: Integers) -> tuple[Integers, Integers, Integers, Integers]:
    """(row of ``made``, row of SIGNER or -1 for the master key, start and end of its SignerKey) of signers.

    Those of the changes up to the account's last one, ``final``; of the master key only the last mention.
    """
    batch = made.batch
    row_of_change = np.empty(batch.arena.count(CHANGE.name), np.int64)
    row_of_change[made.rows[CHANGE.name]] = np.arange(made.length)
    change = row_of_change[batch.arena.rows(SIGNER.name)[:, 1]]
    rows = np.flatnonzero(change <= final[change])
    listed = Frame(batch, np.zeros(len(rows), np.int64), {SIGNER.name: rows})
    masters = _last_masters(made, final)
    keys_of_masters = take(made, masters).positions(OWNER)
    return (
        np.concatenate([masters, change[rows]]),
        np.concatenate([np.full(len(masters), -1, np.int64), rows]),
        np.concatenate([keys_of_masters, listed.positions(_LISTED)]),
        np.concatenate([keys_of_masters + _ACCOUNT_WORDS, listed.positions(_LISTED_WEIGHT)]),
    )


def _sponsor_rows(batch: Batch, change: Integers, listed: Integers) -> Integers:
    """The row of SIGNER_SPONSOR that stands where the signer does; -1 for master keys and where none is listed."""
    first, _ = batch.runs(SIGNER, CHANGE)
    first_sponsor, sponsors = batch.runs(SIGNER_SPONSOR, CHANGE)
    sponsored = (listed >= 0) & (sponsors[change] > 0)
    return np.where(sponsored, first_sponsor[change] + listed - first[change], -1)


def _check_sponsors(batch: Batch) -> None:
    signers, sponsors = batch.runs(SIGNER, CHANGE)[1], batch.runs(SIGNER_SPONSOR, CHANGE)[1]
    bad = (sponsors > 0) & (sponsors != signers)
    if bad.any():
        every = changes(batch)
        row = int(np.flatnonzero(bad[every.rows[CHANGE.name]])[0])
        change = int(every.rows[CHANGE.name][row])
        raise batch.error(
            f"{sponsors[change]} sponsors of the {signers[change]} signers of an account",
            int(every.ledger[row]),
            int(every.positions(CHANGE_TYPE)[row]),
            "LedgerEntryChange.AccountEntry.ext.v1.ext.v2.signerSponsoringIDs",
        )


def _deleted(frame: Frame) -> Mask:
    return frame.once("deleted", lambda: np.zeros(frame.length, np.bool_))


def _read_weight(frame: Frame) -> pa.Array:
    weights = np.where(frame.rows[SIGNER.name] >= 0, frame.words(_LISTED_WEIGHT), _master_weights(frame))
    return readers.from_numpy(weights.astype(np.uint32), pa.uint32(), ~_deleted(frame))


ACCOUNT_SIGNERS: Final = Stream(
    name="account_signers",
    description=(
        "one row per signer of an account, the master key included while it has a weight, and ledger that changed the "
        "account; also of signers that it lost"
    ),
    frame=_signers,
    reads=(*CHANGE_NEEDS, *KEY_NEEDS, OWNER, _THRESHOLDS, _LISTED, _LISTED_WEIGHT, _DESCRIPTOR),
    columns=(
        *LEDGER_COLUMNS,
        account("account_id", Plus(OWNER, 1), "the account"),
        strings(
            "signer",
            readers.signer_key,
            FirstOf(_LISTED, OWNER),
            "who may sign: a G, T, X or P strkey; the account's own G strkey is the master key",
        ),
        derived(
            "weight",
            pa.uint32(),
            _read_weight,
            "weight of the signature; null where the signer is deleted",
            nullable=True,
        ),
        account("sponsor", _SPONSOR, "account that sponsors the signer's reserve", nullable=True),
        *CHANGE_COLUMNS,
        derived(
            "deleted",
            pa.bool_(),
            lambda frame: readers.from_bool(_deleted(frame)),
            "whether the ledger left the account no such signer",
        ),
        replace(LEDGER_KEY_HASH, description="SHA-256 of the account's LedgerKey"),
    ),
)

"""Effects of sponsorships of entries and signers (CAP-33), told by the entries' changes."""

from __future__ import annotations

import numpy as np

from stellar_arrow_source.tables.effects import signers as lists
from stellar_arrow_source.tables.effects.entries import (
    ACCOUNT,
    CLAIMABLE_BALANCE,
    DATA,
    TRUSTLINE,
    Mark,
    after,
    before,
    data_at,
    mark_at,
    moved_at,
)  # fmt: skip
from stellar_arrow_source.tables.effects.layout import EffectType, Fact
from stellar_arrow_source.tables.effects.signers import compare, read_signers, same_signers, signer
from stellar_arrow_source.tables.effects.work import Work, begin, begin_source, put_asset, same_words
from stellar_arrow_source.xdr.jit import helper, load_int

_NONE = -1
_CREATED_TYPES = np.array(
    [
        EffectType.ACCOUNT_SPONSORSHIP_CREATED,
        EffectType.TRUSTLINE_SPONSORSHIP_CREATED,
        _NONE,  # offers: Horizon tells of none
        EffectType.DATA_SPONSORSHIP_CREATED,
        EffectType.CLAIMABLE_BALANCE_SPONSORSHIP_CREATED,
    ],
    np.int64,
)
"""By LedgerEntryType; one for an update and one for the end follow each."""
_UPDATED, _REMOVED = 1, 2
_BEFORE, _AFTER = lists.BEFORE, lists.AFTER
_AT, _SPONSOR = lists.AT, lists.SPONSOR


@helper
def _step(w: Work, old: int, new: int) -> int:
    """From one sponsor's key to another's, 0 for none: 0 created, 1 updated, 2 removed; -1 for neither."""
    if old == 0:
        return _NONE if new == 0 else 0
    if new == 0:
        return _REMOVED
    return _NONE if same_words(w.words, old, new, 8) else _UPDATED


@helper
def _put_sponsors(w: Work, row: int, step: int, old: int, new: int) -> None:
    if step == 0:
        w.facts[Fact.SPONSOR, row] = new
    else:
        w.facts[Fact.NEW_SPONSOR, row] = new
        w.facts[Fact.FORMER_SPONSOR, row] = old


@helper
def _sponsor_at(w: Work, change: int) -> int:
    """The key of the entry's sponsor; 0 for none."""
    at = mark_at(w, change, Mark.SPONSOR)
    return at + 1 if at > 0 else 0


@helper
def sponsor_entry(w: Work, o: int, k: int) -> None:
    """The sponsor of the entry that the k-th move changed."""
    d = moved_at(w, k)
    kind = load_int(w.words, d)
    old, new = _sponsor_at(w, before(w, k)), _sponsor_at(w, after(w, k))
    step = _step(w, old, new)
    if kind > CLAIMABLE_BALANCE or step == _NONE:
        return
    effect = _CREATED_TYPES[kind] + step
    if kind in (ACCOUNT, TRUSTLINE):
        row = begin(w, effect, o, d + 2, 0)
        if kind == TRUSTLINE:
            put_asset(w, row, d + 10)
    else:
        row = begin_source(w, effect, o)
        if kind == DATA:
            w.facts[Fact.DATA_NAME, row] = d + 10
        else:
            w.facts[Fact.BALANCE, row] = d + 1
    _put_sponsors(w, row, step, old, new)


@helper
def sponsor_signers(w: Work, o: int, k: int) -> None:
    """The sponsors of the signers of the account that the k-th move changed."""
    if load_int(w.words, moved_at(w, k)) != ACCOUNT:
        return
    old, new = before(w, k), after(w, k)
    olds, news = mark_at(w, old, Mark.SIGNER_SPONSORS), mark_at(w, new, Mark.SIGNER_SPONSORS)
    if olds == 0 and news == 0:
        return
    p, q = mark_at(w, old, Mark.THRESHOLDS), mark_at(w, new, Mark.THRESHOLDS)
    if p > 0 and q > 0 and same_signers(w.words, p, q, olds, news):
        return
    old_count = read_signers(w, _BEFORE, data_at(w, old) + 1 if p > 0 else 0, p, olds, True)
    new_count = read_signers(w, _AFTER, data_at(w, new) + 1 if q > 0 else 0, q, news, True)
    i, j = 0, 0
    while i < old_count or j < new_count:
        order = -1 if j == new_count else 1
        if i < old_count and j < new_count:
            order = compare(w, _BEFORE, i, _AFTER, j)
        at, former, latter = 0, 0, 0
        if order <= 0:
            at, former = signer(w, _BEFORE, i, _AT), signer(w, _BEFORE, i, _SPONSOR)
            i += 1
        if order >= 0:
            at, latter = signer(w, _AFTER, j, _AT), signer(w, _AFTER, j, _SPONSOR)
            j += 1
        step = _step(w, former, latter)
        if step != _NONE:
            row = begin(w, EffectType.SIGNER_SPONSORSHIP_CREATED + step, o, moved_at(w, k) + 2, 0)
            w.facts[Fact.SIGNER, row] = at
            _put_sponsors(w, row, step, former, latter)

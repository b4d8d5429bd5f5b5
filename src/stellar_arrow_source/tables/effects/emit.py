"""Writes the effects of operations, in Horizon's order: ``emit_effects``.

Source: Horizon's processing of effects.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from stellar_sdk.xdr import OperationType

from stellar_arrow_source.tables.effects.balances import claim_balance, claw_back_balance, create_balance
from stellar_arrow_source.tables.effects.contracts import Events, change_footprint, tell_creations, tell_event
from stellar_arrow_source.tables.effects.entries import find_moves, is_told
from stellar_arrow_source.tables.effects.layout import NATIVE, SENT, EffectType, Fact, Given
from stellar_arrow_source.tables.effects.options import (
    allow_trust,
    bump_sequence,
    change_trust,
    manage_data,
    set_options,
    set_trust_line_flags,
)  # fmt: skip
from stellar_arrow_source.tables.effects.pools import change_pool, deposit_or_withdraw, revoke_pools, trade
from stellar_arrow_source.tables.effects.recipes import Table
from stellar_arrow_source.tables.effects.sponsorships import sponsor_entry, sponsor_signers
from stellar_arrow_source.tables.effects.work import (
    NATIVE_AT,
    Work,
    begin,
    first_signer,
    put_amount,
    put_asset,
)  # fmt: skip
from stellar_arrow_source.xdr.jit import Positions, Words, helper, kernel, load_int

_T = OperationType
_PAYOUT_WORDS = 11  # AccountID, amount
_POOL_ATOM = 2  # CLAIM_ATOM_TYPE_LIQUIDITY_POOL
_BY_CHANGES = np.zeros(64, np.bool_)
_BY_CHANGES[
    [
        _T.SET_OPTIONS, _T.CHANGE_TRUST, _T.ALLOW_TRUST, _T.SET_TRUST_LINE_FLAGS, _T.MANAGE_DATA, _T.BUMP_SEQUENCE,
        _T.LIQUIDITY_POOL_DEPOSIT, _T.LIQUIDITY_POOL_WITHDRAW, _T.INVOKE_HOST_FUNCTION, _T.EXTEND_FOOTPRINT_TTL,
        _T.RESTORE_FOOTPRINT,
    ]
] = True  # fmt: skip
"""Operation types that have effects by the changes of entries, besides what all may have."""


class Runs(NamedTuple):
    """int64 (operations,): the runs of rows of each operation's changes, claim atoms and events."""

    change: Positions
    changes: Positions
    atom: Positions
    atoms: Positions
    event: Positions
    events: Positions


@helper
def _follow(w: Work, o: int, r: int, recipes: Table, sent: Words) -> None:
    """The effect of recipe r, unless all facts that it shows are absent."""
    shown, absent = 0, 0
    for k in range(recipes.facts.shape[1]):
        if recipes.facts[r, k] >= 0:
            shown += 1
            absent += 1 if w.given[recipes.given[r, k], o] == 0 else 0
    if shown > 0 and absent == shown:
        return
    whose = recipes.whose[r]
    row = begin(w, recipes.type[r], o, w.given[whose, o], w.given[whose + 1, o])  # the id follows the key
    for k in range(recipes.facts.shape[1]):
        if recipes.facts[r, k] >= 0:
            w.facts[recipes.facts[r, k], row] = w.given[recipes.given[r, k], o]
    if recipes.asset[r] == NATIVE:
        w.facts[Fact.ASSET, row] = NATIVE_AT
    elif recipes.asset[r] >= 0:
        put_asset(w, row, w.given[recipes.asset[r], o])
    if recipes.amount[r] == SENT:
        put_amount(w, row, sent, 1 + 2 * o)
    elif recipes.amount[r] >= 0:
        put_amount(w, row, w.words, w.given[recipes.amount[r], o])


@helper
def _pay_out(w: Work, o: int) -> None:
    """What inflation gave to each."""
    payouts = w.given[Given.PAYOUTS, o]
    for k in range(load_int(w.words, payouts)):
        p = payouts + 1 + _PAYOUT_WORDS * k
        row = begin(w, EffectType.ACCOUNT_CREDITED, o, p + 1, 0)
        w.facts[Fact.ASSET, row] = NATIVE_AT
        put_amount(w, row, w.words, p + 9)


@helper
def _trades_with_pool(w: Work, atom: Positions, first: int, count: int) -> bool:
    for i in range(first, first + count):  # noqa: SIM110 - numba compiles no generator
        if load_int(w.words, atom[i]) == _POOL_ATOM:
            return True
    return False


@kernel
def emit_effects(
    w: Work, types: Positions, sent: Words, runs: Runs, atom: Positions, events: Events, recipes: Table
) -> None:
    """Write the effects of all operations.

    Args:
        types: int64 (operations,), ``OperationType``; -1 for what has no effect.
        sent: uint32 (1 + 2 * operations,), hypers from word 1 on: what a path payment took from its source.
        atom: int64, positions of all claim atoms.
    """
    for o in range(types.shape[0]):
        kind = types[o]
        if kind < 0:
            continue
        start, change, changes = w.used[0], runs.change[o], runs.changes[o]
        for r in range(recipes.first[kind], recipes.first[kind + 1]):
            _follow(w, o, r, recipes, sent)
        is_own = is_told(w, change, changes)
        n = 0
        if is_own or _BY_CHANGES[kind] or _trades_with_pool(w, atom, runs.atom[o], runs.atoms[o]):
            n = find_moves(w, change, changes)
        if kind == _T.CREATE_ACCOUNT:
            first_signer(w, o, w.given[Given.OTHER_ACCOUNT, o])
        elif kind == _T.SET_OPTIONS:
            set_options(w, o, n)
        elif kind == _T.CHANGE_TRUST:
            change_trust(w, o, n)
        elif kind == _T.ALLOW_TRUST:
            allow_trust(w, o)
            revoke_pools(w, o, n)
        elif kind == _T.SET_TRUST_LINE_FLAGS:
            set_trust_line_flags(w, o)
            revoke_pools(w, o, n)
        elif kind == _T.INFLATION:
            _pay_out(w, o)
        elif kind == _T.MANAGE_DATA:
            manage_data(w, o, n)
        elif kind == _T.BUMP_SEQUENCE:
            bump_sequence(w, o, n)
        elif kind == _T.CREATE_CLAIMABLE_BALANCE:
            create_balance(w, o, change, changes)
        elif kind == _T.CLAIM_CLAIMABLE_BALANCE:
            claim_balance(w, o, change, changes)
        elif kind == _T.CLAWBACK_CLAIMABLE_BALANCE:
            claw_back_balance(w, o, change, changes)
        elif kind == _T.LIQUIDITY_POOL_DEPOSIT:
            deposit_or_withdraw(w, EffectType.LIQUIDITY_POOL_DEPOSITED, o, n)
        elif kind == _T.LIQUIDITY_POOL_WITHDRAW:
            deposit_or_withdraw(w, EffectType.LIQUIDITY_POOL_WITHDREW, o, n)
        elif kind == _T.INVOKE_HOST_FUNCTION:
            for e in range(runs.event[o], runs.event[o] + runs.events[o]):
                tell_event(w, o, e, events)
            tell_creations(w, o, n)
        elif kind == _T.EXTEND_FOOTPRINT_TTL:
            change_footprint(w, EffectType.EXTEND_FOOTPRINT_TTL, o, n)
        elif kind == _T.RESTORE_FOOTPRINT:
            change_footprint(w, EffectType.RESTORE_FOOTPRINT, o, n)
        else:
            trade(w, o, n, atom, runs.atom[o], runs.atoms[o])
        if is_own:
            for k in range(n):
                sponsor_entry(w, o, k)
                sponsor_signers(w, o, k)
            for k in range(n):
                change_pool(w, o, k)
        capacity = w.facts.shape[1] - 1
        for row in range(start, min(w.used[0], capacity)):
            w.facts[Fact.INDEX, row] = row - start + 1

"""Effects of claimable balances."""

from __future__ import annotations

from stellar_arrow_source.tables.effects.entries import Mark, find_balance, mark_at
from stellar_arrow_source.tables.effects.layout import EffectType, Fact, Given
from stellar_arrow_source.tables.effects.work import Work, asset_size, begin, begin_moved, begin_source
from stellar_arrow_source.xdr.jit import Words, helper, load_int

_AND, _OR, _NOT, _BEFORE_ABSOLUTE_TIME = 1, 2, 3, 4  # ClaimPredicateType
_CLAWBACK_ENABLED = 1


@helper
def _after_predicate(words: Words, p: int) -> int:
    """Where the ClaimPredicate at p ends."""
    pending = 1
    while pending > 0:
        kind = load_int(words, p)
        p += 1
        pending -= 1
        if kind in (_AND, _OR, _NOT):
            pending += load_int(words, p)  # of an optional: 0 or 1
            p += 1
        elif kind >= _BEFORE_ABSOLUTE_TIME:
            p += 2
    return p


@helper
def _amount_at(w: Work, asset: int) -> int:
    """The amount of an entry follows its asset."""
    return asset + asset_size(w.words, asset) if asset > 0 else 0


@helper
def _put_clawback(w: Work, row: int, change: int) -> None:
    """Whether the balance's issuer may claw it back; of an entry without extension, no."""
    if change >= 0:
        flags = mark_at(w, change, Mark.FLAGS)
        enabled = flags > 0 and load_int(w.words, flags) & _CLAWBACK_ENABLED
        w.facts[Fact.CLAWBACK, row] = 2 if enabled else 1


@helper
def _tell(w: Work, o: int, change: int, balance: int, asset: int, amount: int, claimants: int) -> None:
    """The effects of a balance's creation, on the source and on each claimant."""
    row = begin_moved(w, EffectType.CLAIMABLE_BALANCE_CREATED, o, asset, amount)
    w.facts[Fact.BALANCE, row] = balance
    _put_clawback(w, row, change)
    staged_asset, staged_amount = w.facts[Fact.ASSET, row], w.facts[Fact.AMOUNT, row]
    p = claimants + 1
    for _ in range(load_int(w.words, claimants)):
        row = begin(w, EffectType.CLAIMABLE_BALANCE_CLAIMANT_CREATED, o, p + 2, 0)
        w.facts[Fact.BALANCE, row] = balance
        w.facts[Fact.ASSET, row] = staged_asset
        w.facts[Fact.AMOUNT, row] = staged_amount
        w.facts[Fact.PREDICATE, row] = p + 10  # after the claimant's type and AccountID
        p = _after_predicate(w.words, p + 10)


@helper
def tell_balance(w: Work, o: int, change: int, balance: int) -> None:
    """The effects of the creation of the balance, whose id is at ``balance``, in a change's entry."""
    asset = mark_at(w, change, Mark.ASSET)
    _tell(w, o, change, balance, asset, _amount_at(w, asset), balance + 9)


@helper
def create_balance(w: Work, o: int, first: int, count: int) -> None:
    """As the operation says: the entry holds its claimants' conditions with times made absolute."""
    asset, amount, balance = w.given[Given.ASSET, o], w.given[Given.AMOUNT, o], w.given[Given.BALANCE, o]
    _tell(w, o, find_balance(w, first, count, balance), balance, asset, amount, w.given[Given.CLAIMANTS, o])
    begin_moved(w, EffectType.ACCOUNT_DEBITED, o, asset, amount)


@helper
def claim_balance(w: Work, o: int, first: int, count: int) -> None:
    balance = w.given[Given.BALANCE, o]
    change = find_balance(w, first, count, balance)
    asset = mark_at(w, change, Mark.ASSET)
    row = begin_moved(w, EffectType.CLAIMABLE_BALANCE_CLAIMED, o, asset, _amount_at(w, asset))
    w.facts[Fact.BALANCE, row] = balance
    _put_clawback(w, row, change)
    begin_moved(w, EffectType.ACCOUNT_CREDITED, o, asset, _amount_at(w, asset))


@helper
def claw_back_balance(w: Work, o: int, first: int, count: int) -> None:
    """Horizon credits the issuer with what is burnt."""
    balance = w.given[Given.BALANCE, o]
    row = begin_source(w, EffectType.CLAIMABLE_BALANCE_CLAWED_BACK, o)
    w.facts[Fact.BALANCE, row] = balance
    asset = mark_at(w, find_balance(w, first, count, balance), Mark.ASSET)
    begin_moved(w, EffectType.ACCOUNT_CREDITED, o, asset, _amount_at(w, asset))

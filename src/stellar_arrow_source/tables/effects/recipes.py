"""Effects that an operation's own fields and result tell, as data: ``RECIPES``.

They come first among an operation's effects; what needs the entries changed, trades or events follows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from stellar_sdk.xdr import OperationType

from stellar_arrow_source.tables.effects.layout import NATIVE, NO_GIVEN, SENT, EffectType, Fact, Given

_E: Final = EffectType
_T: Final = OperationType


@dataclass(frozen=True, slots=True)
class Recipe:
    """One effect.

    Attributes:
        type: of the effect.
        whose: SOURCE or OTHER, whose effect it is.
        asset: that moved, a Given or NATIVE.
        amount: that moved, a Given or SENT.
        facts: what else it shows; it is left out if all of these are absent.
    """

    type: EffectType
    whose: Given
    asset: int = NO_GIVEN
    amount: int = NO_GIVEN
    facts: Mapping[Fact, Given] = field(default_factory=dict)


def _credit(whose: Given, asset: int, amount: int) -> Recipe:
    return Recipe(_E.ACCOUNT_CREDITED, whose, asset, amount)


def _debit(whose: Given, asset: int, amount: int) -> Recipe:
    return Recipe(_E.ACCOUNT_DEBITED, whose, asset, amount)


_RECEIVED: Final = _credit(Given.OTHER, Given.ASSET, Given.AMOUNT)
_PATH_PAYMENT: Final = (_RECEIVED, _debit(Given.SOURCE, Given.SENT_ASSET, SENT))

RECIPES: Final[Mapping[OperationType, Sequence[Recipe]]] = {
    _T.CREATE_ACCOUNT: (
        Recipe(_E.ACCOUNT_CREATED, Given.OTHER, facts={Fact.STARTING_BALANCE: Given.AMOUNT}),
        _debit(Given.SOURCE, NATIVE, Given.AMOUNT),
    ),
    _T.PAYMENT: (_RECEIVED, _debit(Given.SOURCE, Given.ASSET, Given.AMOUNT)),
    _T.PATH_PAYMENT_STRICT_RECEIVE: _PATH_PAYMENT,
    _T.PATH_PAYMENT_STRICT_SEND: _PATH_PAYMENT,
    _T.SET_OPTIONS: (
        Recipe(_E.ACCOUNT_HOME_DOMAIN_UPDATED, Given.SOURCE, facts={Fact.HOME_DOMAIN: Given.HOME_DOMAIN}),
        Recipe(
            _E.ACCOUNT_THRESHOLDS_UPDATED,
            Given.SOURCE,
            facts={
                Fact.LOW_THRESHOLD: Given.LOW_THRESHOLD,
                Fact.MED_THRESHOLD: Given.MED_THRESHOLD,
                Fact.HIGH_THRESHOLD: Given.HIGH_THRESHOLD,
            },
        ),
    ),
    _T.ACCOUNT_MERGE: (
        _debit(Given.SOURCE, NATIVE, Given.AMOUNT),
        _credit(Given.OTHER, NATIVE, Given.AMOUNT),
        Recipe(_E.ACCOUNT_REMOVED, Given.SOURCE),
    ),
    _T.CLAWBACK: (
        _credit(Given.SOURCE, Given.ASSET, Given.AMOUNT),
        _debit(Given.OTHER, Given.ASSET, Given.AMOUNT),
    ),
}


class Table(NamedTuple):
    """Recipes as a kernel reads them; those of an operation type are rows first[type] … first[type + 1] - 1."""

    first: NDArray[np.int64]
    type: NDArray[np.int64]
    whose: NDArray[np.int64]
    asset: NDArray[np.int64]
    amount: NDArray[np.int64]
    facts: NDArray[np.int64]
    given: NDArray[np.int64]


def _compile() -> Table:
    """The recipes in the order of operation types; -1 where a recipe shows fewer facts than the one with most."""
    lists = [RECIPES.get(kind, ()) for kind in sorted(OperationType)]
    recipes = [recipe for items in lists for recipe in items]
    width = max(len(recipe.facts) for recipe in recipes)

    def columns(of: Callable[[Recipe], Iterable[int]]) -> NDArray[np.int64]:
        return np.array([[*of(recipe), *[-1] * width][:width] for recipe in recipes], np.int64)

    return Table(
        np.cumsum([0, *map(len, lists)]),
        np.array([recipe.type for recipe in recipes], np.int64),
        np.array([recipe.whose for recipe in recipes], np.int64),
        np.array([recipe.asset for recipe in recipes], np.int64),
        np.array([recipe.amount for recipe in recipes], np.int64),
        columns(lambda recipe: recipe.facts.keys()),
        columns(lambda recipe: recipe.facts.values()),
    )


TABLE: Final = _compile()

"""Effects of operations that change accounts and trust lines: flags, signers, lines, data, sequence numbers."""

from __future__ import annotations

from stellar_arrow_source.tables.effects import signers as lists
from stellar_arrow_source.tables.effects.entries import (
    ACCOUNT,
    DATA,
    TRUSTLINE,
    Mark,
    after,
    before,
    data_at,
    mark_at,
    moved_at,
)  # fmt: skip
from stellar_arrow_source.tables.effects.layout import EffectType, Fact, Given
from stellar_arrow_source.tables.effects.signers import compare, read_signers, same_signers, signer
from stellar_arrow_source.tables.effects.work import (
    Work,
    after_opaque,
    begin_source,
    hyper_at,
    put_asset,
    stage_words,
)  # fmt: skip
from stellar_arrow_source.xdr.jit import helper, load_int

_ACCOUNT_FLAGS = 15
_AUTHORIZED, _MAINTAIN = 1, 2  # TrustLineFlags
_CODE_WORDS = 3  # of AssetCode12
_BEFORE, _AFTER = lists.BEFORE, lists.AFTER
_AT, _WEIGHT = lists.AT, lists.WEIGHT


@helper
def set_options(w: Work, o: int, n: int) -> None:
    """Flags, inflation destination and signers."""
    at, cleared_at = w.given[Given.SET_FLAGS, o], w.given[Given.CLEAR_FLAGS, o]
    flags = load_int(w.words, at) & _ACCOUNT_FLAGS if at > 0 else 0
    cleared = load_int(w.words, cleared_at) & _ACCOUNT_FLAGS if cleared_at > 0 else 0
    if flags | cleared:
        row = begin_source(w, EffectType.ACCOUNT_FLAGS_UPDATED, o)
        w.facts[Fact.FLAGS_SET, row] = flags
        w.facts[Fact.FLAGS_CLEARED, row] = cleared
    destination = w.given[Given.INFLATION_DESTINATION, o]
    if destination > 0:
        row = begin_source(w, EffectType.ACCOUNT_INFLATION_DESTINATION_UPDATED, o)
        w.facts[Fact.INFLATION_DESTINATION, row] = destination
    for k in range(n):
        if load_int(w.words, moved_at(w, k)) == ACCOUNT and before(w, k) >= 0 and after(w, k) >= 0:
            _change_signers(w, o, before(w, k), after(w, k))


@helper
def _change_signers(w: Work, o: int, old: int, new: int) -> None:
    """Signers removed and updated, then those created."""
    p, q = mark_at(w, old, Mark.THRESHOLDS), mark_at(w, new, Mark.THRESHOLDS)
    if same_signers(w.words, p, q, 0, 0):
        return
    olds = read_signers(w, _BEFORE, data_at(w, old) + 1, p, 0, False)
    news = read_signers(w, _AFTER, data_at(w, new) + 1, q, 0, False)
    j = 0
    for i in range(olds):
        while j < news and compare(w, _AFTER, j, _BEFORE, i) < 0:
            j += 1
        if j == news or compare(w, _AFTER, j, _BEFORE, i) != 0:
            row = begin_source(w, EffectType.SIGNER_REMOVED, o)
            w.facts[Fact.SIGNER, row] = signer(w, _BEFORE, i, _AT)
        elif signer(w, _AFTER, j, _WEIGHT) != signer(w, _BEFORE, i, _WEIGHT):
            _weigh(w, EffectType.SIGNER_UPDATED, o, j)
    i = 0
    for j in range(news):
        while i < olds and compare(w, _BEFORE, i, _AFTER, j) < 0:
            i += 1
        if i == olds or compare(w, _BEFORE, i, _AFTER, j) != 0:
            _weigh(w, EffectType.SIGNER_CREATED, o, j)


@helper
def _weigh(w: Work, effect: int, o: int, k: int) -> None:
    row = begin_source(w, effect, o)
    w.facts[Fact.SIGNER, row] = signer(w, _AFTER, k, _AT)
    w.facts[Fact.WEIGHT, row] = 1 + signer(w, _AFTER, k, _WEIGHT)


@helper
def change_trust(w: Work, o: int, n: int) -> None:
    """What became of the line: one line of the asset's kind; none where an issuer trusts itself."""
    for k in range(n):
        d = moved_at(w, k)
        line = d + 10
        if load_int(w.words, d) != TRUSTLINE or load_int(w.words, line) != load_int(w.words, w.given[Given.ASSET, o]):
            continue
        effect = EffectType.TRUSTLINE_UPDATED
        if before(w, k) < 0:
            effect = EffectType.TRUSTLINE_CREATED
        elif after(w, k) < 0:
            effect = EffectType.TRUSTLINE_REMOVED
        row = begin_source(w, effect, o)
        put_asset(w, row, line)
        w.facts[Fact.LIMIT, row] = w.given[Given.LIMIT, o]
        return


@helper
def allow_trust(w: Work, o: int) -> None:
    """The effect of old, and the one that took its place."""
    flags = load_int(w.words, w.given[Given.AUTHORIZE, o])
    effect = EffectType.TRUSTLINE_DEAUTHORIZED
    if flags & _AUTHORIZED:
        effect = EffectType.TRUSTLINE_AUTHORIZED
    elif flags & _MAINTAIN:
        effect = EffectType.TRUSTLINE_AUTHORIZED_TO_MAINTAIN_LIABILITIES
    row = begin_source(w, effect, o)
    asset = _stage_allowed(w, row, o)
    w.facts[Fact.ASSET, row] = asset
    w.facts[Fact.TRUSTOR, row] = w.given[Given.TRUSTOR, o]
    row = begin_source(w, EffectType.TRUSTLINE_FLAGS_UPDATED, o)
    w.facts[Fact.ASSET, row] = asset
    w.facts[Fact.TRUSTOR, row] = w.given[Given.TRUSTOR, o]
    if flags & _AUTHORIZED:
        w.facts[Fact.FLAGS_SET, row] = _AUTHORIZED
    elif flags & _MAINTAIN:
        w.facts[Fact.FLAGS_SET, row] = _MAINTAIN
    else:
        w.facts[Fact.FLAGS_CLEARED, row] = _AUTHORIZED | _MAINTAIN


@helper
def _stage_allowed(w: Work, row: int, o: int) -> int:
    """The Asset of that code that the source issues."""
    at, source = w.given[Given.ALLOWED_CODE, o], w.given[Given.SOURCE, o]
    asset = stage_words(w, row, w.words, at, 2 if load_int(w.words, at) == 1 else 1 + _CODE_WORDS)
    stage_words(w, row, w.words, 0, 1)  # the type of the issuer's key, ed25519
    stage_words(w, row, w.words, source, 8)
    return asset


@helper
def set_trust_line_flags(w: Work, o: int) -> None:
    row = begin_source(w, EffectType.TRUSTLINE_FLAGS_UPDATED, o)
    put_asset(w, row, w.given[Given.ASSET, o])
    w.facts[Fact.TRUSTOR, row] = w.given[Given.TRUSTOR, o]
    w.facts[Fact.FLAGS_SET, row] = load_int(w.words, w.given[Given.SET_FLAGS, o])
    w.facts[Fact.FLAGS_CLEARED, row] = load_int(w.words, w.given[Given.CLEAR_FLAGS, o])


@helper
def manage_data(w: Work, o: int, n: int) -> None:
    for k in range(n):
        d = moved_at(w, k)
        if load_int(w.words, d) != DATA:
            continue
        effect = EffectType.DATA_UPDATED
        if before(w, k) < 0:
            effect = EffectType.DATA_CREATED
        elif after(w, k) < 0:
            effect = EffectType.DATA_REMOVED
        row = begin_source(w, effect, o)
        w.facts[Fact.DATA_NAME, row] = w.given[Given.DATA_NAME, o]
        if after(w, k) >= 0:
            w.facts[Fact.DATA_VALUE, row] = after_opaque(w.words, d + 10)
        return


@helper
def bump_sequence(w: Work, o: int, n: int) -> None:
    for k in range(n):
        if load_int(w.words, moved_at(w, k)) == ACCOUNT and before(w, k) >= 0 and after(w, k) >= 0:
            at = moved_at(w, k) + 12  # after type, AccountID and balance
            if hyper_at(w.words, at) != hyper_at(w.words, data_at(w, before(w, k)) + 12):
                row = begin_source(w, EffectType.SEQUENCE_BUMPED, o)
                w.facts[Fact.SEQUENCE, row] = at
            return

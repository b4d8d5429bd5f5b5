"""Equal sources that stand in for each other."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import closing
from typing import Final

from stellar_arrow_client.errors import StellarArrowError
from stellar_arrow_source.errors import SourceUnavailableError
from stellar_arrow_source.ledgers.header import require_successor
from stellar_arrow_source.ledgers.members import Member, Pull, begin
from stellar_arrow_source.ledgers.source import POLL_SECONDS, Bounds, LedgerSource, RawLedger, common_passphrase
from stellar_arrow_source.ledgers.tally import FAILOVERS

SILENCE_SECONDS: Final = 15.0
"""For how long a source may give nothing, where another one would."""

_RETURN: Final = 4
"""How often, in times of that silence, it is looked whether a source that goes before can be gone back to."""

_LONGEST: Final = 8
"""Most times of that silence that are waited: longer each time where none gives a ledger, for all may be slow."""

_BEHIND: Final = 2
"""Ledgers that a source to go back to may be behind: ledgers come to all at about the same time."""

_log = logging.getLogger(__name__)


class Failover:
    """Equal sources, the preferred first: where one is away or hangs, another one goes on at the same ledger.

    One is away once it has given up trying again by itself. It hangs when it has given nothing for ``silence``
    seconds and does not answer either, or has the ledger that is due by its own word, or by that of others: a tip where
    nothing happens is no such case. As soon as one that goes before answers again and gives its newest ledger, it is
    gone back to. Once all, one after the other, were away without giving a ledger, so is this one; while all hang, the
    one in use is waited for.

    Args:
        openers: endpoint and what opens it; one that cannot be reached is opened when its turn comes.
        silence: see above.

    Attributes:
        endpoint: all of them.
        network_passphrase: what those that are open declare.

    Raises:
        NetworkMismatchError: they declare different networks.
        SourceUnavailableError: none can be reached.
    """

    def __init__(
        self, openers: Sequence[tuple[str, Callable[[], LedgerSource]]], silence: float = SILENCE_SECONDS
    ) -> None:
        self.endpoint = ", ".join(name for name, _ in openers)
        self._silence = silence
        self._members = [Member(name, opener, self._agree) for name, opener in openers]
        self._at = 0
        self._moving = threading.Lock()
        self._look_back_at = 0.0
        try:
            self._open()
        except StellarArrowError:
            self.close()
            raise

    @property
    def network_passphrase(self) -> str | None:
        return common_passphrase([member.source for member in self._members if member.source is not None])

    def bounds(self) -> Bounds:
        """What the source in use holds; what another one does, if that is away or does not answer in time.

        Raises:
            SourceUnavailableError: none can be reached.
        """
        self._look_back()
        first = self._at
        pending: dict[Future[Bounds], int] = {}
        others = self._others(first)
        for at in (first, *others):
            pending[self._members[at].ask()] = at
            answered = _first_answer(pending, None if at == others[-1] else self._silence / 2)
            if answered is None:
                continue
            at, bounds = answered
            asked = self._members[first]
            if at != first and (asked.failed or time.monotonic() - asked.gave_at > self._silence):
                self._move_on(first, at, f"{asked.name} does not answer")
            return bounds
        raise self._none_left()

    def ledgers(self, start: int, end: int | None, stop: threading.Event) -> Iterator[RawLedger]:
        """See :meth:`stellar_arrow_source.ledgers.source.LedgerSource.ledgers`.

        Raises:
            IntegrityError: what one gives does not follow what the one before it gave.
        """
        away, patience = 0, self._silence
        last: RawLedger | None = None
        while not stop.is_set() and (end is None or start <= end):
            at, before = self._at, last
            try:
                with closing(self._read(at, start, end, patience, stop)) as given:
                    for ledger in given:
                        if last is not None and last is before:
                            require_successor(last.xdr, ledger.xdr, self._members[at].name)
                        yield ledger
                        start, last, away, patience = ledger.sequence + 1, ledger, 0, self._silence
            except SourceUnavailableError as error:
                away += 1
                self._move_on(at, self._others(at)[0], str(error))
                if away == len(self._members):
                    raise self._none_left() from error
            else:
                if last is before:  # it gave none
                    patience = min(2 * patience, _LONGEST * self._silence)

    def close(self) -> None:
        """Close all."""
        for member in self._members:
            member.close()

    def _open(self) -> None:
        """Open all at the same time, without waiting for those that hang."""
        opening = [begin(member.open, f"opening {member.name}") for member in self._members]
        wait(opening, self._silence)
        away = 0
        for at, opened in enumerate(opening):
            try:
                opened.result(timeout=0)
            except (SourceUnavailableError, TimeoutError) as error:
                away += 1
                self._move_on(at, self._others(at)[0], str(error) or f"{self._members[at].name} does not answer")
        if away == len(opening):
            raise self._none_left()

    def _agree(self, member: Member, source: LedgerSource) -> None:
        opened = [source if one is member else one.source for one in self._members]
        common_passphrase([one for one in opened if one is not None])

    def _others(self, at: int) -> list[int]:
        """The other members, in the order in which their turn comes."""
        return [(at + step) % len(self._members) for step in range(1, len(self._members))]

    def _read(
        self, at: int, start: int, end: int | None, patience: float, stop: threading.Event
    ) -> Generator[RawLedger]:
        """Ledgers of one member, as long as it is the one to use: it gives them, and none that goes before is back."""
        member = self._members[at]
        pull = Pull(lambda until: member.open().ledgers(start, end, until))
        silence = _Silence(self._members, at, self._others(at), start, patience)
        try:
            while not stop.is_set() and self._at >= at:
                ledger = pull.take(POLL_SECONDS)
                if ledger is not None:
                    member.gave(ledger)
                    yield ledger
                    silence.begin(ledger.sequence + 1)
                elif pull.ended:
                    return
                elif (verdict := silence.verdict()) is not None:
                    self._move_on(at, *verdict)
                    return
                self._look_back()
        finally:
            pull.close()

    def _move_on(self, at: int, to: int, reason: str) -> None:
        """Use another source from now on, unless another thread has moved on already."""
        with self._moving:
            if self._at != at:
                return
            self._at = to
            self._look_back_at = time.monotonic() + _RETURN * self._silence
        FAILOVERS.add("failover")
        _log.warning("going on with %s: %s", self._members[to].name, reason)

    def _look_back(self) -> None:
        """Now and then, try those that go before the one in use."""
        if self._at == 0 or time.monotonic() < self._look_back_at:
            return
        with self._moving:
            if time.monotonic() < self._look_back_at:
                return
            self._look_back_at = time.monotonic() + _RETURN * self._silence
        for at in range(self._at):
            threading.Thread(target=self._try, args=(at,), name="going back", daemon=True).start()

    def _try(self, at: int) -> None:
        """Go back to a source if it keeps up with the one in use and gives its newest ledger."""
        member = self._members[at]
        try:
            latest = member.ask().result(timeout=self._silence).latest
            if latest is not None:
                if latest < self._members[self._at].newest - _BEHIND:
                    return
                with closing(Pull(lambda until: member.open().ledgers(latest, latest, until))) as pull:
                    if pull.take(self._silence) is None:
                        return
        except (SourceUnavailableError, TimeoutError):
            return
        except StellarArrowError as error:
            _log.warning("%s is not gone back to: %s", member.name, error)
            return
        with self._moving:
            if at >= self._at:
                return
            self._at = at
        FAILOVERS.add("failover")
        _log.warning("going back to %s, which answers again", member.name)

    def _none_left(self) -> SourceUnavailableError:
        return SourceUnavailableError(f"none of the ledger sources can be reached: {self.endpoint}")


class _Silence:
    """How long a source has given nothing to one reader, and what all say meanwhile: they are asked halfway.

    Args:
        at, others: the source that is read from, and the others in the order of their turn.
        start: the ledger that is due.
        patience: seconds after which another one is gone on with, if there is reason to.
    """

    def __init__(self, members: Sequence[Member], at: int, others: Sequence[int], start: int, patience: float) -> None:
        self._members, self._at, self._others = members, at, others
        self._patience, self._half = patience, patience / 2
        self.begin(start)

    def begin(self, ledger: int) -> None:
        """From now on, this ledger is due."""
        self._ledger, self._since = ledger, time.monotonic()
        self._told: dict[int, float] = {}
        """Member → since when it is known to have the ledger."""

    def verdict(self) -> tuple[int, str] | None:
        """Which one to go on with, and why; None for now."""
        now = time.monotonic()
        if (waited := now - self._since) < self._half:
            return None
        for at, member in enumerate(self._members):
            if now - member.asked_at > self._half / 2:
                member.ask()
            if self._answers(at) and (member.said.latest or 0) >= self._ledger:
                self._told.setdefault(at, now)
        if waited < self._patience:
            return None
        answering = [at for at in self._others if self._answers(at) and self._members[at].covers(self._ledger)]
        having = [at for at in answering if self._has(at, now)]
        name = self._members[self._at].name
        if self._answers(self._at) and not self._has(self._at, now):
            # It waits for the ledger, too: nothing happens, unless others know better.
            if having:
                return having[0], f"{name} has had no ledger {self._ledger} for {waited:.0f} s, others have it"
        elif chosen := (having or answering):
            return chosen[0], f"{name} has not given ledger {self._ledger} for {waited:.0f} s"
        return None

    def _answers(self, at: int) -> bool:
        member = self._members[at]
        return member.said_at > self._since and not member.failed and member.unanswered_seconds < self._half

    def _has(self, at: int, now: float) -> bool:
        return at in self._told and now - self._told[at] >= self._half - POLL_SECONDS


def _first_answer(pending: dict[Future[Bounds], int], seconds: float | None) -> tuple[int, Bounds] | None:
    """Who answers first of those asked, and what; None when nobody does in time. Those that are away are left out.

    Raises:
        StellarArrowError: what else one of them raises.
    """
    deadline = None if seconds is None else time.monotonic() + seconds
    while pending:
        done, _ = wait(
            pending, None if deadline is None else max(0.0, deadline - time.monotonic()), return_when=FIRST_COMPLETED
        )
        if not done:
            return None
        for question in done:
            at = pending.pop(question)
            try:
                return at, question.result()
            except SourceUnavailableError:
                continue
    return None

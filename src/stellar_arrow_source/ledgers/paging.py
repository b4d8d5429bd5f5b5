"""How many ledgers to ask a server for at once."""

from __future__ import annotations

from collections.abc import Sequence

from stellar_arrow_source.ledgers.source import RawLedger


class PageSize:
    """A number of ledgers whose answer holds about so many bytes.

    Args:
        target: bytes of XDR that an answer should hold.
        most: ledgers that servers give at once.

    Attributes:
        ledgers: how many to ask for.
        known: whether an answer has told how large the ledgers are.
    """

    def __init__(self, target: int, most: int) -> None:
        self._target, self._most = target, most
        self.ledgers = 4
        self.known = False

    def learn(self, ledgers: Sequence[RawLedger]) -> None:
        """Adapt to the ledgers of an answer; growth is gradual, since ledgers differ much in size."""
        if not ledgers:
            return
        average = 1 + sum(len(ledger.xdr) for ledger in ledgers) // len(ledgers)
        self.ledgers = max(1, min(self._target // average, 4 * self.ledgers, self._most))
        self.known = True

    def limit(self, most: int) -> None:
        """Ask for no more than that: the server has given so few although it has more."""
        self._most = self.ledgers = most

    def shrink(self) -> None:
        """After an answer that was too large to be received."""
        self.ledgers = max(1, self.ledgers // 4)

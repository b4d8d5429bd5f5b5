"""The indices of one stream: a template, an alias, and an index for each range of ledgers."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from elasticsearch_consumer.errors import ServerError
from elasticsearch_consumer.session import Session


@dataclass(frozen=True, slots=True)
class Series:
    """The indices of one stream.

    Attributes:
        alias: stands for all of them; their names begin with it.
        index_ledgers: ledgers of an index.
    """

    alias: str
    index_ledgers: int

    def index(self, period: int) -> str:
        """The name of the index whose first ledger is ``period`` times :attr:`index_ledgers`."""
        return f"{self.alias}-{period * self.index_ledgers:010d}"

    @property
    def pattern(self) -> str:
        """Matches the names of all of them, and of nothing else."""
        return f"{self.alias}-0*,{self.alias}-1*,{self.alias}-2*,{self.alias}-3*,{self.alias}-4*"


class Indices:
    """Makes the indices of a series as they are needed. Safe for use by several threads."""

    def __init__(self, session: Session, series: Series) -> None:
        self._session, self.series = session, series
        self._made: set[int] = set()
        self._lock = threading.Lock()

    def put_template(
        self, properties: Mapping[str, Any], about: Mapping[str, Any], settings: Mapping[str, str]
    ) -> None:
        """Make or replace the template of indices that will be made."""
        template = {
            "index_patterns": self.series.pattern.split(","),
            "priority": 200,
            "template": {
                "settings": dict(settings),
                "mappings": {"dynamic": "strict", "_meta": dict(about), "properties": dict(properties)},
                "aliases": {self.series.alias: {}},
            },
            "_meta": dict(about),
        }
        self._session.ask(
            "PUT", f"/_index_template/{self.series.alias}", template, doing=f"make the template {self.series.alias}"
        )

    def add_properties(self, properties: Mapping[str, Any]) -> None:
        """Add fields to the indices that are there."""
        self._session.ask(
            "PUT",
            f"/{self.series.pattern}/_mapping",
            {"properties": dict(properties)},
            doing=f"add fields to the indices of {self.series.alias}",
            allow_no_indices="true",
        )

    def ready(self, period: int) -> str:
        """The name of an index, which is made when it is not there."""
        name = self.series.index(period)
        with self._lock:
            if period not in self._made:
                answer = self._session.ask("PUT", f"/{name}", {}, doing=f"make the index {name}", allowed=(400,))
                if answer.status == 400 and "already_exists" not in answer.reason:
                    raise ServerError(f"cannot make the index {name}: {answer.reason}")
                self._made.add(period)
        return name

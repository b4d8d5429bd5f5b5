"""What the status page of a server shows, its workers included."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from resource import getpagesize
from typing import Any

from stellar_arrow_source.config import ServerConfig
from stellar_arrow_source.flight.hub import LedgerHub
from stellar_arrow_source.monitoring import families
from stellar_arrow_source.monitoring.activity import Activity
from stellar_arrow_source.monitoring.analytics import LedgerAnalytics
from stellar_arrow_source.monitoring.history import History, summed
from stellar_arrow_source.monitoring.merging import merged_analytics
from stellar_arrow_source.monitoring.metrics import Metrics
from stellar_arrow_source.monitoring.tip import Tip

RATES = {
    "ledgers_fetched": families.LEDGERS_FETCHED,
    "ledgers_decoded": families.LEDGERS_DECODED,
    "ledgers_served": families.LEDGERS_SERVED,
    "rows_served": families.ROWS_SERVED,
    "bytes_served": families.BYTES_SERVED,
}

_SUMMED = ("open_streams", "streams_limit", "prefetch_bytes", "memory_bytes")


class Status:
    """Gathers what a server does.

    Args:
        health: the report of /health.
        workers: gives what those workers say that answer, under a path of their monitoring.
    """

    def __init__(
        self,
        config: ServerConfig,
        metrics: Metrics,
        *,
        activity: Activity,
        hub: LedgerHub,
        tip: Tip,
        analytics: LedgerAnalytics | None,
        health: Callable[[], dict[str, Any]],
        workers: Callable[[str], Iterable[bytes]],
    ) -> None:
        self._config, self._activity, self._hub = config, activity, hub
        self._analytics, self._health, self._workers = analytics, health, workers
        self.history = History(
            {name: lambda family=family: metrics.total(family) for name, family in RATES.items()},  # type: ignore[misc]
            {"tip_lag_seconds": tip.lag_seconds},
        )

    def report(self) -> dict[str, Any]:
        """All that the page shows."""
        own = self._health() | {
            "tip_lag_ledgers": self._activity.tip_lag_ledgers(),
            "streams": self._activity.report(),
            "streams_limit": self._config.max_connections,
            "prefetch_bytes": self._hub.held_bytes,
            "memory_bytes": _resident_bytes(),
            "history": self.history.report(),
            "analytics": self._analytics.report() if self._analytics else None,
        }
        others = [json.loads(text) for text in self._workers("/status")]
        for other in others:
            own["streams"] += other["streams"]
            for name in _SUMMED:
                own[name] = (own[name] or 0) + (other[name] or 0)
        if others:
            histories = [report["history"]["points"] for report in (own, *others)]
            own["history"]["points"] = summed(histories, list(RATES))
            own["analytics"] = self._analytics and merged_analytics([report["analytics"] for report in (own, *others)])
        own["silent_workers"] = len(own["workers"]) - len(others)
        own["clients"] = len({stream["client"] for stream in own["streams"]})
        return own

    def analytics(self) -> dict[str, Any]:
        """What the data that passes tells, with ``silent_workers``, how many workers are missing in it."""
        own = self._analytics.report() if self._analytics else {"streams": {}}
        others = [json.loads(text) for text in self._workers("/analytics")]
        return merged_analytics([own, *others]) | {"silent_workers": len(self._health()["workers"]) - len(others)}


def _resident_bytes() -> int | None:
    """Memory of this process; None where the system does not tell in this way."""
    with suppress(OSError):
        return int(Path("/proc/self/statm").read_text().split()[1]) * getpagesize()
    return None

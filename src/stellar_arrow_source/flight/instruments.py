"""Where the metrics of a server that are read, not counted, come from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress

from stellar_arrow_source.access.file import GrantsFile
from stellar_arrow_source.config import ServerConfig
from stellar_arrow_source.errors import SourceUnavailableError
from stellar_arrow_source.flight.hub import LedgerHub
from stellar_arrow_source.flight.limits import StreamLimiter
from stellar_arrow_source.flight.preparing import Preparation
from stellar_arrow_source.flight.source_watch import SourceState, SourceWatch
from stellar_arrow_source.flight.workers import Workers
from stellar_arrow_source.ledgers.cache import CachedSource
from stellar_arrow_source.ledgers.tally import CACHE_READS, FAILOVERS, RETRIES
from stellar_arrow_source.monitoring import families
from stellar_arrow_source.monitoring.metrics import Metrics


def publish(
    metrics: Metrics,
    config: ServerConfig,
    *,
    limiter: StreamLimiter,
    hub: LedgerHub,
    watch: SourceWatch,
    preparation: Preparation,
    clients: GrantsFile | None,
    workers: Workers | None,
    certificate_end: float | None,
    is_ready: Callable[[], bool],
) -> None:
    """Publish what the parts of a server know of themselves.

    Args:
        certificate_end: when the certificate that the server shows expires, in Unix seconds.
    """
    tip = watch.tip

    def states() -> Mapping[tuple[str, ...], float]:
        now = watch.condition.state
        return {(state.value,): state is now for state in SourceState}

    for family, read in (
        (families.READY, is_ready),
        (families.SOURCE_STATE, states),
        (families.SOURCE_LIVE, lambda: tip.live),
        (families.SOURCE_STILL, tip.still_seconds),
        (families.NEWEST_LEDGER, lambda: tip.newest or 0),
        (families.CLOSE_TIME, lambda: tip.close_time),
        (families.TIP_LAG_SECONDS, tip.lag_seconds),
        (families.SOURCE_RETRIES, RETRIES.by_kind),
        (families.SOURCE_FAILOVERS, FAILOVERS.total),
        (families.PREFETCH_LEDGERS, lambda: hub.held_ledgers),
        (families.PREFETCH_BYTES, lambda: hub.held_bytes),
        (families.PREFETCH_LIMIT, lambda: config.prefetch_bytes),
        (families.STREAMS_OPEN, lambda: limiter.open_streams),
        (families.STREAMS_LIMIT, lambda: config.max_connections),
        (families.UNCOMPILED, lambda: preparation.left),
        (families.CERTIFICATE_END, lambda: certificate_end),
        (families.WORKERS, lambda: config.workers if workers else 0),
        (families.WORKERS_READY, lambda: len(workers.ports()) if workers else 0),
    ):
        metrics.publish(family, read)
    if config.ledger_cache is not None:
        metrics.publish(families.CACHE_READS, CACHE_READS.by_kind)
        metrics.publish(families.CACHE_BYTES, lambda: _cached_bytes(watch))
    if clients is not None:
        metrics.publish(families.AUTH_FILE_VALID, lambda: clients.problem is None)


def _cached_bytes(watch: SourceWatch) -> int | None:
    with suppress(SourceUnavailableError):
        if isinstance(watch.source, CachedSource):
            return watch.source.held_bytes
    return None

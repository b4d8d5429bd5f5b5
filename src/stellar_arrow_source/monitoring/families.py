"""Every metric of the server, declared once: the registry, the reference and the tests are made from this."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

PREFIX = "stellar_arrow_"


class Kind(StrEnum):
    """Types of Prometheus metrics."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Family(NamedTuple):
    """A metric.

    Attributes:
        name: without the prefix of all metrics.
        help: one sentence.
        labels: names of its labels.
        buckets: upper bounds of a histogram, in seconds.
        when: under which condition it is there; empty = always.
    """

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    when: str = ""

    @property
    def full_name(self) -> str:
        return PREFIX + self.name


_DECODE = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
_SEND = (0.0001, 0.001, 0.01, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0)
_LATENCY = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)

# The source and its tip
READY = Family("ready", Kind.GAUGE, "1 when the server can serve.")
SOURCE_STATE = Family(
    "source_state", Kind.GAUGE, "1 for the state that the source is in: ok, starting, unreachable, hung or unusable.",
    ("state",),
)  # fmt: skip
SOURCE_LIVE = Family("source_live", Kind.GAUGE, "1 when the source follows a network; 0 when it only holds history.")
SOURCE_STILL = Family("source_still_seconds", Kind.GAUGE, "Seconds since a source that is live had a new ledger.")
NEWEST_LEDGER = Family("newest_ledger", Kind.GAUGE, "Newest ledger of the source; 0 = none yet.")
CLOSE_TIME = Family(
    "newest_ledger_close_timestamp_seconds", Kind.GAUGE,
    "When the newest ledger that came from the source was closed, in Unix seconds.",
    when="once a ledger came",
)  # fmt: skip
TIP_LAG_SECONDS = Family(
    "tip_lag_seconds", Kind.GAUGE,
    "Seconds since the newest ledger that came from the source was closed.",
    when="once a ledger came",
)  # fmt: skip
TIP_LAG_LEDGERS = Family(
    "tip_lag_ledgers", Kind.GAUGE,
    "Ledgers between the newest one of the source and the last one sent on the endless stream that is furthest;"
    " 0 without one.",
)  # fmt: skip
TIP_LATENCY = Family(
    "tip_latency_seconds", Kind.HISTOGRAM,
    "From the arrival of a new ledger to its being sent to a client that waited for it.",
    ("stream",), _LATENCY,
)  # fmt: skip
SOURCE_RETRIES = Family(
    "source_retries_total", Kind.COUNTER,
    "Calls to the source that were tried again, or streams of it begun again, by kind of endpoint."
    " Libraries of object stores try again by themselves, which is not counted.",
    ("kind",),
)  # fmt: skip
SOURCE_FAILOVERS = Family(
    "source_failovers_total", Kind.COUNTER,
    "Times that another one of several equal sources was gone on with, or back to.",
)  # fmt: skip
CACHE_READS = Family(
    "cache_reads_total",
    Kind.COUNTER,
    "Ledgers looked up in the cache on disk, by result: hit or miss.",
    ("result",),
    when="with `LEDGER_CACHE`",
)
CACHE_BYTES = Family(
    "cache_bytes", Kind.GAUGE, "Bytes of the ledgers in the cache on disk.", when="with `LEDGER_CACHE`"
)

# Stages
LEDGERS_FETCHED = Family("ledgers_fetched_total", Kind.COUNTER, "Ledgers that came from the source.")
XDR_BYTES_FETCHED = Family("xdr_bytes_fetched_total", Kind.COUNTER, "XDR bytes that came from the source.")
FETCH_SECONDS = Family(
    "fetch_seconds_total", Kind.COUNTER, "Time spent waiting for the source, summed over all that read ahead."
)
PREFETCH_LEDGERS = Family("prefetch_ledgers", Kind.GAUGE, "Raw ledgers read ahead.")
PREFETCH_BYTES = Family("prefetch_bytes", Kind.GAUGE, "Raw ledgers read ahead, and rows held for several streams.")
PREFETCH_LIMIT = Family("prefetch_limit_bytes", Kind.GAUGE, "Raw ledgers that all streams together may read ahead.")
LEDGERS_DECODED = Family("ledgers_decoded_total", Kind.COUNTER, "Ledgers decoded.", ("stream",))
XDR_BYTES_DECODED = Family("xdr_bytes_decoded_total", Kind.COUNTER, "XDR bytes decoded.", ("stream",))
DECODE_SECONDS = Family(
    "decode_seconds",
    Kind.HISTOGRAM,
    "Time of one decode call; of one for several streams, each has an equal part.",
    ("stream",),
    _DECODE,
)
EVENTS_SKIPPED = Family(
    "events_skipped_total", Kind.COUNTER, "Decoded events that gave no row although their kind should.",
    ("stream", "reason"),
)  # fmt: skip
UNCOMPILED = Family(
    "streams_uncompiled", Kind.GAUGE, "Decoders still to be compiled: one for each stream, one for several together."
)
LEDGERS_SERVED = Family(
    "ledgers_served_total", Kind.COUNTER, "Ledgers completed on the wire, counted for each client.", ("stream",)
)
ROWS_SERVED = Family("rows_served_total", Kind.COUNTER, "Rows put on the wire.", ("stream",))
BYTES_SERVED = Family(
    "bytes_served_total", Kind.COUNTER, "Arrow bytes put on the wire, before compression.", ("stream",)
)
SEND_SECONDS = Family(
    "send_seconds", Kind.HISTOGRAM,
    "From handing a batch over to be sent until the next one was asked for: long when the client is slow.",
    ("stream",), _SEND,
)  # fmt: skip

# Streams and clients
STREAMS_STARTED = Family("streams_started_total", Kind.COUNTER, "Streams begun.", ("stream",))
STREAMS_ENDED = Family(
    "streams_ended_total", Kind.COUNTER,
    "Streams ended, by outcome: complete, cancelled (by the client), disconnected or dropped (by the server).",
    ("stream", "outcome"),
)  # fmt: skip
STREAMS_DROPPED = Family(
    "streams_dropped_total", Kind.COUNTER,
    "Streams that the server ended before their end, by reason: draining, source, stalled (the client did not read),"
    " limit, access, gap, data, unavailable or internal.",
    ("reason",),
)  # fmt: skip
STREAMS_OPEN = Family("streams_open", Kind.GAUGE, "Open streams.")
STREAMS_LIMIT = Family("streams_limit", Kind.GAUGE, "Most streams at a time.")
CLIENTS_CONNECTED = Family("clients_connected", Kind.GAUGE, "Different clients that have streams open.")
CLIENT_STREAMS = Family("client_streams_open", Kind.GAUGE, "Open streams of a client.", ("client",))
CLIENT_LEDGERS = Family("client_ledgers_served_total", Kind.COUNTER, "Ledgers completed for a client.", ("client",))
CLIENT_BYTES = Family("client_bytes_served_total", Kind.COUNTER, "Arrow bytes sent to a client.", ("client",))
CLIENT_LAG = Family(
    "client_lag_ledgers", Kind.GAUGE,
    "Ledgers that the endless stream of a client that is furthest behind has still to be sent.",
    ("client",),
)  # fmt: skip
ERRORS = Family("errors_total", Kind.COUNTER, "Failed calls and streams, by class of error.", ("code",))
AUTH_FILE_VALID = Family(
    "auth_file_valid", Kind.GAUGE,
    "1 when the file of clients is in use as it is; 0 when a change to it is not valid.",
    when="with `ARROW_AUTH_FILE`",
)  # fmt: skip

CERTIFICATE_END = Family(
    "tls_certificate_expiry_timestamp_seconds", Kind.GAUGE,
    "When the certificate that the server shows expires, in Unix seconds; it shows a renewed one once it is restarted.",
    when="with `ARROW_TLS_CERT`",
)  # fmt: skip

# The process
WORKERS = Family("workers", Kind.GAUGE, "Worker processes that there should be; 0 without `ARROW_WORKERS`.")
WORKERS_READY = Family("workers_ready", Kind.GAUGE, "Worker processes that serve.")
ARROW_MEMORY = Family("arrow_memory_bytes", Kind.GAUGE, "Memory that Arrow holds, of the process's memory.")
BUILD_INFO = Family("build_info", Kind.GAUGE, "Versions; always 1.", ("version", "pyarrow", "python"))

# Analytics
_WITH_ANALYTICS = "with `ENABLE_ANALYTICS`"
ANALYTICS = (
    Family(
        "analytics_ledgers_per_second", Kind.GAUGE,
        "Distinct ledgers decoded a second.", ("stream", "window"), when=_WITH_ANALYTICS,
    ),
    Family(
        "analytics_count", Kind.GAUGE, "Rows, transactions, operations in the ledgers of the window.",
        ("stream", "window", "of"), when=_WITH_ANALYTICS,
    ),
    Family(
        "analytics_success_ratio", Kind.GAUGE, "Share of transactions or operations that succeeded.",
        ("stream", "window", "of"), when=_WITH_ANALYTICS,
    ),
    Family(
        "analytics_operations", Kind.GAUGE, "Operations by type.",
        ("stream", "window", "operation_type"), when=_WITH_ANALYTICS,
    ),
)  # fmt: skip

FAMILIES: tuple[Family, ...] = (
    *(value for value in tuple(globals().values()) if isinstance(value, Family)),
    *ANALYTICS,
)
"""All of them, in the order of their declaration."""

"""The Flight service: listing, planning, streaming and actions over one ledger source."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import structlog
from pyarrow import flight, ipc

from stellar_arrow_client.command import did_you_mean
from stellar_arrow_client.errors import InvalidRequestError, UnavailableError
from stellar_arrow_client.request import (
    ACTION_HEALTH,
    ACTION_LATEST_LEDGER,
    ACTION_STREAMS,
)
from stellar_arrow_source.errors import StalledClientError
from stellar_arrow_source.flight.auth import Access, Caller, address_of
from stellar_arrow_source.flight.backend import Tables
from stellar_arrow_source.flight.calls import Call, Refusals, call_middleware, call_of
from stellar_arrow_source.flight.cutting import Part
from stellar_arrow_source.flight.decoders import Decoders
from stellar_arrow_source.flight.failures import guarded, to_flight_error
from stellar_arrow_source.flight.hub import LedgerHub, LedgerReader
from stellar_arrow_source.flight.limits import StreamLimiter
from stellar_arrow_source.flight.locations import Locations
from stellar_arrow_source.flight.pacing import paced
from stellar_arrow_source.flight.pipeline import Pipeline
from stellar_arrow_source.flight.planning import (
    StreamPlan,
    criteria_text,
    descriptor_text,
    first_ledger,
    plan,
)
from stellar_arrow_source.flight.preparing import Preparation
from stellar_arrow_source.flight.shared import DecodeApartError, Requests
from stellar_arrow_source.flight.source_watch import SourceWatch
from stellar_arrow_source.flight.stalled import Sending, StalledClients
from stellar_arrow_source.monitoring.activity import CANCELLED, COMPLETE, Activity
from stellar_arrow_source.monitoring.analytics import LedgerAnalytics
from stellar_arrow_source.monitoring.metrics import Metrics
from stellar_arrow_source.sparing import Sparing
from stellar_arrow_source.tracing import Step, StreamTrace, Tracing, no_step

if TYPE_CHECKING:
    from stellar_arrow_source.tables import DecodedBatch, Stream

ONE_ROW_A_LEDGER = "ledgers"
"""The stream whose number of rows in a range is known beforehand."""

UNKNOWN = -1

ACTIONS = {
    ACTION_HEALTH: "Whether the server is ready, and why not.",
    ACTION_LATEST_LEDGER: "Oldest and newest ledger that the source holds.",
    ACTION_STREAMS: "Names, aliases and descriptions of all streams.",
}

_log = structlog.get_logger(__name__)


class _ClientGone(Exception):
    """Ends a stream whose client cancelled it."""


class LedgerFlightServer(flight.FlightServerBase):  # type: ignore[misc]
    """Serves the streams of ``tables`` from the source that ``watch`` keeps to those whom ``access`` lets in.

    Every handler raises Flight errors only, with an error payload as extra_info (but get_schema, whose errors
    pyarrow sends without it: get_flight_info tells the schema too).
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        tables: Tables,
        watch: SourceWatch,
        preparation: Preparation,
        hub: LedgerHub,
        limiter: StreamLimiter,
        access: Access,
        metrics: Metrics,
        activity: Activity,
        health: Callable[[], dict[str, Any]],
        group_ledgers: int,
        stalled_client_seconds: float,
        analytics: LedgerAnalytics | None = None,
        locations: Locations,
        tls: tuple[bytes, bytes] | None = None,
        client_ca: bytes | None = None,
        tracing: Tracing | None = None,
    ) -> None:
        self._tables = tables
        self._watch = watch
        self._preparation = preparation
        self._limiter = limiter
        self._access = access
        self._metrics = metrics
        self._activity = activity
        self._health = health
        self._group_ledgers = group_ledgers
        self._analytics = analytics
        self._locations = locations
        self._hub = hub
        self._decoders = Decoders(tables.decoder)
        self._apart = Sparing()
        self._stalled = StalledClients(stalled_client_seconds)
        self._tracing = tracing
        self._refusals = Refusals()
        self._logged_skips: set[str] = set()
        super().__init__(
            (host, port),
            auth_handler=access.handler,
            tls_certificates=[tls] if tls else None,
            verify_client=client_ca is not None,
            root_certificates=client_ca,
            middleware={**access.middleware, **call_middleware()},
        )

    def enter(self, context: flight.ServerCallContext) -> None:
        """Let the caller of a handler in, or refuse it."""
        self._access.enter(context)

    def refused(self, error: Exception, handler: str, context: flight.ServerCallContext) -> None:
        """Count and log a call that ends with an error."""
        self.count_failure(error)
        self._refusals.log(error, handler, context)

    def count_failure(self, error: Exception) -> None:
        self._metrics.failed(type(error).__name__)

    @guarded
    def list_flights(self, context: flight.ServerCallContext, criteria: bytes) -> list[flight.FlightInfo]:
        only = criteria_text(criteria)
        caller = self._access.caller(context)
        if only is None:
            streams = self._streams(caller)
        else:
            streams = [self._tables.find(only)]
            caller.check(_names(streams[0]))
        return [self._info(plan(stream.name, self._tables, self._watch.passphrase)) for stream in streams]

    @guarded
    def get_flight_info(
        self, context: flight.ServerCallContext, descriptor: flight.FlightDescriptor
    ) -> flight.FlightInfo:
        found = plan(descriptor_text(descriptor), self._tables, self._watch.passphrase)
        self._access.caller(context).check(_names(found.stream), found.request.start, found.request.end)
        if found.request.start is not None:
            first_ledger(found.request, self._watch)
        return self._info(found, descriptor)

    @guarded
    def get_schema(self, context: flight.ServerCallContext, descriptor: flight.FlightDescriptor) -> flight.SchemaResult:
        found = plan(descriptor_text(descriptor), self._tables, self._watch.passphrase)
        self._access.caller(context).check(_names(found.stream))
        return flight.SchemaResult(found.schema)

    @guarded
    def do_get(self, context: flight.ServerCallContext, ticket: flight.Ticket) -> flight.GeneratorStream:
        found = plan(ticket.ticket, self._tables, self._watch.passphrase)
        batches = self._batches(found, context)
        # Runs up to the first yield: what it refuses is refused before any data, and from here on
        # its places and threads are given back however the stream ends.
        next(batches)
        compression = found.request.compression
        options = ipc.IpcWriteOptions(compression=compression) if compression else None
        return flight.GeneratorStream(found.schema, batches, options)

    @guarded
    def list_actions(self, context: flight.ServerCallContext) -> list[tuple[str, str]]:
        return list(ACTIONS.items())

    @guarded
    def do_action(self, context: flight.ServerCallContext, action: flight.Action) -> list[flight.Result]:
        if action.type == ACTION_HEALTH:
            answer = self._health()
        elif action.type == ACTION_LATEST_LEDGER:
            answer = self._watch.bounds()._asdict()
        elif action.type == ACTION_STREAMS:
            answer = {"streams": [_described(stream) for stream in self._streams(self._access.caller(context))]}
        else:
            name = action.type[:80]
            raise InvalidRequestError(f"no action is called {name!r}{did_you_mean(name, ACTIONS)}")
        return [flight.Result(json.dumps(answer).encode())]

    @guarded
    def do_put(self, *_: Any) -> None:
        raise InvalidRequestError("the server takes no data: it only serves streams")

    @guarded
    def do_exchange(self, *_: Any) -> None:
        raise InvalidRequestError("the server exchanges no data: ask for a stream with do_get")

    def _streams(self, caller: Caller) -> list[Stream]:
        return [stream for stream in self._tables.streams if caller.covers_stream(*_names(stream))]

    def _info(self, found: StreamPlan, descriptor: flight.FlightDescriptor | None = None) -> flight.FlightInfo:
        request = found.request
        records = UNKNOWN
        each = found.stream.name == ONE_ROW_A_LEDGER and found.row_filter is None
        if each and request.start is not None and request.end is not None:
            records = request.end - request.start + 1
        return flight.FlightInfo(
            found.schema,
            descriptor or flight.FlightDescriptor.for_path(request.stream),
            list(self._locations.endpoints(request)),
            total_records=records,
            total_bytes=UNKNOWN,
            ordered=True,
        )

    def _batches(
        self, found: StreamPlan, context: flight.ServerCallContext
    ) -> Iterator[tuple[pa.RecordBatch, bytes] | None]:
        """Yield None once, when everything is in place, then the batches of the stream with their cursors."""
        stream, end = found.stream.name, found.request.end
        caller = self._access.caller(context)
        caller.check(_names(found.stream), found.request.start, end)
        with ExitStack() as stack:
            stack.enter_context(caller.account.stream(caller.limits))
            stack.enter_context(self._limiter.admit())
            start = first_ledger(found.request, self._watch)

            def poll() -> None:
                self._poll(context)
                caller.check(_names(found.stream), start, end)

            poll()
            caller.account.delay(caller.limits)
            extra = self._analytics.columns_beside(stream) if self._analytics else ()
            reach = found.reach(start, self._watch.newest)
            columns = (*found.columns, *extra)
            ledgers = self._hub.open(self._watch.source, *reach, stream, columns, alone=found.alone)
            call = call_of(context)
            facts = {"stream": stream, "start": start, "end": end, "client": caller.name, "request": call.id}
            trace = self._trace(call, facts, context) if self._tracing else None
            log = _log.bind(**facts, peer=context.peer(), **({"trace": trace.id} if trace else {}))
            failure: Exception | None = None
            sending: Sending | None = None
            position = start
            opened = stack.enter_context(
                self._activity.stream(stream, caller.name or address_of(context.peer()), start, end)
            )
            try:
                step = trace.step if trace else no_step
                pipeline = self._pipeline(found, ledgers, start, reach, step)
                log.info("stream begins")
                yield None
                for part in paced(pipeline.parts(poll), caller, poll):
                    began, began_ns = time.perf_counter(), time.time_ns()
                    with self._stalled.sending(context.peer()) as sending:
                        yield part.batch, part.cursor.to_metadata()
                    seconds, position = time.perf_counter() - began, part.cursor.cursor
                    self._activity.sent(opened, part.cursor, part.batch.num_rows, part.nbytes, seconds)
                    if position > part.cursor.first:  # no heartbeat
                        step("send", began_ns, _figures(part))
                opened.outcome = COMPLETE
            except _ClientGone:
                opened.outcome = CANCELLED
            except GeneratorExit:
                if sending is not None and sending.cut_off:
                    failure = StalledClientError("the client did not read")
                    self._activity.dropped(opened, failure, draining=False)
                raise
            except Exception as error:  # none but Flight errors may leave, see failures.py
                failure = error
                self._activity.dropped(opened, error, draining=self._limiter.draining.is_set())
                self.count_failure(error)
                raise to_flight_error(error, resume=position, request=call.id) from None
            finally:
                ledgers.close()
                sent = opened.figures
                figures = {"next": position, "ledgers": sent.ledgers, "rows": sent.rows, "bytes": sent.bytes}
                ended = log.bind(outcome=opened.outcome, seconds=round(time.monotonic() - opened.began, 3), **figures)
                if failure is None:
                    ended.info("stream ends")
                else:
                    ended.info("stream ends", error=type(failure).__name__, reason=str(failure))
                if trace:
                    trace.end(opened.outcome, failure, figures)

    def _trace(self, call: Call, facts: Mapping[str, Any], context: flight.ServerCallContext) -> StreamTrace:
        assert self._tracing is not None
        own = {f"stellar.{name}": value for name, value in facts.items()}
        return self._tracing.stream(call.headers, own | {"network.peer.address": address_of(context.peer())})

    def _pipeline(
        self, found: StreamPlan, ledgers: LedgerReader, start: int, reach: tuple[int, int | None], step: Step
    ) -> Pipeline:
        stream = found.stream.name

        def is_ready(seconds: float) -> bool:
            return self._preparation.wait(stream, seconds)

        def submit(work: Callable[[], DecodedBatch], requests: Requests, ledgers: int) -> Future[DecodedBatch]:
            return self._decoders.submit(work, requests, self._watch.passphrase, ledgers)

        return Pipeline(
            ledgers,
            is_ready,
            self._decode,
            submit,
            stream,
            found.schema,
            row_filter=found.row_filter,
            start=start,
            end=found.request.end,
            reach=reach,
            group_ledgers=self._group_ledgers,
            group_bytes=self._limiter.group_bytes,
            newest=lambda: self._watch.newest,
            observe=self._observe,
            step=step,
        )

    def _decode(self, requests: Requests, xdrs: list[bytes | memoryview]) -> DecodedBatch:
        try:
            with self._decoders.lend(requests, self._watch.passphrase) as decoder:
                return decoder.decode(xdrs)
        except Exception as error:
            if len(requests) == 1:
                raise
            if (more := self._apart.tell()) is not None:  # each stream by itself will tell, but not what it costs
                reason = f"{type(error).__name__}: {error}"
                _log.warning(f"ledgers are decoded for each stream apart{more}", reason=reason[:300])
            raise DecodeApartError from error

    def _observe(self, decoded: DecodedBatch, xdr_bytes: int, seconds: float) -> None:
        for stream, rows in decoded.batches.items():
            self._metrics.decoded(stream, len(decoded.sequences), xdr_bytes, seconds / len(decoded.batches))
            if self._analytics:
                self._analytics.observe(stream, decoded.sequences, rows, decoded.row_ends[stream])
        self._tell_skipped(decoded)

    def _tell_skipped(self, decoded: DecodedBatch) -> None:
        for skipped, number in decoded.skipped.items():
            stream, _, reason = skipped.partition(": ")
            self._metrics.skipped(stream, reason, number)
            if skipped not in self._logged_skips:
                self._logged_skips.add(skipped)
                first, last = int(decoded.sequences[0]), int(decoded.sequences[-1])
                _log.warning(
                    "gave no row; counted in stellar_arrow_events_skipped_total, not logged again",
                    stream=stream, reason=reason, number=number, first_ledger=first, last_ledger=last,
                )  # fmt: skip

    def _poll(self, context: flight.ServerCallContext) -> None:
        if self._limiter.draining.is_set():
            raise UnavailableError("the server is shutting down; connect again and go on from the ledger told")
        if context.is_cancelled():
            raise _ClientGone


def _figures(part: Part) -> dict[str, int]:
    cursor = part.cursor
    return {"first": cursor.first, "last": cursor.last, "rows": part.batch.num_rows, "bytes": part.nbytes}


def _names(stream: Stream) -> tuple[str, ...]:
    return stream.name, *stream.aliases


def _described(stream: Stream) -> dict[str, Any]:
    return {
        "name": stream.name,
        "aliases": list(stream.aliases),
        "description": stream.description,
        "schema_version": stream.schema_version,
    }

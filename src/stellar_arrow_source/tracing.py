"""OpenTelemetry traces of streams; nothing of it is loaded unless OTEL_* variables of the environment ask for it."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final

from stellar_arrow_client.errors import InvalidRequestError

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Span

DISTRIBUTION: Final = "stellar-arrow-source"

Step = Callable[[str, int, Mapping[str, int]], None]
"""Tells of a step of a stream that is done: its name, when it began (ns since 1970), and figures."""

FLUSH_SECONDS: Final = 2.0
"""How long the end of the server waits for a collector."""

_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS: Final = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")


def no_step(_name: str, _began: int, _figures: Mapping[str, int]) -> None:
    """The :data:`Step` of a stream that is not traced."""


def wanted_exporter() -> str | None:
    """``OTEL_TRACES_EXPORTER``, or otlp where only an endpoint is set; None for no traces."""
    if os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return None
    default = "otlp" if any(os.environ.get(name) for name in _ENDPOINTS) else "none"
    exporter = (os.environ.get("OTEL_TRACES_EXPORTER") or default).strip().lower()
    return None if exporter == "none" else exporter


def open_tracing() -> Tracing | None:
    """Traces as the environment asks for them; None for no traces.

    Raises:
        InvalidRequestError: the environment asks for what does not exist or is not installed.
    """
    exporter = wanted_exporter()
    if exporter is None:
        return None
    try:
        from opentelemetry.sdk.resources import OTELResourceDetector, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        own = {"service.name": DISTRIBUTION, "service.version": version(DISTRIBUTION)}
        resource = Resource.create(own).merge(OTELResourceDetector().detect())  # the environment goes before ours
        provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        provider.add_span_processor(BatchSpanProcessor(_exporter(exporter)))
    except ImportError as error:
        raise InvalidRequestError(
            f"traces are asked for ({error.name} is not installed): pip install '{DISTRIBUTION}[otel]', or set"
            " OTEL_SDK_DISABLED=true"
        ) from None
    return Tracing(provider)


def _exporter(name: str) -> SpanExporter:
    match name, next((os.environ[variable] for variable in _PROTOCOLS if os.environ.get(variable)), "http/protobuf"):
        case "console", _:
            from opentelemetry.sdk.trace.export import ConsoleSpanExporter

            return ConsoleSpanExporter(out=sys.stderr)  # a worker speaks to its server on stdout
        case "otlp", "http/protobuf":
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

            return OTLPSpanExporter()
        case "otlp", "grpc":
            from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter

            return GrpcExporter()
        case "otlp", protocol:
            raise InvalidRequestError(f"{_PROTOCOLS[1]} must be http/protobuf or grpc, not {protocol!r}")
        case other, _:
            raise InvalidRequestError(f"OTEL_TRACES_EXPORTER must be otlp, console or none, not {other!r}")


class Tracing:
    """Makes spans with a provider of OpenTelemetry."""

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer(DISTRIBUTION, version(DISTRIBUTION))

    def stream(self, headers: Mapping[str, str], attributes: Mapping[str, Any]) -> StreamTrace:
        """The trace of a stream, as part of the one that the headers of its call name.

        Args:
            attributes: of its span; those that are None are left out.
        """
        from opentelemetry.propagate import extract
        from opentelemetry.trace import SpanKind

        known = {key: value for key, value in attributes.items() if value is not None}
        rpc = {"rpc.system": "grpc", "rpc.service": "arrow.flight.protocol.FlightService", "rpc.method": "DoGet"}
        span = self._tracer.start_span(
            f"DoGet {attributes['stellar.stream']}", extract(headers), SpanKind.SERVER, rpc | known
        )
        return StreamTrace(self, span)

    def child(self, parent: Span, name: str, began: int, figures: Mapping[str, int]) -> None:
        """A span that ends now."""
        from opentelemetry.trace import set_span_in_context

        attributes = {f"stellar.{key}": value for key, value in figures.items()}
        self._tracer.start_span(name, set_span_in_context(parent), attributes=attributes, start_time=began).end()

    def close(self) -> None:
        """Send what is left, unless the collector takes longer than :data:`FLUSH_SECONDS`."""
        ending = threading.Thread(target=self._provider.shutdown, name="traces", daemon=True)
        ending.start()
        ending.join(FLUSH_SECONDS)


class StreamTrace:
    """The span of one stream, and those of its steps."""

    def __init__(self, tracing: Tracing, span: Span) -> None:
        self._tracing, self._span = tracing, span

    @property
    def id(self) -> str:
        """The trace, in hexadecimal."""
        return f"{self._span.get_span_context().trace_id:032x}"

    def step(self, name: str, began: int, figures: Mapping[str, int]) -> None:
        """See :data:`Step`."""
        self._tracing.child(self._span, name, began, figures)

    def end(self, outcome: str, error: Exception | None, figures: Mapping[str, int]) -> None:
        """The stream has ended so."""
        from opentelemetry.trace import Status, StatusCode

        self._span.set_attributes({"stellar.outcome": outcome} | {f"stellar.{k}": v for k, v in figures.items()})
        if error is not None:
            self._span.set_attribute("error.type", type(error).__name__)
            self._span.set_status(Status(StatusCode.ERROR, str(error)[:300]))
        self._span.end()

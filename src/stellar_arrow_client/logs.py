"""Logging of the commands: text or JSON lines on stderr, for structlog and for the standard library."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from typing import IO, NamedTuple

LEVELS = ("debug", "info", "warning", "error")
FORMATS = ("text", "json")


class LogSettings(NamedTuple):
    """How a process logs.

    Attributes:
        level: one of :data:`LEVELS`; what is below is dropped.
        log_format: ``text`` for people, ``json`` for one object a line.
        fields: that every line has.
    """

    level: str = "info"
    log_format: str = "text"
    fields: Mapping[str, str | int] = {}


class _Stderr(logging.StreamHandler[IO[str]]):
    """Writes to whatever ``sys.stderr`` is at the moment, so that lines go above a progress bar."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> IO[str]:  # type: ignore[override]
        return sys.stderr


_settings = LogSettings()


def log_settings() -> LogSettings:
    """What :func:`configure_logging` was given last, for processes that this one starts."""
    return _settings


def configure_logging(
    level: str = "info", log_format: str = "text", fields: Mapping[str, str | int] | None = None
) -> None:
    """Send the records of structlog and of :mod:`logging` to stderr; see :class:`LogSettings`."""
    import structlog  # here, so that the SDK imports fast

    global _settings
    settings = _settings = LogSettings(level, log_format, fields or {})

    def add_fields(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        return {**event, **settings.fields}

    number = getattr(logging, level.upper())
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        add_fields,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if log_format == "json"
        else structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), pad_event_to=0, exception_formatter=structlog.dev.plain_traceback
        )
    )
    final: list[structlog.typing.Processor] = [structlog.stdlib.ProcessorFormatter.remove_processors_meta]
    if log_format == "json":
        final.append(structlog.processors.format_exc_info)
    handler = _Stderr()
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(processors=[*final, renderer], foreign_pre_chain=shared))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(number)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *(step for step in shared if not isinstance(step, structlog.stdlib.ExtraAdder)),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )

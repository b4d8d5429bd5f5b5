"""A worker: a server like any other, which another one starts, watches and ends.

It hears from that one on stdin and says on stdout where it listens. When stdin ends, the server that started it is
gone, and so it goes too, however that one ended.
"""

from __future__ import annotations

import logging
import os
import pickle
import sys
import threading

import structlog

from stellar_arrow_client.errors import StellarArrowError
from stellar_arrow_client.logs import configure_logging
from stellar_arrow_source.flight.orders import Channel, Drain, Heard, Listening, Start, tell_news
from stellar_arrow_source.flight.process import make_service
from stellar_arrow_source.flight.service import Service, run

_log = structlog.get_logger(__name__)


def main() -> None:
    """Entry point."""
    # Nobody else is to write there.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    start = pickle.load(sys.stdin.buffer)
    assert isinstance(start, Start)
    configure_logging(*start.logs)
    if start.logs.level != "debug":
        # A range is read in many parts, whose beginnings and ends tell nobody anything.
        logging.getLogger("stellar_arrow_source.flight.server").setLevel(logging.WARNING)
    try:
        service = make_service(start.config, is_worker=True)
        channel = Channel(
            sys.stdin.buffer, answers, lambda message: _obey(service, message), lambda: os._exit(os.EX_UNAVAILABLE)
        )
        channel.say(Listening(service.port, service.health_port))
        name = str(start.logs.fields["worker"])
        threading.Thread(
            target=tell_news, args=(service.access, name, channel.say, service.ended), name="news", daemon=True
        ).start()
        run(service)
    except StellarArrowError as error:
        _log.error("a worker cannot serve", reason=str(error))
        sys.stderr.flush()
        os._exit(error.exit_code)


def _obey(service: Service, message: Drain | Heard) -> None:
    if isinstance(message, Drain):
        service.ended.set()
    else:
        message.tell(service.access)


if __name__ == "__main__":
    main()

"""A worker: a server like any other, which another one starts, watches and ends.

It reads a :class:`Start` from its stdin, says on stdout where it listens (:class:`Listening`, as a JSON object) and
serves until a line comes that tells it to drain. When stdin ends without such a line, the server that started it is
gone, and so it goes too, however that one ended.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading

import structlog

from stellar_arrow_client.errors import StellarArrowError
from stellar_arrow_client.logs import configure_logging
from stellar_arrow_source.flight.orders import DRAIN, Listening, Start
from stellar_arrow_source.flight.process import make_service
from stellar_arrow_source.flight.service import Service, run

_log = structlog.get_logger(__name__)


def main() -> None:
    """Entry point."""
    start = Start.receive(sys.stdin.buffer)
    configure_logging(*start.logs)
    if start.logs.level != "debug":
        # A range is read in many parts, whose beginnings and ends tell nobody anything.
        logging.getLogger("stellar_arrow_source.flight.server").setLevel(logging.WARNING)
    try:
        service = make_service(start.config, is_worker=True)
        threading.Thread(target=_obey, args=(service,), name="orders", daemon=True).start()
        print(json.dumps(Listening(service.port, service.health_port)._asdict()), flush=True)
        run(service)
    except StellarArrowError as error:
        _log.error("a worker cannot serve", reason=str(error))
        sys.stderr.flush()
        os._exit(error.exit_code)


def _obey(service: Service) -> None:
    line = sys.stdin.buffer.readline()
    if line != DRAIN:
        os._exit(os.EX_UNAVAILABLE)
    service.ended.set()


if __name__ == "__main__":
    main()

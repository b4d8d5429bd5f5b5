"""The command ``stellar-arrow-source compile``."""

from __future__ import annotations

import logging
import threading

import click

from stellar_arrow_client.errors import StellarArrowError
from stellar_arrow_client.options import Command

_WAIT_SECONDS = 1.0

_log = logging.getLogger(__name__)


@click.command("compile", cls=Command)
def compile_() -> None:
    """Compile the decoder now, which the first start of a server does else: for images and installations.

    It takes some minutes, and no time where it is done. What is compiled is kept for this kind of processor in
    NUMBA_CACHE_DIR, or where the user's caches are.
    """
    from stellar_arrow_source.flight.backend import ledger_tables  # all of these load slowly
    from stellar_arrow_source.flight.preparing import Preparation
    from stellar_arrow_source.ledgers.synthetic import SyntheticSource

    tables = ledger_tables()
    preparation = Preparation(tables.unprepared())
    source = SyntheticSource.from_endpoint("synthetic://")
    latest = source.bounds().latest
    assert latest is not None
    [ledger] = source.ledgers(latest, latest, threading.Event())
    preparation.start(ledger.xdr, source.network_passphrase)
    while not preparation.finished(_WAIT_SECONDS):
        pass
    if missing := tables.unprepared():
        raise StellarArrowError(
            f"{len(missing)} decoders are not compiled: 'stellar-arrow-source doctor' says"
            " whether there is a place to keep them"
        )
    _log.info("all %d streams are compiled", len(tables.streams))

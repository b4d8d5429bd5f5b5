"""The ledger source: whether it answers, what it holds, and whether its newest ledger is what it should be."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from stellar_arrow_client.errors import StellarArrowError
from stellar_arrow_source.config import ServerConfig
from stellar_arrow_source.doctor.findings import Finding, fail, look, ok, warn
from stellar_arrow_source.ledgers.endpoint import each_endpoint, open_source, pipes, without_credentials
from stellar_arrow_source.ledgers.header import ledger_close_time
from stellar_arrow_source.ledgers.members import begin
from stellar_arrow_source.ledgers.source import LedgerSource, RawLedger, RetryPolicy
from stellar_arrow_source.ledgers.verify import Verifier
from stellar_arrow_source.networks import KNOWN_NETWORKS, network_name
from stellar_arrow_source.tables import LedgerDecoder

ANSWER_SECONDS: Final = 30.0
"""How long the source may take to answer all questions."""
SKEW_SECONDS: Final = 5
LATE_SECONDS: Final = 60

_RETRY: Final = RetryPolicy(attempts=2, initial=0.2, maximum=1.0)


def source(config: ServerConfig) -> Iterator[Finding]:
    """Everything about the source, within :data:`ANSWER_SECONDS`."""
    where = without_credentials(config.endpoint)
    if pipes(config.endpoint, config.live):
        yield warn("source", f"{where} is a pipe, and reading takes its ledgers away: not tried", "start the server")
        return
    stop = threading.Event()
    found: list[Finding] = []

    def ask() -> None:
        for finding in look(lambda config: _answers(config, stop), "source", config):
            found.append(finding)

    asking = threading.Thread(target=ask, name="doctor", daemon=True)
    asking.start()
    asking.join(ANSWER_SECONDS)
    stop.set()
    yield from tuple(found)
    if asking.is_alive():
        fix = "look whether it runs and whether the network lets through what is asked of it"
        yield fail("source", f"{where} has not answered all questions within {ANSWER_SECONDS:.0f} seconds", fix)
    for endpoints in (each_endpoint(config.endpoint), each_endpoint(config.live or "")):
        if len(endpoints) > 1:
            yield from _equal_sources(endpoints, config)


def _equal_sources(endpoints: Sequence[str], config: ServerConfig) -> Iterator[Finding]:
    """Each by itself: the server uses what is there, so nobody would notice that there is less to go on with."""
    asked = [(without_credentials(one), begin(partial(_newest_of, one, config), "doctor")) for one in endpoints]
    deadline = time.monotonic() + ANSWER_SECONDS / 2
    for where, answer in asked:
        try:
            latest = answer.result(max(0.0, deadline - time.monotonic()))
        except TimeoutError:
            yield warn("equal source", f"{where} does not answer", "look whether it runs, or leave it out")
        except StellarArrowError as error:
            yield warn("equal source", str(error), "look whether it runs, or leave it out")
        else:
            yield ok("equal source", f"{where} has ledgers up to {latest or 'an unknown one'}")


def _newest_of(endpoint: str, config: ServerConfig) -> int | None:
    with closing(open_source(endpoint, passphrase=config.passphrase, retry=_RETRY, tls=config.source_tls)) as opened:
        return opened.bounds().latest


def _answers(config: ServerConfig, stop: threading.Event) -> Iterator[Finding]:
    began = time.monotonic()
    with closing(
        open_source(
            config.endpoint,
            live=config.live,
            passphrase=config.passphrase,
            retry=_RETRY,
            tls=config.source_tls,
            failover_seconds=config.failover_seconds,
        )
    ) as opened:
        oldest, latest = opened.bounds()
        if latest is None:
            yield warn("source", f"{opened.endpoint} has no ledger yet", "wait for the first, or look at --source")
            return
        seconds = time.monotonic() - began
        yield ok("source", f"{opened.endpoint} has ledgers {oldest or 'unknown'} to {latest} ({seconds:.1f} s)")
        ledger = next(opened.ledgers(latest, latest, stop), None)
        if ledger is not None:
            yield from _newest(ledger, opened, config)


def _newest(ledger: RawLedger, opened: LedgerSource, config: ServerConfig) -> Iterator[Finding]:
    verifier = Verifier(config.passphrase or opened.network_passphrase)
    verifier.check(ledger)
    passphrase = verifier.verified.passphrase
    LedgerDecoder({"ledgers": None}, passphrase=passphrase).decode([ledger.xdr])
    transactions = verifier.verified.transactions
    yield ok(
        "newest ledger", f"ledger {ledger.sequence} is decoded, its hashes and {transactions} transactions are right"
    )
    if passphrase is None:
        fix = "give --network, so that ledgers of another one are refused"
        yield warn("network", "not known: the newest ledger has no transaction, and the source does not say", fix)
    else:
        name = network_name(passphrase)
        yield ok("network", f"{name}: {passphrase}" if name != passphrase else passphrase)
    if passphrase != KNOWN_NETWORKS["synthetic"]:
        yield _clock(ledger, config)


def _clock(ledger: RawLedger, config: ServerConfig) -> Finding:
    """This machine's clock against the close time of the newest ledger."""
    age = time.time() - ledger_close_time(ledger.xdr)
    if age < -SKEW_SECONDS:
        return fail(
            "clock", f"the newest ledger closes {-age:.0f} seconds from now", "set the clock, by NTP for instance"
        )
    text = f"the newest ledger closed {age:.0f} seconds ago"
    follows = any(_is_live(endpoint) for endpoint in each_endpoint(config.live or config.endpoint))
    if follows and age > LATE_SECONDS:
        fix = "see why the source lags behind its network, or set the clock"
        return warn("clock", text, fix)
    return ok("clock", text)


def _is_live(endpoint: str) -> bool:
    """Whether it names a server rather than a store."""
    if "://" in endpoint:
        return urlsplit(endpoint).scheme.startswith(("grpc", "rpc", "core"))
    return "/" not in endpoint and not Path(endpoint).is_dir()

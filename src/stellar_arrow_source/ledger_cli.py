"""The command ``stellar-ledger-source``: serves ledgers over gRPC, verifies them, and tells what a source has."""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from stellar_arrow_client.errors import ExitCode, InvalidRequestError
from stellar_arrow_client.options import Choice, Group, LedgerNumber, option, run_cli, standard_options
from stellar_arrow_client.signals import draining
from stellar_arrow_source.completing import complete_endpoint
from stellar_arrow_source.config import source_tls as tls_of
from stellar_arrow_source.config import source_tls_options
from stellar_arrow_source.ledgers.source import LedgerSource
from stellar_arrow_source.networks import KNOWN_NETWORKS, network_name
from stellar_arrow_source.progress import progress_option, showing
from stellar_arrow_source.tls import read_authorities, read_identity

if TYPE_CHECKING:
    from stellar_arrow_source.balances import BalanceCheck

_log = logging.getLogger(__name__)

_endpoint = click.argument(
    "endpoint",
    envvar="SOURCE_ENDPOINT",
    shell_complete=complete_endpoint,
    help="host:port, grpc:// or grpcs://host:port, a folder, file:///folder or synthetic://.",
)
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_network = option(
    "--network",
    envvar="NETWORK_PASSPHRASE",
    help=f"Network that the ledgers must belong to: {', '.join(KNOWN_NETWORKS)} or a passphrase.",
)
_format = option(
    "--format", "output", type=Choice(["text", "json"]), default="text", help="For people or for programs."
)


@click.group("stellar-ledger-source", cls=Group)
def command() -> None:
    """Serve and verify Stellar ledgers.

    An ENDPOINT is host:port, grpc://host:port or, over TLS, grpcs://host:port of a RawLedgerService, the folder of a
    SEP-54 (Galexie) store or file:///folder, or synthetic:// for made-up ledgers (synthetic://?ledgers=1000&start=2&rate=1&seed=x&
    transactions=30; with a rate, as many more ledgers come each second).
    """


@command.command()
@_endpoint
@option("--host", default="127.0.0.1", envvar="LEDGER_HOST", help="Address to listen at; 0.0.0.0 for all.")
@option("--port", type=click.IntRange(0, 65535), default=50053, envvar="LEDGER_PORT", help="Port; 0 for a free one.")
@option(
    "--max-calls",
    type=click.IntRange(1, 4096),
    default=64,
    envvar="LEDGER_MAX_CALLS",
    help="Calls and streams served at the same time; more are refused.",
)
@option("--tls-cert", type=_FILE, envvar="LEDGER_TLS_CERT", help="PEM certificate chain; turns TLS on.")
@option("--tls-key", type=_FILE, envvar="LEDGER_TLS_KEY", help="PEM private key of --tls-cert.")
@option(
    "--tls-client-ca",
    type=_FILE,
    envvar="LEDGER_TLS_CLIENT_CA",
    help="PEM certificates of authorities; only clients that show a certificate of theirs can connect (mutual TLS).",
)
@source_tls_options
@_network
@standard_options("stellar-arrow-source")
def serve(
    endpoint: str,
    host: str,
    port: int,
    max_calls: int,
    tls_cert: Path | None,
    tls_key: Path | None,
    tls_client_ca: Path | None,
    network: str | None,
    **source_tls: Any,
) -> int | None:
    """Serve the ledgers of ENDPOINT as RawLedgerService over gRPC."""
    if (tls_cert is None) != (tls_key is None) or (tls_client_ca is not None and tls_cert is None):
        raise InvalidRequestError("TLS needs both --tls-cert and --tls-key, and --tls-client-ca needs TLS")
    identity = read_identity(tls_cert, tls_key) if tls_cert and tls_key else None
    client_ca = read_authorities(tls_client_ca) if tls_client_ca else None
    stop = threading.Event()
    with _opened(endpoint, network, source_tls) as opened, draining(stop) as interruption:
        from stellar_arrow_source.ledgers.service import RawLedgerServer

        with RawLedgerServer(opened, host, port, max_calls=max_calls, identity=identity, client_ca=client_ca) as server:
            _log.info("serving %s at %s:%d%s", opened.endpoint, host, server.port, " with TLS" if identity else "")
            stop.wait()
            _log.info("stopping on %s", interruption.signal and interruption.signal.name)
    return None


@command.command()
@_endpoint
@option("--start", type=LedgerNumber(), help="First ledger; the oldest one when left out.")
@option("--end", type=LedgerNumber(), help="Last ledger, inclusive; the newest one when left out.")
@option(
    "--balances",
    is_flag=True,
    help="Also compare the token-transfer events of each transaction with what its ledger entries changed by.",
)
@progress_option
@source_tls_options
@_network
@_format
@standard_options("stellar-arrow-source")
def verify(
    endpoint: str,
    start: int | None,
    end: int | None,
    balances: bool,
    progress: str,
    network: str | None,
    output: str,
    **source_tls: Any,
) -> int | None:
    """Recompute all hashes that the headers of ENDPOINT's ledgers commit to."""
    stop = threading.Event()
    with _opened(endpoint, network, source_tls) as opened, draining(stop) as interruption:
        from stellar_arrow_source.ledgers.verify import NOT_PROVEN, PROVEN, Verifier

        first, last = _range(opened, start, end)
        passphrase = _passphrase(network) or opened.network_passphrase
        verifier, comparison = Verifier(passphrase), _comparison(passphrase) if balances else None
        with showing(last - first + 1, progress) as show:
            for ledger in opened.ledgers(first, last, stop):
                verifier.check(ledger)
                if comparison is not None:
                    comparison.add(ledger.xdr)
                show(1, ledger.sequence)
    verified = verifier.verified
    report = None if comparison is None else comparison.finish()
    if output == "json":
        facts = asdict(verified) | {"proven": PROVEN, "not_proven": NOT_PROVEN}
        facts |= {"first": first, "last": first + verified.ledgers - 1}
        click.echo(json.dumps(facts if report is None else facts | {"balances": asdict(report)}))
    else:
        network_text = "not proven, there is no transaction"
        if verified.passphrase is not None and verified.transactions:
            network_text = network_name(verified.passphrase)
        click.echo(
            f"verified {verified.ledgers} ledgers from {first} on: {verified.transactions} transactions, "
            f"{verified.links} links to the ledger before\n"
            f"network: {network_text}\n"
            f"proven: {PROVEN}\n"
            f"not proven: {NOT_PROVEN}"
        )
        if report is not None:
            click.echo("\n".join(report.lines()))
    if interruption.signal is not None and verified.ledgers < last - first + 1:
        return 128 + interruption.signal
    return None if report is None or not report.different else ExitCode.INTEGRITY


def _comparison(passphrase: str | None) -> BalanceCheck:
    from stellar_arrow_source.balances import BalanceCheck  # the decoder loads slowly, the hashes need little of it

    return BalanceCheck(passphrase)


@command.command()
@_endpoint
@source_tls_options
@_format
@standard_options("stellar-arrow-source")
def info(endpoint: str, output: str, **source_tls: Any) -> None:
    """Show which ledgers ENDPOINT has, and of which network."""
    with _opened(endpoint, None, source_tls) as opened:
        oldest, latest = opened.bounds()
    facts = {
        "endpoint": opened.endpoint,
        "oldest": oldest,
        "latest": latest,
        "network_passphrase": opened.network_passphrase,
    }
    if output == "json":
        click.echo(json.dumps(facts))
        return
    for name, value in facts.items():
        click.echo(f"{name.replace('_', ' ')}: {'not told' if value is None else value}")


@contextmanager
def _opened(endpoint: str, network: str | None, tls: Mapping[str, Any]) -> Iterator[LedgerSource]:
    # gRPC reads this when it is loaded; what it has to say is said by the errors of the sources.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from stellar_arrow_source.allocator import keep_freed_memory
    from stellar_arrow_source.compiling import tell_of_compiling
    from stellar_arrow_source.ledgers.endpoint import open_source

    keep_freed_memory()
    tell_of_compiling()
    with closing(open_source(endpoint, passphrase=_passphrase(network), tls=tls_of(tls))) as source:
        yield source


def _passphrase(network: str | None) -> str | None:
    return None if network is None else KNOWN_NETWORKS.get(network, network)


def _range(source: LedgerSource, start: int | None, end: int | None) -> tuple[int, int]:
    """The range asked for, completed by what the source has.

    Raises:
        InvalidRequestError: it is empty, or the source does not tell its bounds.
    """
    if start is None or end is None:
        oldest, latest = source.bounds()
        start, end = start or oldest, end or latest
    if start is None or end is None:
        missing = "--start" if start is None else "--end"
        raise InvalidRequestError(f"{source.endpoint} holds no ledger, or does not tell which: give {missing}")
    if start > end:
        raise InvalidRequestError(f"the range from {start} to {end} is empty: give --start and --end")
    return start, end


def main() -> None:
    """Entry point."""
    run_cli(command)

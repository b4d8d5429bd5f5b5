"""Options that all commands share, as decorators of their functions.

Precedence everywhere: flag, environment variable, configuration file, default. Every option shows its default
and its environment variable in the help text.
"""

from __future__ import annotations

import functools
import importlib.metadata
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

import click

from stellar_arrow_client.command import (
    Choice,
    Command,
    Group,
    Option,
    did_you_mean,
    enable_tracebacks,
    load_config,
    option,
    run_cli,
)
from stellar_arrow_client.completion import complete_columns, complete_streams, complete_tools
from stellar_arrow_client.logs import FORMATS, LEVELS, configure_logging
from stellar_arrow_client.policy import PARALLEL, RetryPolicy
from stellar_arrow_client.request import COMPRESSIONS, Compression, StreamRequest
from stellar_arrow_client.values import Assignment, LedgerNumber, Names

__all__ = [
    "Assignment",
    "Choice",
    "Command",
    "Group",
    "LedgerNumber",
    "Names",
    "Option",
    "RunOptions",
    "Selection",
    "client_options",
    "complete_columns",
    "complete_streams",
    "configure_logging",
    "did_you_mean",
    "dry_run_option",
    "option",
    "request_options",
    "run_cli",
    "run_options",
    "schema_change_option",
    "server_argument",
    "standard_options",
    "stream_option",
]

F = TypeVar("F", bound=Callable[..., Any])
ProgressMode = Literal["auto", "bar", "log", "none"]


@dataclass(frozen=True, slots=True)
class Selection:
    """What :func:`request_options` read: a range and the columns and rows of it."""

    start: int | None = None
    end: int | None = None
    columns: tuple[str, ...] | None = None
    filter: str | None = None
    compression: Compression | None = None

    def request(self, stream: str) -> StreamRequest:
        """The request for one stream.

        Raises:
            InvalidRequestError: the range or a name is not valid.
        """
        return StreamRequest(stream, self.start, self.end, self.columns, self.filter, self.compression)


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What :func:`run_options` read; see :func:`stellar_arrow_client.runner.run`."""

    progress: ProgressMode = "auto"
    metrics_port: int | None = None
    metrics_host: str = "127.0.0.1"


def standard_options(distribution: str) -> Callable[[F], F]:
    """``--config``, logging, ``--debug`` and ``--version`` of a command of ``distribution``.

    Logging is set up before the function runs; the function takes none of these.
    """

    def version(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
        if value and not ctx.resilient_parsing:
            click.echo(f"{ctx.find_root().command.name} {importlib.metadata.version(distribution)}")
            ctx.exit()

    def decorate(function: F) -> F:
        @functools.wraps(function)
        def run(*args: Any, log_level: str, log_format: str, quiet: bool, verbose: bool, **kwargs: Any) -> Any:
            if quiet and verbose:
                raise click.UsageError("--quiet and --verbose exclude each other")
            configure_logging("error" if quiet else "debug" if verbose else log_level, log_format)
            return function(*args, **kwargs)

        return _apply(
            cast(F, run),
            option(
                "--config",
                type=click.Path(exists=True, dir_okay=False, path_type=Path),
                envvar="STELLAR_ARROW_CONFIG",
                is_eager=True,
                expose_value=False,
                callback=load_config,
                help="TOML file; the section named after the command sets its options.",
            ),
            option(
                "--log-level",
                type=Choice(LEVELS, case_sensitive=False),
                default="info",
                envvar="LOG_LEVEL",
                help="Least level of the messages on stderr.",
            ),
            option(
                "--log-format",
                type=Choice(FORMATS),
                default="text",
                envvar="LOG_FORMAT",
                help="Messages for people or one JSON object a line.",
            ),
            option("-q", "--quiet", is_flag=True, help="Errors only."),
            option("-v", "--verbose", is_flag=True, help="All messages, also those of level debug."),
            option(
                "--debug",
                is_flag=True,
                envvar="STELLAR_ARROW_DEBUG",
                is_eager=True,
                expose_value=False,
                callback=enable_tracebacks,
                help="Show the traceback of an error.",
            ),
            click.option(
                "--version",
                is_flag=True,
                is_eager=True,
                expose_value=False,
                callback=version,
                help="Show the version and exit.",
            ),
        )

    return decorate


def server_argument(function: F) -> F:
    """The positional ``SERVER``, handed on as ``server``."""
    help_text = "Address of the server: HOST:PORT, grpc://… or grpc+tls://…."
    return click.argument("server", shell_complete=complete_tools, help=help_text)(function)


def client_options(function: F) -> F:
    """``SERVER``, credentials, TLS, ``--retry-for``; the function gets an open ``client``."""
    pem = click.Path(exists=True, dir_okay=False, path_type=Path)

    @functools.wraps(function)
    def run(
        *args: Any,
        server: str,
        token: str | None,
        tls_roots: Path | None,
        client_cert: Path | None,
        client_key: Path | None,
        retry_for: float,
        parallel: int,
        **kwargs: Any,
    ) -> Any:
        from stellar_arrow_client.client import Client  # pyarrow loads slowly, --help needs none of it

        roots, cert, key = (path.read_bytes() if path else None for path in (tls_roots, client_cert, client_key))
        retry = RetryPolicy(retry_for=retry_for)
        with Client(
            server,
            token=token,
            tls_roots=roots,
            client_cert=cert,
            client_key=key,
            retry=retry,
            parallel=parallel,
        ) as client:
            return function(*args, client=client, **kwargs)

    return _apply(
        cast(F, run),
        server_argument,
        option("--token", envvar="STELLAR_ARROW_TOKEN", help="Bearer token that the server asks for."),
        option(
            "--tls-roots",
            type=pem,
            envvar="STELLAR_ARROW_TLS_ROOTS",
            help="PEM file of the authorities to trust with grpc+tls://; without it those of the system.",
        ),
        option(
            "--client-cert",
            type=pem,
            envvar="STELLAR_ARROW_CLIENT_CERT",
            help="PEM certificate chain to show to a server that asks for one (mutual TLS).",
        ),
        option(
            "--client-key",
            type=pem,
            envvar="STELLAR_ARROW_CLIENT_KEY",
            help="PEM private key of --client-cert.",
        ),
        option(
            "--retry-for",
            type=click.FloatRange(min=0),
            default=RetryPolicy().retry_for,
            envvar="STELLAR_ARROW_RETRY_FOR",
            metavar="SECONDS",
            help="How long to go on trying when the connection breaks.",
        ),
        option(
            "--parallel",
            type=click.IntRange(1, 64),
            default=PARALLEL,
            envvar="STELLAR_ARROW_PARALLEL",
            metavar="SERVERS",
            help="From how many servers to read a range at a time, at most, where several share the work.",
        ),
    )


def request_options(
    bounds: Literal["arguments", "options"] = "arguments", *, otherwise: str = "the latest one"
) -> Callable[[F], F]:
    """Range, columns, filter and wire compression; the function gets a ``selection``.

    Args:
        bounds: whether the range is ``[START_LEDGER] [END_LEDGER]`` or ``--start``, ``--end``.
        otherwise: where it begins when the start is left out.
    """
    start_help = f"First ledger; {otherwise} when left out."
    end_help = "Last ledger, inclusive; 0 or left out to follow the tip."
    range_parameters: list[Callable[[Any], Any]]
    if bounds == "arguments":
        range_parameters = [
            click.argument("start_ledger", required=False, type=LedgerNumber(), help=start_help),
            click.argument("end_ledger", required=False, type=LedgerNumber(zero_is_none=True), help=end_help),
        ]
    else:
        range_parameters = [
            option("--start", "start_ledger", type=LedgerNumber(), help=start_help),
            option("--end", "end_ledger", type=LedgerNumber(zero_is_none=True), help=end_help),
        ]

    def decorate(function: F) -> F:
        @functools.wraps(function)
        def run(
            *args: Any,
            start_ledger: int | None,
            end_ledger: int | None,
            columns: tuple[str, ...] | None,
            wire_compression: str,
            **kwargs: Any,
        ) -> Any:
            compression = None if wire_compression == "none" else cast(Compression, wire_compression)
            selection = Selection(start_ledger, end_ledger, columns, kwargs.pop("filter"), compression)
            return function(*args, selection=selection, **kwargs)

        return _apply(
            cast(F, run),
            *range_parameters,
            option(
                "--columns",
                type=Names(),
                metavar="NAME,…",
                shell_complete=complete_columns,
                help="Columns wanted; all that are not opt-in when left out.",
            ),
            option("--filter", metavar="SQL", help="Rows wanted, such as \"asset_code = 'USDC'\"."),
            option(
                "--wire-compression",
                type=Choice(["none", *COMPRESSIONS]),
                default="none",
                help="Compression between server and consumer; worth it on a slow network.",
            ),
        )

    return decorate


def stream_option(becomes: str, *, default: str = "payments") -> Callable[[F], F]:
    """``--stream``; the function gets ``streams``, for :func:`stellar_arrow_client.choice.choose`.

    Args:
        becomes: where each stream goes, as a sentence.
        default: the streams that are read when none is named.
    """
    return option(
        "--stream",
        "streams",
        multiple=True,
        default=[default],
        metavar="NAME[,…]",
        shell_complete=complete_streams,
        help=f"Streams to read, with commas between them, or 'all'; may be repeated. {becomes}",
    )


def schema_change_option(output_lacks: str) -> Callable[[F], F]:
    """``--schema-change``; the function gets ``add_columns``.

    Args:
        output_lacks: what may lack columns, such as ``table lacks``.
    """

    def decorate(function: F) -> F:
        @functools.wraps(function)
        def run(*args: Any, schema_change: str, **kwargs: Any) -> Any:
            return function(*args, add_columns=schema_change == "add", **kwargs)

        return _apply(
            cast(F, run),
            option(
                "--schema-change",
                type=Choice(["refuse", "add"]),
                default="refuse",
                help=f"What to do with columns that a stream has and its {output_lacks}.",
            ),
        )

    return decorate


def dry_run_option(function: F) -> F:
    """``--dry-run``; the function gets ``dry_run``."""
    text = "Say what would be read and where it would go; write nothing."
    return cast(F, option("--dry-run", is_flag=True, help=text)(function))


def run_options(function: F) -> F:
    """``--progress`` and metrics; the function gets ``run_options``, for the runner."""

    @functools.wraps(function)
    def run(*args: Any, progress: ProgressMode, metrics_port: int | None, metrics_host: str, **kwargs: Any) -> Any:
        return function(*args, run_options=RunOptions(progress, metrics_port, metrics_host), **kwargs)

    return _apply(
        cast(F, run),
        option(
            "--progress",
            type=Choice(["auto", "bar", "log", "none"]),
            default="auto",
            envvar="STELLAR_ARROW_PROGRESS",
            help="A bar, log lines, or nothing; auto is a bar on a terminal and log lines elsewhere.",
        ),
        option(
            "--metrics-port",
            type=click.IntRange(0, 65535),
            envvar="METRICS_PORT",
            help="Serve Prometheus metrics there (0 picks a free port); none when left out.",
        ),
        option(
            "--metrics-host",
            default=RunOptions().metrics_host,
            envvar="METRICS_HOST",
            help="Address on which to serve the metrics.",
        ),
    )


def _apply(function: F, *decorators: Callable[[F], F]) -> F:
    """Apply decorators so that the parameters stand in the help text in the order given."""
    for decorator in reversed(decorators):
        function = decorator(function)
    return function

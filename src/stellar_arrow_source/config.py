"""Settings of the server: one declaration each, from which options, environment and file follow.

A value comes from the command line, else the environment, else the configuration file, else the default.
"""

# ruff: noqa: RUF009 (_setting makes dataclass fields)

from __future__ import annotations

import dataclasses
import ipaddress
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import click
from click.core import ParameterSource

from stellar_arrow_client.command import Choice, option
from stellar_arrow_client.errors import InvalidRequestError
from stellar_arrow_client.settings import strongest
from stellar_arrow_source.access.grants import Limits
from stellar_arrow_source.completing import complete_endpoint
from stellar_arrow_source.ledgers.failover import SILENCE_SECONDS
from stellar_arrow_source.location import MAX_LOCATIONS, Location, Locations
from stellar_arrow_source.modes import TransferMode
from stellar_arrow_source.networks import KNOWN_NETWORKS
from stellar_arrow_source.tls import SourceTls

SYNTHETIC_ENDPOINT = "synthetic://"

_PORT = click.IntRange(0, 65535)
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


def _setting(default: Any, flags: str, env: str | list[str], help: str, **attributes: Any) -> Any:
    """A field of :class:`ServerConfig` together with its option."""
    attributes |= {"envvar": env, "help": help}
    if attributes.get("multiple"):
        return field(default=default, metadata={"flags": flags, "option": attributes})
    return field(default=default, metadata={"flags": flags, "option": attributes | {"default": default}})


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerConfig:
    """All settings of a server. Sizes are bytes, times are seconds."""

    source_endpoint: str = _setting(
        "localhost:50053",
        "--source",
        "SOURCE_ENDPOINT",
        "Where ledgers come from: host:port, grpc:// or grpcs://, a folder or file://, s3://, gs:// or az://, rpc+https://,"
        " core:///file, synthetic://. Several with commas between are equal: where one is away or hangs, the next is"
        " used.",
        shell_complete=complete_endpoint,
    )
    live_endpoint: str | None = _setting(
        None,
        "--live",
        "LIVE_ENDPOINT",
        "Where to go on when the ledgers of --source end, such as an RPC server after a store; the same forms.",
        shell_complete=complete_endpoint,
    )
    source_tls_ca: Path | None = _setting(
        None,
        "--source-tls-ca",
        "SOURCE_TLS_CA",
        "PEM certificates of the authorities that grpcs:// sources are trusted by; the system's when left out.",
        type=_FILE,
    )
    source_tls_cert: Path | None = _setting(
        None,
        "--source-tls-cert",
        "SOURCE_TLS_CERT",
        "PEM certificate chain to show to grpcs:// sources that ask for one.",
        type=_FILE,
    )
    source_tls_key: Path | None = _setting(
        None, "--source-tls-key", "SOURCE_TLS_KEY", "PEM private key of --source-tls-cert.", type=_FILE
    )
    source_tls_name: str | None = _setting(
        None,
        "--source-tls-name",
        "SOURCE_TLS_NAME",
        "Name that the certificate of a grpcs:// source must be for; the host of its endpoint when left out.",
    )
    ledger_cache: Path | None = _setting(
        None,
        "--ledger-cache",
        "LEDGER_CACHE",
        "Folder in which raw ledgers are kept once fetched; for sources that are far away.",
        type=click.Path(file_okay=False, path_type=Path),
    )
    ledger_cache_bytes: int = _setting(
        10 << 30,
        "--ledger-cache-bytes",
        "LEDGER_CACHE_BYTES",
        "Bytes of ledgers to keep in the folder of --ledger-cache.",
        type=click.IntRange(1 << 20),
    )
    source_stall_seconds: float = _setting(
        60.0,
        "--source-stall-seconds",
        "SOURCE_STALL_SECONDS",
        "How long a source that follows a network may have no new ledger, or any source give none of those it has,"
        " before the server counts it as hung and is not ready; 0 = for ever.",
        type=click.FloatRange(0, 7 * 86400),
    )
    failover_seconds: float = _setting(
        SILENCE_SECONDS,
        "--failover-seconds",
        "FAILOVER_SECONDS",
        "How long one of several equal sources may give nothing while it does not answer, or while it or another one"
        " has the ledger that is due; then the next is used.",
        type=click.FloatRange(0.5, 600),
    )
    mock_data: bool = _setting(
        False,
        "--mock-data/--no-mock-data",
        "MOCK_DATA",
        f"Serve made-up ledgers: the same as --source {SYNTHETIC_ENDPOINT}.",
    )
    network_passphrase: str | None = _setting(
        None,
        "--network",
        "NETWORK_PASSPHRASE",
        f"Network that the ledgers must belong to: {', '.join(KNOWN_NETWORKS)} or a passphrase.",
    )
    ttp_mode: TransferMode = _setting(
        "auto",
        "--ttp-mode",
        "TTP_MODE",
        "Where token-transfer events come from: those of stellar-core (unified; none where it wrote none), operations"
        " and entry changes (derived), or per transaction the first that there is (auto).",
        type=Choice(get_args(TransferMode)),
    )
    host: str = _setting("127.0.0.1", "--host", "ARROW_HOST", "Address that Flight listens on; 0.0.0.0 for all.")
    port: int = _setting(8815, "--port", ["ARROW_PORT", "PORT"], "Port of Flight; 0 for a free one.", type=_PORT)
    health_port: int = _setting(
        8088,
        "--health-port",
        "HEALTH_PORT",
        "Port of the status page, /health, /ready and /metrics; 0 for a free one.",
        type=_PORT,
    )
    health_host: str | None = _setting(
        None, "--health-host", "HEALTH_HOST", "Address that monitoring listens on; that of Flight when left out."
    )
    advertise: str | None = _setting(
        None,
        "--advertise",
        "ARROW_ADVERTISE",
        "Location by which clients reach this server, such as grpc://host:8815, where that is not where it listens:"
        " in a container, behind NAT. Its workers are reached at the same host.",
        type=Location(),
        metavar="URI",
    )
    workers: int = _setting(
        0,
        "--workers",
        "ARROW_WORKERS",
        "Processes that share the work on bounded ranges, beside the one that clients connect to; 0 or 1 for none.",
        type=click.IntRange(0, MAX_LOCATIONS),
    )
    worker_port: int = _setting(
        0,
        "--worker-port",
        "ARROW_WORKER_PORT",
        "Port of the first worker, those of the others follow; 0 for free ones.",
        type=_PORT,
    )
    locations: tuple[str, ...] = _setting(
        (),
        "--locations",
        "ARROW_LOCATIONS",
        "Locations of servers that share the work on bounded ranges, with commas between, such as"
        " grpc://one:8815,grpc://two:8815; all of the same ledgers and clients.",
        type=Locations(),
        metavar="URI,…",
    )
    tls_cert: Path | None = _setting(
        None, "--tls-cert", "ARROW_TLS_CERT", "PEM certificate chain; turns TLS on.", type=_FILE
    )
    tls_key: Path | None = _setting(None, "--tls-key", "ARROW_TLS_KEY", "PEM private key of --tls-cert.", type=_FILE)
    tls_client_ca: Path | None = _setting(
        None,
        "--tls-client-ca",
        "ARROW_TLS_CLIENT_CA",
        "PEM certificates of authorities; only clients that show a certificate of theirs can connect (mutual TLS).",
        type=_FILE,
    )
    auth_file: Path | None = _setting(
        None,
        "--auth-file",
        "ARROW_AUTH_FILE",
        "File of the clients that may connect, as the command token writes it; everybody may when left out.",
        type=click.Path(dir_okay=False, path_type=Path),
    )
    insecure_auth: bool = _setting(
        False,
        "--insecure-auth/--no-insecure-auth",
        "ARROW_INSECURE_AUTH",
        "Take tokens without TLS from other machines too; only behind something that encrypts.",
    )
    client_requests_per_second: float | None = _setting(
        None,
        "--client-requests-per-second",
        "CLIENT_REQUESTS_PER_SECOND",
        "Most calls a second of one client (of one address where everybody may connect); no limit when left out.",
        type=click.FloatRange(0.001, 1e9),
    )
    client_streams: int | None = _setting(
        None,
        "--client-streams",
        "CLIENT_STREAMS",
        "Most streams of one client at a time; no limit of its own when left out.",
        type=click.IntRange(1),
    )
    client_bytes_per_second: int | None = _setting(
        None,
        "--client-bytes-per-second",
        "CLIENT_BYTES_PER_SECOND",
        "Most Arrow bytes a second of one client, which slows its streams down; no limit when left out.",
        type=click.IntRange(1),
    )
    client_bytes_per_day: int | None = _setting(
        None,
        "--client-bytes-per-day",
        "CLIENT_BYTES_PER_DAY",
        "Most Arrow bytes a day (UTC) of one client, whose streams end then; no limit when left out.",
        type=click.IntRange(1),
    )
    batch_size: int = _setting(
        100, "--batch-size", "BATCH_SIZE", "Most ledgers of one batch.", type=click.IntRange(1, 4096)
    )
    prefetch_bytes: int = _setting(
        24 << 20,
        "--prefetch-bytes",
        "PREFETCH_BYTES",
        "Bytes of raw ledgers that all streams together read ahead.",
        type=click.IntRange(1 << 20, 64 << 30),
    )
    max_connections: int = _setting(
        64, "--max-connections", "MAX_CONNECTIONS", "Most streams at a time.", type=click.IntRange(1, 4096)
    )
    drain_seconds: float = _setting(
        10.0,
        "--drain-seconds",
        "DRAIN_SECONDS",
        "How long open streams may take to finish their batch when the server is told to end.",
        type=click.FloatRange(0, 600),
    )
    stalled_client_seconds: float = _setting(
        300.0,
        "--stalled-client-seconds",
        "STALLED_CLIENT_SECONDS",
        "How long a client may take to read one batch; then its connection is cut, and it may resume.",
        type=click.FloatRange(0.1, 86400),
    )
    enable_analytics: bool = _setting(
        False,
        "--analytics/--no-analytics",
        "ENABLE_ANALYTICS",
        "Watch the data that passes: rates, success and operation mix in /metrics and /analytics.",
    )

    def __post_init__(self) -> None:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise InvalidRequestError("TLS needs both --tls-cert and --tls-key")
        _ = self.source_tls  # says what does not fit together
        if self.tls_client_ca is not None and self.tls_cert is None:
            raise InvalidRequestError("--tls-client-ca needs TLS: give --tls-cert and --tls-key too")
        if self.auth_file and not (self.tls_cert or self.loopback_only or self.insecure_auth):
            raise InvalidRequestError(
                f"tokens would travel to {self.host} unencrypted: give --tls-cert and --tls-key, or --insecure-auth"
                " where something in front of the server encrypts"
            )
        ports = range(self.worker_port, self.worker_port + self.workers) if self.worker_port else range(0)
        if ports.stop > 65536 or self.port in ports or self.health_port in ports:
            raise InvalidRequestError(
                f"workers cannot have ports {ports.start} to {ports.stop - 1}: give another --worker-port, from which"
                " on there are as many that neither --port nor --health-port is among"
            )
        if self.shares_work and self.advertise is None and self.host in ("0.0.0.0", "::"):
            raise InvalidRequestError(
                f"clients cannot be sent to {self.host}: give the location by which they reach this server with"
                " --advertise, such as grpc://host:8815"
            )

    @property
    def shares_work(self) -> bool:
        """Whether bounded ranges are served by several processes or servers."""
        return self.workers > 1 or bool(self.locations)

    @property
    def source_tls(self) -> SourceTls:
        """How sources are spoken to over TLS."""
        return source_tls({name: getattr(self, name) for name in _SOURCE_TLS})

    @property
    def endpoint(self) -> str:
        return SYNTHETIC_ENDPOINT if self.mock_data else self.source_endpoint

    @property
    def live(self) -> str | None:
        """Where ledgers come from after those of ``endpoint``."""
        return None if self.mock_data else self.live_endpoint

    @property
    def passphrase(self) -> str | None:
        """The passphrase of ``network_passphrase``, which may be a short name."""
        if self.network_passphrase is None:
            return None
        return KNOWN_NETWORKS.get(self.network_passphrase.lower(), self.network_passphrase)

    @property
    def client_limits(self) -> Limits:
        """Limits of a client that has none of its own."""
        return Limits(
            requests_per_second=self.client_requests_per_second,
            streams=self.client_streams,
            bytes_per_second=self.client_bytes_per_second,
            bytes_per_day=self.client_bytes_per_day,
        )

    @property
    def loopback_only(self) -> bool:
        """Whether nothing but this machine can connect."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


def _options(settings: Sequence[dataclasses.Field[Any]]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for setting in reversed(settings):
            command = option(setting.metadata["flags"], setting.name, **setting.metadata["option"])(command)
        return command

    return decorate


_SOURCE_TLS = tuple(
    setting.name for setting in dataclasses.fields(ServerConfig) if setting.name.startswith("source_tls_")
)


def source_tls(settings: Mapping[str, Any]) -> SourceTls:
    """What the options of :data:`source_tls_options` say.

    Raises:
        InvalidRequestError: they contradict each other.
    """
    return SourceTls(**{name.removeprefix("source_tls_"): settings[name] for name in _SOURCE_TLS})


server_options = _options(dataclasses.fields(ServerConfig))
"""Give a click command one option for each field of :class:`ServerConfig`."""
source_options = _options(
    [
        setting
        for setting in dataclasses.fields(ServerConfig)
        if setting.name in ("source_endpoint", "live_endpoint", "mock_data", "network_passphrase", "ttp_mode")
        or setting.name in _SOURCE_TLS
    ]
)
"""Give it those that say what ledgers and rows there are."""
source_tls_options = _options([setting for setting in dataclasses.fields(ServerConfig) if setting.name in _SOURCE_TLS])
"""Give it those that say how sources are spoken to over TLS."""


def config_of(ctx: click.Context) -> ServerConfig:
    """The configuration that the options of ``ctx`` and of the commands above it say.

    Raises:
        InvalidRequestError: options contradict each other.
    """
    return ServerConfig(**{name: value for name, (value, _) in settle(ctx).items()})


def settle(ctx: click.Context) -> dict[str, tuple[Any, str]]:
    """Each setting's value, and the name of the setting that decided on it, which is nearly always its own.

    Raises:
        InvalidRequestError: options contradict each other.
    """
    settled, origins = {}, {}
    for setting in dataclasses.fields(ServerConfig):
        at = strongest(ctx, setting.name)
        settled[setting.name] = at.params[setting.name], setting.name
        origins[setting.name] = at.get_parameter_source(setting.name)
    if settled["mock_data"][0] and origins["source_endpoint"] is ParameterSource.COMMANDLINE:
        if origins["mock_data"] is ParameterSource.COMMANDLINE:
            raise InvalidRequestError("give either --source or --mock-data, not both")
        settled["mock_data"] = False, "source_endpoint"  # a flag goes before the environment
    return settled

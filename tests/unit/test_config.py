"""Where the server's settings come from, and which wins."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from stellar_arrow_client.errors import InvalidRequestError
from stellar_arrow_client.options import Command, standard_options
from stellar_arrow_source.config import ServerConfig, config_of, server_options
from stellar_arrow_source.networks import KNOWN_NETWORKS


def configure(*args: str, env: Mapping[str, str] | None = None, code: int = 0) -> tuple[ServerConfig | None, Result]:
    """What the options of a command with this command line and environment say."""
    found: list[ServerConfig] = []

    @click.command("stellar-arrow-source", cls=Command)
    @server_options
    @standard_options("stellar-arrow-source")
    @click.pass_context
    def command(ctx: click.Context, /, **_settings: object) -> None:
        found.append(config_of(ctx))

    result = CliRunner().invoke(command, args, env=dict(env or {}))
    assert result.exit_code == code, result.output
    return (found[0] if found else None), result


def test_defaults_are_those_of_the_declaration() -> None:
    config, _ = configure()
    assert config == ServerConfig()
    assert config.endpoint == "localhost:50053"
    assert (config.host, config.port, config.health_port, config.batch_size) == ("127.0.0.1", 8815, 8088, 100)


SEED = {
    "MOCK_DATA": ("true", "mock_data", True),
    "SOURCE_ENDPOINT": ("ledgers.example:50053", "source_endpoint", "ledgers.example:50053"),
    "BATCH_SIZE": ("7", "batch_size", 7),
    "ARROW_PORT": ("9000", "port", 9000),
    "PORT": ("9001", "port", 9001),
    "HEALTH_PORT": ("9002", "health_port", 9002),
    "ENABLE_ANALYTICS": ("true", "enable_analytics", True),
    "NETWORK_PASSPHRASE": ("Some network", "network_passphrase", "Some network"),
    "MAX_CONNECTIONS": ("3", "max_connections", 3),
}


@pytest.mark.parametrize("name", SEED)
def test_environment_sets(name: str) -> None:
    text, field, value = SEED[name]
    config, _ = configure(env={name: text})
    assert config == dataclasses.replace(ServerConfig(), **{field: value})


def test_flag_goes_before_environment_before_file_before_default(tmp_path: Path) -> None:
    file = tmp_path / "server.toml"
    file.write_text("[stellar-arrow-source]\nport = 1\nhealth-port = 2\nbatch-size = 3\n")
    config, _ = configure("--config", str(file), "--port", "11", env={"PORT": "21", "HEALTH_PORT": "22"})
    assert config is not None
    assert (config.port, config.health_port, config.batch_size) == (11, 22, 3)
    assert config.max_connections == ServerConfig().max_connections


def test_arrow_port_goes_before_the_older_name() -> None:
    config, _ = configure(env={"PORT": "21", "ARROW_PORT": "22"})
    assert config is not None
    assert config.port == 22


def test_mock_data_means_the_synthetic_source() -> None:
    config, _ = configure(env={"MOCK_DATA": "true", "SOURCE_ENDPOINT": "localhost:1"})
    assert config is not None
    assert config.endpoint == "synthetic://"


def test_source_flag_goes_before_mock_data_of_the_environment() -> None:
    config, _ = configure("--source", "localhost:1", env={"MOCK_DATA": "true"})
    assert config is not None
    assert config.endpoint == "localhost:1"
    configure("--source", "localhost:1", "--mock-data", code=2)


@pytest.mark.parametrize("name", KNOWN_NETWORKS)
def test_networks_have_short_names(name: str) -> None:
    assert ServerConfig(network_passphrase=name).passphrase == KNOWN_NETWORKS[name]


def test_other_networks_are_passphrases() -> None:
    assert ServerConfig(network_passphrase="My network").passphrase == "My network"
    assert ServerConfig().passphrase is None


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("::", False),
     ("10.0.0.1", False), ("example.org", False)],
)  # fmt: skip
def test_loopback_is_told_from_the_rest(host: str, expected: bool) -> None:
    assert ServerConfig(host=host).loopback_only is expected


@pytest.mark.parametrize(
    "args",
    [["--port", "65536"], ["--port", "x"], ["--batch-size", "0"], ["--max-connections", "0"], ["--prefetch-bytes", "1"],
     ["--tls-cert", "/nowhere/cert.pem"], ["--nonsense"]],
)  # fmt: skip
def test_bad_values_are_usage_errors(args: list[str]) -> None:
    _, result = configure(*args, code=2)
    assert args[0] in result.output


def test_tls_needs_certificate_and_key() -> None:
    with pytest.raises(InvalidRequestError, match="--tls-key"):
        ServerConfig(tls_cert=Path("cert.pem"))


def test_every_setting_has_help_and_an_environment_name() -> None:
    _, result = configure("--help")
    for setting in dataclasses.fields(ServerConfig):
        flag = setting.metadata["flags"].split("/")[0]
        names = setting.metadata["option"]["envvar"]
        assert flag in result.output
        for name in [names] if isinstance(names, str) else names:
            assert name in result.output


@pytest.mark.parametrize("level", ["info", "INFO"])
def test_log_level_is_taken_in_either_case(level: str) -> None:
    configure(env={"LOG_LEVEL": level})

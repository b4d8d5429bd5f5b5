"""Where the server's settings come from, and which wins."""

from __future__ import annotations

import dataclasses
import json
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from stellar_arrow_client.errors import InvalidRequestError
from stellar_arrow_client.options import Command, standard_options
from stellar_arrow_source.cli import command as arrow_source
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


def told(*args: str, env: Mapping[str, str] | None = None) -> dict[str, tuple[object, str, str | None]]:
    """What ``config show`` says: setting → value, kind and name of its origin."""
    result = CliRunner().invoke(arrow_source, [*args, "config", "show", "--json"], env=dict(env or {}))
    assert result.exit_code == 0, result.output
    return {s["name"]: (s["value"], s["origin"]["kind"], s["origin"]["name"]) for s in json.loads(result.stdout)}


def test_origins_are_told(tmp_path: Path) -> None:
    file = tmp_path / "server.toml"
    file.write_text('[stellar-arrow-source]\nport = 1\nhealth_port = 2\nbatch-size = 3\nlog-level = "debug"\n')
    environment = {"PORT": "21", "HEALTH_PORT": "22", "STELLAR_ARROW_SOURCE_MAX_CONNECTIONS": "9"}
    found = told("--config", str(file), "--host", "::1", env=environment)
    assert found["host"] == ("::1", "flag", "--host")
    assert found["port"] == (21, "environment", "PORT")
    assert found["health-port"] == (22, "environment", "HEALTH_PORT")
    assert found["max-connections"] == (9, "environment", "STELLAR_ARROW_SOURCE_MAX_CONNECTIONS")
    assert found["batch-size"] == (3, "file", f"{file} [stellar-arrow-source] batch-size")
    assert found["log-level"] == ("debug", "file", f"{file} [stellar-arrow-source] log-level")
    assert found["drain-seconds"] == (10.0, "default", None)
    assert told(env={"STELLAR_ARROW_CONFIG": str(file)})["port"][1] == "file"


def test_every_setting_is_told() -> None:
    found = told()
    for setting in dataclasses.fields(ServerConfig):
        assert setting.metadata["flags"].split("/")[0].lstrip("-") in found


def test_made_ledgers_that_a_flag_overrides_are_told_as_off() -> None:
    found = told("--source", "localhost:1", env={"MOCK_DATA": "true"})
    assert found["mock-data"] == (False, "flag", "--source")


def test_no_secret_is_told() -> None:
    env = {
        "SOURCE_ENDPOINT": "grpc://user:hunter2@ledgers.example:1,grpc://u:hunter2@other:1",
        "LIVE_ENDPOINT": "rpc+https://rpc.example/hunter2?key=hunter2",
    }
    for flags in (["--json"], []):
        result = CliRunner().invoke(arrow_source, ["config", "show", *flags], env=env)
        assert result.exit_code == 0
        assert "hunter2" not in result.output
        assert "ledgers.example" in result.output
        assert "rpc.example" in result.output


def test_settings_that_contradict_each_other_are_shown_and_refused(tmp_path: Path) -> None:
    cert = tmp_path / "cert.pem"
    cert.touch()
    result = CliRunner().invoke(arrow_source, ["--tls-cert", str(cert), "config", "show"])
    assert result.exit_code == 2
    assert str(cert) in result.stdout
    assert "--tls-key" in result.stderr


def test_a_flag_above_goes_before_the_environment_below() -> None:
    found = []

    @click.group(invoke_without_command=True)
    @server_options
    def outer(**_settings: object) -> None: ...

    @outer.command()
    @server_options
    @click.pass_context
    def inner(ctx: click.Context, /, **_settings: object) -> None:
        found.append(config_of(ctx))

    for args in (["--port", "1", "inner"], ["inner", "--port", "1"], ["--port", "2", "inner", "--port", "1"]):
        result = CliRunner().invoke(outer, args, env={"PORT": "21", "HEALTH_PORT": "22"})
        assert result.exit_code == 0, result.output
        assert (found[-1].port, found[-1].health_port) == (1, 22)


def test_example_file_holds_every_setting_with_its_default(tmp_path: Path) -> None:
    text = CliRunner().invoke(arrow_source, ["config", "example"]).stdout
    assert tomllib.loads(text) == {"stellar-arrow-source": {}}
    lines = [line.removeprefix("# ") for line in text.splitlines()]
    keys = [line.partition(" = ")[0].removesuffix(" =") for line in lines]
    for setting in dataclasses.fields(ServerConfig):
        assert setting.metadata["flags"].split("/")[0].lstrip("-") in keys
    assert not {"config", "version", "help"} & set(keys)
    file = tmp_path / "server.toml"
    in_use = [line for line in lines if re.fullmatch(r"[a-z-]+ = .+", line)]
    file.write_text("\n".join(["[stellar-arrow-source]", *in_use]))
    found = told("--config", str(file))
    assert {origin for _, origin, _ in found.values()} == {"file", "default"}
    assert configure("--config", str(file))[0] == ServerConfig()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("[stellar-arrow-source]\nprot = 1", "did you mean 'port'?"),
        ("[stellar-arrow-sorce]\nport = 1", "did you mean 'stellar-arrow-sorce'?"),
        ('[stellar-arrow-source]\nconfig = "other.toml"', "no option is called 'config'"),
        ("[stellar-arrow-source]\nversion = true", "no option is called 'version'"),
    ],
)
def test_what_a_file_may_not_hold_is_named(tmp_path: Path, content: str, says: str) -> None:
    file = tmp_path / "server.toml"
    file.write_text(content)
    _, result = configure("--config", str(file), code=2)
    assert says in result.stderr


def test_an_option_in_the_wrong_place_is_told_its_place() -> None:
    result = CliRunner().invoke(arrow_source, ["config", "show", "--port", "1"])
    assert result.exit_code == 2
    assert "--port is an option of 'stellar-arrow-source': write it directly after that" in result.stderr

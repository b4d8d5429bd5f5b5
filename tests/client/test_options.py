"""Manners of commands: precedence, help, errors, exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from stellar_arrow_client.errors import (
    AuthenticationError,
    GapError,
    InvalidRequestError,
    StellarArrowError,
    UnavailableError,
)
from stellar_arrow_client.options import (
    Choice,
    Command,
    Group,
    RunOptions,
    Selection,
    client_options,
    option,
    request_options,
    run_options,
    standard_options,
)

seen: dict[str, Any] = {}


@click.command("demo-consumer", cls=Command)
@client_options
@click.argument("output")
@request_options()
@option("--size", type=int, default=7, envvar="DEMO_SIZE", help="A size.")
@option("--tag", multiple=True, help="Tags.")
@option("--strict/--lax", default=True, help="A flag.")
@run_options
@standard_options("stellar-arrow-source")
def demo(**kwargs: Any) -> None:
    """Demonstrate."""
    seen.clear()
    seen.update(kwargs)


@click.group("demo-group", cls=Group)
@standard_options("stellar-arrow-source")
def group() -> None:
    """Demonstrate a group."""


@group.command()
@standard_options("stellar-arrow-source")
@option("--kind", type=Choice(["payments", "operations"]), default="payments", help="A kind.")
def show(kind: str) -> None:
    """Show."""
    click.echo(kind)


def invoke(*args: str, command: click.Command = demo, env: dict[str, str] | None = None) -> Result:
    return CliRunner().invoke(command, args, env=env)


def ok(*args: str, env: dict[str, str] | None = None) -> dict[str, Any]:
    result = invoke("localhost:1", "out", *args, env=env)
    assert result.exit_code == 0, result.stderr
    return seen


def test_defaults() -> None:
    got = ok()
    assert got["selection"] == Selection(None, None, None, None, None)
    assert got["run_options"] == RunOptions("auto", None, "127.0.0.1")
    assert (got["output"], got["size"], str(got["client"].address)) == ("out", 7, "localhost:1")
    assert set(got) == {"client", "output", "selection", "size", "tag", "strict", "run_options"}


def test_range_columns_filter_compression() -> None:
    got = ok("5", "9", "--columns", "a, b", "--filter", "a > 1", "--wire-compression", "zstd")
    assert got["selection"] == Selection(5, 9, ("a", "b"), "a > 1", "zstd")
    assert got["selection"].request("payments").to_ticket() == (
        b'{"stream":"payments","start":5,"end":9,"columns":["a","b"],"filter":"a > 1","compression":"zstd"}'
    )
    assert ok("5", "0")["selection"] == Selection(5, None, None, None, None)


def test_the_range_as_options() -> None:
    @click.command(cls=Command)
    @request_options("options")
    def command(selection: Selection) -> None:
        click.echo(repr((selection.start, selection.end)))

    assert invoke("--start", "5", "--end", "9", command=command).output == "(5, 9)\n"


def test_flag_over_environment_over_file_over_default(tmp_path: Path) -> None:
    config = tmp_path / "c.toml"
    config.write_text('[demo-consumer]\nsize = 1\nprogress = "none"\n[other]\nsize = "ignored"\n')
    file = ("--config", str(config))
    assert ok()["size"] == 7
    assert ok(*file)["size"] == 1
    assert ok(*file)["run_options"].progress == "none"
    assert ok(*file, env={"DEMO_SIZE": "2"})["size"] == 2
    assert ok(*file, "--size", "3", env={"DEMO_SIZE": "2"})["size"] == 3
    assert ok(env={"STELLAR_ARROW_CONFIG": str(config)})["size"] == 1
    assert ok(env={"DEMO_CONSUMER_COLUMNS": "x"})["selection"].columns == ("x",)
    assert ok(env={"DEMO_CONSUMER_FILTER": "y"})["selection"].filter == "y"


def test_all_kinds_of_values_in_a_file(tmp_path: Path) -> None:
    config = tmp_path / "c.toml"
    config.write_text('[demo-consumer]\ntag = ["a", "b"]\nstrict = false\nstart-ledger = 5\nretry_for = 1.5\n')
    got = ok("--config", str(config))
    assert (got["tag"], got["strict"], got["selection"].start) == (("a", "b"), False, 5)
    assert got["client"].retry.retry_for == 1.5


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("[demo-consumer]\nsise = 1", "no option is called 'sise'; did you mean 'size'?"),
        ("[demo-consumer", "is not valid TOML"),
        ("[other]\nsize = 1", "has no section [demo-consumer]"),
        ("demo-consumer = 5", "must be a section"),
        ("[demo-consumer]\nsize = [1]", "'size' takes one value"),
        ("[demo-consumer.size]\nx = 1", "'size' takes one value"),
        ('[demo-consumer]\nsize = "many"', "'many' is not a valid integer"),
        ('[demo-consumer]\nprogress = "bra"', "did you mean 'bar'?"),
        ("\xff", "is not valid TOML"),
        ("#" * 2_000_000, "is larger than"),
    ],
)
def test_faults_of_a_file(tmp_path: Path, content: str, says: str) -> None:
    config = tmp_path / "c.toml"
    config.write_bytes(content.encode("latin-1"))
    result = invoke("localhost:1", "out", "--config", str(config))
    assert result.exit_code == 2
    assert says in result.stderr


def test_a_misspelt_section_of_a_shared_file_is_told(tmp_path: Path) -> None:
    config = tmp_path / "c.toml"
    config.write_text("[demo-consumr]\nsize = 1")
    result = invoke("localhost:1", "out", env={"STELLAR_ARROW_CONFIG": str(config)})
    assert result.exit_code == 2
    assert "has no section [demo-consumer]; did you mean 'demo-consumr'?" in result.stderr


def test_a_shared_file_may_lack_the_section(tmp_path: Path) -> None:
    config = tmp_path / "c.toml"
    config.write_text("[other]\nsize = 1")
    assert ok(env={"STELLAR_ARROW_CONFIG": str(config)})["size"] == 7


def test_sections_of_subcommands(tmp_path: Path) -> None:
    config = tmp_path / "c.toml"
    config.write_text('[demo-group]\nlog-level = "error"\n[demo-group.show]\nkind = "operations"\n')
    assert invoke("show", command=group).output == "payments\n"
    assert invoke("show", "--config", str(config), command=group).output == "operations\n"
    result = invoke("--config", str(config), "show", command=group)
    assert (result.exit_code, result.output) == (0, "operations\n")
    config.write_text('[demo-group.show]\nkin = "operations"\n')
    result = invoke("--config", str(config), "show", command=group)
    assert result.exit_code == 2
    assert "did you mean 'kind'?" in result.stderr


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ((), "Missing argument 'SERVER'"),
        (("nonsense:port", "out"), "is not a server address; write HOST:PORT"),
        (("s:1", "out", "x"), "'x' is not a ledger number"),
        (("s:1", "out", "0"), "0 is not between 1 and 4294967295"),
        (("s:1", "out", "1", "4294967296"), "is not between 1 and 4294967295"),
        (("s:1", "out", "--progress", "bra"), "not one of auto, bar, log, none; did you mean 'bar'?"),
        (("s:1", "out", "--progres", "bar"), "--progress"),
        (("s:1", "out", "--retry-for", "-1"), "-1"),
        (("s:1", "out", "-q", "-v"), "exclude each other"),
        (("s:1", "out", "--config", "/nowhere"), "does not exist"),
    ],
)
def test_usage_errors_are_one_line(args: tuple[str, ...], says: str) -> None:
    result = invoke(*args)
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert says in result.stderr
    assert result.stdout == ""


def test_unknown_subcommand() -> None:
    result = invoke("shwo", command=group)
    assert result.exit_code == 2
    assert "'show'" in result.stderr


def test_help_shows_default_and_environment_of_every_option() -> None:
    result = invoke("--help")
    assert result.exit_code == 0
    text = " ".join(result.output.split())
    for param in demo.params:
        if isinstance(param, click.Option) and param.name not in ("version", "help"):
            assert param.help, param.name
            assert param.opts[0] in text
    assert text.count("env var:") == len(demo.params) - 4 - 1, "all but the four arguments and --version"
    for words in ("DEMO_SIZE; default: 7", "DEMO_CONSUMER_TAG", "default: 300.0", "LOG_LEVEL; default: info"):
        assert words in text
    assert "HOST:PORT, grpc://" in text


def test_version() -> None:
    result = invoke("--version")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.output.startswith("demo-consumer 0.")


def failing(error: BaseException) -> click.Command:
    @click.command("failing", cls=Command)
    @standard_options("stellar-arrow-source")
    def command() -> None:
        raise error

    return command


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (StellarArrowError("it is so"), 1, "error: it is so\n"),
        (InvalidRequestError("two\n lines"), 2, "error: two lines\n"),
        (UnavailableError("x"), 3, "error: x\n"),
        (GapError("x"), 4, "error: x\n"),
        (AuthenticationError("x"), 5, "error: x\n"),
        (KeyboardInterrupt(), 130, ""),
        (ValueError("odd"), 1, "error: unexpected ValueError: odd; use --debug for the traceback\n"),
        (click.FileError("f", "gone"), 1, "error: Could not open file 'f': gone\n"),
    ],
)
def test_exit_codes(error: BaseException, code: int, says: str) -> None:
    result = invoke(command=failing(error))
    assert result.exit_code == code
    assert result.stderr.strip("\n") == says.strip("\n")


def test_debug_shows_the_traceback_once_asked() -> None:
    command = failing(ValueError("odd"))
    result = invoke("--debug", command=command)
    assert result.exit_code == 1
    assert "Traceback" in result.stderr
    assert result.stderr.endswith("error: unexpected ValueError: odd\n")
    assert "Traceback" not in invoke(command=command).stderr


@pytest.mark.parametrize(("returned", "code"), [(None, 0), (0, 0), (143, 143)])
def test_what_the_function_returns_is_the_exit_code(returned: int | None, code: int) -> None:
    @click.command(cls=Command)
    def command() -> int | None:
        return returned

    assert invoke(command=command).exit_code == code


_LOGGING = """
import click, logging, structlog
from stellar_arrow_client.options import Command, standard_options
@click.command(cls=Command)
@standard_options("stellar-arrow-source")
def main():
    click.echo("data")
    structlog.get_logger("a").info("one", ledger=5)
    logging.getLogger("b").warning("two %s", "x", extra={"ledger": 6})
    logging.getLogger("b").debug("three")
main()
"""


def run_script(script: str, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", script, *args], capture_output=True, text=True, check=False)


def test_json_logs() -> None:
    done = run_script(_LOGGING, "--log-format", "json", "--verbose")
    assert done.stdout == "data\n"
    records = [json.loads(line) for line in done.stderr.splitlines()]
    assert [(r["event"], r["level"], r["logger"], r.get("ledger")) for r in records] == [
        ("one", "info", "a", 5),
        ("two x", "warning", "b", 6),
        ("three", "debug", "b", None),
    ]
    assert all(record["timestamp"].endswith("Z") for record in records)


@pytest.mark.parametrize(("args", "lines"), [((), 2), (("--log-level", "warning"), 1), (("-q",), 0), (("-v",), 3)])
def test_levels_of_text_logs(args: tuple[str, ...], lines: int) -> None:
    done = run_script(_LOGGING, *args)
    assert done.returncode == 0
    assert len(done.stderr.splitlines()) == lines
    assert "\x1b" not in done.stderr


_ENDLESS = """
import click
from stellar_arrow_client.options import Command
@click.command(cls=Command)
def main():
    while True:
        click.echo("line")
main()
"""


def test_a_reader_that_goes_away_is_no_error() -> None:
    process = subprocess.Popen([sys.executable, "-c", _ENDLESS], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(30) == 0
    assert process.stderr.read() == b""
    process.stderr.close()


def test_another_broken_pipe_is_an_error() -> None:
    done = run_script(
        "import click, os\nfrom stellar_arrow_client.options import Command\n"
        "@click.command(cls=Command)\ndef main():\n"
        "    ours, theirs = os.pipe(); os.close(ours); os.write(theirs, b'x')\nmain()"
    )
    assert done.returncode == 1
    assert "unexpected BrokenPipeError" in done.stderr

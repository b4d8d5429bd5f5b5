"""Options that writers share, and commands beside a command."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from click.testing import CliRunner, Result

from stellar_arrow_client.errors import GapError
from stellar_arrow_client.options import (
    Assignment,
    Command,
    Group,
    Names,
    dry_run_option,
    option,
    schema_change_option,
    standard_options,
    stream_option,
)

seen: dict[str, Any] = {}


@click.group("demo-writer", cls=Group)
def tools() -> None:
    """Commands beside writing."""


@tools.command()
@option("--fast", is_flag=True, help="A flag.")
@standard_options("stellar-arrow-source")
def sweep(fast: bool) -> int:
    """Sweep it."""
    if fast:
        raise GapError("a hole")
    return 7


@click.command("demo-writer", cls=Command, tools=tools)
@click.argument("output")
@stream_option("Each is a heap.")
@schema_change_option("heap lacks")
@dry_run_option
@option("--setting", "settings", type=Assignment("colour=blue"), multiple=True, help="Settings.")
@option("--keys", type=Names(), default="a, b", help="Names.")
@standard_options("stellar-arrow-source")
def write(**kwargs: Any) -> None:
    """Write."""
    seen.clear()
    seen.update(kwargs)


def invoke(*args: str, env: dict[str, str] | None = None) -> Result:
    return CliRunner().invoke(write, args, env=env)


def test_options_of_writers() -> None:
    assert invoke("out").exit_code == 0
    assert seen == {
        "output": "out",
        "streams": ("payments",),
        "add_columns": False,
        "dry_run": False,
        "settings": (),
        "keys": ("a", "b"),
    }
    given = ["--stream", "a,b", "--stream", "c", "--schema-change", "add", "--dry-run", "--setting", "x = y=z"]
    assert invoke("out", *given, env={"DEMO_WRITER_KEYS": "c,d"}).exit_code == 0
    assert seen == {
        "output": "out",
        "streams": ("a,b", "c"),
        "add_columns": True,
        "dry_run": True,
        "settings": (("x", "y=z"),),
        "keys": ("c", "d"),
    }
    for wrong in ("x", "=y"):
        refused = invoke("out", "--setting", wrong)
        assert refused.exit_code == 2
        assert "write it as name=value, such as colour=blue" in refused.stderr
    text = " ".join(invoke("--help").stdout.split())
    assert "may be repeated. Each is a heap. [env var: DEMO_WRITER_STREAMS; default: payments]" in text
    assert "that a stream has and its heap lacks. [env var: DEMO_WRITER_SCHEMA_CHANGE; default: refuse]" in text
    assert "[env var: DEMO_WRITER_DRY_RUN]" in text


def test_a_command_beside_another_runs_by_its_name(tmp_path: Path) -> None:
    assert invoke("sweep").exit_code == 7
    failed = invoke("sweep", "--fast")
    assert (failed.exit_code, failed.stderr) == (4, "error: a hole\n")
    assert "Traceback" in invoke("sweep", "--fast", "--debug").stderr
    assert invoke("sweep", env={"DEMO_WRITER_SWEEP_FAST": "1"}).exit_code == 4
    assert "Usage: demo-writer sweep [OPTIONS]" in invoke("sweep", "--help").stdout
    assert "demo-writer sweep  Sweep it." in invoke("--help").stdout
    assert "(see 'demo-writer sweep --help')" in invoke("sweep", "--slow").stderr
    file = tmp_path / "conf.toml"
    file.write_text("[demo-writer]\ndry-run = true\n[demo-writer.sweep]\nfast = true\n")
    assert invoke("sweep", "--config", str(file)).exit_code == 4
    assert invoke("./sweep", "--config", str(file)).exit_code == 0
    assert (seen["output"], seen["dry_run"]) == ("./sweep", True)

"""The files for containers: whatever they name exists, and every command line in them is understood."""

from __future__ import annotations

import importlib.metadata
import json
import re
import shlex
import shutil
import tomllib
from pathlib import Path
from typing import Any, NamedTuple

import click
import pytest
import yaml

from stellar_arrow_source.cli import command as arrow_source
from stellar_arrow_source.config import ServerConfig
from tests.monitoring.test_deployment import needs_promtool, promtool

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "deploy/docker"
COMPOSE: dict[str, Any] = yaml.safe_load((FOLDER / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]

INSTRUCTIONS = {"ARG", "FROM", "WORKDIR", "COPY", "RUN", "ENV", "USER", "EXPOSE", "STOPSIGNAL", "HEALTHCHECK",
                "ENTRYPOINT"}  # fmt: skip


class Instruction(NamedTuple):
    stage: str
    name: str
    rest: str


def instructions() -> list[Instruction]:
    text = re.sub(r"(?m)^#.*\n", "", (FOLDER / "Dockerfile").read_text()).replace("\\\n", " ")
    stage, found = "", []
    for line in filter(None, map(str.strip, text.splitlines())):
        name, _, rest = line.partition(" ")
        if name == "FROM":
            stage = rest.split(" AS ")[1]
        found.append(Instruction(stage, name, " ".join(rest.split())))
    return found


DOCKERFILE = instructions()


def all_of(name: str, stage: str | None = None) -> list[str]:
    return [one.rest for one in DOCKERFILE if one.name == name and stage in (None, one.stage)]


def program(name: str) -> click.Command:
    """The command of a script of the project or of a consumer."""
    [entry] = [entry for entry in importlib.metadata.entry_points(group="console_scripts") if entry.name == name]
    module = __import__(entry.module, fromlist=["_"])
    consumers = importlib.metadata.entry_points(group="stellar_arrow.consumers", name=name)
    loaded = next(iter(consumers)).load() if consumers else module.command
    assert isinstance(loaded, click.Command)
    return loaded


def understood(line: list[str], environment: dict[str, str] | None = None) -> None:
    """Parse a command line as the program would, down to its subcommand, without running anything."""
    command = program(line[0])
    ctx = command.make_context(line[0], line[1:], resilient_parsing=False)
    with ctx:
        if isinstance(command, click.Group) and ctx._protected_args:
            name, sub, rest = command.resolve_command(ctx, [*ctx._protected_args, *ctx.args])
            assert sub is not None
            sub.make_context(name, rest, parent=ctx)


def test_instructions_are_those_of_docker() -> None:
    assert {one.name for one in DOCKERFILE} == INSTRUCTIONS
    stages = [rest.split(" AS ") for rest in all_of("FROM")]
    names: list[str] = []
    for base, name in stages:
        assert base in names or base == "python:${PYTHON}"
        names.append(name)
    assert names[-1] == "server"  # what is built when nobody names a stage
    [tag] = [rest for rest in all_of("ARG", "") if rest.startswith("PYTHON=")]
    assert re.fullmatch(r"PYTHON=3\.\d+-slim-[a-z]+", tag)


def test_what_is_copied_exists_and_is_not_ignored() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in ignored
    copied = [rest for rest in all_of("COPY") if not rest.startswith("--from")]
    for rest in copied:
        for source in rest.split()[:-1]:
            assert (ROOT / source).exists(), source
            assert f"!{source}" in ignored, source
    assert [rest.split()[0] for rest in all_of("COPY") if rest.startswith("--from")] == ["--from=build"]


def test_extras_that_are_installed_exist() -> None:
    [install] = [rest for rest in all_of("RUN") if "pip install" in rest]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    [extras] = re.findall(r"\.\[([^\]]*)\]", install)
    assert set(extras.split(",")) <= set(project["optional-dependencies"])


def test_it_runs_as_nobody_and_ends_in_order() -> None:
    assert all_of("USER", "base") == ["stellar"]
    assert all_of("STOPSIGNAL", "base") == ["SIGTERM"]
    assert not all_of("USER", "server") + all_of("USER", "compiled")


def test_commands_and_settings_exist() -> None:
    understood(json.loads(all_of("ENTRYPOINT")[0]))
    [compiling] = all_of("RUN", "compiled")
    understood(shlex.split(compiling))
    known = {
        "PATH",
        "PYTHONUNBUFFERED",
        "NUMBA_CACHE_DIR",
        "NUMBA_CPU_NAME",
        "NUMBA_CPU_FEATURES",
        *environment_names(),
    }
    named = [name for rest in all_of("ENV") for name in re.findall(r"([A-Z_]+)=", rest)]
    assert set(named) <= known


def environment_names() -> set[str]:
    names = [param.envvar for param in arrow_source.params if param.envvar]
    return {name for found in names for name in ([found] if isinstance(found, str) else found)}


def test_the_health_check_asks_the_page_that_there_is() -> None:
    [check] = all_of("HEALTHCHECK")
    words = json.loads(check.partition("CMD ")[2])
    assert words[:2] == ["python", "-c"]
    compile(words[2], "HEALTHCHECK", "exec")
    assert f"http://127.0.0.1:{ServerConfig().health_port}/health" in words[2]
    assert all_of("EXPOSE") == [f"{ServerConfig().port} {ServerConfig().health_port}"]


def test_files_that_are_mounted_exist() -> None:
    for service in SERVICES.values():
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            if source.startswith("."):
                assert (FOLDER / source).is_file(), source
            else:
                assert source in COMPOSE["volumes"], source
    build = SERVICES["source"]["build"]
    context = (FOLDER / build["context"]).resolve()
    assert context == ROOT
    assert context / build["dockerfile"] == FOLDER / "Dockerfile"


def test_command_lines_of_services_are_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    archive = SERVICES["archive"]
    understood([*archive["entrypoint"], *archive["command"]])
    environment = SERVICES["source"]["environment"]
    assert set(environment) <= environment_names()
    for name, value in environment.items():
        monkeypatch.setenv(name, re.sub(r"\$\{[A-Z_]+:-(.*)\}", r"\1", value))
    understood(["stellar-arrow-source"])


def test_images_are_pinned_and_ports_stay_on_the_machine() -> None:
    for service in SERVICES.values():
        assert service["image"] == "stellar-arrow" or re.fullmatch(r"[a-z/]+:v?\d+\.\d+\.\d+", service["image"])
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))
    grace = SERVICES["source"]["stop_grace_period"]
    assert int(grace.removesuffix("s")) >= ServerConfig().drain_seconds + 10


@needs_promtool
def test_prometheus_takes_its_configuration(tmp_path: Path) -> None:
    shutil.copy(FOLDER / "prometheus.yaml", tmp_path)
    shutil.copy(ROOT / "deploy/monitoring/prometheus-alerts.yaml", tmp_path)
    promtool("check", "config", tmp_path / "prometheus.yaml")


def test_prometheus_and_grafana_find_the_server_and_each_other() -> None:
    prometheus = yaml.safe_load((FOLDER / "prometheus.yaml").read_text())
    [job] = prometheus["scrape_configs"]
    assert job["job_name"] == "stellar-arrow-source"
    assert job["static_configs"] == [{"targets": [f"source:{ServerConfig().health_port}"]}]
    mounts = dict(volume.split(":")[:2] for service in SERVICES.values() for volume in service.get("volumes", ()))
    targets = set(mounts.values())
    assert {f"/etc/prometheus/{name}" for name in prometheus["rule_files"]} <= targets
    [datasource] = yaml.safe_load((FOLDER / "grafana/datasource.yaml").read_text())["datasources"]
    assert datasource["url"] == "http://prometheus:9090"
    [provider] = yaml.safe_load((FOLDER / "grafana/dashboards.yaml").read_text())["providers"]
    assert any(target.startswith(provider["options"]["path"]) for target in targets)

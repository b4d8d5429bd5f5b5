"""Dashboard, alerts and reference speak of metrics that a real server gives, in expressions that Prometheus reads."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from stellar_arrow_client.client import Client
from stellar_arrow_client.errors import StellarArrowError
from stellar_arrow_client.request import StreamRequest
from stellar_arrow_source.monitoring.families import FAMILIES, Kind
from tests.monitoring.processes import Server, get, server
from tests.support.serving import wait_until

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy/monitoring"
ALERTS = DEPLOY / "prometheus-alerts.yaml"
DASHBOARD = json.loads((DEPLOY / "grafana-dashboard.json").read_text())
NAME = re.compile(r"\b(?:stellar_arrow|process)_[a-z0-9_]+")

PROMTOOL = shutil.which("promtool", path=f"{ROOT / '.test-servers'}") or shutil.which("promtool")
needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="promtool of Prometheus is not installed")


def promtool(*args: str | Path) -> None:
    assert PROMTOOL is not None
    done = subprocess.run([PROMTOOL, *map(str, args)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


def expressions(panels: list[dict[str, Any]] = DASHBOARD["panels"]) -> Iterator[str]:
    for panel in panels:
        yield from (target["expr"] for target in panel.get("targets", ()))
        yield from expressions(panel.get("panels", []))


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, str]]:
    """A server with all that has metrics, and a token for it, after clients have read from it."""
    folder = tmp_path_factory.mktemp("server")
    made = subprocess.run(
        [sys.executable, "-c", "from stellar_arrow_source.cli import main; main()", "token", "new", "tester",
         "--auth-file", str(folder / "clients.json")],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    token = made.stdout.strip()
    options = ("--auth-file", folder / "clients.json", "--analytics", "--ledger-cache", folder / "cache")
    with (
        server("synthetic://?ledgers=300&rate=10&transactions=5", *map(str, options)) as found,
        Client(found.location, token=token) as client,
    ):
        for stream in ("ledgers", "operations", "payments"):
            assert client.read_table(StreamRequest(stream, 2, 200)).num_rows > 0
        with pytest.raises(StellarArrowError):
            client.read_table(StreamRequest("no_such_stream", 2, 3))
        with closing(client.stream(StreamRequest("operations"))) as following:  # it stays: some tell of such only
            assert sum(cursor.cursor - cursor.first for _, cursor in islice(following, 50)) > 0
            yield found, token


def sample_names(page: str) -> set[str]:
    return {sample.name for family in text_string_to_metric_families(page) for sample in family.samples}


def test_what_dashboard_and_alerts_name_is_there_after_traffic(served: tuple[Server, str]) -> None:
    there = sample_names(served[0].page("/metrics")[1])
    named = set(NAME.findall(" ".join(expressions()))) | set(NAME.findall(" ".join(alert_expressions())))
    assert len(named) > 40
    # These ledgers have no such events, and this server no certificate.
    without = {"stellar_arrow_events_skipped_total", "stellar_arrow_tls_certificate_expiry_timestamp_seconds"}
    assert named - there == without


def test_the_server_gives_the_metrics_that_are_declared_and_no_others(served: tuple[Server, str]) -> None:
    page = served[0].page("/metrics")[1]
    declared = {family.full_name: family for family in FAMILIES}
    assert len(declared) == len(FAMILIES)
    found = {}
    for family in text_string_to_metric_families(page):
        if family.name.startswith("stellar_arrow_"):
            total = "_total" if family.type == "counter" else ""
            found[family.name + total] = family
    assert found.keys() == declared.keys()
    for name, family in found.items():
        assert family.type == declared[name].kind
        for sample in family.samples:
            bucket = {"le"} if declared[name].kind is Kind.HISTOGRAM and sample.name.endswith("_bucket") else set()
            assert sample.labels.keys() == set(declared[name].labels) | bucket
    assert "process_resident_memory_bytes" in sample_names(page)


def test_reference_names_every_metric() -> None:
    text = (ROOT / "docs/metrics.md").read_text()
    assert re.findall(r"^\| `(stellar_arrow_\w+)` \|", text, re.MULTILINE) == [family.full_name for family in FAMILIES]


def alert_expressions() -> list[str]:
    return re.findall(r"expr: (?:>-\n)?(.*?)\n +(?:for|labels):", ALERTS.read_text(), re.DOTALL)


def test_every_alert_says_what_to_do_and_is_tested() -> None:
    alerts = re.split(r"- alert: ", ALERTS.read_text())[1:]
    tests = (DEPLOY / "prometheus-alerts.test.yaml").read_text()
    assert len(alerts) == len(alert_expressions()) >= 20
    for alert in alerts:
        name = alert.partition("\n")[0]
        assert re.search(r"severity: (critical|warning|info)\b", alert), name
        assert re.search(r"summary: \S.*", alert), name
        assert len(re.split(r"description:", alert)[1].split()) > 10, name
        assert f'alertname="{name}"' in tests


def test_errors_that_have_a_name_are_not_unexpected(served: tuple[Server, str]) -> None:
    [known] = re.findall(r'code!~"([^"]+)"', ALERTS.read_text())
    page = served[0].page("/metrics")[1]
    codes = {
        sample.labels["code"]
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if sample.name == "stellar_arrow_errors_total"
    }
    assert len(codes) > 10
    assert [code for code in codes if not re.fullmatch(known, code)] == []


@needs_promtool
def test_prometheus_reads_the_alerts_and_they_fire_when_they_should() -> None:
    promtool("check", "rules", ALERTS)
    promtool("test", "rules", DEPLOY / "prometheus-alerts.test.yaml")


@needs_promtool
def test_a_changed_alert_fails_its_tests(tmp_path: Path) -> None:
    changed = ALERTS.read_text().replace('tip_lag_seconds{worker=""} > 60', 'tip_lag_seconds{worker=""} > 5')
    assert changed != ALERTS.read_text()
    (tmp_path / ALERTS.name).write_text(changed)
    shutil.copy(DEPLOY / "prometheus-alerts.test.yaml", tmp_path)
    with pytest.raises(AssertionError, match="FAILED"):
        promtool("test", "rules", tmp_path / "prometheus-alerts.test.yaml")


@needs_promtool
def test_prometheus_reads_every_expression_of_the_dashboard(tmp_path: Path) -> None:
    variables = {"$__rate_interval": "5m", "$job": ".*", "$instance": ".*"}
    rules = []
    for number, expression in enumerate(expressions()):
        for name, value in variables.items():
            expression = expression.replace(name, value)
        assert "$" not in expression
        rules.append({"record": f"panel:{number}", "expr": expression})
    path = tmp_path / "panels.yaml"
    path.write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}))  # JSON is YAML
    promtool("check", "rules", path)


def test_dashboard_can_be_imported() -> None:
    panels = DASHBOARD["panels"]
    variables = {variable["name"]: variable for variable in DASHBOARD["templating"]["list"]}
    assert DASHBOARD["id"] is None
    assert variables["datasource"]["type"] == "datasource"
    assert len({panel["id"] for panel in panels}) == len(panels)
    places: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        covered = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not covered & places, panel["title"]
        assert at["x"] + at["w"] <= 24
        places |= covered
        if panel["type"] != "row":
            assert panel["description"]
            assert panel["targets"]
            sources = [panel["datasource"], *(target["datasource"] for target in panel["targets"])]
            assert {source["uid"] for source in sources} == {"${datasource}"}
    titles = [panel["title"] for panel in panels if panel["type"] == "row"]
    assert titles[:5] == ["Tip", "Throughput per stage", "Clients", "Errors", "Memory and process"]


def test_pages_answer_while_many_clients_stream(served: tuple[Server, str]) -> None:
    """Answers come although the decoder has all there is to do; how fast is told, not asserted to the millisecond."""
    found, token = served
    ended = threading.Event()

    def stream(name: str) -> None:
        with suppress(StellarArrowError), Client(found.location, token=token) as client:
            while not ended.is_set():
                client.read_table(StreamRequest(name, 2, 250))

    with ThreadPoolExecutor(10) as clients:
        for number in range(10):
            clients.submit(stream, ("ledgers", "operations", "payments")[number % 3])
        try:
            wait_until(lambda: found.json("/status")["open_streams"] > 3, 30)
            times: dict[str, list[float]] = {"/metrics": [], "/status": [], "/": [], "/health": [], "/ready": []}
            for _ in range(20):
                for path, seconds in times.items():
                    began = time.perf_counter()
                    assert get(found.health_port, path)[0] == 200
                    seconds.append(time.perf_counter() - began)
        finally:
            ended.set()
    for path, seconds in times.items():
        median = sorted(seconds)[len(seconds) // 2]
        print(f"{path}: median {median * 1000:.1f} ms, longest {max(seconds) * 1000:.1f} ms")
        assert median < 2

"""The example of server, database and Grafana: its command runs, and the queries of its dashboard give rows."""

from __future__ import annotations

import json
from pathlib import Path

import psycopg
import pytest
import yaml

from stellar_arrow_client.testing import FakeServer
from tests.support.made_tables import made_tables

EXAMPLE = Path(__file__).resolve().parents[3] / "deploy" / "examples" / "postgres"
FIRST, LAST = 1000, 1059


@pytest.fixture(scope="module")
def composed() -> dict[str, list[str]]:
    """The writer of the example."""
    services = yaml.safe_load((EXAMPLE / "compose.yaml").read_text())["services"]
    return services["writer"]


def test_command_and_dashboard(command, reader, postgres, composed) -> None:
    assert composed["entrypoint"] == ["postgres-consumer", "source:8815", "postgresql://"]
    streams = dict(zip(composed["command"], composed["command"][1:], strict=False))["--stream"].split(",")
    with FakeServer(made_tables(streams, FIRST, LAST), FIRST, LAST, ledgers_per_batch=20) as server:
        command(server.address, FIRST, LAST, *composed["command"])
    dashboard = json.loads((EXAMPLE / "grafana" / "dashboard.json").read_text())
    assert len(dashboard["panels"]) == 8
    with psycopg.connect(postgres.url, options=f"-c search_path={reader.schema}") as connection:
        for panel in dashboard["panels"]:
            [target] = panel["targets"]
            query = target["rawSql"].replace("$__timeFrom()", "'2000-01-01'").replace("$__timeTo()", "'2100-01-01'")
            assert "$__" not in query
            cursor = connection.execute(query)
            assert cursor.fetchall(), panel["title"]
            names = [column.name for column in cursor.description or ()]
            assert target["format"] == "table" or names[0] == "time", panel["title"]
            if panel["title"] == "Ledgers that are missing":
                assert {missing for _, missing in connection.execute(query)} == {0}


def test_the_data_source_is_the_database_of_the_example() -> None:
    [source] = yaml.safe_load((EXAMPLE / "grafana" / "datasource.yaml").read_text())["datasources"]
    services = yaml.safe_load((EXAMPLE / "compose.yaml").read_text())["services"]
    assert source["url"] == "database:5432"
    assert source["jsonData"]["database"] == services["database"]["environment"]["POSTGRES_DB"]
    assert source["user"] in (EXAMPLE / "reader.sh").read_text()
    panels = json.loads((EXAMPLE / "grafana" / "dashboard.json").read_text())["panels"]
    assert {panel["datasource"]["uid"] for panel in panels} == {source["uid"]}

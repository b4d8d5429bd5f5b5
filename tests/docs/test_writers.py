"""What the pages say of databases, brokers and several servers works as it stands there, with servers of our own."""

from __future__ import annotations

import json
import re
import shlex
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from confluent_kafka.admin import AdminClient

from consumers.kafka.tests.support import read_topic
from stellar_arrow_client import Client, StreamRequest
from tests.docs import blocks
from tests.docs.blocks import ROOT, Newcomer, typed
from tests.support.kafka import KafkaServer
from tests.support.opensearch import OpenSearchServer
from tests.support.postgres import PostgresServer

LEDGERS = (2, 1001)
PAGES = {name: (ROOT / f"consumers/{name}/README.md").read_text() for name in ("postgres", "kafka", "elasticsearch")}
SCALING = (ROOT / "docs/scaling.md").read_text()
MADE_UP = "'synthetic://'"


def page_of(consumer: str, test: str) -> list[str]:
    """The code of the blocks of a consumer's page that are tested in one way."""
    return [block.code for block in blocks.blocks(PAGES[consumer]) if block.test == test]


def test_every_block_says_how_it_is_tested() -> None:
    ways = {
        "postgres": ["console", "sql", "elsewhere", "follow", "sql"],
        "kafka": ["console", "first message", "console"],
        "elasticsearch": ["shell", "shell", "shell"],
    }
    for consumer, tests in ways.items():
        typed_in = [block for block in blocks.blocks(PAGES[consumer]) if block.language in ("sh", "console", "sql")]
        assert [block.test for block in typed_in] == tests
    assert [block.test for block in blocks.blocks(SCALING)] == ["background", "background"]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Newcomer]:
    """A newcomer who has started the server as README.md says."""
    newcomer = Newcomer(tmp_path_factory.mktemp("writers"))
    [serve] = blocks.of("First stream in Python", "background")
    with newcomer.running(serve):
        newcomer.wait_until_ready()
        yield newcomer


@pytest.fixture(scope="module")
def rows(source: Newcomer) -> dict[str, int]:
    """How many rows the streams of the examples have."""
    with Client(source.here("localhost:8815")) as client:
        requests = (StreamRequest(name, *LEDGERS, columns=("ledger_sequence",)) for name in ("payments", "trades"))
        return {request.stream: client.read_table(request).num_rows for request in requests}


def type_console(newcomer: Newcomer, code: str) -> None:
    """Type what stands behind the prompts; it prints what stands there."""
    for command, printed in typed(code):
        if command.startswith("pip install"):
            folders = shlex.split(command, comments=True)[3::2]
            assert all((ROOT / folder / "pyproject.toml").exists() for folder in folders)
        else:
            assert newcomer.run(command) == printed


def test_postgresql(source: Newcomer, rows: dict[str, int], postgres: PostgresServer) -> None:
    source.places = {"postgresql://stellar@localhost/stellar": postgres.url, "postgresql:// ": f"{postgres.url} "}

    def query(code: str) -> list[tuple[object, ...]]:
        with psycopg.connect(postgres.url) as connection:
            return connection.execute(code.encode()).fetchall()

    [install] = page_of("postgres", "console")
    [paid, held] = page_of("postgres", "sql")
    [follow] = page_of("postgres", "follow")
    type_console(source, install)
    query(paid)
    shown = re.search(r"^-- payments \| ({.*?})", held, re.M)
    assert shown is not None
    found = {str(table): ledgers for table, ledgers, _ in query(held.replace("ledgers,", "ledgers::text,"))}
    assert found["payments"] == shown[1]
    [(command, _)] = typed(follow)
    with source.running(command):
        wait_for(lambda: query("SELECT count(*) FROM payments") == [(rows["payments"],)])
    [write] = blocks.of("Into PostgreSQL", "follow")
    with source.running(write):
        wait_for(lambda: ("trades",) in query("SELECT tablename FROM pg_tables WHERE schemaname = 'public'"))
        for stream, count in rows.items():
            wait_for(lambda stream=stream, count=count: query(f"SELECT count(*) FROM {stream}") == [(count,)])
    for command, _ in typed(page_of("postgres", "elsewhere")[0]):
        variables = re.findall(r"\b[A-Z]+(?==)", command)
        assert variables == ["PGSSLMODE", "PGSSLROOTCERT", "PGPASSFILE"]


def test_kafka(source: Newcomer, rows: dict[str, int], kafka: KafkaServer) -> None:
    source.places = {"localhost:9092": kafka.address}
    [write] = blocks.of("Into Kafka", "follow")
    topics = {stream: f"stellar.synthetic.{stream}" for stream in rows}
    with source.running(write):
        for stream, count in rows.items():
            wait_for(lambda stream=stream, count=count: len(read_topic(kafka.address, topics[stream])) == count)
    # The next page begins with an empty broker.
    admin = AdminClient({"bootstrap.servers": kafka.address})
    made = [name for topic in topics.values() for name in (topic, f"{topic}.cursor")]
    for deleted in admin.delete_topics(made).values():
        deleted.result()
    wait_for(lambda: not set(made) & set(admin.list_topics(timeout=10).topics))
    [publish, schema] = page_of("kafka", "console")
    type_console(source, publish)
    type_console(source, schema)
    [[(command, printed)]] = map(typed, page_of("kafka", "first message"))
    topic = re.search(r"--topic (\S+)", command)
    assert topic is not None
    first = read_topic(kafka.address, topic[1])[0].value.decode()
    assert first.startswith(printed.partition("…")[0])
    assert len(json.loads(first)) > 10


def test_elasticsearch(source: Newcomer, rows: dict[str, int], search: OpenSearchServer) -> None:
    source.places = {"http://localhost:9200": search.url}

    def count(stream: str) -> int:
        alias = f"stellar-{stream}"
        if not search.ask("GET", f"/_cat/aliases/{alias}?format=json"):
            return 0
        search.ask("POST", f"/{alias}/_refresh")
        return int(search.ask("GET", f"/{alias}/_count")["count"])

    [once, several, dashboard] = page_of("elasticsearch", "shell")
    assert source.run(once) == "stellar-payments\n"
    streams = ["payments", "ttp_events", "trades", "ledgers"]
    assert source.run(several).split() == [f"stellar-{stream}" for stream in streams]
    assert 0 < count("payments") < rows["payments"]
    assert all(map(count, streams))
    [write] = blocks.of("Into Elasticsearch or OpenSearch", "follow")
    with source.running(write):
        for stream, wanted in rows.items():
            wait_for(lambda stream=stream, wanted=wanted: count(stream) == wanted)
    source.run(dashboard)
    assert all(json.loads(line)["type"] for line in (source.folder / "payments.ndjson").read_text().splitlines())


@pytest.mark.parametrize("section", ["Workers", "Several machines"])
def test_several_servers(section: str, rows: dict[str, int], tmp_path: Path) -> None:
    """The servers that do not exist are passed over."""
    newcomer = Newcomer(tmp_path)
    newcomer.places = {"/data/pubnet": MADE_UP, "s3://bucket/ledgers": MADE_UP, "10.0.0.1": "127.0.0.1"}
    newcomer.places["--workers 4"] = "--workers 2"  # each costs as much as a server when it starts
    newcomer.places |= {f"10.0.0.{host}:8815": f"127.0.0.1:{host}" for host in (2, 3)}
    [serve] = blocks.of(section, "background", SCALING)
    with newcomer.running(serve):
        newcomer.wait_until_ready()
        with Client(newcomer.here("localhost:8815")) as client:
            read = client.read_table(StreamRequest("payments", *LEDGERS, columns=("ledger_sequence",)))
    assert read.num_rows == rows["payments"]


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.2)

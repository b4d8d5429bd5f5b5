"""The command: ranges, changes of columns, credentials, and what it refuses."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pyarrow as pa
import pytest

from consumers.elasticsearch.tests.support import PROGRAM, Command
from stellar_arrow_client.testing import FakeServer, sample_table
from tests.support.consumers import FIRST, LAST

SAMPLES = ("--stream", "samples")


def test_gaps_are_filled_and_nothing_is_read_twice(command, server) -> None:
    for first in (150, 200):
        command(server.address, first, first + 9, *SAMPLES)
    assert command.held("samples") == [(150, 159), (200, 209)]
    del server.requests[:]
    assert command(server.address, 100, 300, *SAMPLES).stdout.split() == [f"{command.prefix}-samples"]
    assert command.held("samples") == [(100, 300)]
    asked = [(request.start, request.end) for request in server.requests]
    assert asked == [(100, 149), (160, 199), (210, 300)]
    table = sample_table(100, 300)
    assert command.table("samples", table.schema).to_pylist() == table.to_pylist()


def test_dry_run_changes_nothing(command, server) -> None:
    done = command(server.address, FIRST, LAST, *SAMPLES, "--dry-run", "--columns", "amount")
    alias = f"{command.prefix}-samples"
    expected = f"samples: ledgers {FIRST} to {LAST} would be written to {alias} with the columns ledger_sequence,amount"
    assert done.stdout.splitlines() == [expected]
    assert command.search.ask("GET", f"/_cat/indices/{command.prefix}*?format=json") == []


def test_new_columns_are_refused_or_added(command) -> None:
    def serve(*columns: str, first: int) -> FakeServer:
        table = sample_table(first, first + 9)
        return FakeServer({"samples": table.select(["ledger_sequence", *columns])}, first, first + 9)

    with serve("amount", first=100) as server:
        command(server.address, 100, 109, *SAMPLES)
    with serve("amount", "memo", first=110) as server:
        said = command(server.address, 110, 119, *SAMPLES, code=2).stderr
        assert "lacks memo; give --schema-change add" in said
        assert "--columns ledger_sequence,amount" in said
        command(server.address, 110, 119, *SAMPLES, "--schema-change", "add")
    table = sample_table(100, 119).select(["ledger_sequence", "amount", "memo"])
    rows = [row | {"memo": row["memo"] if row["ledger_sequence"] >= 110 else None} for row in table.to_pylist()]
    assert command.table("samples", table.schema).to_pylist() == rows
    with serve("memo", first=120) as server:
        assert "has the column amount" in command(server.address, 120, 129, *SAMPLES, code=2).stderr


def test_what_the_indices_do_not_hold_is_refused(command, server) -> None:
    command(server.address, 100, 109, *SAMPLES)
    refuse = [
        (("--filter", "amount > 5"), "holds all rows; give the same --filter"),
        (("--index-ledgers", 7), "has indices of 100000 ledgers, which cannot be changed"),
    ]
    for options, said in refuse:
        assert said in command(server.address, 100, 119, *SAMPLES, *options, code=2).stderr
    table = sample_table(100, 119)
    for metadata, said, code in (
        ({"schema_version": "2", "network": "testnet"}, "holds version 1 of the columns of samples", 2),
        ({"schema_version": "1", "network": "pubnet"}, "holds ledgers of 'testnet' but the server gives", 4),
    ):
        changed = table.replace_schema_metadata({"stream": "samples"} | metadata)
        with FakeServer({"samples": changed}, 100, 119) as other:
            assert said in command(other.address, 100, 119, *SAMPLES, code=code).stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("ftp://host",), "URL is no address of a search server"),
        (("http://host:9200", "--prefix", "Stellar"), "--prefix is of lower-case letters"),
        (("http://host:9200", "--setting", "replicas"), "write it as name=value"),
    ],
)
def test_wrong_arguments(arguments, said, server) -> None:
    done = subprocess.run([PROGRAM, server.address, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert said in done.stderr


def test_a_server_that_is_not_there(server, prefix) -> None:
    url = "http://someone:secret@127.0.0.1:9"
    line = [PROGRAM, server.address, url, "100", "109", *SAMPLES, "--prefix", prefix]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode == 3
    [error] = [text for text in done.stderr.splitlines() if text.startswith("error: ")]
    assert "see that the server runs" in error
    assert "secret" not in done.stderr


@contextmanager
def refusing(status: int, authorizations: list[str | None]) -> Iterator[str]:
    """A server that answers everything with one status, and remembers who asked."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            authorizations.append(self.headers["Authorization"])
            content = json.dumps({"error": {"type": "security_exception", "reason": "no"}}).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{http.server_port}"
        http.shutdown()


@pytest.mark.parametrize("status", [401, 403])
def test_credentials(server, prefix, status) -> None:
    asked: list[str | None] = []
    with refusing(status, asked) as address:
        for url, options, wanted in (
            (f"http://writer:a%40b@{address}", (), "Basic d3JpdGVyOmFAYg=="),
            (f"http://{address}", ("--user", "writer", "--password", "a@b"), "Basic d3JpdGVyOmFAYg=="),
            (f"http://{address}", ("--api-key", "c2VjcmV0"), "ApiKey c2VjcmV0"),
        ):
            line = [PROGRAM, server.address, url, "100", "109", *SAMPLES, "--prefix", prefix, *options]
            done = subprocess.run(line, capture_output=True, text=True, check=False)
            assert done.returncode == 5, done.stderr
            assert "security_exception: no; check --user" in done.stderr
            assert "a@b" not in done.stderr
            assert "c2VjcmV0" not in done.stderr
            assert asked.pop() == wanted


def test_a_checkpoint_of_somebody_else_is_refused(command: Command, server) -> None:
    command(server.address, 100, 109, *SAMPLES)
    alias = f"{command.prefix}-samples"
    command.search.ask("POST", f"/{command.prefix}-checkpoints/_update/{alias}", {"doc": {"ledgers": [{"gte": 5}]}})
    assert "cannot be understood" in command(server.address, 100, 119, *SAMPLES, code=4).stderr


def test_documents_that_were_deleted_are_not_read_again(command: Command, server) -> None:
    """An old index that was dropped stays dropped."""
    options = (*SAMPLES, "--index-ledgers", 100)
    command(server.address, 100, 399, *options)
    command.search.ask("DELETE", f"/{command.prefix}-samples-0000000100")
    command(server.address, 100, 399, *options)
    table: pa.Table = sample_table(200, 399)
    assert command.table("samples", table.schema).num_rows == table.num_rows

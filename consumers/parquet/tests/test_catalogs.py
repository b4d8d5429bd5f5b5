"""The command with tables, and with the catalogs of Iceberg that it meets: silent, refusing, ill for a moment."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from parquet_consumer.catalogs import open_catalog
from parquet_consumer.storage import open_storage

from tests.support.object_storage import S3Server, requires_s3

FORMATS = ("delta", "iceberg")


@pytest.mark.parametrize("form", FORMATS)
def test_all_commands_on_a_table(tmp_path: Path, form: str, server, command) -> None:
    """Several streams, each a table of its own."""
    often = ["--format", form, "--stream", "samples,payments", "--max-file-size", "4KB"]
    said = command(server.address, tmp_path, 100, 160, *often)
    assert said.stdout == f"{tmp_path}/samples\n{tmp_path}/payments\n"
    assert command(server.address, tmp_path, 100, 160, *often).stderr.count("already complete") == 2
    command(server.address, tmp_path, 200, 230, *often)
    command("verify", tmp_path)
    assert command("gaps", tmp_path, code=4).stdout == "payments\t161:199\nsamples\t161:199\n"
    info = command("info", tmp_path / "payments").stdout
    assert f"format:    {form}\n" in info
    assert "92 (100 to 160, 200 to 230)" in info
    assert "files merged into" in command("optimize", tmp_path).stderr
    listed = command("prune", tmp_path / "payments", "--older-than", "2024-08-31", "--dry-run").stdout
    assert command("prune", tmp_path / "payments", "--older-than", "2024-08-31").stdout == listed
    assert "date=2024-08-30" in listed
    assert "0 files would be deleted" in command("vacuum", tmp_path, "--dry-run").stderr
    command("verify", tmp_path)
    refused = command(server.address, tmp_path / "payments", 100, 500, code=2)
    assert f"is an archive of the format {form}; give --format {form}" in refused.stderr
    refused = command(server.address, tmp_path / "new", 100, 500, "--format", form, "--partition", "ledgers:64", code=2)
    assert "partitioned by day or not at all" in refused.stderr


def test_commands_of_tables_on_plain_files(tmp_path: Path, server, command) -> None:
    command(server.address, tmp_path, 100, 120)
    for name in ("optimize", "vacuum"):
        assert f"is no table: {name} is for --format delta and iceberg" in command(name, tmp_path, code=2).stderr


@pytest.mark.parametrize("catalog", ["ftp://host/catalog", "https://me:secret@host/catalog"])
def test_catalogs_that_make_no_sense(tmp_path: Path, server, command, catalog: str) -> None:
    pytest.importorskip("pyiceberg")
    said = command(server.address, tmp_path, 100, 120, "--format", "iceberg", "--catalog", catalog, code=2).stderr
    assert "a catalog is one of http, https, sqlite, without credentials" in said
    assert "secret" not in said


def test_a_catalog_that_cannot_be_used(tmp_path: Path, server, command) -> None:
    pytest.importorskip("pyiceberg")
    (tmp_path / "catalog.db").write_bytes(b"no database" * 100)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        for catalog in (f"sqlite:///{tmp_path}/catalog.db", f"http://127.0.0.1:{silent.getsockname()[1]}"):
            arguments = (server.address, tmp_path / "table", 100, 120, "--format", "iceberg", "--catalog", catalog)
            assert f"the catalog {catalog} cannot be used" in command(*arguments, code=3).stderr


@requires_s3
def test_a_bucket_needs_a_catalog(s3: S3Server, server, command) -> None:
    pytest.importorskip("pyiceberg")
    command.env = s3.environment
    said = command(server.address, "s3://private/uncatalogued", 100, 120, "--format", "iceberg", code=2).stderr
    assert "needs a catalog: give --catalog" in said


@contextmanager
def answering(*answers: tuple[int, str]) -> Iterator[tuple[str, Sequence[str]]]:
    """A server that gives these answers of HTTP, the last one for ever; its address, and what it was asked."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = answers[min(len(asked), len(answers) - 1)]
            asked.append(self.path)
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", asked
        finally:
            server.shutdown()


CONFIG = (200, '{"defaults": {}, "overrides": {}}')


def refusal(status: int, kind: str) -> tuple[int, str]:
    return status, f'{{"error": {{"message": "who are you", "type": "{kind}", "code": {status}}}}}'


@pytest.mark.parametrize(("status", "kind"), [(401, "NotAuthorizedException"), (403, "ForbiddenException")])
@pytest.mark.parametrize("at_once", [True, False])
def test_a_catalog_that_refuses(tmp_path: Path, server, command, status: int, kind: str, at_once: bool) -> None:
    pytest.importorskip("pyiceberg")
    answers = [refusal(status, kind)] if at_once else [CONFIG, refusal(status, kind)]
    with answering(*answers) as (address, _):
        table = ("--format", "iceberg", "--catalog", address)
        said = command(server.address, tmp_path / "table", 100, 120, *table, code=5).stderr
    assert f"the catalog {address} refuses" in said
    assert "who are you" in said
    assert "set PYICEBERG_CATALOG__STELLAR__CREDENTIAL" in said


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_catalog_that_is_ill_is_asked_again(tmp_path: Path, status: int) -> None:
    """The library alone would ask once."""
    pytest.importorskip("pyiceberg")
    with answering(CONFIG, (status, "{}"), (status, "{}"), (200, '{"namespaces": []}')) as (address, asked):
        catalog = open_catalog(address, open_storage(str(tmp_path)))
        assert catalog.list_namespaces() == []
    assert len(asked) == 4

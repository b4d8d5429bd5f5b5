"""Stores in object storage, against a real S3 server: the same ledgers as from a folder, and plain errors."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import obstore
import pytest

from stellar_arrow_client.errors import GapError, IntegrityError, InvalidRequestError
from stellar_arrow_source.errors import SourceRefusedError, SourceUnavailableError
from stellar_arrow_source.ledgers.endpoint import open_source
from stellar_arrow_source.ledgers.source import RetryPolicy
from tests.ledgers.stores import NEVER, Store, batch, compress, made, slowly
from tests.support import corpus
from tests.support.object_storage import BUCKET, PUBLIC_BUCKET, S3Server, requires_s3, s3_server
from tests.support.proxy import CuttableProxy

pytestmark = requires_s3


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with s3_server(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture(autouse=True)
def _credentials(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)


def read(endpoint: str, start: int, end: int) -> tuple[bytes, ...]:
    source = open_source(endpoint)
    try:
        return tuple(bytes(ledger.xdr) for ledger in source.ledgers(start, end, NEVER))
    finally:
        source.close()


@pytest.mark.parametrize(("per_batch", "per_partition"), [(1, 1), (1, 100), (4, 1), (4, 2)])
@pytest.mark.parametrize("with_manifest", [True, False])
def test_every_layout_is_read(
    server: S3Server, tmp_path: Path, per_batch: int, per_partition: int, with_manifest: bool
) -> None:
    ledgers = made(64, 327)
    Store(tmp_path, per_batch=per_batch, per_partition=per_partition).write(64, ledgers)
    if not with_manifest:
        (tmp_path / ".config.json").unlink()
    prefix = f"layouts/{per_batch}/{per_partition}/{with_manifest}"
    server.upload(tmp_path, BUCKET, prefix)
    endpoint = f"s3://{BUCKET}/{prefix}"
    source = open_source(endpoint)
    assert source.bounds() == (64, 327)
    assert source.network_passphrase == ("stellar-arrow synthetic network" if with_manifest else None)
    source.close()
    assert read(endpoint, 64, 327) == ledgers
    assert read(endpoint, 70, 101) == ledgers[6:38]


@corpus.requires_corpus
def test_a_public_store_needs_no_credentials(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    server.upload(corpus.ROOT / "testnet-2022", PUBLIC_BUCKET, "testnet")
    for name in server.environment:
        monkeypatch.delenv(name)
    endpoint = f"s3://{PUBLIC_BUCKET}/testnet?anonymous=true&region=us-east-1&endpoint={server.endpoint}"
    expected = read(str(corpus.ROOT / "testnet-2022"), 1410048, 1410303)
    assert len(expected) == 256
    assert read(endpoint, 1410048, 1410303) == expected


def test_new_objects_are_waited_for(server: S3Server) -> None:
    store, ledgers = server.store(BUCKET, "tip"), made(30, 33)

    def put(at: int) -> None:
        name = f"{0xFFFFFFFF - (30 + at):08X}--{30 + at}.xdr.zst"
        obstore.put(store, name, compress(batch(30 + at, ledgers[at : at + 1])))

    put(0)
    source = open_source(f"s3://{BUCKET}/tip")
    reader = source.ledgers(30, None, stop := threading.Event())
    assert bytes(next(reader).xdr) == ledgers[0]
    timer = threading.Timer(0.3, lambda: [put(1), put(2), put(3)])
    timer.start()
    assert [bytes(next(reader).xdr) for _ in range(3)] == list(ledgers[1:])
    timer.join()
    threading.Timer(0.3, stop.set).start()
    began = time.monotonic()
    assert list(reader) == []
    assert time.monotonic() - began < 3
    source.close()


def test_a_missing_object_is_a_gap(server: S3Server, tmp_path: Path) -> None:
    written = Store(tmp_path, per_partition=4)
    written.write(10, made(10, 20))
    written.path(15).unlink()
    server.upload(tmp_path, BUCKET, "gap")
    with pytest.raises(GapError, match=rf"ledger 15 is missing in s3://{BUCKET}/gap.*{written.path(15).name}"):
        read(f"s3://{BUCKET}/gap", 10, 20)
    with pytest.raises(GapError, match="it begins with ledger 10"):
        read(f"s3://{BUCKET}/gap", 9, 20)


def test_a_damaged_object_is_told_with_its_name(server: S3Server, tmp_path: Path) -> None:
    written = Store(tmp_path)
    written.write(8, made(8, 9))
    written.write_file(9, b"this is no zstd frame")
    server.upload(tmp_path, BUCKET, "damaged")
    with pytest.raises(IntegrityError, match=rf"s3://{BUCKET}/damaged/{written.path(9).name} is damaged"):
        read(f"s3://{BUCKET}/damaged", 8, 9)


def test_what_cannot_be_read_says_why(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SourceUnavailableError, match="there is no bucket for s3://absent/x"):
        open_source("s3://absent/x")
    with pytest.raises(IntegrityError, match=rf"s3://{BUCKET}/empty has no .config.json"):
        open_source(f"s3://{BUCKET}/empty")
    with pytest.raises(SourceRefusedError, match="may not be read: set AWS_ACCESS_KEY_ID"):
        open_source(f"s3://{BUCKET}/tip?anonymous=true")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(SourceRefusedError, match="may not be read"):
        open_source(f"s3://{BUCKET}/tip")


@pytest.mark.parametrize(
    ("endpoint", "message"),
    [
        ("s3://bucket/x?colour=red", "colour=… is not known: use region, endpoint, anonymous"),
        ("s3://me:secret@bucket/x", "must name a bucket alone.*AWS_ACCESS_KEY_ID"),
        ("gs:///x", "must name a bucket alone.*GOOGLE_APPLICATION_CREDENTIALS"),
    ],
)
def test_endpoints_that_make_no_sense(endpoint: str, message: str) -> None:
    with pytest.raises(InvalidRequestError, match=message) as raised:
        open_source(endpoint)
    assert "secret@" not in str(raised.value)


def test_a_network_cut_again_and_again_costs_no_ledger(
    server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thousand ledgers, each once, in order."""
    ledgers = made(100, 1099, transactions=1)
    Store(tmp_path, per_batch=2, per_partition=100).write(100, ledgers)
    server.upload(tmp_path, BUCKET, "cut")
    with CuttableProxy(server.port) as network:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{network.port}")
        source = open_source(f"s3://{BUCKET}/cut", retry=RetryPolicy(attempts=50, initial=0.05, maximum=0.5))
        with closing(source), network.unsteady(0.1, 0.05):
            taken = slowly(source, 100, 1099)
    assert taken == ledgers
    assert network.cuts >= 10

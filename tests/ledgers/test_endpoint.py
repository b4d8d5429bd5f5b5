"""Endpoints as people write them."""

from __future__ import annotations

from pathlib import Path

import pytest

from stellar_arrow_client.errors import InvalidRequestError
from stellar_arrow_source.errors import NetworkMismatchError, SourceUnavailableError
from stellar_arrow_source.ledgers.endpoint import open_source, without_credentials
from stellar_arrow_source.ledgers.galexie import GalexieStore
from stellar_arrow_source.ledgers.grpc import GrpcSource
from stellar_arrow_source.ledgers.synthetic import SyntheticSource
from tests.ledgers.stores import Store, made

SYNTHETIC_NETWORK = "stellar-arrow synthetic network"


@pytest.mark.parametrize("endpoint", ["localhost:50053", "10.0.0.1:1", "[::1]:50053", "grpc://host.example:50053"])
def test_grpc(endpoint: str) -> None:
    source = open_source(endpoint)
    assert isinstance(source, GrpcSource)
    assert (source.endpoint, source.network_passphrase) == (endpoint, None)
    source.close()


def test_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "a store"
    Store(folder).write(5, made(5, 6))
    monkeypatch.chdir(tmp_path)
    for endpoint in (str(folder), f"file://{folder}", folder.as_uri(), "a store", "./a store", "FILE://" + str(folder)):
        source = open_source(endpoint, passphrase=SYNTHETIC_NETWORK)
        assert isinstance(source, GalexieStore)
        assert source.bounds() == (5, 6)
        assert source.network_passphrase == SYNTHETIC_NETWORK
        source.close()


def test_synthetic() -> None:
    source = open_source("synthetic://?ledgers=3", passphrase=SYNTHETIC_NETWORK)
    assert isinstance(source, SyntheticSource)
    assert source.network_passphrase == SYNTHETIC_NETWORK


@pytest.mark.parametrize(
    ("endpoint", "message"),
    [
        ("ftp://host/prefix", "ftp:// is no supported kind of source.*use host:port"),
        ("rpc+https:///path", r"must name a host: use rpc\+https://host/path"),
        ("localhost", "is no endpoint of ledgers: use host:port"),
        ("", "is no endpoint"),
        ("grpc://localhost", "names no host:port"),
        ("file://other.example/store", "names another host"),
    ],
)
def test_what_is_not_understood_says_what_would_be(endpoint: str, message: str) -> None:
    with pytest.raises(InvalidRequestError, match=message) as raised:
        open_source(endpoint)
    assert raised.value.exit_code == 2


def test_a_missing_folder_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(SourceUnavailableError, match="cannot read the ledger store"):
        open_source(f"{tmp_path}/absent")


def test_another_network_names_both(tmp_path: Path) -> None:
    Store(tmp_path)
    for endpoint in (str(tmp_path), "synthetic://"):
        with pytest.raises(NetworkMismatchError, match=f"'{SYNTHETIC_NETWORK}', but 'Other'"):
            open_source(endpoint, passphrase="Other")


def test_credentials_are_not_shown() -> None:
    assert without_credentials("s3://key:secret@bucket/x@y") == "s3://bucket/x@y"
    with pytest.raises(InvalidRequestError) as raised:
        open_source("s3://key:secret@bucket/x")
    assert "secret" not in str(raised.value)

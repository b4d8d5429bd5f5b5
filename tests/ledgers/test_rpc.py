"""Ledgers from a server that speaks Stellar RPC's protocol: pages, limits, retention, faults."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from stellar_arrow_client.errors import GapError, IntegrityError
from stellar_arrow_source.errors import SourceRefusedError, SourceUnavailableError
from stellar_arrow_source.ledgers import rpc
from stellar_arrow_source.ledgers.endpoint import open_source
from stellar_arrow_source.ledgers.header import ledger_sequence
from stellar_arrow_source.ledgers.source import RetryPolicy
from tests.ledgers.stores import NEVER, made, slowly
from tests.support import corpus
from tests.support.proxy import CuttableProxy
from tests.support.rpc_server import Answer, RpcServer, b64, send

QUICK = RetryPolicy(attempts=4, initial=0.02, maximum=0.1)
PATIENT = RetryPolicy(attempts=50, initial=0.01, maximum=0.1)


@contextmanager
def serving(first: int, ledgers: tuple[bytes, ...], **options: Any) -> Iterator[RpcServer]:
    server = RpcServer(first, ledgers, **options)
    try:
        yield server
    finally:
        server.http.shutdown()
        server.http.server_close()


def read(endpoint: str, start: int, end: int, retry: RetryPolicy = QUICK) -> tuple[bytes, ...]:
    source = open_source(endpoint, retry=retry)
    try:
        return tuple(bytes(ledger.xdr) for ledger in source.ledgers(start, end, NEVER))
    finally:
        source.close()


@pytest.mark.parametrize("most", [1, 7, 200])
def test_ranges_are_read_in_pages(most: int) -> None:
    ledgers = made(1000, 1499)
    with serving(1000, ledgers, most=most) as server:
        assert read(server.endpoint, 1000, 1499) == ledgers
        assert read(server.endpoint, 1123, 1321) == ledgers[123:322]
        asked = [r["params"]["pagination"]["limit"] for r in server.requests if r["method"] == "getLedgers"]
        assert max(asked) <= rpc.MAX_PAGE
        source = open_source(server.endpoint)
        assert source.bounds() == (1000, 1499)
        source.close()


@corpus.requires_corpus
def test_recorded_ledgers_of_the_network() -> None:
    recorded = sorted((ledger_sequence(one.xdr), one.xdr) for one in corpus.ledgers("testnet-2022"))
    expected = tuple(xdr for _, xdr in recorded)
    with serving(recorded[0][0], expected, most=10) as server:
        assert read(server.endpoint, recorded[0][0], recorded[-1][0]) == expected


def test_the_tip_is_followed() -> None:
    ledgers = made(50, 60)
    with serving(50, ledgers[:3]) as server:
        source = open_source(server.endpoint, retry=QUICK)
        stop = threading.Event()
        reader = source.ledgers(51, None, stop)
        assert [bytes(next(reader).xdr) for _ in range(2)] == list(ledgers[1:3])
        timer = threading.Timer(0.3, lambda: server.ledgers.extend(ledgers[3:]))
        timer.start()
        assert [bytes(next(reader).xdr) for _ in range(8)] == list(ledgers[3:])
        threading.Timer(0.2, stop.set).start()
        began = time.monotonic()
        assert list(reader) == []
        assert time.monotonic() - began < 2
        source.close()


def test_what_is_no_longer_kept_is_a_gap() -> None:
    with (
        serving(100, made(100, 110)) as server,
        pytest.raises(GapError, match="keeps the ledgers 100 to 110, not ledger 99: start later, or read older"),
    ):
        read(server.endpoint, 99, 105)


def test_faults_that_pass_cost_no_ledger() -> None:
    ledgers = made(100, 399)
    counted = iter(range(10_000))

    def odd(handler: BaseHTTPRequestHandler, request: dict[str, Any]) -> bool:
        match next(counted) % 8:
            case 1:
                send(handler, b"slow down", 429)
            case 3:
                send(handler, b"bad gateway", 502)
            case 5:
                send(handler, {"error": {"code": -32603, "message": "internal error"}})
            case 6:
                handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{")
                handler.close_connection = True
            case _:
                return False
        return True

    with serving(100, ledgers, most=9, odd=odd) as server:
        assert read(server.endpoint, 100, 399, PATIENT) == ledgers


def test_a_network_cut_again_and_again_costs_no_ledger() -> None:
    ledgers = made(100, 1099, transactions=1)
    with serving(100, ledgers, most=5) as server, CuttableProxy(server.port) as network:
        source = open_source(f"rpc+http://127.0.0.1:{network.port}", retry=PATIENT)
        with closing(source), network.unsteady(0.2, 0.02):
            assert slowly(source, 100, 1099) == ledgers
        assert network.cuts >= 5


def always(answer: dict[str, Any] | bytes, status: int = 200, method: str = "getLedgers") -> Answer:
    def odd(handler: BaseHTTPRequestHandler, request: dict[str, Any]) -> bool:
        if request["method"] != method:
            return False
        send(handler, answer, status)
        return True

    return odd


def page(*entries: dict[str, Any]) -> dict[str, Any]:
    return {"result": {"ledgers": list(entries), "latestLedger": 110, "oldestLedger": 100}}


@pytest.mark.parametrize(
    ("odd", "kind", "message"),
    [
        (always(b"", 401, "getHealth"), SourceRefusedError, "refuses with HTTP 401"),
        (always(b"", 403), SourceRefusedError, "refuses with HTTP 403"),
        (always(b"", 404, "getHealth"), SourceUnavailableError, "no RPC service"),
        (always(b"", 500, "getHealth"), SourceUnavailableError, r"not available \(HTTP 500\)"),
        (always(page()), SourceUnavailableError, "has ledger 110, but gave no ledger 100"),
        (always(b"<html>"), IntegrityError, "no answer of JSON-RPC"),
        (always(b"[" * 100_000), IntegrityError, "no answer of JSON-RPC"),
        (always({"result": 7}), IntegrityError, "no answer of getLedgers"),
        (always(page({"sequence": 100, "metadataXdr": "!!"})), IntegrityError, "no answer of getLedgers"),
        (always(page({"sequence": 101, "metadataXdr": ""})), GapError, "sent ledger 101 where 100 is due"),
        (always(page({"sequence": 100, "metadataXdr": b64(made(105, 105)[0])})), IntegrityError, "105 as ledger 100"),
        (always(page({"sequence": 100, "metadataXdr": "AAAA"})), IntegrityError, "no LedgerCloseMeta"),
    ],
)
def test_what_is_wrong_is_told(odd: Answer, kind: type[Exception], message: str) -> None:
    with serving(100, made(100, 110), odd=odd) as server, pytest.raises(kind, match=message):
        read(server.endpoint, 100, 110)


def test_answers_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rpc, "MAX_ANSWER", 1 << 20)
    with (
        serving(100, made(100, 110), odd=always(bytes(3 << 20))) as server,
        pytest.raises(SourceUnavailableError, match="an answer of more than 1 MiB"),
    ):
        read(server.endpoint, 100, 110)


def test_a_server_that_is_away() -> None:
    with serving(100, made(100, 110)) as server:
        pass
    with pytest.raises(SourceUnavailableError, match="is it running there"):
        read(server.endpoint, 100, 110)


def test_keys_are_sent_and_never_shown() -> None:
    with serving(100, made(100, 110)) as server:
        endpoint = f"rpc+http://me:pw@127.0.0.1:{server.port}/v1/secretkey?token=hidden"
        assert len(read(endpoint, 100, 110)) == 11
        assert server.paths == {"/v1/secretkey?token=hidden"}
        source = open_source(endpoint)
        assert source.endpoint == f"rpc+http://127.0.0.1:{server.port}"
        source.close()
    with pytest.raises(SourceUnavailableError) as raised:
        read(endpoint, 100, 110)
    assert not any(secret in str(raised.value) for secret in ("secretkey", "hidden", "pw"))

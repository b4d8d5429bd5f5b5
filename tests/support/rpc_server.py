"""A server that speaks Stellar RPC's protocol over ledgers that it is given, also as a process of its own."""

from __future__ import annotations

import json
import sys
import threading
from base64 import b64encode
from collections.abc import Callable, Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = Callable[[BaseHTTPRequestHandler, dict[str, Any]], bool]
"""May answer a request in another way; whether it did."""


class RpcServer:
    """``getLedgers`` and ``getHealth`` over ledgers that it was given, as the reference server answers them."""

    def __init__(
        self, first: int, ledgers: Sequence[bytes], *, most: int = 200, odd: Answer | None = None, port: int = 0
    ) -> None:
        self.first, self.ledgers, self.most, self.odd = first, list(ledgers), most, odd
        self.requests: list[dict[str, Any]] = []
        self.paths: set[str] = set()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.requests.append(request)
                outer.paths.add(self.path)
                if outer.odd is None or not outer.odd(self, request):
                    send(self, outer.answer(request))

            def log_message(self, *_: object) -> None: ...

        self.http = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.port = self.http.server_port
        self.endpoint = f"rpc+http://127.0.0.1:{self.port}"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        latest = self.first + len(self.ledgers) - 1
        known = {"latestLedger": latest, "oldestLedger": self.first}
        if request["method"] == "getHealth":
            return {"result": {"status": "healthy", "ledgerRetentionWindow": 120960, **known}}
        assert request["method"] == "getLedgers"
        start, limit = request["params"]["startLedger"], request["params"]["pagination"]["limit"]
        if not self.first <= start <= latest:
            return {"error": {"code": -32600, "message": f"start ledger must be between {self.first} and {latest}"}}
        if limit > 200:
            return {"error": {"code": -32602, "message": "limit must not exceed 200"}}
        given = self.ledgers[start - self.first :][: min(limit, self.most)]
        entries = [
            {"hash": "00", "sequence": start + i, "ledgerCloseTime": "1", "headerXdr": "", "metadataXdr": b64(xdr)}
            for i, xdr in enumerate(given)
        ]
        return {"result": {"ledgers": entries, "cursor": str(start + len(given) - 1), **known}}


def b64(data: bytes) -> str:
    return b64encode(data).decode()


def send(handler: BaseHTTPRequestHandler, answer: dict[str, Any] | bytes, status: int = 200) -> None:
    body = answer if isinstance(answer, bytes) else json.dumps({"jsonrpc": "2.0", "id": 1} | answer).encode()
    head = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nContent-Length: {len(body)}\r\n\r\n"
    handler.wfile.write(head.encode() + body)  # in one piece: two would wait for each other's acknowledgement


def main(port: int, endpoint: str) -> None:
    """Serve the ledgers of a source, as far as they are there and as they come."""
    from stellar_arrow_source.ledgers.endpoint import open_source

    source = open_source(endpoint)
    first, latest = source.bounds()
    assert first is not None
    never = threading.Event()
    history = [bytes(ledger.xdr) for ledger in source.ledgers(first, latest, never)]
    server = RpcServer(first, history, port=port)
    for ledger in source.ledgers(first + len(history), None, never):
        server.ledgers.append(bytes(ledger.xdr))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])

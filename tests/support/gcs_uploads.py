"""What fake-gcs-server lacks of Google's XML API, which libraries in Rust speak: uploads, deletions, parts of lists.

Changes become requests of the JSON API, which it has; whether an object may be replaced is for the server to say.
"""

from __future__ import annotations

import json
import re
import secrets
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlencode, urlsplit

import urllib3
from urllib3.fields import RequestField
from urllib3.filepost import encode_multipart_formdata

_CONDITION = "x-goog-if-generation-match"
_NOT_PASSED = {"connection", "transfer-encoding", "content-length", "host"}


@contextmanager
def xml_uploads(target: int) -> Iterator[int]:
    """Stand in front of a port of this machine; gives another one."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    server.target, server.uploads = f"http://127.0.0.1:{target}", {}  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    _http = urllib3.PoolManager(maxsize=16, retries=False)

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = urlsplit(self.path)
        bucket, _, name = parts.path.lstrip("/").partition("/")
        query = parse_qs(parts.query, keep_blank_values=True)
        is_object = bucket not in ("storage", "upload") and name != ""
        if is_object and self.command in ("PUT", "POST", "DELETE"):
            self._change(bucket, unquote(name), query, body)
        else:
            self._send(self._ask(self.command, self.path, body), query.get("start-after", [""])[0])

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _answer

    def _change(self, bucket: str, name: str, query: dict[str, list[str]], body: bytes) -> None:
        uploads: dict[str, dict[int, bytes]] = self.server.uploads  # type: ignore[attr-defined]
        identity = query.get("uploadId", [""])[0]
        if "uploads" in query:
            identity = secrets.token_hex(8)
            uploads[identity] = {}
            self._reply(200, _xml("InitiateMultipartUploadResult", "UploadId", identity))
        elif "partNumber" in query:
            uploads[identity][int(query["partNumber"][0])] = body
            self._reply(200, etag=f'"{len(body)}"')
        elif self.command == "DELETE" and identity:
            uploads.pop(identity, None)
            self._reply(204)
        elif self.command == "DELETE":
            self._send(self._ask("DELETE", f"/storage/v1/b/{bucket}/o/{quote(name, safe='')}"))
        elif identity:
            content = b"".join(part for _, part in sorted(uploads.pop(identity).items()))
            stored = self._store(bucket, name, content).json()
            self._reply(200, _xml("CompleteMultipartUploadResult", "ETag", stored["etag"]), stored=stored)
        else:
            answer = self._store(bucket, name, body)
            self._reply(answer.status, stored=answer.json() if answer.status == 200 else None)

    def _store(self, bucket: str, name: str, content: bytes) -> urllib3.BaseHTTPResponse:
        """Of the server's ways to upload, the one where it heeds a condition."""
        query = {"uploadType": "multipart"}
        if condition := self.headers.get(_CONDITION):
            query["ifGenerationMatch"] = condition
        form = [RequestField("metadata", json.dumps({"name": name})), RequestField("media", content)]
        for field, kind in zip(form, ("application/json", "application/octet-stream"), strict=True):
            field.headers = {"Content-Type": kind}
        body, kind = encode_multipart_formdata(form)
        kind = kind.replace("form-data", "related")
        return self._ask("POST", f"/upload/storage/v1/b/{bucket}/o?{urlencode(query)}", body, {"content-type": kind})

    def _ask(
        self, method: str, path: str, body: bytes = b"", further: Mapping[str, str] | None = None
    ) -> urllib3.BaseHTTPResponse:
        passed = {name.lower(): value for name, value in self.headers.items() if name.lower() not in _NOT_PASSED}
        headers = {**passed, "host": self.headers["Host"], **(further or {})}  # the server answers to one name alone
        url = f"{self.server.target}{path}"  # type: ignore[attr-defined]
        return self._http.request(method, url, body=body, headers=headers, decode_content=False)

    def _reply(self, status: int, text: str = "", *, stored: Any = None, etag: str | None = None) -> None:
        self.send_response(status)
        if stored is not None:
            self.send_header("x-goog-generation", stored["generation"])
        self.send_header("ETag", etag or (stored or {}).get("etag", '""'))
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    def _send(self, answer: urllib3.BaseHTTPResponse, after: str = "") -> None:
        """Pass an answer on; of a list, what comes after a name: the server gives all of it."""
        data = (
            re.sub(rb"<Contents>.*?</Contents>", lambda entry: _kept(entry[0], after), answer.data)
            if after
            else answer.data
        )
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            if name.lower() not in _NOT_PASSED:
                self.send_header(name, value)
        size = str(len(data))
        self.send_header("Content-Length", answer.headers.get("Content-Length", size) if not data else size)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Nothing."""


def _kept(entry: bytes, after: str) -> bytes:
    name = re.search(rb"<Key>(.*?)</Key>", entry)
    return entry if name is None or unquote(name[1].decode()) > after else b""


def _xml(kind: str, field: str, value: str) -> str:
    return f"<{kind}><{field}>{value}</{field}></{kind}>"

"""The status page shows in a real browser what the server does, whatever names and messages come to it."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
import threading
import time
from base64 import b64encode
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from stellar_arrow_client.client import Client
from stellar_arrow_client.errors import StellarArrowError
from stellar_arrow_client.request import Cursor, StreamRequest
from stellar_arrow_source.errors import SourceUnavailableError
from tests.monitoring.processes import get
from tests.support.serving import ScriptedSource, serving, wait_until

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
EVIL = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>\u202e&amp;"

needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")


def dom(port: int, folder: Path) -> str:
    """The page as the browser holds it after it has polled for a while."""
    assert CHROMIUM is not None
    done = subprocess.run(
        [
            CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
            f"--user-data-dir={folder}", "--virtual-time-budget=9000", "--dump-dom", f"http://127.0.0.1:{port}/",
        ],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    return done.stdout


def text(markup: str) -> str:
    """What a person reads."""
    body = re.sub(r"(?s)<(script|style)>.*?</\1>", "", markup)
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", body)).split())


def status(service: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(get(service.health_port, "/status")[1])
    return found


def follow(client: Client, stream: str) -> None:
    def read() -> None:
        with suppress(StellarArrowError):  # the end of the test
            for _ in client.stream(StreamRequest(stream, 1, None)):
                pass

    threading.Thread(target=read, daemon=True).start()


@needs_browser
def test_a_browser_shows_what_happens(tmp_path: Path) -> None:
    with serving(enable_analytics=True) as service, Client(service.location) as client:
        follow(client, "ledgers")
        follow(client, "numbers")
        wait_until(lambda: [stream["next"] for stream in status(service)["streams"]] == [1001, 1001])
        service._status.history.sample()
        time.sleep(0.1)
        service._status.history.sample()
        shown = text(dom(service.health_port, tmp_path))
    assert "stellar-arrow-source ready" in shown
    assert "newest ledger 1000" in shown
    assert "clients 1 streams 2 of 64" in shown
    assert re.search(r"127\.0\.0\.1 numbers 1 1001 ∞ 2,000 ", shown)
    assert "ledgers/s decoded" in shown
    assert "transactions 2,000 successful transactions 1,000" in shown


@needs_browser
def test_names_and_messages_are_text_whatever_they_hold(tmp_path: Path) -> None:
    source = ScriptedSource()
    with serving(source) as service, service._flight._activity.stream("numbers", EVIL, 1, 10):
        source.unavailable = SourceUnavailableError(f"gone {EVIL}")
        wait_until(lambda: not status(service)["ready"])
        markup = dom(service.health_port, tmp_path)
    assert "<title>stellar-arrow-source</title>" in markup
    assert "<img" not in re.sub(r"(?s)<script>.*?</script>", "", markup)
    assert "not ready" in text(markup)
    assert text(markup).count("onerror=\"document.title='owned'\"") == 2


def test_the_page_needs_nothing_but_itself() -> None:
    with serving() as service:
        code, page, headers = get(service.health_port, "/")
    assert code == 200
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    policy = dict(part.split(" ", 1) for part in headers["Content-Security-Policy"].split("; "))
    assert policy["default-src"] == "'none'"
    for tag in ("script", "style"):
        [content] = re.findall(rf"(?s)<{tag}>(.*?)</{tag}>", page)
        assert policy[f"{tag}-src"] == f"'sha256-{b64encode(sha256(content.encode()).digest()).decode()}'"
    addresses = set(re.findall(r"\w+://[^\s\"']+", page))
    assert addresses == {"http://www.w3.org/2000/svg"}
    assert not re.search(r"innerHTML|insertAdjacent|document\.write|\beval\b|<(link|img|iframe)", page)


def test_what_the_page_polls_is_what_the_server_says_elsewhere() -> None:
    with serving(enable_analytics=True) as service, Client(service.location) as client:
        service._status.history.close()  # sampled by hand from here on
        client.read_table(StreamRequest("numbers", 1, 100))
        wait_until(lambda: not status(service)["open_streams"])
        service._status.history.sample()
        found, health = status(service), json.loads(get(service.health_port, "/health")[1])
    for report in (found, health):
        report.pop("uptime_seconds")
    assert found.items() >= health.items()
    assert found["analytics"]["streams"]["numbers"]["1m"]["ledgers"] == 100
    assert found["history"]["points"][-1]["rows_served"] > 0
    assert found["memory_bytes"] > 10 << 20
    assert found["streams"] == []


def test_the_page_tells_of_workers_too() -> None:
    with (
        serving(enable_analytics=True) as worker,
        serving(enable_analytics=True) as service,
        service._flight._activity.stream("numbers", "alice", 1, None),
        worker._flight._activity.stream("numbers", "bob", 1, 9) as opened,
    ):
        for one in (worker, service):
            one._status.history.close()  # sampled by hand from here on
            with Client(one.location) as client:
                client.read_table(StreamRequest("ledgers", 1, 50))
            wait_until(lambda one=one: len(status(one)["streams"]) == 1)
            one._status.history.sample()
        worker._flight._activity.sent(opened, Cursor(1, 5), 10, 1000, 0.0)
        for one in (worker, service):
            one._status.history.sample()
        alone, other = status(service), status(worker)
        service._status._workers = lambda _: [json.dumps(other).encode()]
        both = status(service)
    assert both["analytics"]["streams"]["ledgers"]["15m"]["ledgers"] == 100
    assert alone["analytics"]["streams"]["ledgers"]["15m"]["ledgers"] == 50
    assert [(stream["client"], stream["next"]) for stream in both["streams"]] == [("alice", 1), ("bob", 6)]
    assert both["clients"] == 2
    assert both["streams_limit"] == 2 * alone["streams_limit"]
    assert both["memory_bytes"] > 1.5 * alone["memory_bytes"]
    assert alone["history"]["points"][-1]["bytes_served"] == 0
    assert both["history"]["points"][-1]["bytes_served"] == other["history"]["points"][-1]["bytes_served"] > 0

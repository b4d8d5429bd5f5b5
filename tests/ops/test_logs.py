"""What a server logs of its calls: enough to find one again, and nothing secret."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pyarrow import flight

from stellar_arrow_client.logs import configure_logging
from stellar_arrow_source.flight import calls
from tests.support.clients import ClientsFile, bearer
from tests.support.serving import ScriptedSource, serving, wait_until

Lines = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def logged(capfd: pytest.CaptureFixture[str]) -> Iterator[Lines]:
    """The lines of the log so far, as JSON."""
    configure_logging("info", "json")
    text = ""

    def lines() -> list[dict[str, Any]]:
        nonlocal text
        text += capfd.readouterr().err
        return [json.loads(line) for line in text.splitlines() if line.startswith("{")]

    yield lines
    configure_logging()


def event(lines: Lines, name: str) -> dict[str, Any]:
    wait_until(lambda: any(line["event"] == name for line in lines()))
    return next(line for line in lines() if line["event"] == name)


def test_a_stream_is_told_with_all_that_it_was(logged: Lines, tmp_path: Path) -> None:
    clients = ClientsFile(tmp_path / "clients.json")
    token = clients.add("alice")
    options = flight.FlightCallOptions(
        headers=[(b"authorization", f"Bearer {token}".encode()), (b"x-request-id", b"find-me.7")], timeout=30
    )
    with serving(auth_file=clients.path) as service, flight.FlightClient(service.location) as client:
        client.do_get(flight.Ticket(b"numbers:1:30"), options).read_all()
        begins, ends = event(logged, "stream begins"), event(logged, "stream ends")
    for line in (begins, ends):
        assert line["level"] == "info"
        assert (line["stream"], line["start"], line["end"], line["client"]) == ("numbers", 1, 30, "alice")
        assert line["request"] == "find-me.7"
        assert line["peer"].startswith("ipv4:127.0.0.1:")
    assert (ends["outcome"], ends["ledgers"], ends["rows"], ends["next"]) == ("complete", 30, 60, 31)
    assert ends["bytes"] > 0
    assert 0 <= ends["seconds"] < 60
    assert token not in json.dumps(logged())


def test_a_stream_that_fails_names_the_kind_of_error(logged: Lines) -> None:
    source = ScriptedSource()
    source.failures[20] = RuntimeError("disk on fire")
    with serving(source) as service, flight.FlightClient(service.location) as client:
        with pytest.raises(flight.FlightInternalError) as raised:
            client.do_get(flight.Ticket(b"numbers:1:50")).read_all()
        ends, unexpected = event(logged, "stream ends"), event(logged, "unexpected failure")
    assert (ends["error"], ends["reason"], ends["outcome"]) == ("RuntimeError", "disk on fire", "dropped")
    assert unexpected["request"] == ends["request"]
    assert ends["request"] in str(raised.value)  # so that who calls can name it
    assert "disk on fire" not in str(raised.value)


def test_a_refused_call_is_told(logged: Lines) -> None:
    with serving() as service, flight.FlightClient(service.location) as client:
        with pytest.raises(flight.FlightServerError):
            client.do_get(flight.Ticket(b"nmbers:1:50"))
        line = event(logged, "call refused")
    assert (line["call"], line["error"]) == ("do_get", "UnknownStreamError")
    assert "numbers" in line["reason"]


def test_a_flood_of_refused_calls_is_told_in_part(logged: Lines) -> None:
    with serving() as service, flight.FlightClient(service.location) as client:
        for _ in range(100):
            with pytest.raises(flight.FlightServerError):
                client.do_get(flight.Ticket(b"nonsense"))
    told = [line for line in logged() if line["event"] == "call refused"]
    assert 0 < len(told) < 60


def test_wrong_credentials_do_not_reach_the_log(logged: Lines, tmp_path: Path) -> None:
    clients = ClientsFile(tmp_path / "clients.json")
    with serving(auth_file=clients.path) as service, flight.FlightClient(service.location) as client:
        with pytest.raises(flight.FlightUnauthenticatedError):
            client.do_get(flight.Ticket(b"numbers:1:50"), bearer("hunter2-hunter2"))
        assert event(logged, "refused")["level"] == "warning"
    assert "hunter2" not in json.dumps(logged())


def test_the_id_of_a_call_is_made_up_unless_it_is_a_good_one() -> None:
    assert calls.Call({"x-request-id": ["abc-1.2_3"]}).id == "abc-1.2_3"
    for bad in ("", "x" * 65, 'a"b', "a\nb"):
        made = calls.Call({"x-request-id": [bad]}).id
        assert made != bad
        assert len(made) == 16
    assert calls.Call({"authorization": ["Bearer x"], "a": ["1", "2"], "k-bin": [b"\0"]}).headers == {"a": "1"}


def test_the_id_is_sent_back() -> None:
    received: list[str] = []

    class Reader(flight.ClientMiddleware):  # type: ignore[misc]
        def received_headers(self, headers: dict[str, list[str]]) -> None:
            received.extend(headers.get("x-request-id", []))

    class Factory(flight.ClientMiddlewareFactory):  # type: ignore[misc]
        def start_call(self, info: object) -> Reader:
            return Reader()

    with serving() as service, flight.FlightClient(service.location, middleware=[Factory()]) as client:
        client.do_get(
            flight.Ticket(b"numbers:1:2"), flight.FlightCallOptions(headers=[(b"x-request-id", b"mine")])
        ).read_all()
    assert "mine" in received

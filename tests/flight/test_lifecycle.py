"""The command as people run it: start, readiness, signals, ports, networks."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest
from pyarrow import flight

from stellar_arrow_client.client import Client
from stellar_arrow_client.request import StreamRequest
from stellar_arrow_source.errors import SourceUnavailableError
from stellar_arrow_source.flight.service import DRAINING
from stellar_arrow_source.networks import KNOWN_NETWORKS
from tests.support.server_process import COMMAND, FREE_PORTS, clean_environment, command
from tests.support.serving import PASSPHRASE, ScriptedSource, serving, wait_until

SYNTHETIC = ["--source", "synthetic://"]


def refused(*args: str, **env: str) -> tuple[int, str]:
    """Exit code and error of a command that ends by itself."""
    done = subprocess.run(
        [*COMMAND, "-q", *args], capture_output=True, text=True, timeout=60, env={**clean_environment(), **env}
    )
    assert done.stdout == ""
    return done.returncode, done.stderr


def test_it_serves_drains_and_ends(tmp_path: Path) -> None:
    with command(tmp_path, MOCK_DATA="true") as server:
        server.event("source answers")
        assert server.page("/ready") == (200, '{"ready": true, "source_state": "ok", "reasons": []}\n')
        with flight.FlightClient(server.address) as client:
            reader = client.do_get(flight.Ticket(b"transactions:10:"))
            assert reader.read_chunk().data.num_rows > 0
            code, seconds = server.stop()
            with pytest.raises(flight.FlightUnavailableError) as raised:
                reader.read_all()
        assert code == 0
        assert seconds < 2
        payload = json.loads(raised.value.extra_info)
        assert payload["code"] == "UnavailableError"
        assert payload["resume"] > 10
        assert server.lines()[-1]["event"] == "stopped"


def test_idle_server_ends_at_once_on_interrupt(tmp_path: Path) -> None:
    with command(tmp_path, *SYNTHETIC) as server:
        server.event("serving")
        code, seconds = server.stop(signal.SIGINT)
    assert code == 0
    assert seconds < 2


def test_second_signal_ends_at_once(tmp_path: Path) -> None:
    with command(tmp_path, *SYNTHETIC, "--drain-seconds", "60") as server:
        server.event("source answers")
        with flight.FlightClient(server.address) as client:
            stalled = client.do_get(flight.Ticket(b"operations:10:"))
            stalled.read_chunk()
            server.wait_for_backpressure()
            server.process.send_signal(signal.SIGTERM)
            server.event("shutting down")
            time.sleep(0.3)
            assert server.process.poll() is None
            assert server.page("/ready")[0] == 503
            code, seconds = server.stop()
    assert code == 128 + signal.SIGTERM
    assert seconds < 20  # of the 60 in which streams may drain


def test_reader_that_stalls_does_not_keep_the_server(tmp_path: Path) -> None:
    with command(tmp_path, *SYNTHETIC, "--drain-seconds", "0.5") as server:
        server.event("source answers")
        with flight.FlightClient(server.address) as client:
            stalled = client.do_get(flight.Ticket(b"operations:10:"))
            stalled.read_chunk()
            server.wait_for_backpressure()
            code, seconds = server.stop()
    assert code == 0
    assert seconds < 4
    assert any(line["level"] == "warning" and line.get("streams") == 1 for line in server.lines())


@pytest.mark.parametrize(("flag", "named"), [("--port", "ARROW_PORT"), ("--health-port", "HEALTH_PORT")])
def test_port_in_use_is_one_sentence(flag: str, named: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        code, error = refused(*FREE_PORTS, *SYNTHETIC, flag, str(taken.getsockname()[1]))
    assert code == 1
    assert error.count("\n") == 1
    assert named in error
    assert "in use" in error


def test_wrong_network_is_one_sentence_that_names_both() -> None:
    code, error = refused(*FREE_PORTS, *SYNTHETIC, NETWORK_PASSPHRASE="pubnet")
    assert code == 4
    assert error.count("\n") == 1
    assert KNOWN_NETWORKS["pubnet"] in error


@pytest.mark.parametrize(
    ("args", "named"),
    [
        (["--source", "gopher://x"], "gopher"),
        (["--port", "70000"], "--port"),
        (["--tls-cert", __file__], "--tls-key"),
        (["--source", "synthetic://", "--mock-data"], "--mock-data"),
        (["--tls-cert", __file__, "--tls-key", __file__], "TLS"),
    ],
)
def test_bad_settings_are_one_sentence(args: list[str], named: str) -> None:
    code, error = refused("--port", "0", "--health-port", "0", *args)
    assert code == 2
    assert error.count("\n") == 1
    assert named in error


def test_unreachable_source_is_told_and_tried_again(tmp_path: Path) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        endpoint = f"127.0.0.1:{nobody.getsockname()[1]}"
        with command(tmp_path, SOURCE_ENDPOINT=endpoint) as server:
            wait_until(lambda: endpoint in server.page("/ready")[1], 30)
            assert server.page("/health")[0] == 200
            with flight.FlightClient(server.address) as client, pytest.raises(flight.FlightUnavailableError) as raised:
                client.do_get(flight.Ticket(b"ledgers:5:6")).read_all()
            assert json.loads(raised.value.extra_info)["exit_code"] == 3
            assert server.stop()[0] == 0


def test_source_that_comes_back_makes_the_server_ready() -> None:
    source = ScriptedSource()
    source.unavailable = SourceUnavailableError("the source is away")
    with serving(source) as service:
        wait_until(lambda: service.not_ready() == ["the source is away"])
        source.unavailable = None
        wait_until(lambda: not service.not_ready())
        with Client(service.location) as client:
            assert client.read_table(StreamRequest("numbers", 1, 10)).num_rows == 20


def test_source_that_cannot_be_opened_is_opened_later() -> None:
    source, attempts = ScriptedSource(), []

    def open_source() -> ScriptedSource:
        attempts.append(1)
        if len(attempts) == 1:
            raise SourceUnavailableError("no such folder yet")
        return source

    with serving(open_source=open_source) as service:
        wait_until(lambda: service.not_ready() == ["no such folder yet"])
        wait_until(lambda: not service.not_ready())
        assert service.health()["network"] == PASSPHRASE


def test_readiness_says_that_the_server_drains() -> None:
    with serving() as service:
        service.close()
        assert DRAINING in service.not_ready()


def test_open_beyond_loopback_is_warned_of(tmp_path: Path) -> None:
    with command(tmp_path, *SYNTHETIC, "--host", "0.0.0.0") as server:
        server.event("serving")
        wait_until(lambda: any(line["level"] == "warning" and "host" in line for line in server.lines()))


def test_streams_and_schema_are_told() -> None:
    def output(*args: str) -> str:
        done = subprocess.run([*COMMAND, *args], capture_output=True, text=True, timeout=60, check=True)
        assert done.stderr == ""
        return done.stdout

    assert "stellar_ledger" in output("streams")
    names = [stream["name"] for stream in json.loads(output("streams", "--format", "json"))]
    assert "operations" in names
    assert "stroop" in output("schema", "payments")
    columns = json.loads(output("schema", "stellar_ledger", "--format", "json"))
    assert columns[0] == {
        "name": "ledger_sequence", "type": "uint32", "nullable": False, "opt_in": False, "unit": None,
        "description": columns[0]["description"],
    }  # fmt: skip
    code, error = refused("schema", "paymnts")
    assert code == 2
    assert "payments" in error

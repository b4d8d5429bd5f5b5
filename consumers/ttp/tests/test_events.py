"""The command ``ttp-processor events``: which events it writes, and where to."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import duckdb
import pytest
from google.protobuf.json_format import Parse
from ttp_processor.cli import command
from ttp_processor.protos.token_transfer_event_pb2 import TokenTransferEvent
from ttp_processor.selection import Selection

from consumers.ttp.tests.made import ISSUER, account, claimable_balance, made_table
from consumers.ttp.tests.oracle import check, event_of_message, events_of_store
from consumers.ttp.tests.processes import BIN, ENV, SECONDS
from stellar_arrow_client import Client, StreamRequest
from stellar_arrow_client.errors import InvalidRequestError
from stellar_arrow_client.testing import FakeServer
from tests.support.corpus import requires_corpus, requires_peers

FIRST, LAST = 1000, 1099
Row = dict[str, Any]


def events(*arguments: object) -> subprocess.CompletedProcess[str]:
    line = [str(BIN / "ttp-processor"), "events", *map(str, arguments), "--progress", "none", "-q"]
    return subprocess.run(line, capture_output=True, text=True, timeout=SECONDS, env=ENV, check=False)


@pytest.fixture(scope="module")
def made() -> Iterator[FakeServer]:
    with FakeServer({"ttp_events": made_table(FIRST, LAST)}, FIRST, LAST) as server:
        yield server


@pytest.fixture(scope="module")
def pubnet(address_of: Callable[[str], str]) -> str:
    return address_of("pubnet")


@requires_corpus
@requires_peers
def test_lines_are_the_json_of_the_messages(pubnet: str) -> None:
    """Any implementation of Protocol Buffers reads them."""
    done = events(pubnet, 30822015, 30822025)
    assert done.returncode == 0, done.stderr
    got = [event_of_message(Parse(line, TokenTransferEvent())) for line in done.stdout.splitlines()]
    wanted = events_of_store("pubnet")
    for ledger in range(30822015, 30822026):
        check([event for event in got if event["meta"]["ledger_sequence"] == ledger], *wanted[ledger])


def test_a_file_goes_on_where_it_ended(made: FakeServer, tmp_path: Path) -> None:
    output = tmp_path / "new" / "events.jsonl"
    assert events(made.address, FIRST, FIRST + 50, "--output", output).returncode == 0
    half = output.read_bytes()
    assert events(made.address, FIRST, LAST, "--output", output).returncode == 0
    assert output.read_bytes().startswith(half)
    assert output.read_text() == events(made.address, FIRST, LAST).stdout
    again = events(made.address, FIRST - 1, LAST, "--output", output)
    assert again.returncode == 2
    assert "does not join it" in again.stderr


def test_a_file_of_somebody_else_is_left_alone(made: FakeServer, tmp_path: Path) -> None:
    output = tmp_path / "letter"
    output.write_text("Dear Sir,")
    done = events(made.address, FIRST, LAST, "--output", output)
    assert (done.returncode, output.read_text()) == (2, "Dear Sir,")
    assert "has content but no letter.checkpoint" in done.stderr


def test_a_file_that_lost_bytes_is_an_integrity_error(made: FakeServer, tmp_path: Path) -> None:
    output = tmp_path / "events"
    assert events(made.address, FIRST, FIRST + 50, "--output", output).returncode == 0
    output.write_bytes(output.read_bytes()[:-1])
    done = events(made.address, FIRST, LAST, "--output", output)
    assert done.returncode == 4
    assert "its checkpoint says" in done.stderr


def test_parquet(made: FakeServer, tmp_path: Path) -> None:
    output = tmp_path / "archive"
    for end in (FIRST + 30, LAST):
        done = events(made.address, FIRST, end, "--format", "parquet", "--output", output)
        assert done.returncode == 0, done.stderr
    pattern = done.stdout.strip()
    found = duckdb.sql(f"SELECT * EXCLUDE (date) FROM '{pattern}' ORDER BY ledger_sequence, event_index")
    assert found.to_arrow_table().to_pylist() == made_table(FIRST, LAST).to_pylist()


def test_a_closed_pipe_is_no_failure(made: FakeServer) -> None:
    shell = f"{BIN / 'ttp-processor'} events {made.address} {FIRST} {LAST} | head -n 1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", shell], capture_output=True, text=True, env=ENV, check=False)
    assert (done.returncode, done.stdout.count("\n")) == (0, 1)
    assert "Traceback" not in done.stderr


USDC = "USDC:GA5ZSEJYB37JRC5AVCIA5MOP4RHTM335X2KGX3IHOJAPP5RE34K4KZVN"
LUMENS = "CAS3J7GYLGXMF6TDJBBYYSE3HQ6BBSMLNUQ34T6TZMYMW2EVH34XOWMA"


def _is(row: Row, asset: str) -> bool:
    code, _, issuer = asset.partition(":")
    return bool(row["asset_code"] == code and (not issuer or row["asset_issuer"] == issuer))


@requires_corpus
@pytest.mark.parametrize(
    ("selection", "wanted"),
    [
        (Selection(), lambda row: True),
        (Selection(assets=("native",)), lambda row: row["asset_type"] == "native"),
        (Selection(assets=(USDC,)), lambda row: _is(row, USDC)),
        (Selection(assets=("USDC", "native")), lambda row: row["asset_type"] == "native" or _is(row, "USDC")),
        (Selection(contracts=(LUMENS,)), lambda row: row["contract_id"] == LUMENS),
        (Selection(event_types=("burn", "mint")), lambda row: row["event_type"] in ("burn", "mint")),
        (Selection(min_amount=10**10), lambda row: int(row["amount_raw"]) >= 10**10),
        (
            Selection(assets=(USDC,), event_types=("transfer",), min_amount=1000),
            lambda row: _is(row, USDC) and row["event_type"] == "transfer" and int(row["amount_raw"]) >= 1000,
        ),
    ],
    ids=lambda value: str(value)[10:60] if isinstance(value, Selection) else "",
)
def test_the_server_selects(pubnet: str, selection: Selection, wanted: Callable[[Row], bool]) -> None:
    with Client(pubnet) as client:
        rows = client.read_table(StreamRequest("ttp_events", 60659332, 60659332)).to_pylist()
        request = StreamRequest("ttp_events", 60659332, 60659332, filter=selection.condition)
        got = client.read_table(request).to_pylist()
    assert got == [row for row in rows if wanted(row)]
    assert got


@requires_corpus
def test_an_account_gives_or_gets(pubnet: str) -> None:
    with Client(pubnet) as client:
        rows = client.read_table(StreamRequest("ttp_events", 60659332, 60659332)).to_pylist()
        for column in ("from_address", "to_address"):
            chosen = tuple({row[column] for row in rows if row[column] is not None})[:3]
            condition = Selection(accounts=chosen).condition
            got = client.read_table(StreamRequest("ttp_events", 60659332, 60659332, filter=condition)).to_pylist()
            assert got == [row for row in rows if row["from_address"] in chosen or row["to_address"] in chosen]


def test_an_amount_of_too_many_digits_to_compare_is_more_than_any() -> None:
    """Its decimal column is null; as SQL alone sees it."""
    rows = made_table(FIRST, LAST)
    condition = Selection(min_amount=2**63).condition
    got = duckdb.sql(f"SELECT amount_raw FROM rows WHERE {condition}").fetchall()
    wanted = [amount for amount in rows["amount_raw"].to_pylist() if int(amount) >= 2**63]
    assert [amount for (amount,) in got] == wanted
    assert str(2**127 - 1) in wanted


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"assets": ("XLM",)}, "write native for lumens"),
        ({"assets": ("US DC",)}, "is not an asset"),
        ({"assets": ("USD:" + ISSUER[:-1] + "A",)}, "a letter of it is missing or wrong"),
        ({"assets": ("USD:",)}, "is not an address"),
        ({"accounts": (account(1).lower(),)}, "is not an address"),
        ({"accounts": ("M" + account(1)[1:],)}, "is not an address"),
        ({"accounts": ("' OR 1 = 1 --",)}, "is not an address"),
        ({"contracts": (account(1),)}, "is not an address"),
        ({"min_amount": 10**38}, "more than 38 digits"),
    ],
)
def test_what_cannot_exist_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRequestError, match=message):
        Selection(**fields)


def test_all_kinds_of_addresses_are_known() -> None:
    Selection(accounts=(account(1), claimable_balance(1), LUMENS))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("events", "localhost:1", "9", "5"), "start 9 is after end 5"),
        (("events", "localhost:1", "--format", "parquet"), "--format parquet needs --output"),
        (("events", "localhost:1", "--event-type", "transfre"), "did you mean 'transfer'?"),
        (("events", "localhost:1", "--min-amount", "1.5"), "'1.5' is not a valid integer"),
        (("events", "localhost", "--account", "GABC"), "is not an address"),
        (("serve", "localhost:1", "--tls-cert", __file__), "TLS needs both --tls-cert and --tls-key"),
        (("serve", "localhost:1", "--tls-client-ca", __file__), "--tls-client-ca needs --tls-cert and --tls-key"),
        (("serve", "localhost:1", "0"), "0 is not between 1 and"),
        (("balances", "localhost:1", "5"), "Missing argument 'END'"),
        (("balances", "localhost:1", "9", "5"), "start 9 is after end 5"),
        (("serf", "localhost:1"), "No such command 'serf'"),
    ],
)
def test_wrong_usage(arguments: Sequence[str], message: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        command.main([*arguments], prog_name="ttp-processor")
    out, err = capfd.readouterr()
    assert (left.value.code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1


def test_the_version_is_told(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        command.main(["--version"], prog_name="ttp-processor")
    assert left.value.code == 0
    assert capfd.readouterr().out.startswith("ttp-processor 0.")


def test_files_and_environment_configure_it(made: FakeServer, tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text(f'[ttp-processor.events]\noutput = "{tmp_path / "events"}"\n')
    assert events(made.address, FIRST, LAST, "--config", config).returncode == 0
    first = json.loads((tmp_path / "events").read_text().splitlines()[0])
    assert first["meta"]["ledgerSequence"] == FIRST

"""``stellar-arrow-source head``: the rows that the decoder gives, for pipes and for terminals."""

from __future__ import annotations

import base64
import csv
import io
import json
import os
import pty
import re
import subprocess
import sys
import threading
from datetime import UTC, datetime
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pytest
from click.testing import CliRunner, Result
from rich.console import Console

from stellar_arrow_source.cli import command
from stellar_arrow_source.ledgers.synthetic import SyntheticSource
from stellar_arrow_source.preview import render
from stellar_arrow_source.preview.values import json_rows, printable, shorten
from tests.ledgers.stores import Store, made
from tests.support.decoding import decode_rows

ENDPOINT = "synthetic://?ledgers=40&transactions=6"


def run(*arguments: str, env: dict[str, str] | None = None) -> Result:
    return CliRunner().invoke(command, ["head", *arguments], env=env, prog_name="stellar-arrow-source")


def rows_of(result: Result) -> list[dict[str, object]]:
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


def operation_ids(first: int, last: int) -> list[int]:
    """Of all operations of these ledgers, as the decoder gives them."""
    source = SyntheticSource.from_endpoint(ENDPOINT)
    ledgers = [bytes(ledger.xdr) for ledger in source.ledgers(first, last, threading.Event())]
    rows = decode_rows(ledgers, source.network_passphrase, ["operations"])["operations"]
    return [row["operation_id"] for row in rows]


def test_from_a_start_on() -> None:
    rows = rows_of(run("operations", "--source", ENDPOINT, "--start", "7", "--rows", "40"))
    assert [row["operation_id"] for row in rows] == operation_ids(7, 41)[:40]


def test_without_a_start_the_newest_ledgers_that_have_enough() -> None:
    result = run("operations", "--source", ENDPOINT, "--rows", "60")
    first, last = map(int, re.findall(r"from ledgers (\d+) to (\d+)", result.stderr)[0])
    assert last == 41
    assert [row["operation_id"] for row in rows_of(result)] == operation_ids(first, last)[:60]
    assert len(operation_ids(first, last)) >= 60


def test_no_more_ledgers_are_read_than_allowed() -> None:
    result = run("operations", "--source", ENDPOINT, "--start", "7", "--rows", "1000", "--ledgers", "5")
    assert [row["operation_id"] for row in rows_of(result)] == operation_ids(7, 11)
    assert "from ledgers 7 to 11 of synthetic" in result.stderr
    assert "look further with --ledgers" in result.stderr


def test_rare_rows_are_found_by_a_condition() -> None:
    every = rows_of(run("operations", "--source", ENDPOINT, "--start", "2", "--rows", "9999"))
    rare = min(
        {row["operation_type_string"] for row in every}, key=[row["operation_type_string"] for row in every].count
    )
    wanted = [row["operation_id"] for row in every if row["operation_type_string"] == rare]
    arguments = ("--columns", "operation_id", "--rows", "9999", "--filter", f"operation_type_string = '{rare}'")
    found = rows_of(run("operations", "--source", ENDPOINT, "--start", "2", *arguments))
    assert found == [{"operation_id": number} for number in wanted]


def test_csv_has_the_values_of_json() -> None:
    arguments = ("ttp_events", "--source", ENDPOINT, "--start", "9", "--rows", "20", "--format")
    table = list(csv.DictReader(io.StringIO(run(*arguments, "csv").stdout)))
    expected = rows_of(run(*arguments, "json"))
    assert len(table) == len(expected) == 20
    for row, whole in zip(table, expected, strict=True):
        texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in whole.items()}
        assert row == {name: "" if whole[name] is None else text for name, text in texts.items()}


def test_the_environment_and_the_command_before_it_name_the_source() -> None:
    for arguments, env in (
        (["head", "ledgers"], {"SOURCE_ENDPOINT": ENDPOINT}),
        (["--source", ENDPOINT, "head", "ledgers"], {}),
        (["--source", ENDPOINT, "head", "ledgers"], {"MOCK_DATA": "true"}),
        (["head", "ledgers", "--source", ENDPOINT], {"SOURCE_ENDPOINT": "/absent/folder"}),
    ):
        result = CliRunner().invoke(command, arguments, env=env)
        assert "from ledgers 35 to 41" in result.stderr, arguments


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["payment_s", "--mock-data"], 2, "did you mean payments"),
        (["payments", "--mock-data", "--columns", "amuont"], 2, "did you mean amount"),
        (["payments", "--mock-data", "--filter", "amount = 'x'"], 2, "amount"),
        (["payments", "--source", ENDPOINT, "--start", "50"], 2, "ends with ledger 41"),
        (["payments", "--source", ENDPOINT, "--start", "1"], 4, "ledger 2"),
        (["payments", "--source", ENDPOINT, "--network", "pubnet"], 4, "declares the network"),
        (["payments", "--source", "127.0.0.1:1"], 3, "is not available"),
        (["payments", "--source", "/absent/folder"], 3, "cannot read the ledger store"),
        (["payments", "--source", "ftp://x"], 2, "ftp:// is no supported kind of source"),
    ],
)
def test_errors_are_one_sentence(arguments: list[str], code: int, message: str) -> None:
    result = run(*arguments)
    assert result.exit_code == code
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""


def test_a_terminal_gets_short_hashes_and_no_empty_columns() -> None:
    script = "import sys; from stellar_arrow_source.cli import main; main()"
    arguments = ["head", "payments", "--source", ENDPOINT, "--start", "9", "--rows", "2", "--progress", "none"]
    outer, inner = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        stdout=inner,
        stderr=subprocess.PIPE,
        env=os.environ | {"COLUMNS": "120"},
    ) as process:
        os.close(inner)
        said = b""
        while piece := _read(outer):
            said += piece
        assert process.stderr is not None
        told = process.stderr.read().decode()
    assert process.returncode == 0, told
    lines = [line.split() for line in re.sub(rb"\x1b\[[0-9;]*m", b"", said).decode().splitlines()]
    expected = rows_of(run(*arguments[1:]))
    shown = {line[0]: line[2:] for line in lines if line}
    assert shown["transaction_hash"] == [
        shorten(str(row["transaction_hash"]), render.MOST_IN_RECORD) for row in expected
    ]
    assert all("…" in text for text in shown["transaction_hash"])
    empty = {name for name in expected[0] if all(row[name] is None for row in expected)}
    assert empty
    assert shown.keys() == (expected[0].keys() - empty) | {"column"}
    assert f"{len(empty)} columns without a value here are left out" in told


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except OSError:  # Linux's way to say that the other end is closed
        return b""


ODD = pa.table(
    {
        "hash": pa.array([bytes(range(32)), None], pa.binary(32)),
        "bytes": pa.array([b"\xff\x00", None]),
        "amount": pa.array([Decimal(10**37), None], pa.decimal128(38, 0)),
        "at": pa.array([datetime(2024, 2, 3, 4, 5, 6, tzinfo=UTC), None], pa.timestamp("us", "UTC")),
        "pairs": pa.array(
            [[{"a": b"\x01", "b": 2**63 - 1}], None], pa.list_(pa.struct({"a": pa.binary(), "b": pa.int64()}))
        ),
        "memo": ["\x1b[31mred\n\u202e", None],
    }
)


def test_values_of_every_type_as_json() -> None:
    first, second = json_rows(ODD)
    assert first == {
        "hash": bytes(range(32)).hex(),
        "bytes": base64.b64encode(b"\xff\x00").decode(),
        "amount": "1" + 37 * "0",
        "at": "2024-02-03T04:05:06Z",
        "pairs": [{"a": "AQ==", "b": 2**63 - 1}],
        "memo": "\x1b[31mred\n\u202e",
    }
    assert set(second.values()) == {None}


def test_a_terminal_is_sent_no_control_characters() -> None:
    out = io.StringIO()
    for write in (render.print_table, render.print_records):
        write(ODD, render.texts_of(ODD, None), Console(file=out, width=100))
    assert "\\x1b[31mred\\n\\u202e" in out.getvalue()
    assert all(letter.isprintable() or letter == "\n" for letter in out.getvalue())
    assert printable("naïve 💫") == "naïve 💫"


def test_records_take_as_many_rows_as_fit() -> None:
    rows = pa.table({"name": [f"value-{number:02}" for number in range(9)]})
    out = io.StringIO()
    render.print_records(rows, render.texts_of(rows, None), Console(file=out, width=60))
    found = re.findall(r"value-\d\d", out.getvalue())
    assert found == rows["name"].to_pylist()
    assert all(len(line.rstrip()) <= 60 for line in out.getvalue().splitlines())
    assert out.getvalue().count("column") == 3


@pytest.mark.parametrize("most", range(5, 40))
def test_shortened_text_keeps_both_ends_of_a_key(most: int) -> None:
    key = "GBSVH7SZ6ADFF4GULXAP27VNJOMMM4I5DHZB2FMUBDT3H3RFTABLVBEB"
    text = shorten(key, most)
    head, tail = text.split("…")
    assert len(text) == most
    assert key.startswith(head)
    assert key.endswith(tail)
    assert tail
    assert shorten(key[:most], most) == key[:most]
    assert shorten("some words " * 9, most) == ("some words " * 9)[: most - 1] + "…"
    assert all(len(shorten(key, wide)) >= len(shorten(key, narrow)) for narrow, wide in pairwise(range(5, 60)))


def test_a_gap_ends_the_way_back_but_not_the_way_forward(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.write(100, made(100, 109))
    store.path(104).unlink()
    back = run("ledgers", "--source", str(tmp_path), "--columns", "ledger_sequence", "--rows", "10")
    assert rows_of(back) == [{"ledger_sequence": number} for number in range(107, 110)]
    assert "ledger 104 is missing" in back.stderr
    forth = run("ledgers", "--source", str(tmp_path), "--start", "100", "--rows", "10")
    assert forth.exit_code == 4
    assert "ledger 104 is missing" in forth.stderr

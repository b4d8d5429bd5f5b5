"""The command: one sentence for an error, the right exit code, data on stdout."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from stellar_sdk import StrKey, xdr

from stellar_arrow_source.ledger_cli import command
from tests.ledgers.stores import Store, compress, made


def run(*arguments: str, env: dict[str, str] | None = None) -> Result:
    return CliRunner().invoke(command, list(arguments), env=env, prog_name="stellar-ledger-source")


def test_info() -> None:
    result = run("info", "synthetic://?ledgers=5&start=70", "--format", "json")
    assert result.exit_code == 0
    assert json.loads(result.stdout) == {
        "endpoint": "synthetic://?ledgers=5&start=70",
        "oldest": 70,
        "latest": 74,
        "network_passphrase": "stellar-arrow synthetic network",
    }


def test_info_reads_the_endpoint_from_the_environment() -> None:
    result = run("info", env={"SOURCE_ENDPOINT": "synthetic://?ledgers=5"})
    assert "latest: 6" in result.stdout


def test_verify_says_what_is_proven_and_what_is_not() -> None:
    result = run("verify", "synthetic://?ledgers=20&transactions=3", "--network", "synthetic")
    assert result.exit_code == 0
    assert "verified 20 ledgers from 2 on" in result.stdout
    assert "network: synthetic" in result.stdout
    assert "not proven: fee changes, transaction meta" in result.stdout


def test_verify_compares_events_with_entries() -> None:
    result = run("verify", "synthetic://?ledgers=20&transactions=3", "--balances")
    assert result.exit_code == 0
    assert re.search(r"events of \d\d transactions in 20 ledgers .* \d+ changes of balances, 0 differ\n", result.stdout)


def test_verify_tells_which_balances_differ(tmp_path: Path) -> None:
    ledgers = list(made(100, 109))
    meta = xdr.LedgerCloseMeta.from_xdr_bytes(ledgers[6])
    [change, *_] = meta.v2.tx_processing[0].fee_processing.ledger_entry_changes
    change.state.data.account.balance.int64 += 5  # no hash covers it
    ledgers[6] = meta.to_xdr_bytes()
    Store(tmp_path).write(100, tuple(ledgers))
    assert run("verify", str(tmp_path)).exit_code == 0
    result = run("verify", str(tmp_path), "--balances", "--format", "json", "-q")
    assert result.exit_code == 4, result.stderr
    report = json.loads(result.stdout)["balances"]
    [difference] = report["differences"]
    holder = StrKey.encode_ed25519_public_key(change.state.data.account.account_id.account_id.ed25519.uint256)
    assert (difference["ledger"], difference["holder"], difference["asset"]) == (106, holder, "native")
    assert difference["entries"] == difference["events"] - 5
    assert difference["transaction"] == meta.v2.tx_processing[0].result.transaction_hash.hash.hex()
    assert (report["ledgers"], report["different"], report["unchecked"]) == (10, 1, {})
    text = run("verify", str(tmp_path), "--balances")
    assert text.exit_code == 4
    assert f"ledger 106, transaction {difference['transaction']}: {holder} holds" in text.stdout


def test_verify_a_part_as_json() -> None:
    result = run("verify", "synthetic://?transactions=3", "--start", "5", "--end", "9", "--format", "json", "-q")
    facts = json.loads(result.stdout)
    assert (facts["first"], facts["last"], facts["ledgers"], facts["links"]) == (5, 9, 5, 4)
    assert result.stderr == ""


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["verify", "synthetic://?ledgers=2", "--network", "pubnet"], 4, "declares the network"),
        (["verify", "synthetic://?ledgers=2", "--start", "1"], 4, "begins with ledger 2"),
        (["verify", "synthetic://?ledgers=2", "--start", "9", "--end", "8"], 2, "is empty"),
        (["info", "ftp://bucket"], 2, "ftp:// is no supported kind of source"),
        (["info", "127.0.0.1:1"], 3, "is not available"),
        (["verify", "127.0.0.1:1"], 3, "is not available"),
        (["info", "/absent/folder"], 3, "cannot read the ledger store"),
        (["serve", "synthetic://", "--port", "99999"], 2, "99999"),
        (["serve", "synthetic://?x=1"], 2, "is no synthetic source"),
        (["serve", "synthetic://", "--host", "256.0.0.1", "--port", "0"], 3, "cannot listen at 256.0.0.1:0"),
        (["info"], 2, "Missing argument 'ENDPOINT'"),
        (["verfy"], 2, "No such command 'verfy'"),
    ],
)
def test_errors_are_one_sentence(arguments: list[str], code: int, message: str) -> None:
    result = run(*arguments)
    assert result.exit_code == code
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert "Traceback" not in result.stderr
    assert result.stdout == ""


def test_a_damaged_store_ends_with_its_code(tmp_path: Path) -> None:
    written = Store(tmp_path)
    written.write(10, made(10, 12))
    written.write_file(11, compress(b"")[:3])
    result = run("verify", str(tmp_path))
    assert result.exit_code == 4
    assert str(written.path(11)) in result.stderr


def test_every_option_has_help_and_an_environment_name() -> None:
    for name, sub in command.commands.items():
        for parameter in sub.params:
            if hasattr(parameter, "help"):
                assert parameter.help, f"{name} {parameter.name}"
        text = run(name, "--help").stdout
        assert text.count("env var") >= 5


def test_verify_says_that_a_store_holds_no_ledger(tmp_path: Path) -> None:
    Store(tmp_path)
    result = run("verify", str(tmp_path))
    assert result.exit_code == 2
    assert f"{tmp_path} holds no ledger, or does not tell which" in result.stderr
    assert "verified" not in result.stdout

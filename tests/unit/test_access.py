"""The file of clients, read strictly and changed whole; the buckets behind the limits; the command token."""

from __future__ import annotations

import json
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from stellar_arrow_client.errors import AuthenticationError, InvalidRequestError, LimitError, StellarArrowError
from stellar_arrow_source.access.credentials import PasswordHash, new_token, token_sha256
from stellar_arrow_source.access.file import GrantsFile, editing, read_grants
from stellar_arrow_source.access.grants import MAX_FILE_BYTES, Grant, Limits, parse_grants, parse_time
from stellar_arrow_source.access.rates import DAY_SECONDS, Account, Accounts
from stellar_arrow_source.cli import command
from stellar_arrow_source.flight.auth import address_of

HASH = "ab" * 32
FULL: dict[str, Any] = {
    "name": "alice",
    "token_sha256": HASH,
    "streams": ["payments"],
    "first_ledger": 2,
    "last_ledger": 9,
    "expires": "2030-01-31T00:00:00Z",
    "limits": {"requests_per_second": 1.5, "streams": 2, "bytes_per_second": 3, "bytes_per_day": 4},
}


def file_of(*clients: Any) -> bytes:
    return json.dumps({"version": 1, "clients": clients}).encode()


def test_what_is_read_is_written() -> None:
    grants = parse_grants(file_of(FULL, {"name": "bob", "password_scrypt": str(PasswordHash.of("p")), "streams": "*"}))
    assert grants.by_name["alice"] == Grant(
        "alice", HASH, None, ("payments",), 2, 9, parse_time("2030-01-31T01:00:00+01:00"), Limits(1.5, 2, 3, 4)
    )
    assert json.loads(grants.to_json())["clients"][0] == FULL
    assert parse_grants(grants.to_json()).by_name == grants.by_name


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "not JSON"),
        (b"\xff", "not JSON in UTF-8"),
        (b"[" * 100_000, "not JSON"),
        (b"x" * (MAX_FILE_BYTES + 1), "more than"),
        (b"[]", "must be an object with"),
        (b'{"version": 1}', "must be an object with"),
        (b'{"version": true, "clients": []}', "version"),
        (b'{"version": 2, "clients": []}', "version"),
        (b'{"version": 1, "clients": [], "clients": []}', "'clients' stands twice"),
        (b'{"version": 1, "clients": {}}', "must be a list"),
        (file_of(1), "client 1 must be an object"),
        (file_of(FULL, {**FULL, "token_sha256": "cd" * 32}), "two clients are called alice"),
        (file_of(FULL, {**FULL, "name": "bob"}), "alice and bob have the same token"),
        (file_of({**FULL, "name": "a b"}), "client 1: 'name' must be"),
        (file_of({**FULL, "stream": "*"}), "client alice has an unknown key 'stream'; did you mean 'streams'"),
        (file_of({k: v for k, v in FULL.items() if k != "streams"}), "client alice has no 'streams'"),
        (file_of({k: v for k, v in FULL.items() if k != "token_sha256"}), "neither 'token_sha256' nor"),
        (file_of({**FULL, "token_sha256": HASH.upper()}), "'token_sha256' must be 64"),
        (file_of({**FULL, "token_sha256": None}), "'token_sha256' must be 64"),
        (file_of({**FULL, "password_scrypt": "scrypt:16384:8:1:00:00"}), "'password_scrypt' must be scrypt"),
        (file_of({**FULL, "password_scrypt": f"scrypt:3:8:1:{HASH}:{HASH}"}), "power of two"),
        (file_of({**FULL, "password_scrypt": f"scrypt:1048576:99:1:{HASH}:{HASH}"}), "at most .* bytes of memory"),
        (file_of({**FULL, "streams": []}), "'streams' must be"),
        (file_of({**FULL, "streams": "payments"}), "'streams' must be"),
        (file_of({**FULL, "streams": ["*"]}), "'streams' must hold names"),
        (file_of({**FULL, "first_ledger": 0}), "'first_ledger' must be a ledger"),
        (file_of({**FULL, "first_ledger": True}), "'first_ledger' must be a ledger"),
        (file_of({**FULL, "first_ledger": 10}), "'first_ledger' after its 'last_ledger'"),
        (file_of({**FULL, "expires": "2030-01-31"}), "'expires' must be a time with its zone"),
        (file_of({**FULL, "expires": 1}), "'expires' must be a time with its zone"),
        (file_of({**FULL, "limits": {"requests": 1}}), "it has an unknown key 'requests'"),
        (file_of({**FULL, "limits": {"streams": 0}}), "'streams' must be a whole number above 0"),
        (file_of({**FULL, "limits": {"requests_per_second": float("nan")}}), "'requests_per_second' must be"),
        (file_of({**FULL, "limits": []}), "'limits' is wrong"),
    ],
)
def test_what_is_not_a_file_of_clients(content: bytes, says: str) -> None:
    with pytest.raises(InvalidRequestError, match=says) as caught:
        parse_grants(content)
    assert HASH not in str(caught.value).lower()


@given(st.binary(max_size=200) | st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: (
    st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*FULL, "version", "clients"]), inner, max_size=4)
)).map(lambda value: json.dumps({"version": 1, "clients": [value]}).encode()))  # fmt: skip
def test_any_bytes_are_read_or_refused(content: bytes) -> None:
    with suppress(InvalidRequestError):
        parse_grants(content)


def test_tokens_and_passwords() -> None:
    tokens = {new_token() for _ in range(100)}
    assert len(tokens) == 100
    assert all(token.startswith("sas_") and len(token) == 47 for token in tokens)
    first, second = PasswordHash.of("secret"), PasswordHash.of("secret")
    assert first != second
    assert first.matches("secret")
    assert not first.matches("Secret")
    assert PasswordHash.parse(str(second)).matches("secret")
    grants = parse_grants(file_of({**FULL, "token_sha256": token_sha256("a token")}))
    assert grants.of_token("a token") is grants.by_name["alice"]
    assert grants.of_token("another") is None


# --- the file


def test_writers_do_not_meet_and_a_failure_leaves_the_file(tmp_path: Path) -> None:
    path = tmp_path / "clients.json"
    with editing(path) as grants:
        grants["alice"] = Grant("alice", HASH)
    assert path.stat().st_mode & 0o777 == 0o600
    before = path.read_bytes()
    path.chmod(0o640)
    with editing(path), pytest.raises(StellarArrowError, match="another process is writing"), editing(path):
        pass
    with pytest.raises(StellarArrowError, match="two clients are called"), editing(path) as grants:
        grants["another"] = Grant("alice", HASH)
    assert path.read_bytes() == before
    assert path.stat().st_mode & 0o777 == 0o640
    assert {entry.name for entry in tmp_path.iterdir()} == {"clients.json", ".clients.json.lock"}
    with (
        pytest.raises(StellarArrowError, match=r"cannot write .*; choose another --auth-file"),
        editing(tmp_path / "none" / "clients.json"),
    ):
        pass


def test_a_change_is_seen_at_the_next_look(tmp_path: Path) -> None:
    path, now = tmp_path / "clients.json", [0.0]
    path.write_bytes(file_of(FULL))
    file = GrantsFile(path, lambda: now[0])
    path.write_bytes(file_of())
    assert "alice" in file.current().by_name
    now[0] = 0.5
    assert "alice" not in file.current().by_name
    path.write_bytes(b"{")
    now[0] = 1.0
    assert "not JSON" in (file.problem or "")
    assert not file.current().by_name
    path.write_bytes(file_of(FULL))
    now[0] = 1.5
    assert file.problem is None
    assert "alice" in file.current().by_name


# --- limits, by a clock that the test moves


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_requests_come_back_with_time() -> None:
    clock = Clock()
    account, limits = Account(clock, clock), Limits(requests_per_second=4)
    for _ in range(4):
        account.request(limits)
    with pytest.raises(LimitError, match=r"more than 4 requests a second, your limit; wait 0\.3 seconds") as caught:
        account.request(limits)
    assert caught.value.retry_after == 0.3
    clock.now += 0.25
    account.request(limits)
    clock.now += 3600
    for _ in range(4):
        account.request(limits)
    with pytest.raises(LimitError):
        account.request(limits)


def test_bytes_leave_a_debt() -> None:
    clock = Clock()
    account, limits = Account(clock, clock), Limits(bytes_per_second=100)
    assert account.delay(limits) == 0
    account.spend(limits, 1100)
    assert account.delay(limits) == 10
    clock.now += 4
    assert account.delay(limits) == pytest.approx(6)
    assert account.delay(Limits()) == 0
    clock.now += 6
    assert account.delay(limits) == 0


def test_a_day_ends_at_midnight() -> None:
    clock = Clock()
    clock.now = 5 * DAY_SECONDS - 60
    account, limits = Account(clock, clock), Limits(bytes_per_day=100)
    account.spend(limits, 99)
    assert account.delay(limits) == 0
    account.spend(limits, 1)
    with pytest.raises(LimitError, match="the 100 bytes of today, your limit, are used up") as caught:
        account.delay(limits)
    assert caught.value.retry_after == 60
    clock.now += 60
    assert account.delay(limits) == 0


def test_a_clock_that_is_set_back_over_midnight_gives_no_second_day() -> None:
    clock = Clock()
    clock.now = 5 * DAY_SECONDS + 10
    account, limits = Account(clock, clock), Limits(bytes_per_day=100)
    account.spend(limits, 100)
    clock.now -= 60
    with pytest.raises(LimitError, match="come back at 00:00 UTC") as caught:
        account.delay(limits)
    clock.now += caught.value.retry_after or 0.0
    assert account.delay(limits) == 0


def test_accounts_are_bounded_and_those_in_use_are_kept() -> None:
    accounts, limits = Accounts(3), Limits(streams=1)
    with accounts.of("open").stream(limits):
        kept = accounts.of("open")
        for number in range(10):
            accounts.of(str(number))
        assert accounts.of("open") is kept
        with pytest.raises(LimitError), accounts.of("open").stream(limits):
            pass
    assert kept.open_streams == 0


def test_one_account_from_many_threads() -> None:
    account, limits, entered = Account(lambda: 0.0, lambda: 0.0), Limits(requests_per_second=50), []

    def call() -> None:
        for _ in range(40):
            try:
                account.request(limits)
                entered.append(1)
            except LimitError:
                pass

    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(entered) == 50


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        ("ipv4:10.1.2.3:456", "10.1.2.3"),
        ("ipv6:[2001:db8:1:2:3:4:5:6]:456", "2001:db8:1:2::/64"),
        ("ipv6:%5B2001:db8:1:2:3:4:5:7%5D:9", "2001:db8:1:2::/64"),
        ("ipv6:[::ffff:10.1.2.3]:456", "10.1.2.3"),
        ("unix:/run/socket", "unix"),
        ("unknown", "unknown"),
    ],
)
def test_addresses_of_peers(peer: str, address: str) -> None:
    assert address_of(peer) == address


# --- the command


def token(path: Path, *arguments: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(command, ["token", *arguments, "--auth-file", str(path)], input=stdin)


def test_tokens_are_made_listed_and_revoked(tmp_path: Path) -> None:
    path = tmp_path / "clients.json"
    made = token(path, "new", "alice", "--stream", "payments", "--last", "9", "--expires", "90d", "--max-streams", "2")
    secret = made.stdout.strip()
    assert made.exit_code == 0
    assert "alice may read payments: ledgers up to 9" in made.stderr
    grant = read_grants(path).of_token(secret)
    assert grant is not None
    assert (grant.streams, grant.last_ledger, grant.limits) == (("payments",), 9, Limits(streams=2))
    assert secret not in path.read_text()
    assert token(path, "new", "bob", "--password", stdin="correct horse battery\n").stdout == ""
    password = read_grants(path).by_name["bob"].password_scrypt
    assert password is not None
    assert password.matches("correct horse battery")
    listed = token(path, "list").stdout
    assert [line.split()[:3] for line in listed.splitlines()[1:]] == [
        ["alice", "token", "payments"],
        ["bob", "password", "all"],
    ]
    again = token(path, "new", "alice")
    assert (again.exit_code, again.stdout) == (2, "")
    assert "--replace puts the new one in its place" in again.stderr
    assert token(path, "new", "alice", "--replace").exit_code == 0
    assert read_grants(path).of_token(secret) is None
    assert token(path, "revoke", "bob").exit_code == 0
    wrong = token(path, "revoke", "alise")
    assert (wrong.exit_code, "did you mean 'alice'" in wrong.stderr) == (2, True)
    assert list(read_grants(path).by_name) == ["alice"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("new", "a b"), "must be 1 to 64 letters"),
        (("new", "alice", "--stream", "paymnts"), "did you mean payments?"),
        (("new", "alice", "--expires", "tomorrow"), "or a number of days such as 90d"),
        (("new", "alice", "--first", "9", "--last", "8"), "--first 9 is after --last 8"),
        (("new", "alice", "--password"), "a password must have 12 to"),
        (("list",), "cannot read the clients of"),
    ],
)
def test_wrong_usage_writes_nothing(tmp_path: Path, arguments: tuple[str, ...], says: str) -> None:
    result = token(tmp_path / "clients.json", *arguments, stdin="short\n")
    assert result.exit_code == 2
    assert says in result.stderr
    assert not (tmp_path / "clients.json").exists()


def test_an_expired_grant_says_since_when() -> None:
    grant = Grant("alice", HASH, expires=parse_time("2020-01-01T00:00:00Z"))
    with pytest.raises(AuthenticationError, match="expired at 2020-01-01T00:00:00Z"):
        grant.check_expiry(parse_time("2020-01-01T00:00:00Z"))
    grant.check_expiry(parse_time("2019-12-31T23:59:59Z"))

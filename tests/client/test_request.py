"""The wire contract: tickets, cursors, errors."""

from __future__ import annotations

import json
import random
import string

import pytest

from stellar_arrow_client import errors
from stellar_arrow_client.errors import (
    GapError,
    IntegrityError,
    InvalidRequestError,
    StellarArrowError,
    UnavailableError,
    UnknownStreamError,
)
from stellar_arrow_client.request import (
    MAX_LEDGER,
    MAX_TICKET_BYTES,
    Cursor,
    StreamRequest,
    error_from_payload,
    error_payload,
)


@pytest.mark.parametrize(
    ("text", "request_"),
    [
        ("payments", StreamRequest("payments")),
        ("payments:5:", StreamRequest("payments", 5)),
        ("payments:5:0", StreamRequest("payments", 5)),
        ("payments:5:5", StreamRequest("payments", 5, 5)),
        (f"ttp_events:1:{MAX_LEDGER}", StreamRequest("ttp_events", 1, MAX_LEDGER)),
        (b"payments:007:9", StreamRequest("payments", 7, 9)),
        ('{"stream": "payments"}', StreamRequest("payments")),
        (' {"stream": "payments", "start": 5, "end": 0} ', StreamRequest("payments", 5)),
        ('{"stream": "payments", "start": 5, "end": null}', StreamRequest("payments", 5)),
        (
            '{"stream":"p","start":5,"end":6,"columns":["b","a"],"filter":"é > 1","compression":"lz4"}',
            StreamRequest("p", 5, 6, ("b", "a"), "é > 1", "lz4"),
        ),
    ],
)
def test_both_forms_are_read(text: str | bytes, request_: StreamRequest) -> None:
    assert StreamRequest.parse(text) == request_


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "stream must be a name"),
        ("payments ", "stream must be a name"),
        ("pay-ments:1:2", "stream must be a name"),
        ("x" * 129, "stream must be a name"),
        ("payments:1", "stream:start:end"),
        ("payments:1:2:3", "stream:start:end"),
        ("payments::5", "start must be a ledger number, not ''"),
        ("payments:-1:5", "start must be a ledger number, not '-1'"),
        ("payments:1.0:5", "start must be a ledger number"),
        ("payments:1_0:5", "start must be a ledger number"),
        ("payments: 1:5", "start must be a ledger number"),
        ("payments:\u0661:5", "start must be a ledger number"),
        ("payments:1:x", "end must be a ledger number"),
        ("payments:0:5", "start must be between 1 and 4294967295, not 0"),
        ("payments:1:4294967296", "end must be between 1 and 4294967295"),
        ("payments:" + "9" * 30 + ":", "start must be a ledger number"),
        ("payments:9:8", "start 9 is after end 8"),
        ("payments:1:2\n", "end must be a ledger number"),
        (b"\xff:1:2", "not UTF-8 text (byte 0)"),
        ("{", "not valid JSON"),
        ('{"stream": "p"} x', "not valid JSON"),
        ('{"stream":' * 6000, "not valid JSON"),
        ('{"stream": "p", "start": ' + "9" * 5000 + "}", "not valid JSON"),
        ("{}", 'has no "stream"'),
        ('{"stream": 5}', "stream must be a name"),
        ('{"stream": null}', "stream must be a name"),
        ('{"stream": "p", "strat": 5}', "unknown key 'strat'"),
        ('{"stream": "p", "stream": "q"}', "'stream' stands twice"),
        ('{"stream": "p", "start": "5"}', "start must be a ledger number, not '5'"),
        ('{"stream": "p", "start": true}', "start must be a ledger number, not True"),
        ('{"stream": "p", "start": 5.0}', "start must be a ledger number, not 5.0"),
        ('{"stream": "p", "start": 0}', "start must be between"),
        ('{"stream": "p", "start": -5}', "start must be between"),
        ('{"stream": "p", "end": 5}', "end is 5 but start is missing"),
        ('{"stream": "p", "end": false}', "end must be a ledger number"),
        ('{"stream": "p", "columns": []}', "columns must be a list"),
        ('{"stream": "p", "columns": "a"}', "columns must be a list"),
        ('{"stream": "p", "columns": [1]}', "column names such as amount, not 1"),
        ('{"stream": "p", "columns": [["a"]]}', "column names"),
        ('{"stream": "p", "columns": ["a", "b", "a"]}', "names 'a' twice"),
        ('{"stream": "p", "columns": ["a;b"]}', "column names"),
        ('{"stream": "p", "filter": ""}', "filter must be a condition"),
        ('{"stream": "p", "filter": 5}', "filter must be a condition"),
        ('{"stream": "p", "filter": "\\ud800"}', "half a surrogate pair"),
        ('{"stream": "p", "filter": "' + "x" * 20000 + '"}', "filter has 20000 characters"),
        ('{"stream": "p", "compression": "gzip"}', "compression must be zstd or lz4"),
        ('{"stream": "p", "compression": ["zstd"]}', "compression must be zstd or lz4"),
        ("x" * (MAX_TICKET_BYTES + 1), f"the most allowed is {MAX_TICKET_BYTES}"),
        ("é" * MAX_TICKET_BYTES, f"the most allowed is {MAX_TICKET_BYTES}"),
    ],
)
def test_faults_are_named(text: str | bytes, says: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        StreamRequest.parse(text)
    assert says in str(caught.value)
    assert len(str(caught.value)) < 500


def _random_request(random_: random.Random) -> StreamRequest:
    def name() -> str:
        return random_.choice(string.ascii_letters) + "".join(
            random_.choices(string.ascii_letters + string.digits + "_", k=random_.randrange(20))
        )

    start = random_.choice([None, 1, MAX_LEDGER, random_.randint(1, MAX_LEDGER)])
    end = None if start is None else random_.choice([None, start, random_.randint(start, MAX_LEDGER)])
    columns = tuple({name() for _ in range(random_.randrange(1, 9))}) if random_.random() < 0.5 else None
    text = "".join(chr(random_.choice([random_.randrange(1, 128), 0x1F600, 0xE9])) for _ in range(30)) + "x"
    return StreamRequest(
        name(), start, end, columns, random_.choice([None, text]), random_.choice([None, "zstd", "lz4"])
    )


@pytest.mark.parametrize("seed", range(5))
def test_tickets_round_trip(seed: int) -> None:
    random_ = random.Random(seed)
    for _ in range(500):
        request = _random_request(random_)
        ticket = request.to_ticket()
        assert StreamRequest.parse(ticket) == request
        assert StreamRequest.parse(ticket).to_ticket() == ticket
        if request.columns is request.filter is request.compression is None:
            assert StreamRequest.parse(str(request)) == request


@pytest.mark.parametrize("seed", range(5))
def test_damaged_tickets_are_read_or_refused_but_never_crash(seed: int) -> None:
    random_ = random.Random(seed)
    refused = 0
    for _ in range(2000):
        ticket = bytearray(random_.choice([_random_request(random_).to_ticket(), b"payments:53312000:53312999"]))
        for _ in range(random_.randrange(1, 4)):
            at = random_.randrange(len(ticket))
            ticket[at : at + random_.randrange(2)] = random_.randbytes(random_.randrange(3))
        try:
            request = StreamRequest.parse(bytes(ticket))
        except InvalidRequestError:
            refused += 1
        else:
            assert StreamRequest.parse(request.to_ticket()) == request
    assert 500 < refused < 2000


def test_a_request_too_long_to_send_is_refused() -> None:
    columns = tuple(f"c{n:0120d}" for n in range(1000))
    with pytest.raises(InvalidRequestError, match="most allowed"):
        StreamRequest("payments", columns=columns).to_ticket()


def test_resumed_request_keeps_the_rest() -> None:
    request = StreamRequest("payments", 5, 9, ("amount",), "amount > 1", "zstd")
    assert request.resumed_at(7) == StreamRequest("payments", 7, 9, ("amount",), "amount > 1", "zstd")


@pytest.mark.parametrize("cursor", [Cursor(1, 1), Cursor(5, 9), Cursor(5, 4), Cursor(1, 0), Cursor(1, MAX_LEDGER)])
def test_cursors_round_trip(cursor: Cursor) -> None:
    metadata = cursor.to_metadata()
    assert json.loads(metadata) == {"first": cursor.first, "last": cursor.last, "cursor": cursor.last + 1}
    assert Cursor.from_metadata(metadata) == cursor
    assert cursor.advances == (cursor.first <= cursor.last)


@pytest.mark.parametrize(
    "metadata",
    [
        b"",
        b"null",
        b"[]",
        b"\xff",
        b"{}",
        b'{"first":5,"last":9}',
        b'{"first":5,"last":9,"cursor":9}',
        b'{"first":5,"last":9,"cursor":"10"}',
        b'{"first":5,"last":9,"cursor":10.0}',
        b'{"first":"5","last":9,"cursor":10}',
        b'{"first":true,"last":9,"cursor":10}',
        b'{"first":5,"last":3,"cursor":4}',
        b'{"first":0,"last":3,"cursor":4}',
        b'{"first":5,"last":4294967296,"cursor":4294967297}',
        b"[" * 3000,
        b'{"first":5,"last":9,"cursor":10}' + b" " * 5000,
    ],
)
def test_bad_cursors_are_refused(metadata: bytes) -> None:
    with pytest.raises(IntegrityError):
        Cursor.from_metadata(metadata)


ALL_ERRORS = [cls for cls in vars(errors).values() if isinstance(cls, type) and issubclass(cls, StellarArrowError)]


@pytest.mark.parametrize("cls", ALL_ERRORS, ids=lambda cls: cls.__name__)
def test_errors_keep_their_type_message_and_resume(cls: type[StellarArrowError]) -> None:
    error = error_from_payload(error_payload(cls("ledger 7 is “missing”"), resume=7), "unused")
    assert type(error) is cls
    assert str(error) == "ledger 7 is “missing”"
    assert error.resume == 7
    assert error_from_payload(error_payload(cls("x")), "unused").resume is None


def test_errors_of_the_server_become_the_general_one_of_their_exit_code() -> None:
    class SourceUnavailableError(UnavailableError):
        pass

    class DecodeError(IntegrityError):
        pass

    assert type(error_from_payload(error_payload(SourceUnavailableError("x")), "")) is UnavailableError
    assert type(error_from_payload(error_payload(DecodeError("x")), "")) is IntegrityError
    assert type(error_from_payload(error_payload(GapError("x")), "")) is GapError
    assert type(error_from_payload(error_payload(UnknownStreamError("x")), "")) is UnknownStreamError
    unknown = b'{"code": "OtherError", "resume": null, "exit_code": 77, "message": "m"}'
    assert type(error_from_payload(unknown, "")) is StellarArrowError


@pytest.mark.parametrize(
    "payload",
    [b"", b"null", b"{}", b"\xff", b"[" * 9000, b'{"code": 1, "resume": 1, "exit_code": 1, "message": "m"}'],
)
def test_foreign_payloads_give_the_message(payload: bytes) -> None:
    error = error_from_payload(payload, "it broke")
    assert type(error) is StellarArrowError
    assert str(error) == "it broke"


@pytest.mark.parametrize("resume", ["x", True, 0, -1, 2**40, [1]])
def test_a_resume_that_is_no_ledger_is_dropped(resume: object) -> None:
    payload = json.dumps({"code": "GapError", "resume": resume, "exit_code": 4, "message": "m"}).encode()
    assert error_from_payload(payload, "").resume is None

"""The gRPC client against servers of every temper, and against our own service."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import grpc
import pytest

from stellar_arrow_client.errors import GapError, IntegrityError, InvalidRequestError
from stellar_arrow_source.errors import SourceRefusedError, SourceUnavailableError
from stellar_arrow_source.ledgers import grpc as client
from stellar_arrow_source.ledgers import raw_ledger_service_pb2 as pb
from stellar_arrow_source.ledgers.endpoint import open_source
from stellar_arrow_source.ledgers.grpc import GrpcSource
from stellar_arrow_source.ledgers.service import RawLedgerServer
from stellar_arrow_source.ledgers.source import Bounds, RawLedger, RetryPolicy
from tests.ledgers.servers import QUICK, endless, history, message, scripted
from tests.ledgers.stores import NEVER, made, take

START, END = 100, 163
LEDGERS = made(START, END)


def read(source: GrpcSource, start: int, end: int) -> tuple[bytes, ...]:
    return tuple(bytes(ledger.xdr) for ledger in source.ledgers(start, end, NEVER))


@pytest.mark.parametrize("at_most", [1, 3, 64, 1000])
def test_any_size_of_answers_will_do(at_most: int) -> None:
    with scripted(history(START, LEDGERS, at_most=at_most)) as source:
        assert read(source, START, END) == LEDGERS
        assert read(source, 120, 121) == LEDGERS[20:22]
        assert source.bounds() == (None, END)


def test_a_server_without_get_ledger_range() -> None:
    with scripted(stream=endless(START, LEDGERS)) as source:
        assert source.bounds() == (None, None)
        assert read(source, START, END) == LEDGERS
        assert read(source, 130, 130) == LEDGERS[30:31]


def test_open_ended_goes_on_with_the_stream_at_the_tip() -> None:
    with scripted(history(START, LEDGERS[:40]), endless(START, LEDGERS)) as source:
        stop = threading.Event()
        reader = source.ledgers(START, None, stop)
        assert tuple(bytes(next(reader).xdr) for _ in LEDGERS) == LEDGERS
        threading.Timer(0.2, stop.set).start()
        began = time.monotonic()
        assert list(reader) == []
        assert time.monotonic() - began < 2


def test_a_bounded_range_beyond_the_newest_ledger_is_waited_for() -> None:
    with scripted(history(START, LEDGERS[:40]), endless(START, LEDGERS)) as source:
        assert read(source, START, END) == LEDGERS
        assert read(source, 150, END) == LEDGERS[50:]


def test_stop_ends_a_call_that_hangs() -> None:
    hanging = threading.Event()

    def get_range(request: pb.GetLedgerRangeRequest, context: grpc.ServicerContext) -> pb.GetLedgerRangeResponse:
        hanging.wait(10)
        return pb.GetLedgerRangeResponse()

    with scripted(get_range) as source:
        stop = threading.Event()
        threading.Timer(0.2, stop.set).start()
        began = time.monotonic()
        assert list(source.ledgers(START, END, stop)) == []
        assert time.monotonic() - began < 2
        hanging.set()


def test_pages_grow_to_a_size_in_bytes_and_several_are_in_flight() -> None:
    ledgers = made(START, START + 299)
    asked: list[int] = []
    lock, now, most = threading.Lock(), 0, 0
    honest = history(START, ledgers)

    def get_range(request: pb.GetLedgerRangeRequest, context: grpc.ServicerContext) -> pb.GetLedgerRangeResponse:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
            asked.append(request.end_ledger - request.start_ledger)
        time.sleep(0.05)
        with lock:
            now -= 1
        return honest(request, context)

    with scripted(get_range) as source:
        assert read(source, START, START + 299) == ledgers
    assert asked[0] == 4
    assert max(asked) > 32
    assert sum(asked) == 300
    assert most == client._PAGES_IN_FLIGHT


def test_pages_of_large_ledgers_stay_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "_PAGE_BYTES", 3 * len(LEDGERS[0]))
    asked: list[int] = []
    honest = history(START, LEDGERS)

    def get_range(request: pb.GetLedgerRangeRequest, context: grpc.ServicerContext) -> pb.GetLedgerRangeResponse:
        asked.append(request.end_ledger - request.start_ledger)
        return honest(request, context)

    with scripted(get_range) as source:
        assert read(source, START, END) == LEDGERS
    assert max(asked) <= 16


def test_an_answer_that_is_too_large_is_asked_for_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "MAX_MESSAGE", 12 * max(len(one) for one in LEDGERS))
    with scripted(history(START, LEDGERS)) as source:
        assert read(source, START, END) == LEDGERS


def test_ledgers_above_the_default_limit_of_grpc() -> None:
    large = LEDGERS[0] + bytes(6 << 20)  # whether the XDR is whole is for the decoder to say
    with scripted(history(START, (large,))) as source:
        assert read(source, START, START) == (large,)


@pytest.mark.parametrize("wrong", ["skipped", "doubled", "out of order", "from elsewhere"])
@pytest.mark.parametrize("call", ["range", "stream"])
def test_a_wrong_sequence_is_a_gap(wrong: str, call: str) -> None:
    order = {
        "skipped": [100, 101, 103, 104],
        "doubled": [100, 101, 101, 102],
        "out of order": [100, 101, 103, 102],
        "from elsewhere": [120, 121, 122, 123],
    }[wrong]
    messages = [message(number, LEDGERS[number - START]) for number in order]

    def get_range(request: pb.GetLedgerRangeRequest, context: grpc.ServicerContext) -> pb.GetLedgerRangeResponse:
        return pb.GetLedgerRangeResponse(ledgers=messages, latest_ledger=END)

    def stream(request: pb.StreamLedgersRequest, context: grpc.ServicerContext) -> Iterator[pb.RawLedger]:
        yield from messages

    seen: list[bytes] = []
    with scripted(*((get_range, None) if call == "range" else (None, stream))) as source:
        with pytest.raises(GapError, match=r"sent ledger \d+ where \d+ is due"):
            take(source.ledgers(START, START + 3, NEVER), seen)
        assert seen == ([] if wrong == "from elsewhere" else list(LEDGERS[:2]))


def test_a_ledger_under_another_number_is_refused() -> None:
    with (
        scripted(history(START, LEDGERS[1:])) as source,
        pytest.raises(IntegrityError, match="sent ledger 101 as ledger 100"),
    ):
        read(source, START, START)


def test_bytes_that_are_no_ledger_are_refused() -> None:
    with scripted(history(START, (b"nonsense",))) as source, pytest.raises(IntegrityError, match="no LedgerCloseMeta"):
        read(source, START, START)


def test_a_ledger_that_is_missing_though_later_ones_exist() -> None:
    with scripted(history(START, LEDGERS)) as source, pytest.raises(GapError, match="not ledger 50"):
        read(source, 50, END)


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (grpc.StatusCode.OUT_OF_RANGE, GapError),
        (grpc.StatusCode.NOT_FOUND, GapError),
        (grpc.StatusCode.DATA_LOSS, IntegrityError),
        (grpc.StatusCode.INVALID_ARGUMENT, InvalidRequestError),
        (grpc.StatusCode.UNAUTHENTICATED, SourceRefusedError),
        (grpc.StatusCode.PERMISSION_DENIED, SourceRefusedError),
        (grpc.StatusCode.FAILED_PRECONDITION, SourceUnavailableError),
    ],
)
def test_a_refusal_is_not_tried_again(code: grpc.StatusCode, error: type[Exception]) -> None:
    calls = []

    def get_range(request: pb.GetLedgerRangeRequest, context: grpc.ServicerContext) -> pb.GetLedgerRangeResponse:
        calls.append(request.start_ledger)
        context.abort(code, "for a reason")

    with scripted(get_range) as source, pytest.raises(error, match="for a reason"):
        read(source, START, END)
    assert calls == [START]


@pytest.mark.parametrize(
    "code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.INTERNAL]
)
def test_a_passing_failure_is_tried_again_from_the_next_ledger(code: grpc.StatusCode) -> None:
    honest = history(START, LEDGERS, at_most=5)
    # Pages are asked for ahead, so which page meets a failure is open; between two failures the head always comes on.
    failures = iter(([True] + [False] * 5) * 3 + [False] * 100)

    def get_range(request: pb.GetLedgerRangeRequest, context: grpc.ServicerContext) -> pb.GetLedgerRangeResponse:
        if next(failures):
            context.abort(code, "just now not")
        return honest(request, context)

    with scripted(get_range) as source:
        assert read(source, START, END) == LEDGERS


def test_a_stream_that_breaks_goes_on_at_the_next_ledger() -> None:
    starts: list[int] = []

    def stream(request: pb.StreamLedgersRequest, context: grpc.ServicerContext) -> Iterator[pb.RawLedger]:
        starts.append(request.start_ledger)
        for number in range(request.start_ledger, request.start_ledger + 7):
            yield message(number, LEDGERS[number - START])
        if len(starts) % 2:
            context.abort(grpc.StatusCode.UNAVAILABLE, "gone")

    with scripted(stream=stream) as source:
        assert read(source, START, START + 30) == LEDGERS[:31]
    assert starts == [100, 107, 114, 121, 128]


def test_the_last_sequence_there_can_be() -> None:
    last = (1 << 32) - 1
    with (
        scripted(history(START, LEDGERS), endless(last, LEDGERS[:1])) as source,
        pytest.raises(IntegrityError, match=f"sent ledger 100 as ledger {last}"),
    ):
        read(source, last, last)


def test_an_unreachable_server_is_given_up_after_all_attempts() -> None:
    source = open_source("127.0.0.1:1", retry=QUICK)
    began = time.monotonic()
    with pytest.raises(SourceUnavailableError, match=r"127\.0\.0\.1:1 is not available") as raised:
        next(source.ledgers(2, 3, NEVER))
    assert time.monotonic() - began < 10
    assert raised.value.exit_code == 3
    with pytest.raises(SourceUnavailableError):
        source.bounds()


def test_stop_ends_the_attempts_to_reconnect() -> None:
    source = open_source("127.0.0.1:1", retry=RetryPolicy(attempts=1000, initial=5, maximum=5))
    stop = threading.Event()
    threading.Timer(0.3, stop.set).start()
    began = time.monotonic()
    assert list(source.ledgers(2, 3, stop)) == []
    assert time.monotonic() - began < 2


def test_delays_grow_are_bounded_and_differ() -> None:
    policy = RetryPolicy(initial=1, maximum=8, jitter=0.5)
    for failures, full in ((1, 1), (2, 2), (3, 4), (4, 8), (5, 8), (10_000, 8)):
        delays = {policy.delay(failures) for _ in range(50)}
        assert full / 2 <= min(delays) <= max(delays) <= full
        assert len(delays) > 1


def test_a_server_of_something_else_is_told() -> None:
    with scripted() as source, pytest.raises(SourceUnavailableError, match="UNIMPLEMENTED"):
        read(source, START, END)


@pytest.mark.parametrize("answer", [b"\x0a\xff\xff\xff\x7f", b"\x0b", b"\x0a\x02\x08\x01" * 100])
def test_what_is_no_answer_is_told(answer: bytes) -> None:
    raw = grpc.unary_unary_rpc_method_handler(lambda _request, _context: answer)
    with scripted(handlers={"GetLedgerRange": raw}) as source:
        with pytest.raises(IntegrityError, match=f"127.0.0.1.* no message of {client.SERVICE}"):
            source.bounds()
        with pytest.raises(IntegrityError, match="no message of"):
            read(source, START, END)


def test_what_is_no_ledger_is_told() -> None:
    raw = grpc.unary_stream_rpc_method_handler(lambda _request, _context: iter([b"\x12\x05xdr"]))
    wrong = pytest.raises(IntegrityError, match="a field of 5 bytes where 3 are left")
    with scripted(handlers={"StreamRawLedgers": raw}) as source, wrong:
        read(source, START, END)


# -- our own service


@pytest.fixture
def served() -> Iterator[tuple[RawLedgerServer, GrpcSource]]:
    source = open_source("synthetic://?start=100&ledgers=40&rate=40&transactions=2")
    with RawLedgerServer(source, "127.0.0.1", 0, max_calls=8) as server:
        reader = GrpcSource(f"127.0.0.1:{server.port}", endpoint="the server", retry=QUICK)
        yield server, reader
        reader.close()


def asked(source: GrpcSource, start: int, end: int) -> pb.GetLedgerRangeResponse:
    """An answer as other clients read it, by protobuf."""
    return pb.GetLedgerRangeResponse.FromString(
        source._range(pb.GetLedgerRangeRequest(start_ledger=start, end_ledger=end))
    )


def test_our_service_gives_history_and_tip(served: tuple[RawLedgerServer, GrpcSource]) -> None:
    _, source = served
    expected = made(100, 163)
    assert read(source, 100, 163) == expected
    assert (source.bounds().latest or 0) >= 163


def test_our_service_says_why_not(served: tuple[RawLedgerServer, GrpcSource]) -> None:
    _, source = served
    with pytest.raises(GapError, match="begins with ledger 100"):
        read(source, 99, 120)


def test_our_service_cuts_answers_by_bytes(
    served: tuple[RawLedgerServer, GrpcSource], monkeypatch: pytest.MonkeyPatch
) -> None:
    from stellar_arrow_source.ledgers import service

    _, source = served
    monkeypatch.setattr(service, "ANSWER_BYTES", 3 * len(LEDGERS[0]))
    answer = asked(source, 100, 130)
    assert 2 <= len(answer.ledgers) <= 5
    assert [one.sequence for one in answer.ledgers] == list(range(100, 100 + len(answer.ledgers)))
    assert answer.latest_ledger >= 139
    assert read(source, 100, 139) == LEDGERS[:40]


@pytest.mark.parametrize(
    ("start", "end", "count"), [(0, 0, 0), (120, 120, 0), (130, 120, 0), (5000, 6000, 0), (4294967295, 0, 0)]
)
def test_our_service_tells_the_newest_ledger_for_an_empty_range(
    served: tuple[RawLedgerServer, GrpcSource], start: int, end: int, count: int
) -> None:
    answer = asked(served[1], start, end)
    assert len(answer.ledgers) == count
    assert answer.latest_ledger >= 139


def test_a_stopping_service_ends_streams_without_a_gap(served: tuple[RawLedgerServer, GrpcSource]) -> None:
    server, source = served
    reader = source.ledgers(100, None, NEVER)
    seen = [bytes(next(reader).xdr) for _ in range(50)]
    began = time.monotonic()
    server.stop()
    assert time.monotonic() - began < 3
    with pytest.raises(SourceUnavailableError):
        take(reader, seen)
    assert tuple(seen) == made(100, 99 + len(seen))


class Slow:
    """A source whose ledgers never come, until it is told to stop."""

    endpoint, network_passphrase = "slow", None

    def bounds(self) -> Bounds:
        return Bounds(100, 200)

    def ledgers(self, start: int, end: int | None, stop: threading.Event) -> Iterator[RawLedger]:
        stop.wait(30)
        return iter(())

    def close(self) -> None:
        pass


def test_a_stopping_service_does_not_answer_that_there_is_nothing() -> None:
    with RawLedgerServer(Slow(), "127.0.0.1", 0) as server:
        source = GrpcSource(f"127.0.0.1:{server.port}", endpoint="slow", retry=RetryPolicy(attempts=1))
        answer = source._range.future(pb.GetLedgerRangeRequest(start_ledger=100, end_ledger=120))
        time.sleep(0.3)
        server.stop()
        assert answer.code() == grpc.StatusCode.UNAVAILABLE
        source.close()


def test_too_many_calls_are_refused_not_queued(served: tuple[RawLedgerServer, GrpcSource]) -> None:
    _, source = served
    calls = [source._stream(pb.StreamLedgersRequest(start_ledger=100)) for _ in range(9)]
    codes = []
    for call in calls:
        try:
            next(call)
        except grpc.RpcError as error:
            codes.append(error.code())
    assert codes == [grpc.StatusCode.RESOURCE_EXHAUSTED]
    for call in calls:
        call.cancel()
    assert read(source, 100, 120) == LEDGERS[:21]

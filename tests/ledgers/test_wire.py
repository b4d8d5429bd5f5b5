"""The messages that carry ledgers are those of protobuf, byte for byte, and what is none is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stellar_arrow_source.ledgers import raw_ledger_service_pb2 as pb
from stellar_arrow_source.ledgers.source import RawLedger
from stellar_arrow_source.ledgers.wire import decode_ledger, decode_range, encode_ledger, encode_range

UINT32 = st.integers(0, 2**32 - 1)
LEDGERS = st.builds(RawLedger, UINT32, st.binary(max_size=300) | st.binary(min_size=16_000, max_size=17_000))


def plain(ledger: RawLedger) -> tuple[int, bytes]:
    return ledger.sequence, bytes(ledger.xdr)


@given(LEDGERS)
def test_a_ledger_goes_out_and_in_as_by_protobuf(ledger: RawLedger) -> None:
    theirs = pb.RawLedger.FromString(encode_ledger(ledger))
    assert (theirs.sequence, theirs.ledger_close_meta_xdr) == plain(ledger)
    assert plain(decode_ledger(theirs.SerializeToString())) == plain(ledger)


@given(st.lists(LEDGERS, max_size=5), UINT32)
def test_an_answer_goes_out_and_in_as_by_protobuf(ledgers: list[RawLedger], latest: int) -> None:
    theirs = pb.GetLedgerRangeResponse.FromString(encode_range(ledgers, latest))
    assert [(one.sequence, one.ledger_close_meta_xdr) for one in theirs.ledgers] == [plain(one) for one in ledgers]
    assert theirs.latest_ledger == latest
    found, newest = decode_range(theirs.SerializeToString(), 5)
    assert ([plain(one) for one in found], newest) == ([plain(one) for one in ledgers], latest)


def test_xdr_may_be_a_view_and_is_read_in_place() -> None:
    ledger = RawLedger(7, memoryview(b"..xdr..")[2:5])
    message = encode_ledger(ledger)
    assert plain(ledger) == plain(decode_ledger(message))
    found = decode_ledger(message).xdr
    assert isinstance(found, memoryview)
    assert found.obj is message


def test_fields_of_later_versions_are_passed_over() -> None:
    more = b"\x98\x06\x01" + b"\xa1\x06" + bytes(8) + b"\xaa\x06\x02hi" + b"\xb5\x06" + bytes(4)
    ledgers, latest = decode_range(more + encode_range([RawLedger(5, b"xdr")], 9) + more, 1)
    assert ([plain(one) for one in ledgers], latest) == ([(5, b"xdr")], 9)


@given(st.binary(max_size=60))
def test_any_bytes_are_read_as_by_protobuf_or_refused(message: bytes) -> None:
    try:
        ours = plain(decode_ledger(message))
    except ValueError:
        return
    theirs = pb.RawLedger.FromString(message)
    assert ours == (theirs.sequence, theirs.ledger_close_meta_xdr)


@pytest.mark.parametrize(
    ("message", "wrong"),
    [
        (b"\x12\x05xdr", "5 bytes where 3 are left"),
        (b"\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01x", "bytes where 1 are left"),
        (b"\x08" + b"\xff" * 11, "no number at byte 1"),
        (b"\x08\x80", "no number at byte 1"),
        (b"\x0d\x00\x00", "4 bytes where 2 are left"),
        (b"\x13", "wire type 3"),
        (b"\x00\x01", "no field's tag"),
        (b"\x08\x01" * 100, "more than 66 fields"),
    ],
)
def test_what_is_no_message_is_refused(message: bytes, wrong: str) -> None:
    with pytest.raises(ValueError, match=wrong):
        decode_ledger(message)


def test_more_ledgers_than_asked_for_are_refused() -> None:
    message = encode_range([RawLedger(number, b"") for number in range(4)], 3)
    assert len(decode_range(message, 4)[0]) == 4
    with pytest.raises(ValueError, match="4 ledgers where at most 3"):
        decode_range(message, 3)

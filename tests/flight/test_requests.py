"""What the server offers, and what it refuses before any data is sent."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import pairwise

import pyarrow as pa
import pytest
from pyarrow import flight

from stellar_arrow_client.request import Cursor, StreamRequest
from stellar_arrow_source.flight.service import Service
from tests.support.serving import NUMBERS, STREAMS, ScriptedSource, serving

LATEST = 50_000


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with serving(ScriptedSource(oldest=10, latest=LATEST)) as service:
        yield service


@pytest.fixture
def client(service: Service) -> Iterator[flight.FlightClient]:
    with flight.FlightClient(service.location) as client:
        yield client


def failure(error: flight.FlightError) -> dict[str, object]:
    assert "Traceback" not in str(error)
    assert ".py" not in str(error)
    payload = json.loads(error.extra_info)
    assert set(payload) == {"code", "resume", "exit_code", "message"}
    return payload


def test_listing_names_every_stream_with_its_schema(client: flight.FlightClient) -> None:
    infos = list(client.list_flights())
    assert [info.descriptor.path for info in infos] == [[stream.name.encode()] for stream in STREAMS]
    for info, stream in zip(infos, STREAMS, strict=True):
        assert info.schema.equals(stream.schema())
        assert info.schema.metadata[b"stream"] == stream.name.encode()
        assert info.total_records == -1
        assert [StreamRequest.parse(e.ticket.ticket) for e in info.endpoints] == [StreamRequest(stream.name)]


def test_listing_can_be_narrowed_to_a_stream(client: flight.FlightClient) -> None:
    assert [info.descriptor.path for info in client.list_flights(b"digits")] == [[b"numbers"]]


@pytest.mark.parametrize("make", [flight.FlightDescriptor.for_path, flight.FlightDescriptor.for_command])
@pytest.mark.parametrize("text", ["digits:100:200", '{"stream":"numbers","start":100,"end":200}'])
def test_descriptors_of_both_forms_lead_to_the_data(client: flight.FlightClient, make: type, text: str) -> None:
    info = client.get_flight_info(make(text))
    assert info.ordered
    assert info.schema.names == ["ledger_sequence", "index", "text"]
    assert [StreamRequest.parse(e.ticket.ticket) for e in info.endpoints] == [StreamRequest("numbers", 100, 200)]
    assert client.do_get(info.endpoints[0].ticket).read_all().num_rows == 202
    assert client.get_schema(make(text)).schema.equals(info.schema)


def test_endpoints_of_a_range_concatenate_to_the_whole(client: flight.FlightClient) -> None:
    info = client.get_flight_info(flight.FlightDescriptor.for_path("numbers:1000:6000"))
    parts = [StreamRequest.parse(endpoint.ticket.ticket) for endpoint in info.endpoints]
    assert len(parts) > 2
    assert (parts[0].start, parts[-1].end) == (1000, 6000)
    assert all(after.start == (before.end or 0) + 1 for before, after in pairwise(parts))
    whole = client.do_get(flight.Ticket(b"numbers:1000:6000")).read_all()
    joined = pa.concat_tables(client.do_get(endpoint.ticket).read_all() for endpoint in info.endpoints)
    assert joined.equals(whole)
    assert whole.num_rows == 2 * 5001


def test_endpoints_are_bounded_in_number(client: flight.FlightClient) -> None:
    info = client.get_flight_info(flight.FlightDescriptor.for_path("numbers:10:4294967295"))
    assert len(info.endpoints) <= 65
    assert StreamRequest.parse(info.endpoints[-1].ticket.ticket).end == 4294967295


def test_rows_of_the_ledgers_stream_are_known_beforehand(client: flight.FlightClient) -> None:
    info = client.get_flight_info(flight.FlightDescriptor.for_path("ledgers:100:299"))
    assert info.total_records == 200
    table = pa.concat_tables(client.do_get(endpoint.ticket).read_all() for endpoint in info.endpoints)
    assert table.num_rows == 200


def test_unbounded_request_has_one_endpoint(client: flight.FlightClient) -> None:
    info = client.get_flight_info(flight.FlightDescriptor.for_path("numbers:100:"))
    assert [StreamRequest.parse(e.ticket.ticket) for e in info.endpoints] == [StreamRequest("numbers", 100)]


def test_endpoints_carry_the_advertised_location() -> None:
    with serving(advertise="grpc://one.example:8815") as service, flight.FlightClient(service.location) as client:
        info = client.get_flight_info(flight.FlightDescriptor.for_path("numbers:1:5"))
    assert [location.uri.decode() for location in info.endpoints[0].locations] == ["grpc://one.example:8815"]


def test_projection_takes_the_columns_named_in_their_order(client: flight.FlightClient) -> None:
    ticket = StreamRequest("numbers", 20, 21, columns=("raw_xdr", "index")).to_ticket()
    table = client.do_get(flight.Ticket(ticket)).read_all()
    assert table.schema.names == ["raw_xdr", "index"]
    assert table["index"].to_pylist() == [0, 1, 0, 1]


@pytest.mark.parametrize("codec", ["zstd", "lz4"])
def test_compressed_streams_hold_the_same(client: flight.FlightClient, codec: str) -> None:
    plain = client.do_get(flight.Ticket(b"numbers:20:400")).read_all()
    ticket = StreamRequest("numbers", 20, 400, compression=codec).to_ticket()  # type: ignore[arg-type]
    assert client.do_get(flight.Ticket(ticket)).read_all().equals(plain)


def test_start_left_out_means_from_the_latest_ledger_on(client: flight.FlightClient) -> None:
    reader = client.do_get(flight.Ticket(b"numbers"))
    assert Cursor.from_metadata(reader.read_chunk().app_metadata.to_pybytes()) == Cursor(LATEST, LATEST)
    reader.cancel()


def test_actions(client: flight.FlightClient) -> None:
    def act(name: str) -> dict[str, object]:
        [result] = client.do_action(name)
        return json.loads(result.body.to_pybytes())

    assert {action.type for action in client.list_actions()} == {"health", "latest-ledger", "streams"}
    assert act("latest-ledger") == {"oldest": 10, "latest": LATEST}
    assert act("health")["status"] == "ok"
    assert act("health")["ready"] is True
    listed = act("streams")["streams"]
    assert [stream["name"] for stream in listed] == [stream.name for stream in STREAMS]  # type: ignore[attr-defined]
    assert listed[0]["aliases"] == list(NUMBERS.aliases)  # type: ignore[index]


MALFORMED = {
    "empty": (b"", "InvalidRequestError", "stream"),
    "unknown stream": (b"nubmers:10:20", "UnknownStreamError", "numbers"),
    "one colon": (b"numbers:10", "InvalidRequestError", "stream:start:end"),
    "three colons": (b"numbers:10:20:30", "InvalidRequestError", "stream:start:end"),
    "start after end": (b"numbers:20:10", "InvalidRequestError", "20"),
    "not a number": (b"numbers:ten:20", "InvalidRequestError", "ten"),
    "negative": (b"numbers:-5:20", "InvalidRequestError", "-5"),
    "fraction": (b"numbers:10.5:20", "InvalidRequestError", "10.5"),
    "hexadecimal": (b"numbers:0x10:20", "InvalidRequestError", "0x10"),
    "blank": (b"numbers: 10:20", "InvalidRequestError", "10"),
    "other digits": ("numbers:٣:20".encode(), "InvalidRequestError", "start"),
    "ledger zero": (b"numbers:0:20", "InvalidRequestError", "between 1"),
    "beyond 32 bits": (b"numbers:10:4294967296", "InvalidRequestError", "4294967295"),
    "start missing": (b"numbers::20", "InvalidRequestError", "start"),
    "huge number": (b"numbers:" + b"9" * 5000 + b":", "InvalidRequestError", "start"),
    "not UTF-8": (b"numbers:\xff:20", "InvalidRequestError", "UTF-8"),
    "NUL": (b"numbers\x00:10:20", "InvalidRequestError", "name"),
    "newline": (b"numbers\n:10:20", "InvalidRequestError", "name"),
    "too long": (b"n" * 70_000, "InvalidRequestError", "65536"),
    "long name": (b"n" * 60_000, "InvalidRequestError", "name"),
    "broken JSON": (b'{"stream": "numbers"', "InvalidRequestError", "JSON"),
    "JSON without stream": (b'{"start": 10}', "InvalidRequestError", "stream"),
    "unknown key": (b'{"stream": "numbers", "begin": 10}', "InvalidRequestError", "begin"),
    "key twice": (b'{"stream": "numbers", "stream": "ledgers"}', "InvalidRequestError", "twice"),
    "number as text": (b'{"stream": "numbers", "start": "10"}', "InvalidRequestError", "start"),
    "boolean": (b'{"stream": "numbers", "start": true}', "InvalidRequestError", "start"),
    "NaN": (b'{"stream": "numbers", "start": NaN}', "InvalidRequestError", "start"),
    "stream is a list": (b'{"stream": ["numbers"]}', "InvalidRequestError", "stream"),
    "deep": (b'{"stream":' + b"[" * 30_000, "InvalidRequestError", "JSON"),
    "columns is text": (b'{"stream": "numbers", "columns": "index"}', "InvalidRequestError", "columns"),
    "no columns": (b'{"stream": "numbers", "columns": []}', "InvalidRequestError", "columns"),
    "column twice": (b'{"stream": "numbers", "columns": ["index", "index"]}', "InvalidRequestError", "index"),
    "unknown column": (b'{"stream": "numbers", "columns": ["idnex"]}', "UnknownColumnError", "index"),
    "unknown codec": (b'{"stream": "numbers", "compression": "gzip"}', "InvalidRequestError", "zstd"),
    "no condition": (b'{"stream": "numbers", "filter": "index >"}', "InvalidRequestError", "filter"),
    "a query": (b'{"stream": "numbers", "filter": "SELECT 1"}', "InvalidRequestError", "SELECT"),
    "unknown column to filter by": (b'{"stream": "numbers", "filter": "idnex > 1"}', "UnknownColumnError", "index"),
    "before the oldest": (b"numbers:3:20", "GapError", "10"),
}


@pytest.mark.parametrize(("ticket", "code", "named"), MALFORMED.values(), ids=MALFORMED.keys())
def test_bad_tickets_are_refused_before_any_data(
    client: flight.FlightClient, ticket: bytes, code: str, named: str
) -> None:
    with pytest.raises(flight.FlightError) as raised:
        client.do_get(flight.Ticket(ticket))
    payload = failure(raised.value)
    assert payload["code"] == code
    assert payload["exit_code"] == (4 if code == "GapError" else 2)
    assert payload["resume"] is None
    assert named in str(payload["message"])
    with pytest.raises(flight.FlightError) as raised:
        client.get_flight_info(flight.FlightDescriptor.for_command(ticket))
    assert failure(raised.value) == payload


@pytest.mark.parametrize("path", [[], ["numbers", "10"], [""]])
def test_bad_paths_are_refused(client: flight.FlightClient, path: list[str]) -> None:
    with pytest.raises(flight.FlightError) as raised:
        client.get_flight_info(flight.FlightDescriptor.for_path(*path))
    assert failure(raised.value)["code"] == "InvalidRequestError"


def test_refusal_of_a_schema_says_why_and_nothing_else(client: flight.FlightClient) -> None:
    with pytest.raises(pa.ArrowException, match="no stream is called 'nubmers'; did you mean numbers") as raised:
        client.get_schema(flight.FlightDescriptor.for_path("nubmers"))
    assert "Traceback" not in str(raised.value)
    assert ".py" not in str(raised.value)


def test_unknown_criteria_are_refused(client: flight.FlightClient) -> None:
    with pytest.raises(flight.FlightError) as raised:
        list(client.list_flights(b"nubmers"))
    assert failure(raised.value)["code"] == "UnknownStreamError"


def test_unknown_action_names_the_nearest(client: flight.FlightClient) -> None:
    with pytest.raises(flight.FlightError) as raised:
        list(client.do_action("latest_ledger"))
    assert "latest-ledger" in str(failure(raised.value)["message"])


def test_writing_is_refused(client: flight.FlightClient) -> None:
    descriptor = flight.FlightDescriptor.for_path("numbers")
    schema = pa.schema([("a", pa.int8())])

    def put() -> None:
        writer, _ = client.do_put(descriptor, schema)
        writer.write_batch(pa.RecordBatch.from_pydict({"a": [1]}, schema=schema))
        writer.close()

    def exchange() -> None:
        writer, reader = client.do_exchange(descriptor)
        writer.done_writing()
        reader.read_chunk()

    for write in (put, exchange):
        with pytest.raises(flight.FlightError) as raised:
            write()
        assert failure(raised.value)["code"] == "InvalidRequestError"

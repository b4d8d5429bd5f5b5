"""The command line: what it refuses, what it says, what it prints."""

from __future__ import annotations

import json
import socket

import fastavro
import pyarrow as pa
import pytest

from consumers.kafka.tests.support import PROGRAM, Command, check_topic, read_topic, topic_of
from stellar_arrow_client.testing import FakeServer, sample_table
from tests.support.consumers import FIRST, LAST
from tests.support.kafka import PASSWORD, USER

TABLE = sample_table(FIRST, LAST)


@pytest.fixture
def nowhere() -> Command:
    """Brokers that are never contacted."""
    return Command("localhost:1")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--encoding", "arro"], "did you mean 'arrow'?"),
        (["--retention", "7"], "'7' is not a time such as 12h, 7d or 4w, or forever"),
        (["--topic-config", "segment.ms"], "write it as name=value"),
        (["--property", "acks=1"], "--property cannot set acks"),
        (["--property", "Transactional.Id=x"], "--property cannot set transactional.id"),
        (["--property", "sasl.password"], "--property takes name=value"),
        (["--encoding", "arrow", "--key", "memo"], "a message holds many rows and has no --key"),
        (["--stream", "sample"], "did you mean 'samples'?"),
        (["--columns", "memmo"], "did you mean 'memo'?"),
        (["--transaction-seconds", "0"], "0.0 is not in the range"),
    ],
)
def test_usage(nowhere, server, options, arguments, said) -> None:
    assert said in nowhere(server.address, FIRST, LAST, *options, *arguments, code=2).stderr


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{nework}", "may have {network}, {stream} and {schema_version}"),
        ("{stream.name}", "may have {network}, {stream} and {schema_version}"),
        ("{stream", "may have {network}, {stream} and {schema_version}"),
        ("a b", "is not a name of a topic"),
        ("x" * 250, "is not a name of a topic"),
        ("..", "is not a name of a topic"),
    ],
)
def test_templates(kafka, server, template, said) -> None:
    options = ("--stream", "samples", "--topic-template", template)
    assert said in Command(kafka.address)(server.address, FIRST, LAST, *options, code=2).stderr


@pytest.mark.parametrize(
    ("key", "said"),
    [("no_such", "--key no_such is not a column"), ("topics", "--key topics is a column of type list")],
)
def test_keys(command, server, options, key, said) -> None:
    assert said in command(server.address, FIRST, LAST, *options, "--key", key, code=2).stderr


def test_several_streams_need_a_topic_each(kafka, command, server, template) -> None:
    fixed = template.replace(".{stream}", "")
    options = ("--stream", "samples,others", "--topic-template", fixed)
    assert "must have {stream} in it" in command(server.address, FIRST, LAST, *options, code=2).stderr
    command(server.address, FIRST, LAST, "--stream", "samples,others", "--topic-template", template)
    for stream in ("samples", "others"):
        table = sample_table(FIRST, LAST, stream=stream)
        check_topic(kafka.address, topic_of(template, table), "json", table)


def test_dry_run(kafka, command, server, topic, options) -> None:
    would = f"would be written to {topic} with the columns {','.join(TABLE.column_names)}\n"
    done = command(server.address, FIRST, LAST, *options, "--dry-run")
    assert done.stdout == f"samples: ledgers {FIRST} to {LAST} {would}"
    assert read_topic(kafka.address, f"{topic}.cursor") == []
    command(server.address, FIRST, FIRST + 9, *options)
    done = command(server.address, FIRST, LAST, *options, "--dry-run")
    assert done.stdout == f"samples: ledgers {FIRST + 10} to {LAST} {would}"
    done = command(server.address, FIRST, FIRST + 9, *options, "--dry-run")
    assert done.stdout == f"samples: already complete in {topic}\n"


def test_position(kafka, command, server, topic, options) -> None:
    line = [PROGRAM, "position", kafka.address, topic]
    assert f"no kafka-consumer has published to topic {topic}" in command.run(line, 1).stderr
    command(server.address, FIRST, FIRST + 9, *options)
    position = json.loads(command.run(line).stdout)
    assert position["topic"] == topic
    assert position["checkpoint"]["next_ledger"] == FIRST + 10


@pytest.mark.parametrize(
    ("encoding", "endings"),
    [("json", ["schema.json"]), ("avro", ["avsc"]), ("protobuf", ["proto", "desc"]), ("arrow", ["arrow"])],
)
def test_schema_files(nowhere, server, tmp_path, encoding, endings) -> None:
    line = [PROGRAM, "schema", server.address, str(tmp_path / "made"), "--stream", "samples", "--encoding", encoding]
    done = nowhere.run(line)
    assert done.stdout.split() == [str(tmp_path / "made" / f"samples.{ending}") for ending in endings]
    content = (tmp_path / "made" / f"samples.{endings[0]}").read_bytes()
    if encoding == "avro":
        assert fastavro.parse_schema(json.loads(content))["name"] == "stellar.samples"
    elif encoding == "arrow":
        assert pa.ipc.read_schema(pa.py_buffer(content)).equals(TABLE.schema, check_metadata=True)
    else:
        assert b"sample amount" in content


def test_brokers_that_are_not_there(server, options) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        said = Command(address)(server.address, FIRST, LAST, *options, code=3).stderr
    assert f"Kafka at {address} does not answer" in said


def test_tls_and_passwords(kafka, server, options, topic) -> None:
    """The password is in no message, whatever is wrong."""
    command = Command(kafka.secure)
    command.env = {
        "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
        "KAFKA_SASL_MECHANISM": "PLAIN",
        "KAFKA_SASL_USERNAME": USER,
        "KAFKA_SASL_PASSWORD": PASSWORD,
        "KAFKA_SSL_CA_LOCATION": str(kafka.authority),
    }
    done = command(server.address, FIRST, LAST, *options, "--log-level", "debug")
    check_topic(kafka.address, topic, "json", TABLE)
    said = done.stderr
    wrong = ("--property", "sasl.password=not the right secret")
    refused = command(server.address, FIRST, LAST, *options, *wrong, code=5).stderr
    assert "check the credentials" in refused
    del command.env["KAFKA_SSL_CA_LOCATION"]
    said += command(server.address, FIRST, LAST, *options, code=5).stderr
    said += command(server.address, FIRST, LAST, *options, "--property", "sasl.mechanism=NONE", code=2).stderr
    said += command(server.address, FIRST, LAST, *options, "--property", "sasl.mechanismm=x", code=2).stderr
    assert "sasl.mechanismm" in said
    assert PASSWORD not in said
    assert "not the right secret" not in refused


def test_a_batch_that_is_not_valid(kafka, command, topic, options) -> None:
    texts = pa.StringArray.from_buffers(1, pa.py_buffer(b"\0\0\0\0\2\0\0\0"), pa.py_buffer(b"\xff\xfe"))
    schema = pa.schema(
        [pa.field("ledger_sequence", pa.uint32(), nullable=False), ("memo", pa.string())], TABLE.schema.metadata
    )
    with FakeServer({"samples": pa.table([pa.array([7], pa.uint32()), texts], schema)}, 7, 7) as server:
        assert "not valid" in command(server.address, 7, 7, *options, code=4).stderr
    assert read_topic(kafka.address, topic) == []


def test_a_stream_that_does_not_begin_with_ledgers(command, options) -> None:
    schema = pa.schema([("memo", pa.string()), ("ledger_sequence", pa.uint32())], TABLE.schema.metadata)
    table = pa.table([pa.array(["x"]), pa.array([7], pa.uint32())], schema)
    with FakeServer({"samples": table}, 7, 7) as server:
        said = command(server.address, 7, 7, *options, code=4).stderr
    assert "does not begin with a column ledger_sequence of type uint32" in said

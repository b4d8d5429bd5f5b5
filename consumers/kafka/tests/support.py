"""Runs kafka-consumer, and reads topics back with clients that share no code with it."""

from __future__ import annotations

import asyncio
import io
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import fastavro
import pyarrow as pa
from aiokafka import AIOKafkaConsumer, TopicPartition
from click.testing import CliRunner
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType
from google.protobuf import descriptor_pb2, message_factory
from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet
from kafka_consumer.cli import publish
from kafka_consumer.encodings import ENCODINGS

from tests.support import consumers as support

PROGRAM = support.program("kafka-consumer")
SECONDS = 60.0


@dataclass(frozen=True)
class Record:
    """A message as a reader gets it."""

    key: bytes | None
    value: bytes
    headers: Mapping[str, bytes]
    partition: int


def read_topic(address: str, topic: str, *, committed: bool = True) -> list[Record]:
    """All messages of a topic, partition by partition, none if there is no such topic."""
    known = AdminClient({"bootstrap.servers": address}).list_topics(timeout=SECONDS).topics.get(topic)
    if known is None:
        return []
    return asyncio.run(asyncio.wait_for(_read(address, topic, len(known.partitions), committed), SECONDS))


def configure_topic(address: str, topic: str, settings: Mapping[str, str]) -> None:
    """Change settings of a topic."""
    entries = [
        ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET) for name, value in settings.items()
    ]
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=entries)
    admin = AdminClient({"bootstrap.servers": address})
    admin.incremental_alter_configs([resource])[resource].result()


def topic_settings(address: str, topic: str) -> dict[str, str | None]:
    """The settings of a topic."""
    resource = ConfigResource(ResourceType.TOPIC, topic)
    admin = AdminClient({"bootstrap.servers": address})
    found = admin.describe_configs([resource])[resource].result()
    return {name: entry.value for name, entry in found.items()}


async def _read(address: str, topic: str, partitions: int, committed: bool) -> list[Record]:
    consumer = AIOKafkaConsumer(
        bootstrap_servers=address,
        isolation_level="read_committed" if committed else "read_uncommitted",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        max_partition_fetch_bytes=16 * 1024 * 1024,
        fetch_max_wait_ms=20,
    )
    await consumer.start()
    try:
        places = [TopicPartition(topic, number) for number in range(partitions)]
        consumer.assign(places)
        ends = await consumer.end_offsets(places)
        found: dict[TopicPartition, list[Record]] = {place: [] for place in places}
        while any([await consumer.position(place) < end for place, end in ends.items()]):
            for place, messages in (await consumer.getmany(timeout_ms=100)).items():
                found[place] += [
                    Record(one.key, one.value, dict(one.headers), one.partition)
                    for one in messages
                    if one.offset < ends[place]
                ]
        return [record for place in places for record in found[place]]
    finally:
        await consumer.stop()


def topic_of(template: str, table: pa.Table) -> str:
    """The topic of the rows of a stream."""
    metadata = {key.decode(): value.decode() for key, value in table.schema.metadata.items()}
    return template.format(network=metadata["network"].replace(" ", "-"), stream=metadata["stream"])


def check_topic(address: str, topic: str, encoding: str, table: pa.Table) -> list[Record]:
    """See that a topic holds each row of ``table`` once, in the order of ledgers in each partition."""
    records = read_topic(address, topic)
    for partition in {record.partition for record in records}:
        ledgers = [int(record.headers["ledger"]) for record in records if record.partition == partition]
        assert ledgers == sorted(ledgers)
    got = decode(encoding, table.schema, [record.value for record in records])
    assert _rows(got) == _rows(table)
    return records


def _rows(table: pa.Table) -> list[str]:
    """Rows in an order that does not depend on partitions."""
    return sorted(map(repr, table.to_pylist()))


class Done(NamedTuple):
    """What a command said."""

    stdout: str
    stderr: str


class Command(support.Command):
    """Runs ``kafka-consumer``."""

    name = "kafka-consumer"
    settings = ("KAFKA_",)

    def __init__(self, brokers: str) -> None:
        super().__init__()
        self.brokers = brokers

    def line(self, server: str, *arguments: object) -> list[str]:
        return super().line(server, self.brokers, *arguments)

    def __call__(self, server: str, *arguments: object, code: int = 0) -> Done:
        """Publish, within this process, and check the exit code."""
        return self.run(self.line(server, *arguments), code)

    def run(self, line: Sequence[str], code: int = 0) -> Done:
        """Run any command line, within this process."""
        arguments = list(line)[1:]
        unset = dict.fromkeys(os.environ.keys() - self.environment().keys())
        done = CliRunner().invoke(publish, arguments, env={**unset, **self.env})
        errors = [said for said in done.stderr.splitlines() if said.startswith("error: ")]
        assert done.exit_code == code, f"exit code {done.exit_code} instead of {code}: {done.stderr}"
        assert "unexpected" not in done.stderr
        assert len(errors) == (1 if code else 0), done.stderr
        return Done(done.stdout, done.stderr)


def decode(encoding: str, schema: pa.Schema, values: Sequence[bytes]) -> pa.Table:
    """Messages as the rows that they were made of, by other people's readers and the schema files alone."""
    if encoding == "arrow":
        batches = [batch for value in values for batch in pa.ipc.open_stream(value)]
        return pa.Table.from_batches(batches, _bare(schema))
    if encoding == "json":
        rows = [_from_json(json.loads(value), schema) for value in values]
    else:
        files = ENCODINGS[encoding](schema, 0).schema_files("sample_rows")
        read = _avro_reader(files["avsc"]) if encoding == "avro" else _proto_reader(files["proto"], schema)
        rows = [read(value) for value in values]
    return pa.Table.from_pylist(rows, _bare(schema))


def _bare(schema: pa.Schema) -> pa.Schema:
    return pa.schema([field.remove_metadata() for field in schema], schema.metadata)


def _from_json(value: Any, type_: pa.Schema | pa.DataType) -> Any:
    if value is None:
        return None
    if isinstance(type_, pa.Schema) or pa.types.is_struct(type_):
        assert set(value) <= {field.name for field in type_}
        return {field.name: _from_json(value.get(field.name), field.type) for field in type_}
    if pa.types.is_list(type_):
        return [_from_json(item, type_.value_type) for item in value]
    if pa.types.is_timestamp(type_):
        return datetime.fromisoformat(value)
    if pa.types.is_binary(type_) or pa.types.is_fixed_size_binary(type_):
        return bytes.fromhex(value)
    if pa.types.is_int64(type_) or pa.types.is_uint64(type_) or pa.types.is_decimal(type_):
        assert isinstance(value, str), "a reader would make a float of it"
        return Decimal(value) if pa.types.is_decimal(type_) else int(value)
    return value


def _avro_reader(avsc: bytes) -> Any:
    schema = fastavro.parse_schema(json.loads(avsc))

    def read(value: bytes) -> Any:
        stream = io.BytesIO(value)
        row = fastavro.schemaless_reader(stream, schema)
        assert stream.tell() == len(value), "a message is one datum and nothing behind it"
        return row

    return read


def _proto_reader(proto: bytes, schema: pa.Schema) -> Any:
    kind = message_factory.GetMessages(_compiled(proto))["stellar.SampleRows"]

    def read(value: bytes) -> Any:
        message = kind.FromString(value)
        assert not len(UnknownFieldSet(message))
        return _from_message(message, schema)

    return read


@cache
def _compiled(proto: bytes) -> list[descriptor_pb2.FileDescriptorProto]:
    return list(compile_proto(proto).file)


def compile_proto(proto: bytes) -> descriptor_pb2.FileDescriptorSet:
    """What the compiler of Protocol Buffers makes of a file."""
    import tempfile

    import grpc_tools
    from grpc_tools import protoc

    with tempfile.TemporaryDirectory() as folder:
        path, out = Path(folder) / "sample_rows.proto", Path(folder) / "out.desc"
        path.write_bytes(proto)
        wellknown = Path(grpc_tools.__file__).parent / "_proto"
        line = ["", f"-I{folder}", f"-I{wellknown}", f"--descriptor_set_out={out}", "--include_imports", str(path)]
        assert protoc.main(line) == 0, proto.decode()
        return descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes())


def _from_message(message: Message, fields: pa.Schema | pa.StructType) -> dict[str, Any]:
    row = {}
    for field in fields:
        value = getattr(message, field.name)
        if field.nullable and not message.HasField(field.name):
            row[field.name] = None
        elif pa.types.is_list(field.type):
            items = value.items if field.nullable else value
            row[field.name] = [_from_value(item, field.type.value_type) for item in items]
        else:
            row[field.name] = _from_value(value, field.type)
    return row


def _from_value(value: Any, type_: pa.DataType) -> Any:
    if pa.types.is_struct(type_):
        return _from_message(value, type_)
    if pa.types.is_timestamp(type_):
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=value.seconds, microseconds=value.nanos // 1000)
    return Decimal(value) if pa.types.is_decimal(type_) else value

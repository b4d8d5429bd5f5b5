"""Keys, partitions, headers, and topics that do not fit."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic
from kafka_consumer.brokers import Brokers
from kafka_consumer.planning import Publication
from kafka_consumer.publisher import Settings
from kafka_consumer.sink import KafkaSink
from kafka_consumer.topics import TopicOptions

from consumers.kafka.tests.support import check_topic, configure_topic, decode, read_topic, topic_of, topic_settings
from stellar_arrow_client.request import Cursor, StreamRequest
from stellar_arrow_client.testing import FakeServer, sample_table
from tests.support.consumers import FIRST, LAST
from tests.support.kafka import KafkaServer

TABLE = sample_table(FIRST, LAST)


def test_keys_partitions_and_headers(kafka, command, server, topic, options) -> None:
    command(server.address, FIRST, LAST, *options, "--partitions", 3, "--key", "source_account")
    records = check_topic(kafka.address, topic, "json", TABLE)
    places: dict[bytes, set[int]] = {}
    for record in records:
        row = json.loads(record.value)
        assert record.key == row["source_account"].encode()
        headers = {"ledger": b"%d" % row["ledger_sequence"], "schema-version": b"1"}
        assert record.headers == headers | {"network": b"testnet", "stream": b"samples"}
        places.setdefault(record.key, set()).add(record.partition)
    assert {len(partitions) for partitions in places.values()} == {1}
    assert {record.partition for record in records} == {0, 1, 2}
    assert records[0].partition == _partition(records[0].key)


def _partition(key: bytes | None) -> int:
    """Where a Java client would put it."""
    from aiokafka.partitioner import murmur2

    assert key is not None
    return (murmur2(key) & 0x7FFFFFFF) % 3


def test_keys_of_several_columns(kafka, command, server, topic, options) -> None:
    command(server.address, FIRST, FIRST + 5, *options, "--key", "transaction_hash,memo,successful,amount")
    for record in read_topic(kafka.address, topic):
        row = json.loads(record.value)
        wanted = [row.get(name) for name in ("transaction_hash", "memo", "successful", "amount")]
        assert json.loads(record.key or b"") == wanted


def test_settings_of_new_topics(kafka, command, server, topic, options) -> None:
    settings = ("--cleanup", "compact,delete", "--retention", "2d", "--topic-config", "max.message.bytes=7000000")
    command(server.address, FIRST, LAST, *options, *settings, "--key", "transaction_hash", "--replication-factor", 1)
    found = topic_settings(kafka.address, topic)
    assert found["cleanup.policy"] == "compact,delete"
    assert found["retention.ms"] == str(2 * 86_400_000)
    assert found["max.message.bytes"] == "7000000"
    assert topic_settings(kafka.address, f"{topic}.cursor")["cleanup.policy"] == "compact"


def test_a_compacted_topic_needs_keys(command, server, options) -> None:
    said = command(server.address, FIRST, LAST, *options, "--cleanup", "compact", code=2).stderr
    assert "--cleanup compact needs a --key" in said
    compact = ("--cleanup", "compact", "--key", "memo")
    said = command(server.address, FIRST, LAST, *options, *compact, code=2).stderr
    assert "a row of ledger 100 has no memo" in said
    assert "--filter" in said


def test_topics_are_not_made_unless_wanted(kafka, command, server, topic, options) -> None:
    said = command(server.address, FIRST, LAST, *options, "--no-create-topics", code=1).stderr
    assert f"there is no topic {topic}" in said
    make(kafka, topic)
    make(kafka, f"{topic}.cursor", {"cleanup.policy": "compact"})
    command(server.address, FIRST, LAST, *options, "--no-create-topics")
    check_topic(kafka.address, topic, "json", TABLE)


def make(kafka: KafkaServer, topic: str, config: dict[str, str] | None = None) -> None:
    admin = AdminClient({"bootstrap.servers": kafka.address})
    admin.create_topics([NewTopic(topic, 1, 1, config=config or {})])[topic].result()


def delete(kafka: KafkaServer, topic: str) -> None:
    admin = AdminClient({"bootstrap.servers": kafka.address})
    admin.delete_topics([topic], operation_timeout=30)[topic].result()


def test_topics_with_messages_of_others_are_refused(kafka, command, server, topic, options) -> None:
    make(kafka, topic)
    producer = Producer({"bootstrap.servers": kafka.address})
    producer.produce(topic, b"not ours")
    producer.flush()
    said = command(server.address, FIRST, LAST, *options, code=2).stderr
    assert f"topic {topic} has messages, but there is no record of what it holds" in said
    assert [record.value for record in read_topic(kafka.address, topic)] == [b"not ours"]


@pytest.mark.parametrize("anew", [False, True])
def test_topics_that_were_deleted_are_not_continued(kafka, command, server, topic, options, anew) -> None:
    command(server.address, FIRST, FIRST + 50, *options)
    delete(kafka, topic)
    if anew:
        make(kafka, topic)
    said = command(server.address, FIRST, LAST, *options, code=2).stderr
    assert f"so that ledgers before {FIRST + 51} would be missing" in said
    delete(kafka, f"{topic}.cursor")
    command(server.address, FIRST, LAST, *options)
    check_topic(kafka.address, topic, "json", TABLE)


def test_records_that_are_damaged_are_refused(kafka, command, server, topic, options) -> None:
    command(server.address, FIRST, FIRST + 50, *options)
    producer = Producer({"bootstrap.servers": kafka.address})
    producer.produce(f"{topic}.cursor", b'{"version": 1}', b"position")
    producer.flush()
    said = command(server.address, FIRST, LAST, *options, code=4).stderr
    assert f"the last record of topic {topic}.cursor is damaged" in said


def test_what_a_topic_holds_stays_the_same(kafka, command, server, topic, options) -> None:
    command(server.address, FIRST, FIRST + 50, *options, "--key", "memo")
    said = command(server.address, FIRST, LAST, *options, "--key", "memo", "--encoding", "avro", code=2).stderr
    assert f"topic {topic} has the encoding json, not avro" in said
    said = command(server.address, FIRST, LAST, *options, code=2).stderr
    assert f"topic {topic} has the key memo, not none" in said
    said = command(server.address, FIRST + 90, LAST, *options, "--key", "memo", code=2).stderr
    assert "does not join it" in said
    fixed = ("--stream", "others", "--topic-template", topic, "--key", "memo")
    said = command(server.address, FIRST, LAST, *fixed, code=2).stderr
    assert "holds stream samples, not others" in said


def test_rows_that_are_too_large(kafka, command, topic, options) -> None:
    """Nothing of the ledgers in the transaction is visible; the run goes on when the topic takes such messages."""
    rows = pa.Table.from_pylist(
        [{"ledger_sequence": ledger, "memo": "x" * (50_000 if ledger == 7 else 10)} for ledger in range(1, 10)],
        pa.schema(
            [pa.field("ledger_sequence", pa.uint32(), nullable=False), ("memo", pa.string())],
            TABLE.schema.metadata,
        ),
    )
    with FakeServer({"samples": rows}, 1, 9) as server:
        small = ("--topic-config", "max.message.bytes=20000")
        said = command(server.address, 1, 9, *options, *small, code=1).stderr
        assert "a message of ledger 7 has 500" in said
        assert f"topic {topic} takes 20000; raise its max.message.bytes" in said
        assert read_topic(kafka.address, topic) == []
        configure_topic(kafka.address, topic, {"max.message.bytes": "100000"})
        command(server.address, 1, 9, *options)
    check_topic(kafka.address, topic, "json", rows)


def test_a_message_that_is_larger_than_what_may_wait(kafka, template) -> None:
    schema = pa.schema(
        [pa.field("ledger_sequence", pa.uint32(), nullable=False), ("memo", pa.string())], TABLE.schema.metadata
    )
    rows = pa.table({"ledger_sequence": pa.array([7, 7, 7], pa.uint32()), "memo": ["a", "x" * 3_000_000, "b"]}, schema)
    large = TopicOptions(config={"max.message.bytes": "4000000"})
    publication = Publication(template=template, encoding="avro", topics=large)
    sink = KafkaSink(Brokers(kafka.address), publication, Settings(memory=1_000_000))
    sink.open(schema, StreamRequest("samples", 7))
    sink.write(rows.to_batches()[0], Cursor(7, 7))
    assert sink.checkpoint() == 8
    sink.close()
    check_topic(kafka.address, topic_of(template, rows), "avro", rows)


def test_columns_that_change(kafka, command, server, topic, options) -> None:
    """Refused; or continued in a topic of its own, at the ledger where the other ends."""
    earlier = TABLE.drop_columns(["amount"])
    with FakeServer({"samples": earlier.slice(0)}, FIRST, LAST) as before:
        command(before.address, FIRST, FIRST + 50, *options, "--encoding", "avro")
    later = (*options, "--encoding", "avro")
    said = command(server.address, FIRST, LAST, *later, code=2).stderr
    assert f"topic {topic} holds other columns than samples has now (new: amount)" in said
    assert "--on-schema-change new-topic" in said
    done = command(server.address, FIRST, FIRST + 100, *later, "--on-schema-change", "new-topic")
    assert done.stdout == f"{topic}.v2\n"
    done = command(server.address, FIRST, LAST, *later)
    assert done.stdout == f"{topic}.v2\n", "once begun, it goes on there"
    ledgers = TABLE["ledger_sequence"].to_pylist()
    middle = next(index for index, ledger in enumerate(ledgers) if ledger > FIRST + 50)
    check_topic(kafka.address, topic, "avro", earlier.slice(0, middle))
    check_topic(kafka.address, f"{topic}.v2", "avro", TABLE.slice(middle))


def test_columns_that_are_chosen(kafka, command, server, topic, options) -> None:
    """The ledger is always the first; asking for the same columns in another way changes nothing."""
    command(server.address, FIRST, FIRST + 50, *options, "--columns", "amount,memo")
    command(server.address, FIRST, LAST, *options, "--columns", "ledger_sequence,amount,memo")
    check_topic(kafka.address, topic, "json", TABLE.select(["ledger_sequence", "amount", "memo"]))
    said = command(server.address, FIRST, LAST, *options, "--columns", "memo", code=2).stderr
    assert "(gone: amount)" in said


def test_uncommitted_rows_are_not_seen(kafka, command, server, topic, options) -> None:
    """Until they are committed, which here is at the end only."""
    server.ledgers_per_batch, server.delay = 10, 0.02
    with command.start(server.address, FIRST, None or 0, *options, "--transaction-seconds", 300) as process:
        server.wait_for_batches(60)
        while len(read_topic(kafka.address, topic, committed=False)) < TABLE.num_rows // 2:
            assert process.poll() is None
        assert read_topic(kafka.address, topic) == []
        process.terminate()
        process.communicate(timeout=60)
    assert process.returncode == 143
    check_topic(kafka.address, topic, "json", TABLE)


def test_a_stream_that_stands_still_is_committed(kafka, command, server, topic, options) -> None:
    """Also while the server cannot be reached."""
    with command.start(server.address, FIRST, 0, *options, "--transaction-seconds", 3) as process:
        while len(read_topic(kafka.address, topic, committed=False)) < TABLE.num_rows:
            assert process.poll() is None
        server.stop()
        while not read_topic(kafka.address, topic):
            assert process.poll() is None
        check_topic(kafka.address, topic, "json", TABLE)
        server.start()


def test_decoding_needs_only_the_schema_files(kafka, command, server, topic, options, tmp_path) -> None:
    command(server.address, FIRST, FIRST + 20, *options, "--encoding", "protobuf")
    values = [record.value for record in read_topic(kafka.address, topic)]
    assert decode("protobuf", TABLE.schema, values).num_rows == len(values) > 50

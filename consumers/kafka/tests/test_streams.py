"""What topics hold is what streams say, row for row."""

from __future__ import annotations

import pyarrow.compute as pc
import pytest

from consumers.kafka.tests.support import check_topic, topic_of
from stellar_arrow_client.testing import FakeServer
from stellar_arrow_source.tables import STREAMS
from tests.support.corpus import requires_corpus
from tests.support.made_tables import corpus_tables, made_tables

FIRST, LAST = 1000, 1079
CORPUS_STREAMS = ["transactions", "operations", "ttp_events", "effects", "claimable_balances"]


def test_all_streams_of_made_ledgers(kafka, command, template) -> None:
    """Amounts of 128 bits and memos that are not UTF-8 are among their values."""
    names = [stream.name for stream in STREAMS]
    tables = made_tables(names, FIRST, LAST)
    topics = {name: topic_of(template, tables[name]) for name in names}
    with FakeServer(tables, FIRST, LAST, ledgers_per_batch=20) as server:
        options = ("--stream", "all", "--encoding", "avro", "--topic-template", template)
        done = command(server.address, FIRST, FIRST + 30, *options)
        assert done.stdout.split() == list(topics.values())
        command(server.address, FIRST, LAST, *options)
    assert pc.max(tables["ttp_events"]["amount"]).as_py() > 2**64
    assert tables["transactions"]["memo_bytes"].drop_null()
    assert len([name for name in names if tables[name].num_rows]) > 10
    for name in names:
        check_topic(kafka.address, topics[name], "avro", tables[name])


@requires_corpus
@pytest.mark.timeout(300)
def test_all_ledgers_of_the_corpus(kafka, command, template) -> None:
    """Each stream in another encoding; lists and structures that are there, empty, or null."""
    ledgers, tables = corpus_tables(CORPUS_STREAMS)
    chosen = dict(zip(CORPUS_STREAMS, ("json", "avro", "protobuf", "arrow", "protobuf"), strict=True))
    with FakeServer(tables, 1, ledgers, ledgers_per_batch=50) as server:
        for stream, encoding in chosen.items():
            options = ("--stream", stream, "--encoding", encoding, "--topic-template", template)
            command(server.address, 1, ledgers, *options)
    for stream, encoding in chosen.items():
        assert tables[stream].num_rows
        check_topic(kafka.address, topic_of(template, tables[stream]), encoding, tables[stream])

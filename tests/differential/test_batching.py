"""The same rows, however ledgers are grouped, columns chosen, and decoders shared out among threads."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import get_args

import numpy as np
import pyarrow as pa
import pytest

from stellar_arrow_source.flight.backend import ledger_tables
from stellar_arrow_source.modes import TransferMode
from stellar_arrow_source.tables import LedgerDecoder
from tests.support.corpus import CORE_TESTS, PUBNET, TESTNET, ledgers, requires_corpus
from tests.support.decoding import STREAMS, all_columns, full_decoder

pytestmark = requires_corpus

NETWORKS = {
    PUBNET: ("pubnet", "pubnet-2020-meta-v2", "wrapped-txs"),
    TESTNET: ("testnet-2022",),
    CORE_TESTS: ("stellar-core", "core-upgrades"),
}
SAMPLES = ("pubnet-2020-meta-v2", "wrapped-txs", "core-upgrades", "testnet-2022", "stellar-core")
"""Folders that a projection is tried on: all metas, small ledgers."""


def decoded(decoder: LedgerDecoder, groups: Sequence[Sequence[bytes]]) -> dict[str, pa.Table]:
    """Stream → all rows; every batch is kept until the last is decoded, so that reused buffers would show."""
    parts = [decoder.decode(group).batches for group in groups]
    return {stream: pa.Table.from_batches([part[stream] for part in parts]) for stream in parts[0]}


def random_groups(data: Sequence[bytes], chance: random.Random) -> Iterator[Sequence[bytes]]:
    start = 0
    while start < len(data):
        size = chance.choice([1, 1, 2, 3, 8, 32, 100])
        yield data[start : start + size]
        start += size


def assert_same(expected: dict[str, pa.Table], actual: dict[str, pa.Table]) -> None:
    assert expected.keys() == actual.keys()
    for stream, table in expected.items():
        assert table.schema == actual[stream].schema
        for name in table.column_names:
            same = table[name].combine_chunks().equals(actual[stream][name].combine_chunks())
            assert same, f"{stream}.{name} differs"


@pytest.mark.parametrize("passphrase", NETWORKS)
def test_batching_does_not_matter(passphrase: str) -> None:
    data = [ledger.xdr for ledger in ledgers(*NETWORKS[passphrase])]
    together = decoded(full_decoder(passphrase), [data])
    assert_same(together, decoded(full_decoder(passphrase), list(random_groups(data, random.Random(7)))))


def sample() -> list[tuple[str, list[bytes]]]:
    """Per network some ledgers of every folder in SAMPLES."""
    chance = random.Random(11)
    found: dict[str, list[bytes]] = {}
    for folder in SAMPLES:
        chosen = chance.sample(list(ledgers(folder)), k=12)
        found.setdefault(chosen[0].passphrase, []).extend(ledger.xdr for ledger in chosen)
    return list(found.items())


@pytest.mark.parametrize("stream", STREAMS)
def test_each_column_alone(stream: str) -> None:
    for passphrase, data in sample():
        whole = full_decoder(passphrase, [stream]).decode(data).batches[stream]
        for name in all_columns(stream):
            alone = LedgerDecoder({stream: [name]}, passphrase=passphrase).decode(data).batches[stream]
            assert alone.schema.names == [name]
            assert alone.column(0).equals(whole.column(name)), f"{stream}.{name} differs when it is alone"


@pytest.mark.parametrize("seed", range(8))
def test_random_projections(seed: int) -> None:
    """Subsets of columns, in the order asked for, of several streams at once."""
    chance = random.Random(seed)
    streams = chance.sample(STREAMS, k=chance.randint(1, len(STREAMS)))
    request = {
        stream: chance.sample(names, k=chance.randint(1, len(names)))
        for stream in streams
        for names in [all_columns(stream)]
    }
    for passphrase, data in sample():
        whole = full_decoder(passphrase).decode(data).batches
        batches = LedgerDecoder(request, passphrase=passphrase).decode(data).batches
        for stream, names in request.items():
            assert batches[stream].schema.names == names
            for name in names:
                same = batches[stream].column(name).equals(whole[stream].column(name))
                assert same, f"{stream}.{name} differs in {names}"


@pytest.mark.parametrize("seed", range(3))
def test_streams_that_a_server_decodes_together(seed: int) -> None:
    """Any streams in one call, with the one program for all of them, as each by itself with its own."""
    chance = random.Random(seed)
    streams = chance.sample(STREAMS, k=3) if seed else list(STREAMS)
    decoder = ledger_tables().decoder
    for passphrase, data in sample():
        together = decoder(dict.fromkeys(streams), passphrase=passphrase).decode(data)
        skipped = {}
        for stream in streams:
            alone = decoder({stream: None}, passphrase=passphrase).decode(data)
            assert together.batches[stream].equals(alone.batches[stream], check_metadata=True), f"{stream} differs"
            assert together.row_ends[stream].tolist() == alone.row_ends[stream].tolist()
            skipped |= alone.skipped
        assert together.skipped == skipped


@pytest.mark.parametrize("mode", get_args(TransferMode))
def test_streams_together_have_the_program_that_is_prepared(mode: TransferMode) -> None:
    prepared = LedgerDecoder(dict.fromkeys(STREAMS))
    tables = ledger_tables(mode)
    for streams in (STREAMS, ("payments", "trades", "ttp_events"), ("ledgers", "ttl")):
        request = {stream: [tables.find(stream).columns[0].name] for stream in streams}
        assert tables.decoder(request, passphrase=None)._arena.program is prepared._arena.program


def test_bytes_like_input() -> None:
    """Bytes, bytearray, memoryview, also one that starts at an odd address."""
    (passphrase, data), *_ = sample()
    expected = decoded(full_decoder(passphrase), [data])
    shifted = [memoryview(b"\xff" + part)[1:] for part in data]
    for given in ([bytearray(part) for part in data], [memoryview(part) for part in data], shifted):
        assert_same(expected, decoded(full_decoder(passphrase), [given]))


def test_no_ledger_gives_no_row() -> None:
    result = full_decoder(PUBNET).decode([])
    assert len(result.sequences) == 0
    assert all(batch.num_rows == 0 for batch in result.batches.values())
    assert all(len(ends) == 0 for ends in result.row_ends.values())


def test_one_decoder_per_thread() -> None:
    (passphrase, data), *_ = sample()
    expected = decoded(full_decoder(passphrase), [data])

    def work(seed: int) -> dict[str, pa.Table]:
        return decoded(full_decoder(passphrase), list(random_groups(data, random.Random(seed))))

    with ThreadPoolExecutor(4) as pool:
        for actual in pool.map(work, range(12)):
            assert_same(expected, actual)


def test_row_ends_count_the_rows_of_each_ledger() -> None:
    for passphrase, data in sample():
        result = full_decoder(passphrase).decode(data)
        for stream in STREAMS:
            sequences = result.batches[stream].column("ledger_sequence").to_numpy()
            counts = np.diff(result.row_ends[stream], prepend=0)
            assert np.array_equal(sequences, np.repeat(result.sequences, counts))

"""Names in a SEP-54 store."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stellar_arrow_source.ledgers.layout import Layout, Span, file_span, infer_layout, partition_span
from tests.support import corpus


@pytest.mark.parametrize(
    ("layout", "sequence", "folder", "stem"),
    [
        (Layout(1, 64000), 60659332, "FC6331FF--60608000-60671999", "FC62697B--60659332"),
        (Layout(64, 10), 1410303, "FFEA7C7F--1409920-1410559", "FFEA7B3F--1410240-1410303"),
        (Layout(1, 1), 3, "", "FFFFFFFC--3"),
        (Layout(64, 1), 2, "", "FFFFFFFF--0-63"),
    ],
)
def test_names(layout: Layout, sequence: int, folder: str, stem: str) -> None:
    batch = layout.batch(sequence)
    assert (layout.folder(batch), layout.stem(batch)) == (folder, stem)


@corpus.requires_corpus
@pytest.mark.parametrize(
    ("name", "layout"),
    [("pubnet", Layout(1, 64000)), ("pubnet-2020-meta-v2", Layout(1, 64000)), ("testnet-2022", Layout(64, 10))],
)
def test_names_of_real_stores(name: str, layout: Layout) -> None:
    for file in corpus.files(name):
        _, folder, base = file.split("/")
        span = file_span(base)
        assert span is not None
        assert (layout.folder(span), layout.stem(span)) == (folder, base.split(".")[0])
        assert layout.batch(span.last) == span
        if layout.ledgers_per_batch > 1:
            assert infer_layout(partition_span(folder), span) == layout


@given(st.integers(1, 500), st.integers(1, 70_000), st.integers(0, 0xFFFFFFFF))
def test_names_tell_what_they_were_made_from(per_batch: int, per_partition: int, sequence: int) -> None:
    layout = Layout(per_batch, per_partition)
    batch = layout.batch(sequence)
    assert batch.first <= sequence <= batch.last
    assert file_span(layout.stem(batch) + ".xdr.zst") == batch
    if folder := layout.folder(batch):
        partition = partition_span(folder)
        assert partition is not None
        assert partition.first <= batch.first <= batch.last <= partition.last


@pytest.mark.parametrize(
    "name",
    [
        "FFFFFFFC--4.xdr.zst", "FFFFFFFC--3.xdr", "FFFFFFFC--3.xdr.gz", "fffffffc--3.xdr.zst", "FFFFFFFC--3-2.xdr.zst",
        "FFFFFFFC--3-.xdr.zst", "FFFFFFFC-3.xdr.zst", "FFFFFFFC--99999999999.xdr.zst", ".config.json", "",
    ],
)  # fmt: skip
def test_other_names_are_no_ledger_files(name: str) -> None:
    assert file_span(name) is None


def test_a_layout_that_names_contradict_is_not_made_up() -> None:
    assert infer_layout(Span(0, 9), Span(4, 7)) is None
    assert infer_layout(Span(0, 7), Span(8, 11)) is None
    assert infer_layout(None, Span(3, 6)) is None

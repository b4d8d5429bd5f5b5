"""A crash at every single step of making files durable, by stopping dead at each call to the system."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from parquet_consumer.archive import Archive
from parquet_consumer.files import FileOptions
from parquet_consumer.folders import Folder
from parquet_consumer.manifest import Manifest
from parquet_consumer.partitions import Partitioning
from parquet_consumer.sink import ParquetSink
from parquet_consumer.upkeep import faults, prune

from stellar_arrow_client.request import StreamRequest

FIRST, LAST = 100, 130
STEPS = [(os, "fsync"), (os, "pwrite"), (os, "ftruncate"), (Path, "rename"), (Path, "unlink"), (Path, "rmdir")]


class Crash(BaseException):
    """The process is gone: no handler may do anything about it."""


@contextmanager
def crashing(at: int, when: str) -> Iterator[Callable[[], int]]:
    """Crash ``before``, ``after`` or ``amid`` the ``at``-th step; gives the number of steps so far."""
    steps = 0
    patch = pytest.MonkeyPatch()

    def wrap(owner: Any, name: str) -> None:
        real = getattr(owner, name)

        def step(*args: Any, **kwargs: Any) -> Any:
            nonlocal steps
            steps += 1
            if steps > at:
                raise Crash  # the process is gone: what handlers and destructors would do does not happen
            if steps < at:
                return real(*args, **kwargs)
            if when == "after":
                real(*args, **kwargs)
            elif when == "amid" and name == "pwrite":
                log, data, offset = args
                real(log, data[: len(data) // 2], offset)
            raise Crash

        patch.setattr(owner, name, step)

    for owner, name in STEPS:
        wrap(owner, name)
    try:
        yield lambda: steps
    finally:
        patch.undo()


def archive_all(folder: Path, payments) -> None:
    archive = Archive(Folder(folder))
    sink = ParquetSink(archive, Partitioning.parse("hive"), FileOptions())
    for _ in range(2):
        begin = sink.open(payments.SCHEMA, StreamRequest("payments", FIRST, LAST)) or FIRST
        for first in range(begin, LAST + 1, 10):
            payments.feed(sink, first, min(first + 9, LAST))
            sink.checkpoint()
    sink.close()
    archive.close()


@pytest.mark.parametrize("when", ["before", "amid", "after"])
def test_a_crash_at_any_step_of_archiving(tmp_path, payments, read_archive, when: str) -> None:
    expected = payments.table(range(FIRST, LAST + 1)).replace_schema_metadata(None)
    for step in range(1, 200):
        folder = tmp_path / f"{when}-{step}"
        with crashing(step, when) as steps:
            with suppress(Crash):
                archive_all(folder, payments)
            done = steps() < step
        archive_all(folder, payments)
        assert read_archive(folder).equals(expected)
        assert list(Manifest.load(Folder(folder)).covered) == [(FIRST, LAST)]
        assert list(faults(Folder(folder))) == []
        if done:
            break
    assert done
    assert step > 20


@pytest.mark.parametrize("when", ["before", "amid", "after"])
def test_a_crash_at_any_step_of_pruning(tmp_path, payments, read_archive, when: str) -> None:
    midnight = datetime(2024, 8, 31, tzinfo=UTC)
    whole = payments.table(range(FIRST, LAST + 1)).replace_schema_metadata(None)
    rest = payments.table(range(112, LAST + 1)).replace_schema_metadata(None)
    for step in range(1, 50):
        folder = tmp_path / f"{when}-{step}"
        archive_all(folder, payments)
        with crashing(step, when) as steps:
            with suppress(Crash):
                prune(Folder(folder), midnight)
            done = steps() < step
        pruned = Manifest.load(Folder(folder)).pruned
        archive_all(folder, payments)
        assert read_archive(folder).equals(rest if pruned else whole)
        assert list(faults(Folder(folder))) == []
        assert list(Manifest.load(Folder(folder)).covered) == [(FIRST, LAST)]
        if done:
            break
    assert done
    assert step > 5

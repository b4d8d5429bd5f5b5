"""Kills over one archive, fifteen or PARQUET_CONSUMER_KILLS: it ends up as one that was never disturbed."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import pytest
from parquet_consumer.folders import Folder
from parquet_consumer.manifest import COLUMNS_NAME, MANIFEST_NAME, Manifest
from parquet_consumer.storage import LOCK_NAME

from stellar_arrow_client.testing import FakeServer

KILLS = max(15, int(os.environ.get("PARQUET_CONSUMER_KILLS", "0")))
FIRST, LAST = 100, 100 * (KILLS + 1) - 1


def covered_until(folder: Path) -> int | None:
    return Manifest.load(Folder(folder)).covered.last


@pytest.mark.timeout(300)
def test_kills_leave_the_archive_undisturbed(tmp_path, payments, command, read_archive) -> None:
    """The kills are spread over the start, the stream, and the completion of files, by a seeded chance."""
    chance = random.Random(53312000)
    killed, undisturbed = tmp_path / "killed", tmp_path / "undisturbed"
    often = ["--interval", "0.0005", "--max-file-size", "4KB", "--partition", "ledgers:37", "--log-level", "warning"]
    with FakeServer(
        {"payments": payments.table(range(FIRST, LAST + 1))}, FIRST, LAST, ledgers_per_batch=2, delay=0.004
    ) as server:
        resumed_at: set[int | None] = {None}
        for number, batches in enumerate(server.stages(KILLS)):
            with command.start(server.address, killed, FIRST, LAST, *often) as process:
                server.wait_for_batches(server.batches + chance.randrange(1, batches), 60)
                while number % 3 and process.poll() is None and covered_until(killed) in resumed_at:
                    time.sleep(0.005)
                time.sleep(chance.random() * 0.03)
                process.kill()
                _, said = process.communicate(timeout=30)
            assert process.returncode == -signal.SIGKILL, f"it ended before it could be killed: {said}"
            resumed_at.add(covered_until(killed))
        assert len(resumed_at) > KILLS / 2, "the kills must meet an archive that grows"
        server.delay, server.ledgers_per_batch = 0, 250
        command(server.address, killed, FIRST, LAST, *often)
        command(server.address, undisturbed, FIRST, LAST)
    assert read_archive(killed).equals(read_archive(undisturbed))
    assert read_archive(undisturbed).equals(payments.table(range(FIRST, LAST + 1)).replace_schema_metadata(None))
    assert list(Manifest.load(Folder(killed)).covered) == [(FIRST, LAST)]
    recorded = {killed / path for path in Manifest.load(Folder(killed)).files}
    own = {killed / name for name in (COLUMNS_NAME, LOCK_NAME, MANIFEST_NAME)}
    assert {path for path in killed.rglob("*") if path.is_file()} == recorded | own
    command("verify", killed)

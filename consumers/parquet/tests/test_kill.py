"""Fifty kills over one archive: it ends up as one that was never disturbed."""

from __future__ import annotations

import random
import signal
import time

import pytest
from parquet_consumer.folders import Folder
from parquet_consumer.manifest import COLUMNS_NAME, MANIFEST_NAME, Manifest
from parquet_consumer.storage import LOCK_NAME

from stellar_arrow_client.testing import FakeServer

KILLS = 50
FIRST, LAST = 100, 5099


@pytest.mark.timeout(300)
def test_fifty_kills_leave_the_archive_undisturbed(tmp_path, payments, command, read_archive) -> None:
    """The kills are spread over the start, the stream, and the completion of files, by a seeded chance."""
    chance = random.Random(53312000)
    killed, undisturbed = tmp_path / "killed", tmp_path / "undisturbed"
    often = ["--interval", "0.0005", "--max-file-size", "4KB", "--partition", "ledgers:37", "--log-level", "warning"]
    with FakeServer(
        {"payments": payments.table(range(FIRST, LAST + 1))}, FIRST, LAST, ledgers_per_batch=2, delay=0.004
    ) as server:
        resumed_at = set()
        for _ in range(KILLS):
            with command.start(server.address, killed, FIRST, LAST, *often) as process:
                server.wait_for_batches(server.batches + chance.randrange(1, 50), 30)
                time.sleep(chance.random() * 0.03)
                process.kill()
                _, said = process.communicate(timeout=30)
            assert process.returncode == -signal.SIGKILL, f"it ended before it could be killed: {said}"
            resumed_at.add(Manifest.load(Folder(killed)).covered.last)
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

"""Memory is bounded by the row group, not by the range or by the file."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import os, sys
from pathlib import Path
import pyarrow as pa
from parquet_consumer.folders import Folder
from parquet_consumer.archive import Archive
from parquet_consumer.files import FileOptions
from parquet_consumer.partitions import Partitioning
from parquet_consumer.sink import ParquetSink
from stellar_arrow_client.request import Cursor, StreamRequest

ROWS, LEDGERS = 8_000, int(sys.argv[2])

def batch(ledger):
    noise = os.urandom(ROWS * 128)
    return pa.record_batch({
        "ledger_sequence": pa.array([ledger] * ROWS, pa.uint32()),
        "ledger_close_time": pa.array([1_725_000_000_000_000] * ROWS, pa.int64()).cast(pa.timestamp("us", "UTC")),
        "noise": pa.FixedSizeBinaryArray.from_buffers(pa.binary(128), ROWS, [None, pa.py_buffer(noise)]),
    })

archive = Archive(Folder(Path(sys.argv[1])))
sink = ParquetSink(archive, Partitioning.parse("hive"), FileOptions())
sink.open(batch(1).schema, StreamRequest("noise", 1, LEDGERS))
for ledger in range(1, LEDGERS + 1):
    sink.write(batch(ledger), Cursor(ledger, ledger))
sink.close()
written = sum(record.size for record in archive.records.files.values())
archive.close()
# Not getrusage: its peak is inherited from the process that started this one.
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(written, int(status["VmHWM"].split()[0]) * 1024)
"""


def test_memory_is_bounded_by_the_row_group(tmp_path) -> None:
    def run(ledgers: int) -> tuple[int, int]:
        command = [sys.executable, "-c", SCRIPT, str(tmp_path / str(ledgers)), str(ledgers)]
        written, peak = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
        return int(written), int(peak)

    one_row_group, much = run(80), run(800)
    assert one_row_group[0] > 64 * 2**20
    assert much[0] > 9 * one_row_group[0]
    assert much[1] < one_row_group[1] + 128 * 2**20, "ten times the rows may not take much more memory"
    assert much[1] < 512 * 2**20

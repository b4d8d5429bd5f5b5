"""The SDK's conformance suite, on the real command."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from stellar_arrow_client.testing import SAMPLE_STREAM
from stellar_arrow_client.testing.conformance import ConsumerConformance, ConsumerUnderTest


class Parquet(ConsumerUnderTest):
    def command(self, server: str, output: Path, start: int, end: int | None) -> Sequence[str]:
        program = str(Path(sys.executable).with_name("parquet-consumer"))
        often = ["--interval", "0.001", "--max-file-size", "8KB"]
        return [program, server, str(output), str(start), str(end or 0), "--stream", SAMPLE_STREAM, *often]

    def read(self, output: Path) -> pa.Table:
        files = sorted(output.glob("*/*.parquet"))
        return pa.concat_tables([pq.ParquetFile(path).read() for path in files] or [self.table(1, 1).slice(0, 0)])


class TestConformance(ConsumerConformance):
    consumer = Parquet()

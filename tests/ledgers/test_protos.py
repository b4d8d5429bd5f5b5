"""Generated modules are those of their .proto files."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCES = (ROOT / "src", *sorted(ROOT.glob("consumers/*/src")))


def test_generated_modules_are_up_to_date(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHON": sys.executable}
    subprocess.run([ROOT / "scripts" / "generate-protos", tmp_path], check=True, env=environment, timeout=120)
    made = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*_pb2.py"))
    kept = {path.relative_to(source): path for source in SOURCES for path in source.rglob("*_pb2.py")}
    assert made == sorted(kept)
    for path in made:
        assert (tmp_path / path).read_text() == kept[path].read_text(), f"run scripts/generate-protos: {path}"

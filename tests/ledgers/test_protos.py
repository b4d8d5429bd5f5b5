"""Generated modules are those of their .proto files."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_generated_modules_are_up_to_date(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHON": sys.executable}
    subprocess.run([ROOT / "scripts" / "generate-protos", tmp_path], check=True, env=environment, timeout=120)
    made = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*_pb2.py"))
    assert made == sorted(path.relative_to(ROOT / "src") for path in (ROOT / "src").rglob("*_pb2.py"))
    for path in made:
        assert (tmp_path / path).read_text() == (ROOT / "src" / path).read_text(), (
            f"run scripts/generate-protos: {path}"
        )

"""What the process of a server takes for itself."""

from __future__ import annotations

import resource
import subprocess
import sys

import pytest

from stellar_arrow_source.flight.process import OPEN_FILES

SCRIPT = """
import resource
from stellar_arrow_source.flight.process import _allow_open_files
resource.setrlimit(resource.RLIMIT_NOFILE, ({}, {}))
_allow_open_files()
print(*resource.getrlimit(resource.RLIMIT_NOFILE))
"""


@pytest.mark.parametrize(("soft", "hard", "expected"), [(256, 512, 512), (300, 300, 300), (256, None, OPEN_FILES)])
def test_as_many_files_may_be_open_as_the_user_is_allowed(soft: int, hard: int | None, expected: int) -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    hard = most if hard is None else hard
    if expected == OPEN_FILES and most != resource.RLIM_INFINITY:
        expected = min(expected, most)
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(soft, hard)], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split() == [str(expected), str(hard)]

"""Memory that is freed is used again, without the kernel."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

SCRIPT = """
import resource, sys, threading
from stellar_arrow_source.allocator import keep_freed_memory

def work():
    for _ in range(100):
        bytearray(b"x") * (8 << 20)

if sys.argv[1] == "kept":
    keep_freed_memory()
work()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(4):
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str) -> int:
    run = subprocess.run([sys.executable, "-c", SCRIPT, how], capture_output=True, text=True, check=True)
    return int(run.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's allocator can be told")
def test_megabytes_are_given_out_again_without_fresh_pages() -> None:
    kept, usual = faults("kept"), faults("usual")
    assert kept < 2048, "less than 8 MB of fresh pages for 3.2 GB of memory given out"
    assert kept < usual / 10

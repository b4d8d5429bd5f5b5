"""How the C library gives out the memory of ledgers and messages."""

from __future__ import annotations

import ctypes

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8  # of malloc.h of glibc
_LARGEST_REUSED = 32 << 20  # the most that glibc takes
_KEPT = 64 << 20


def keep_freed_memory() -> None:
    """Let blocks of megabytes be reused rather than given back to the kernel, from one heap for all threads.

    Ledgers and messages come and go by the thousand. Fresh pages for each take longer than filling them, and a heap
    for each thread holds on to as much as all need together. Other C libraries than glibc are left as they are.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 1)
        mallopt(_M_MMAP_THRESHOLD, _LARGEST_REUSED)
        mallopt(_M_TRIM_THRESHOLD, _KEPT)

"""What all compiled kernels share: ``kernel``, ``helper``, ``load32``, ``load64``, ``load_int``.

A kernel is a plain loop over numpy arrays. With ``NUMBA_DISABLE_JIT=1`` the kernels run as plain Python, so they
must not rely on wrapping arithmetic.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TypeAlias, TypeVar, cast

import numba
import numpy as np
import numpy.typing as npt

Words: TypeAlias = npt.NDArray[np.uint32]
"""Big-endian XDR seen as uint32 words in the machine's (little-endian) order."""
Positions: TypeAlias = npt.NDArray[np.int64]
"""Indices of words; 0 means absent."""
Bytes: TypeAlias = npt.NDArray[np.uint8]
Mask: TypeAlias = npt.NDArray[np.bool_]
Offsets: TypeAlias = npt.NDArray[np.int32]
"""Arrow offsets: one more than there are rows."""

Function = TypeVar("Function", bound=Callable[..., object])


@cache
def _stamp(folder: Path) -> str:
    """A digest of everything that code compiled from a file of ``folder`` may depend on beyond that file.

    It may use what its own folder's and this folder's files with kernels or helpers define, and of no other folder.
    """
    digest = hashlib.sha256(repr(numba.config.BOUNDSCHECK).encode())
    for place in dict.fromkeys((Path(__file__).parent, folder)):
        for path in sorted(place.glob("*.py")):
            source = path.read_bytes()
            if b"@kernel" in source or b"@helper" in source:
                digest.update(source)
    return digest.hexdigest()[:12]


def kernel(function: Function) -> Function:
    """Compile a loop to machine code that runs without the interpreter lock, kept on disk between runs."""
    return _compiled(function)


def helper(function: Function) -> Function:
    """Compile a function that kernels call for each row; it must create no array.

    Without that need it is spared counting references to its arguments, atomic operations that can cost more than
    the work itself. It is inlined: left to itself, LLVM calls the many of a long kernel, which made the one that
    writes effects take 2.3 times as long.
    """
    return _compiled(function, _nrt=False, forceinline=True)


def _compiled(function: Function, **options: bool) -> Function:
    # numba would serve code with stale callees after a change in another file: the name is part of its cache key
    function.__qualname__ += f"-{_stamp(Path(inspect.getfile(function)).parent)}"
    return cast(Function, numba.njit(nogil=True, cache=True, **options)(function))


@helper
def load32(words: Words, p: int) -> np.uint32:
    """The unsigned 32-bit integer at word `p`."""
    v = words[np.uint64(p)]
    # shifts widen to 64 bits, hence the cast
    return np.uint32(
        (v >> np.uint32(24))
        | ((v >> np.uint32(8)) & np.uint32(0xFF00))
        | ((v << np.uint32(8)) & np.uint32(0xFF0000))
        | ((v << np.uint32(24)) & np.uint32(0xFF000000))
    )


@helper
def load64(words: Words, p: int) -> np.uint64:
    """The unsigned 64-bit integer at words `p` and `p` + 1."""
    return np.uint64((np.uint64(load32(words, p)) << np.uint64(32)) | np.uint64(load32(words, p + 1)))


@helper
def load_int(words: Words, p: int) -> int:
    """``load32`` as a signed 64-bit integer, for counts, lengths and discriminants."""
    return np.int64(load32(words, p))  # type: ignore[return-value]  # int() would stay unsigned

"""Keeps compiled machine code between processes: compiling takes one to three seconds, loading milliseconds.

The folder is numba's, where NUMBA_CACHE_DIR names one, else the user's cache folder. An entry is named by what it was
made from and holds a checksum, so that a torn or foreign file is not used; where nothing can be written, code is
compiled anew in each process.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from hashlib import sha256
from pathlib import Path

import llvmlite
import llvmlite.binding as llvm
import numba


def processor() -> tuple[str, str]:
    """Name and features of the processor that code is compiled for: this one, or what NUMBA_CPU_NAME says."""
    name, features = numba.config.CPU_NAME, numba.config.CPU_FEATURES
    return (
        name or llvm.get_host_cpu_name(),
        llvm.get_host_cpu_features().flatten() if features is None else features,
    )


def _path(text: str, cpu: str, features: str) -> Path:
    key = sha256("\0".join((llvmlite.__version__, cpu, features, text)).encode()).hexdigest()
    user = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(numba.config.CACHE_DIR or Path(user) / "stellar-arrow") / f"{key}.o"


def load(text: str, cpu: str, features: str) -> bytes | None:
    """The code compiled of ``text`` for this processor, None if there is none that is whole."""
    try:
        content = _path(text, cpu, features).read_bytes()
    except (OSError, RuntimeError):  # RuntimeError: the user has no home
        return None
    digest, code = content[:32], content[32:]
    return code if sha256(code).digest() == digest else None


def store(text: str, cpu: str, features: str, code: bytes) -> None:
    """Keep ``code``; a folder that cannot be written is no error."""
    with contextlib.suppress(OSError, RuntimeError):
        path = _path(text, cpu, features)
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(sha256(code).digest() + code)
            os.replace(name, path)
        except OSError:
            os.unlink(name)
            raise

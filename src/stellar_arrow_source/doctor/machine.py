"""The machine and what is installed on it: Python, libraries, processors, memory, caches, open files."""

from __future__ import annotations

import os
import platform
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Final

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from rich.filesize import decimal

from stellar_arrow_source.config import ServerConfig
from stellar_arrow_source.doctor.findings import Finding, fail, ok, warn

DISTRIBUTION: Final = "stellar-arrow-source"

SERVER_BYTES: Final = 400 << 20
"""Memory of a server, apart from what its clients' batches take."""
STREAM_BYTES: Final = 8 << 20
"""Two batches of a client."""
FILES_OF_STREAM: Final = 4
FILES_OF_SERVER: Final = 256

_CGROUP: Final = Path("/sys/fs/cgroup")


def versions(_config: ServerConfig) -> Iterator[Finding]:
    """Python and the libraries, against what the project asks for."""
    wanted = SpecifierSet(metadata.metadata(DISTRIBUTION)["Requires-Python"])
    python = f"{platform.python_implementation()} {platform.python_version()}"
    if platform.python_version() in wanted:
        yield ok("Python", python)
    else:
        yield fail("Python", f"{python} is not {wanted}", "install a newer Python")
    wrong, found = [], []
    for text in metadata.requires(DISTRIBUTION) or ():
        requirement = Requirement(text)
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            version = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            wrong.append(f"{requirement.name} is missing")
            continue
        found.append(f"{requirement.name} {version}")
        if not requirement.specifier.contains(version, prereleases=True):
            wrong.append(f"{requirement.name} {version} is not {requirement.specifier}")
    if wrong:
        yield fail("libraries", ", ".join(wrong), f"{sys.executable} -m pip install --upgrade {DISTRIBUTION}")
    else:
        yield ok("libraries", f"{DISTRIBUTION} {metadata.version(DISTRIBUTION)} with {', '.join(sorted(found))}")


def processors(config: ServerConfig) -> Iterator[Finding]:
    """Processors that this process may use, against the worker processes asked for."""
    allowed = float(len(os.sched_getaffinity(0)))
    quota, _, period = _read(_CGROUP / "cpu.max", "max 100000").partition(" ")
    if quota.isdecimal():
        allowed = min(allowed, int(quota) / int(period))
    text = f"{allowed:g} of {os.cpu_count()}"
    if allowed < 2:
        yield warn("processors", text, "give it two: one for what it decodes, one for the source, clients and pages")
    elif config.workers > allowed:
        yield warn("processors", f"{text}, for {config.workers} worker processes", f"--workers {allowed:.0f} is enough")
    else:
        yield ok("processors", text)


def memory(config: ServerConfig) -> Iterator[Finding]:
    """Memory that there is for the server, also within a container, against what its settings let it take."""
    there = {line.split(":")[0]: int(line.split()[1]) << 10 for line in Path("/proc/meminfo").read_text().splitlines()}
    available = there["MemAvailable"]
    limit = _read(_CGROUP / "memory.max", "") or _read(_CGROUP / "memory/memory.limit_in_bytes", "max")
    if limit.isdecimal() and int(limit) < there["MemTotal"]:
        used = _read(_CGROUP / "memory.current", "") or _read(_CGROUP / "memory/memory.usage_in_bytes", "0")
        available = min(available, int(limit) - int(used))
    needed = (1 + config.workers) * SERVER_BYTES + config.prefetch_bytes + config.max_connections * STREAM_BYTES
    text = f"{decimal(available)} available, up to {decimal(needed)} needed with all streams in use"
    if available < SERVER_BYTES:
        yield fail("memory", text, f"give it {decimal(needed)}")
    elif available < needed:
        yield warn("memory", text, "give it more, or lower --max-connections or --prefetch-bytes")
    else:
        yield ok("memory", text)


def open_files(config: ServerConfig) -> Iterator[Finding]:
    """Files and connections that the process may have open."""
    _, limit = resource.getrlimit(resource.RLIMIT_NOFILE)  # the server raises the other one
    needed = FILES_OF_SERVER + config.max_connections * FILES_OF_STREAM
    text = f"{limit} may be open, up to {needed} needed"
    if limit != resource.RLIM_INFINITY and limit < needed:
        yield warn("open files", text, "raise it with ulimit -Hn, or LimitNOFILE= of systemd")
    else:
        yield ok("open files", text)


def kernels(config: ServerConfig) -> Iterator[Finding]:
    """Whether compiled code can be kept, and whether it is there."""
    from stellar_arrow_source.flight.backend import ledger_tables
    from stellar_arrow_source.xdr import code_cache

    token = str(time.time_ns()).encode()
    code_cache.store("doctor", "", "", token)
    if code_cache.load("doctor", "", "") != token:
        yield fail(
            "compiled code",
            "nothing can be written where it is kept, so each process compiles for minutes",
            "set NUMBA_CACHE_DIR to a folder that this user may write",
        )
        return
    tables = ledger_tables(config.ttp_mode)
    if missing := tables.unprepared():
        yield warn(
            "compiled code",
            f"{len(missing)} decoders are not compiled yet for this machine and this user",
            "start the server once: it compiles them, in some minutes",
        )
    else:
        yield ok("compiled code", f"all {len(tables.streams)} streams are compiled")


def ledger_cache(config: ServerConfig) -> Iterator[Finding]:
    """The folder of --ledger-cache: whether it can be written, and whether it can grow as far as it may."""
    folder = config.ledger_cache
    if folder is None:
        return
    place = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    try:
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        fix = "choose another --ledger-cache, or change its owner"
        yield fail("ledger cache", f"{folder} cannot be written: {error.strerror}", fix)
        return
    held = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) if folder.exists() else 0
    free, wanted = shutil.disk_usage(place).free, config.ledger_cache_bytes - held
    text = f"{folder} holds {decimal(held)}, {decimal(free)} are free on its disk"
    if free < wanted:
        fix = f"lower --ledger-cache-bytes to {max(1 << 20, held + free)}, or make room"
        yield warn("ledger cache", f"{text}, and it may grow by {decimal(wanted)}", fix)
    else:
        yield ok("ledger cache", text)


def _read(path: Path, otherwise: str) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return otherwise

"""Python environments for what a newcomer installs, so that the one of the tests stays as it is."""

from __future__ import annotations

import os
import re
import site
import subprocess
import sys
import venv
from pathlib import Path

_PIP = """\
#!/bin/sh
exec "{python}" -m pip --disable-pip-version-check "$@" --no-index --no-build-isolation
"""
"""What the project needs is there already; so nothing is fetched from an index, neither for builds."""
_PROGRAM = """\
#!/bin/sh
exec "{python}" "{program}" "$@"
"""


def new_environment(folder: Path) -> dict[str, str]:
    """Make a virtual environment that has all that is installed for the tests, and ``pip`` to install more.

    Returns:
        The environment variables of a shell in which it is activated.
    """
    venv.EnvBuilder(symlinks=True).create(folder)
    programs = folder / "bin"
    python = programs / "python"
    [packages] = (folder / "lib").glob("python*/site-packages")
    lines = [f"import site; site.addsitedir({path!r})" for path in site.getsitepackages()]
    (packages / "tests.pth").write_text("\n".join(lines))
    scripts = {"pip": _PIP.format(python=python)}
    for program in Path(sys.executable).parent.iterdir():
        if program.is_file() and re.match(rb"#!.*python", program.read_bytes()[:200]):
            scripts.setdefault(program.name, _PROGRAM.format(python=python, program=program))
    for name, script in scripts.items():
        (programs / name).write_text(script)
        (programs / name).chmod(0o755)
    path = os.pathsep.join([str(programs), str(Path(sys.executable).parent), os.environ["PATH"]])
    return {**os.environ, "VIRTUAL_ENV": str(folder), "PATH": path}


def type_in(command: str, folder: Path, environment: dict[str, str], code: int = 0) -> subprocess.CompletedProcess[str]:
    """Type a command into a shell, and check its exit code."""
    done = subprocess.run(
        ["sh", "-euc", command], cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == code, f"{command}\nended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
    return done

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


def new_environment(folder: Path) -> Path:
    """Make a virtual environment that has all that is installed for the tests, and ``pip`` to install more.

    Returns:
        Its folder of programs, which a shell has first in its PATH when the environment is activated.
    """
    venv.EnvBuilder(symlinks=True).create(folder)
    programs = folder / "bin"
    python = programs / "python"
    [packages] = (folder / "lib").glob("python*/site-packages")
    lines = [f"import site; site.addsitedir({path!r})" for path in site.getsitepackages()]
    (packages / "tests.pth").write_text("\n".join(lines))
    scripts = {"pip": _PIP.format(python=python)}
    for program in Path(sys.executable).parent.iterdir():
        if (programs / program.name).exists() or not os.access(program, os.X_OK):
            continue
        if re.match(rb"#!.*python", program.read_bytes()[:200]):
            scripts.setdefault(program.name, _PROGRAM.format(python=python, program=program))
        else:
            (programs / program.name).symlink_to(program)
    for name, script in scripts.items():
        (programs / name).write_text(script)
        (programs / name).chmod(0o755)
    return programs


def path_with(programs: Path) -> str:
    """The PATH that finds these programs first."""
    return f"{programs}{os.pathsep}{os.environ['PATH']}"


def type_in(command: str, folder: Path, programs: Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    """Type a command into a shell, and check its exit code."""
    env = {**os.environ, "PATH": path_with(programs)}
    done = subprocess.run(
        ["sh", "-euc", command], cwd=folder, env=env, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == code, f"{command}\nended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
    return done

"""Makes the package of a new consumer: a copy of the template, under a name of its own.

The template is a whole consumer, checked and tested as it stands. Only its name changes in a copy, so that no
template engine is needed.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import keyword
import re
import shutil
from pathlib import Path
from typing import Final

from stellar_arrow_client.errors import InvalidRequestError

TEMPLATE: Final = Path(__file__).with_name("template")
TEMPLATE_NAME: Final = "template-consumer"
DISTRIBUTION: Final = "stellar-arrow-source"
MAX_NAME_LENGTH: Final = 40

_LEFTOVERS: Final = ("__pycache__", "*.egg-info", ".*")
"""What Python, pip and other tools leave in a folder of sources."""


def new_consumer(name: str, directory: Path) -> Path:
    """Create ``directory/name``, the package of a consumer that works and passes the conformance suite.

    Args:
        name: of the distribution and of its command, such as ``payments-db``; its import package is ``payments_db``.

    Returns:
        The new folder.

    Raises:
        InvalidRequestError: the name cannot be used, or the folder exists already.
    """
    package = package_name(name)
    folder = directory / name
    if not directory.is_dir():
        raise InvalidRequestError(f"there is no folder {directory}; create it, or choose another --directory")
    names = {TEMPLATE_NAME: name, _importable(TEMPLATE_NAME): package, f"{DISTRIBUTION}>=0": _requirement()}
    try:
        shutil.copytree(TEMPLATE, folder, ignore=shutil.ignore_patterns(*_LEFTOVERS), copy_function=shutil.copyfile)
    except FileExistsError:
        raise InvalidRequestError(f"{folder} exists already; choose another name or --directory") from None
    (folder / "src" / _importable(TEMPLATE_NAME)).rename(folder / "src" / package)
    for path in folder.rglob("*"):
        if path.is_file():
            text = path.read_text(encoding="utf-8")
            for placeholder, value in names.items():
                text = text.replace(placeholder, value)
            path.write_text(text, encoding="utf-8")
    return folder


def package_name(name: str) -> str:
    """The import package of a distribution.

    Raises:
        InvalidRequestError: the name is not one of a distribution (PEP 508) and of a module at the same time, or the
            module would hide another one.
    """
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name) or len(name) > MAX_NAME_LENGTH:
        raise InvalidRequestError(
            f"{name[: 2 * MAX_NAME_LENGTH]!r} cannot be the name of a consumer: it takes at most {MAX_NAME_LENGTH} "
            "lower-case letters and digits, in words joined by hyphens, such as payments-db"
        )
    package = _importable(name)
    if keyword.iskeyword(package) or importlib.util.find_spec(package) is not None:
        raise InvalidRequestError(f"Python has or knows {package!r} already; choose a name such as {name}-consumer")
    return package


def _importable(name: str) -> str:
    return name.replace("-", "_")


def _requirement() -> str:
    """The SDK as it is, up to the next version that may break what is built on it."""
    major, minor, *_ = importlib.metadata.version(DISTRIBUTION).split(".")
    return f"{DISTRIBUTION}>={major}.{minor},<{major}.{int(minor) + 1}"

"""Packages that only the table formats need."""

from __future__ import annotations

import importlib
from typing import Any

from parquet_consumer.errors import ArchiveError


def load(module: str, extra: str, purpose: str) -> Any:
    """A module that an extra of this package installs.

    Raises:
        ArchiveError: it is not installed; says how to install it.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module.partition(".")[0]:
            raise
        raise ArchiveError(
            f"{purpose} needs {error.name}, which is not installed: pip install 'parquet-consumer[{extra}]'"
        ) from None

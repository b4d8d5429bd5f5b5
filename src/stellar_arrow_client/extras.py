"""Packages that only some uses of the SDK need."""

from __future__ import annotations

import importlib
from typing import Any

from stellar_arrow_client.errors import StellarArrowError


def load(name: str, purpose: str) -> Any:
    """The module ``name``, which the extra of the same name installs.

    Raises:
        StellarArrowError: it is not installed; says how to install it.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        raise StellarArrowError(
            f"{purpose} needs {name}, which is not installed: pip install 'stellar-arrow-source[{name}]'"
        ) from None

"""Settings and fixtures of all tests: servers that are started once, for whoever asks for them first."""

from __future__ import annotations

import pytest
from hypothesis import settings

# The same examples whenever the same commit is tried; `--hypothesis-profile=search` looks for others.
settings.register_profile("same", derandomize=True, deadline=None)
settings.register_profile("search", max_examples=5000, deadline=None)
settings.load_profile("same")

pytest_plugins = ("tests.support.servers",)

COSTLY = ("kafka", "search")
"""Fixtures that start a virtual machine of Java: tests that need one of them are run by the same process."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for name in COSTLY:
            if name in getattr(item, "fixturenames", ()):
                item.add_marker(pytest.mark.xdist_group(name))
                break

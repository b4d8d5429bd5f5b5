"""Fixtures of all tests: servers that are started once, for whoever asks for them first."""

from __future__ import annotations

import pytest

pytest_plugins = ("tests.support.servers",)

COSTLY = ("kafka", "search")
"""Fixtures that start a virtual machine of Java: tests that need one of them are run by the same process."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for name in COSTLY:
            if name in getattr(item, "fixturenames", ()):
                item.add_marker(pytest.mark.xdist_group(name))
                break

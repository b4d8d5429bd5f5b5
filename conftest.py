"""Fixtures of all tests: servers that are started once, for whoever asks for them first."""

from __future__ import annotations

pytest_plugins = ("tests.support.servers",)

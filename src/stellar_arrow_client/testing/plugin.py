"""The pytest plugin: makes failures of the conformance suites readable, and lets a run choose them.

pytest loads it by its entry point wherever the SDK is installed, so it imports nothing but pytest. The suites
themselves are in :mod:`stellar_arrow_client.testing.conformance`: a consumer's tests derive a class.
"""

from __future__ import annotations

import pytest

SUITES = ("stellar_arrow_client.testing.conformance", "stellar_arrow_client.testing.trial")

pytest.register_assert_rewrite(*SUITES)


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker of the suites known: ``pytest -m conformance``, ``pytest -m 'not conformance'``."""
    config.addinivalue_line("markers", "conformance: what every consumer of Stellar streams must do")

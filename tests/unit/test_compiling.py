"""People are told when compiling begins, once; not when code comes from a cache."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import numba
import pytest
from numba.core import event

from stellar_arrow_source import compiling


@pytest.fixture(autouse=True)
def told(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Told from here on, once whoever told before is put aside."""
    registered = list(event._registered[compiling.KIND])
    event._registered[compiling.KIND].clear()
    caplog.set_level(logging.INFO)
    compiling.tell_of_compiling()
    yield
    event._registered[compiling.KIND][:] = registered


@pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="nothing is compiled with NUMBA_DISABLE_JIT")
def test_the_first_compilation_is_told(caplog: pytest.LogCaptureFixture) -> None:
    double = numba.njit(lambda x: 2 * x)
    assert caplog.messages == []
    assert (double(2), double(2.5)) == (4, 5.0)
    assert len(double.signatures) == 2
    [message] = caplog.messages
    assert message.startswith("compiling")

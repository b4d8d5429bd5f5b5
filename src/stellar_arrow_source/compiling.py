"""Tells people once when this process begins to compile: else they would wait a minute and not know why."""

from __future__ import annotations

import logging

from numba.core import event

KIND = "numba:compile"

_log = logging.getLogger(__name__)


class _Notice(event.Listener):  # type: ignore[misc]  # numba is not typed
    told = False

    def on_start(self, event: event.Event) -> None:
        if not self.told:
            self.told = True
            _log.info("compiling the decoder, as once on every machine; it takes up to a minute")

    def on_end(self, event: event.Event) -> None:
        pass


def tell_of_compiling() -> None:
    """Log a line when this process compiles something for the first time."""
    event.register(KIND, _Notice())

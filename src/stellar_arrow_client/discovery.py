"""Which consumers are installed: those that name their command in the entry points of their distribution."""

from __future__ import annotations

import importlib.metadata
from dataclasses import dataclass
from typing import Final

GROUP: Final = "stellar_arrow.consumers"


@dataclass(frozen=True, slots=True)
class InstalledConsumer:
    """A consumer, as its distribution describes it.

    Attributes:
        command: what to type.
        distribution, version: where it comes from.
        summary: what it does, in one sentence.
    """

    command: str
    distribution: str
    version: str
    summary: str


def installed_consumers() -> list[InstalledConsumer]:
    """All consumers of this Python environment, by command; none of their code is loaded."""
    found = [
        InstalledConsumer(entry.name, entry.dist.name, entry.dist.version, entry.dist.metadata["Summary"])
        for entry in importlib.metadata.entry_points(group=GROUP)
        if entry.dist is not None
    ]
    return sorted(found, key=lambda consumer: (consumer.command, consumer.distribution))

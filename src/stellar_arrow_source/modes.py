"""Choices that settings and streams have in common."""

from __future__ import annotations

from typing import Literal

TransferMode = Literal["auto", "unified", "derived"]
"""Where token-transfer events come from.

``unified``: the events that stellar-core wrote into a transaction's meta; none where it wrote none. ``derived``: the
operations, their results and the changes of entries. ``auto``: per transaction the first where there are such events,
else the second.
"""

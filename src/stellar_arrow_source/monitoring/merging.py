"""What several processes tell, as what one does: metrics and analytics."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

_HELP, _TYPE = b"# HELP ", b"# TYPE "
_SAMPLE = re.compile(rb"([^{ ]+)\{?(.*)", re.DOTALL)
"""Name, and what follows: labels with their closing brace and the value, or a space and the value."""


def merged(own: bytes, workers: Mapping[str, bytes]) -> bytes:
    """The metrics ``own`` as they are, and those of each worker with its name as the label ``worker``.

    The pages are those of servers of this version, so their lines are put together as they are: parsing them would
    take ten times as long.

    Args:
        own: in Prometheus' text format, like each value of ``workers``.
        workers: name → metrics.
    """
    if not workers:
        return own
    heads: dict[bytes, list[bytes]] = {}
    samples: dict[bytes, list[bytes]] = {}
    for worker, page in ((None, own), *workers.items()):
        family = b""
        for line in page.splitlines():
            if line.startswith((_HELP, _TYPE)):
                family = line.split(b" ", 3)[2]
                if worker is None or family not in samples:
                    heads.setdefault(family, []).append(line)
                if line.startswith(_TYPE):
                    samples.setdefault(family, [])
            else:
                samples[family].append(line if worker is None else _labelled(line, worker))
    return b"".join(b"\n".join([*heads[family], *lines, b""]) for family, lines in samples.items())


def _labelled(sample: bytes, worker: str) -> bytes:
    found = _SAMPLE.fullmatch(sample)
    assert found is not None
    name, rest = found.groups()
    label = b'worker="%s"' % worker.encode()
    if not sample[len(name) :].startswith(b"{"):
        return b"%s{%s}%s" % (name, label, rest)
    return b"%s{%s,%s" % (name, label, rest)


def merged_analytics(reports: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The figures of several processes as those of one: counts and rates are summed, shares follow from the sums.

    A ledger counts once in each process that decoded it: processes tell sums, not ledgers.

    Args:
        reports: as :meth:`~stellar_arrow_source.monitoring.analytics.LedgerAnalytics.report` gives them.
    """
    streams: dict[str, dict[str, dict[str, Any]]] = {}
    for report in reports:
        for stream, windows in report["streams"].items():
            for window, figures in windows.items():
                _add(streams.setdefault(stream, {}).setdefault(window, {}), figures)
    return {"streams": streams}


def _add(into: dict[str, Any], figures: Mapping[str, Any]) -> None:
    for name, value in figures.items():
        if name == "by_type":
            into[name] = dict((Counter(into.get(name, {})) + Counter(value)).most_common())
        elif isinstance(value, Mapping):
            _add(into.setdefault(name, {}), value)
        else:
            into[name] = into.get(name, 0) + value
    if "success_rate" in into:
        into["success_rate"] = into["successful"] / into["total"]

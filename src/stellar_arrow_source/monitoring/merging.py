"""One page of metrics of several processes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector


def merged(own: bytes, workers: Mapping[str, bytes]) -> bytes:
    """The metrics ``own`` as they are, and those of each worker with its name as the label ``worker``.

    Args:
        own: in Prometheus' text format, like each value of ``workers``.
        workers: name → metrics.
    """
    if not workers:
        return own
    families: dict[str, Metric] = {}
    for name, page in [(None, own), *workers.items()]:
        for family in text_string_to_metric_families(page.decode()):
            into = families.setdefault(family.name, Metric(family.name, family.documentation, family.type))
            label = {} if name is None else {"worker": name}
            into.samples += [sample._replace(labels={**sample.labels, **label}) for sample in family.samples]
    registry = CollectorRegistry()
    registry.register(_Families(families.values()))
    return generate_latest(registry)


class _Families(Collector):
    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families

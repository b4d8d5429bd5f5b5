"""A starter dashboard for OpenSearch Dashboards and Kibana, as saved objects to import."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from stellar_arrow_client.request import TIME

_ID: Final = "stellar-arrow-payments"
STREAM: Final = "payments"
"""Stream that the dashboard shows."""


@dataclass(frozen=True, slots=True)
class Panel:
    """One visualisation: a metric in buckets.

    Attributes:
        kind: line or table.
        metric: aggregation and field; count has none.
        buckets: the same, with the place where each goes.
    """

    name: str
    kind: str
    metric: tuple[str, str | None]
    buckets: Sequence[tuple[str, str, str]]
    query: str = ""


PANELS: Final = (
    Panel("Payments over time", "line", ("count", None), [("date_histogram", TIME, "segment")], "successful: true"),
    Panel("Accounts that paid", "line", ("cardinality", "source_account"), [("date_histogram", TIME, "segment")]),
    Panel("Assets paid most often", "table", ("count", None), [("terms", "asset_code", "bucket")], "successful: true"),
    Panel("What fails", "table", ("count", None), [("terms", "operation_type_string", "bucket")], "successful: false"),
)


def fields() -> frozenset[str]:
    """Columns of the stream that the dashboard needs."""
    names = {TIME, *(panel.query.partition(":")[0] for panel in PANELS if panel.query)}
    for panel in PANELS:
        names.update(field for _, field, _ in panel.buckets)
        if panel.metric[1]:
            names.add(panel.metric[1])
    return frozenset(names)


def saved_objects(prefix: str) -> Iterator[str]:
    """The lines of the file to import: index pattern, visualisations, dashboard."""
    alias = f"{prefix}-{STREAM}"
    yield _object("index-pattern", alias, {"title": alias, "timeFieldName": TIME}, ())
    places = []
    for number, panel in enumerate(PANELS):
        yield _object("visualization", f"{_ID}-{number}", _visualization(panel), [("search", "index-pattern", alias)])
        place = {"x": 24 * (number % 2), "y": 15 * (number // 2), "w": 24, "h": 15, "i": str(number)}
        places.append({"panelIndex": str(number), "gridData": place, "panelRefName": f"panel_{number}"})
    dashboard = {
        "title": "Stellar payments",
        "panelsJSON": json.dumps(places),
        "optionsJSON": "{}",
        "timeRestore": False,
        "kibanaSavedObjectMeta": {"searchSourceJSON": json.dumps({"query": _query(""), "filter": []})},
    }
    references = [(f"panel_{number}", "visualization", f"{_ID}-{number}") for number in range(len(PANELS))]
    yield _object("dashboard", _ID, dashboard, references)


def _visualization(panel: Panel) -> dict[str, Any]:
    kind, field = panel.metric
    aggregations = [{"id": "1", "enabled": True, "type": kind, "schema": "metric", "params": _field(field)}]
    for number, (bucket, name, schema) in enumerate(panel.buckets, 2):
        parameters = _field(name) | (
            {"interval": "auto"} if bucket == "date_histogram" else {"size": 20, "orderBy": "1"}
        )
        aggregations.append(
            {"id": str(number), "enabled": True, "type": bucket, "schema": schema, "params": parameters}
        )
    source = {"query": _query(panel.query), "filter": [], "indexRefName": "search"}
    return {
        "title": panel.name,
        "visState": json.dumps({"title": panel.name, "type": panel.kind, "params": {}, "aggs": aggregations}),
        "uiStateJSON": "{}",
        "kibanaSavedObjectMeta": {"searchSourceJSON": json.dumps(source)},
    }


def _field(name: str | None) -> dict[str, Any]:
    return {"field": name} if name else {}


def _query(text: str) -> Mapping[str, str]:
    return {"language": "kuery", "query": text}


def _object(kind: str, id_: str, attributes: Mapping[str, Any], references: Sequence[tuple[str, str, str]]) -> str:
    named = [{"name": name, "type": type_, "id": to} for name, type_, to in references]
    return json.dumps({"type": kind, "id": id_, "attributes": dict(attributes), "references": named})

"""One run: indices are made ready, then written until they lack nothing."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import click

from elasticsearch_consumer.checkpoints import Checkpoints
from elasticsearch_consumer.indices import Indices
from elasticsearch_consumer.plan import SeriesPlan, Wanted, about, make_plan
from elasticsearch_consumer.session import Session
from elasticsearch_consumer.sink import ElasticsearchSink, Target
from elasticsearch_consumer.writer import BulkWriter
from stellar_arrow_client.client import Client
from stellar_arrow_client.errors import ExitCode
from stellar_arrow_client.options import RunOptions
from stellar_arrow_client.planning import run_plans

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Writing:
    """How to write.

    Attributes:
        prefix: of the names of all indices.
        settings: of new indices.
        add_columns: whether to add columns that a stream has and its indices lack.
        connections: bulk requests under way at the same time.
        bulk_bytes: of a bulk request at most.
        checkpoint_seconds: time after which the checkpoint is written at the latest.
        dry_run: say what would be done instead.
    """

    prefix: str
    settings: Mapping[str, str]
    add_columns: bool
    connections: int
    bulk_bytes: int
    checkpoint_seconds: float
    dry_run: bool


def run(client: Client, session: Session, wanted: Sequence[Wanted], writing: Writing, options: RunOptions) -> int:
    """Write what the indices lack, print their aliases, and give the exit code.

    Raises:
        StellarArrowError: indices hold something else, a server fails.
    """
    checkpoints = Checkpoints(session, writing.prefix)
    plans = [make_plan(client, checkpoints, one, add_columns=writing.add_columns) for one in wanted]
    if writing.dry_run:
        for plan in plans:
            click.echo(plan)
        return ExitCode.OK
    checkpoints.create()
    indices = {plan.series: _make_ready(session, checkpoints, plan, writing) for plan in plans}
    with ThreadPoolExecutor(writing.connections, "bulk") as threads:

        def sink(plan: SeriesPlan, stop: threading.Event) -> ElasticsearchSink:
            session.stop = stop
            return ElasticsearchSink(
                Target(plan.series, checkpoints, plan.checkpoint, plan.chosen.schema, writing.bulk_bytes),
                BulkWriter(session, indices[plan.series], threads, writing.connections, client.retry),
            )

        exit_code = run_plans(plans, client, sink, options=options, checkpoint_seconds=writing.checkpoint_seconds)
    for plan in plans:
        click.echo(plan.output)
    return exit_code


def _make_ready(session: Session, checkpoints: Checkpoints, plan: SeriesPlan, writing: Writing) -> Indices:
    """Make the template and new fields, take the checkpoint over."""
    indices = Indices(session, plan.series)
    if not plan.missing:
        return indices
    properties = plan.properties
    indices.put_template(properties, about(plan.chosen.schema), writing.settings)
    if plan.new_columns:
        indices.add_properties({name: properties[name] for name in plan.new_columns})
        log.info("%s: added %s", plan.output, ", ".join(plan.new_columns))
    checkpoints.take(plan.output, plan.checkpoint)
    return indices

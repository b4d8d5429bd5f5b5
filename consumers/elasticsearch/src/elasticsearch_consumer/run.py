"""One run: indices are made ready, then written until they lack nothing."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import click

from elasticsearch_consumer.checkpoints import Checkpoints
from elasticsearch_consumer.indices import Indices
from elasticsearch_consumer.plan import Plan, Wanted, make_plan, rounds
from elasticsearch_consumer.session import Session
from elasticsearch_consumer.sink import ElasticsearchSink, Target
from elasticsearch_consumer.writer import BulkWriter
from stellar_arrow_client.client import Client
from stellar_arrow_client.errors import ExitCode
from stellar_arrow_client.options import RunOptions
from stellar_arrow_client.runner import Job, run_all

DEFAULT_INDEX_LEDGERS: Final = 100_000

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
    plans = [
        make_plan(
            client,
            checkpoints,
            one,
            default_index_ledgers=DEFAULT_INDEX_LEDGERS,
            add_columns=writing.add_columns,
        )
        for one in wanted
    ]
    if writing.dry_run:
        for plan in plans:
            click.echo(plan)
        return ExitCode.OK
    checkpoints.create()
    indices = {plan.series: _make_ready(session, checkpoints, plan, writing) for plan in plans}
    exit_code: int = ExitCode.OK
    with ThreadPoolExecutor(writing.connections, "bulk") as threads:
        for parts in rounds(plans):
            jobs = [
                Job(
                    request,
                    ElasticsearchSink(
                        Target(plan.series, checkpoints, plan.checkpoint, plan.wanted.schema, writing.bulk_bytes),
                        BulkWriter(session, indices[plan.series], threads, writing.connections, client.retry),
                    ),
                )
                for plan, request in parts
            ]
            session.stop = threading.Event()  # the runner sets it in the end
            results = run_all(
                jobs, client, options=options, stop=session.stop, checkpoint_seconds=writing.checkpoint_seconds
            )
            exit_code = max(result.exit_code for result in results)
            if exit_code:
                break
    for plan in plans:
        click.echo(plan.series.alias)
    return exit_code


def _make_ready(session: Session, checkpoints: Checkpoints, plan: Plan, writing: Writing) -> Indices:
    """Make the template and new fields, take the checkpoint over."""
    indices, wanted = Indices(session, plan.series), plan.wanted
    if not plan.missing:
        log.info("%s: already complete", plan.series.alias)
        return indices
    properties = wanted.properties
    indices.put_template(properties, wanted.about, writing.settings)
    if plan.new_columns:
        indices.add_properties({name: properties[name] for name in plan.new_columns})
        log.info("%s: added %s", plan.series.alias, ", ".join(plan.new_columns))
    checkpoints.take(plan.series.alias, plan.checkpoint)
    return indices

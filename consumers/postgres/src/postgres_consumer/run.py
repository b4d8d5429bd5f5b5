"""One run: tables are locked and made ready, then written until they lack nothing."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import click

from postgres_consumer.checkpoints import Checkpoints
from postgres_consumer.locks import WriterLock
from postgres_consumer.plan import Wanted, prepare
from postgres_consumer.ranges import Missing, cut, find_missing, rounds
from postgres_consumer.session import Connection, Database, Session
from postgres_consumer.sink import PostgresSink, Target
from postgres_consumer.tables import Partitions
from stellar_arrow_client.client import Client
from stellar_arrow_client.errors import ExitCode
from stellar_arrow_client.options import RunOptions
from stellar_arrow_client.runner import Job, run_all

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Writing:
    """How to write.

    Attributes:
        add_columns: whether to add columns that a stream has and its table lacks.
        writers: ranges of a stream that are read and written at the same time.
        commit_rows, commit_seconds: after how many rows and how long a transaction ends at the latest.
        dry_run: say what would be done instead.
    """

    add_columns: bool
    writers: int
    commit_rows: int
    commit_seconds: float
    dry_run: bool


@dataclass(frozen=True, slots=True)
class _Plan:
    """What to do with one table."""

    wanted: Wanted
    partition_ledgers: int | None
    missing: Missing


def run(client: Client, database: Database, wanted: Sequence[Wanted], writing: Writing, run_options: RunOptions) -> int:
    """Write what the tables lack, print their names, and give the exit code.

    All tables are in one schema.

    Raises:
        StellarArrowError: a table holds something else, the server or the database fails.
    """
    checkpoints = Checkpoints(wanted[0].table.schema)
    latest = client.latest_ledger()

    def make_ready(connection: Connection) -> list[_Plan]:
        checkpoints.create(connection)
        plans = []
        for one in wanted:
            content = prepare(connection, checkpoints, one, add_columns=writing.add_columns)
            missing = find_missing(connection, checkpoints, one.table, one.request, latest)
            plans.append(_Plan(one, content.partition_ledgers, cut(missing, latest, writing.writers)))
        return plans

    with ExitStack() as stack:
        session = Session(database)
        stack.callback(session.close)
        if writing.dry_run:
            for plan in session.repeat(make_ready, "prepare the tables", keep=False):
                click.echo(_intention(plan))
            return ExitCode.OK
        lock = WriterLock(database, [one.table for one in wanted])
        stack.callback(lock.close)
        lock.hold()
        plans = session.repeat(make_ready, "prepare the tables")
        session.close()
        exit_code = _write(client, database, plans, checkpoints, lock, writing, run_options)
    for one in wanted:
        click.echo(one.table)
    return exit_code


def _write(
    client: Client,
    database: Database,
    plans: Sequence[_Plan],
    checkpoints: Checkpoints,
    lock: WriterLock,
    writing: Writing,
    run_options: RunOptions,
) -> int:
    targets = {
        plan.wanted.table: Target(
            database=database,
            table=plan.wanted.table,
            checkpoints=checkpoints,
            partitions=Partitions(plan.wanted.table, plan.partition_ledgers),
            lock=lock,
            schema=plan.wanted.schema,
            commit_rows=writing.commit_rows,
        )
        for plan in plans
    }
    for plan in plans:
        if not plan.missing:
            log.info("%s: already complete", plan.wanted.table)
    requests = {plan.wanted.table: plan.wanted.request for plan in plans}
    missing = {plan.wanted.table: plan.missing for plan in plans}
    exit_code: int = ExitCode.OK
    for parts in rounds(requests, missing, writing.writers):
        jobs = [Job(request, PostgresSink(targets[table])) for table, request in parts]
        database.stop = threading.Event()  # the runner sets it in the end
        results = run_all(
            jobs, client, options=run_options, stop=database.stop, checkpoint_seconds=writing.commit_seconds
        )
        exit_code = max(result.exit_code for result in results)
        if exit_code:
            break
    return exit_code


def _intention(plan: _Plan) -> str:
    """What a run would do, for ``--dry-run``."""
    stream, table = plan.wanted.request.stream, plan.wanted.table
    if not plan.missing:
        return f"{stream}: already complete in {table}"
    columns = ",".join(plan.wanted.schema.names)
    return f"{stream}: ledgers {plan.missing} would be written to {table} with the columns {columns}"

"""One run: tables are locked and made ready, then written until they lack nothing."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import click

from postgres_consumer.checkpoints import Checkpoints
from postgres_consumer.locks import WriterLock
from postgres_consumer.plan import Wanted, prepare
from postgres_consumer.ranges import cut
from postgres_consumer.session import Connection, Database, Session
from postgres_consumer.sink import PostgresSink, Target
from postgres_consumer.tables import Partitions, Table
from stellar_arrow_client.client import Client
from stellar_arrow_client.errors import ExitCode
from stellar_arrow_client.options import RunOptions
from stellar_arrow_client.planning import Plan, find_missing, run_plans


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


@dataclass(frozen=True, slots=True, kw_only=True)
class TablePlan(Plan):
    """What to do with one table."""

    table: Table
    partition_ledgers: int | None


def run(client: Client, database: Database, wanted: Sequence[Wanted], writing: Writing, run_options: RunOptions) -> int:
    """Write what the tables lack, print their names, and give the exit code.

    All tables are in one schema.

    Raises:
        StellarArrowError: a table holds something else, the server or the database fails.
    """
    checkpoints = Checkpoints(wanted[0].table.schema)
    latest = client.latest_ledger()

    def make_ready(connection: Connection) -> list[TablePlan]:
        checkpoints.create(connection)
        return [plan(connection, one) for one in wanted]

    def plan(connection: Connection, one: Wanted) -> TablePlan:
        content = prepare(connection, checkpoints, one, add_columns=writing.add_columns)
        held = checkpoints.held(connection, one.table)
        missing = find_missing(one.chosen.request, held, one.table, lambda: latest)
        return TablePlan(
            output=str(one.table),
            chosen=one.chosen,
            missing=cut(missing, latest, writing.writers),
            table=one.table,
            partition_ledgers=content.partition_ledgers,
        )

    with ExitStack() as stack:
        session = Session(database)
        stack.callback(session.close)
        if writing.dry_run:
            for found in session.repeat(make_ready, "prepare the tables", keep=False):
                click.echo(found)
            return ExitCode.OK
        lock = WriterLock(database, [one.table for one in wanted])
        stack.callback(lock.close)
        lock.hold()
        plans = session.repeat(make_ready, "prepare the tables")
        session.close()
        targets = {
            ready.table: Target(
                database=database,
                table=ready.table,
                checkpoints=checkpoints,
                partitions=Partitions(ready.table, ready.partition_ledgers),
                lock=lock,
                schema=ready.chosen.schema,
                commit_rows=writing.commit_rows,
            )
            for ready in plans
        }

        def sink(plan: TablePlan, stop: threading.Event) -> PostgresSink:
            database.stop = stop
            return PostgresSink(targets[plan.table])

        exit_code = run_plans(
            plans,
            client,
            sink,
            options=run_options,
            checkpoint_seconds=writing.commit_seconds,
            at_once=writing.writers,
        )
    for one in wanted:
        click.echo(one.table)
    return exit_code

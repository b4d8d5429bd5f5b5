"""The command ``kafka-consumer``."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

import click

from kafka_consumer.tools import tools
from kafka_consumer.values import CLEANUPS, COMPRESSIONS, ENCODING_NAMES, Retention
from stellar_arrow_client.errors import ExitCode
from stellar_arrow_client.options import (
    Assignment,
    Choice,
    Command,
    Names,
    RunOptions,
    Selection,
    client_options,
    dry_run_option,
    option,
    request_options,
    run_cli,
    run_options,
    standard_options,
    stream_option,
)

if TYPE_CHECKING:
    from kafka_consumer.brokers import Brokers
    from kafka_consumer.planning import Publication
    from stellar_arrow_client.client import Client

MEMORY: Final = 64 * 1024 * 1024
LEAST_MEMORY: Final = 4 * 1024 * 1024
"""Bytes for all streams of a run together, and for one of them at least."""


@click.command(
    "kafka-consumer",
    cls=Command,
    tools=tools,
)
@client_options
@click.argument("brokers", help="Addresses of Kafka: HOST:PORT, with commas between several.")
@request_options(otherwise="where the topic ends, or the latest one,")
@stream_option("Each has a topic of its own.")
@option(
    "--encoding",
    type=Choice(ENCODING_NAMES),
    default="json",
    help="Form of the messages: one a row, or with arrow one a ledger.",
)
@option(
    "--topic-template",
    default="stellar.{network}.{stream}",
    metavar="NAME",
    help="Name of the topics; {network}, {stream} and {schema_version} are filled in.",
)
@option(
    "--key",
    type=Names(),
    metavar="NAME,…",
    help="Columns of the messages' key, by which Kafka chooses the partition; no key when left out.",
)
@option("--compression", type=Choice(COMPRESSIONS), default="zstd", help="Compression of the messages.")
@option(
    "--transaction-seconds",
    type=click.FloatRange(min=0.01, max=300),
    default=1.0,
    metavar="SECONDS",
    help="Time after which what came becomes visible to readers at the latest.",
)
@option(
    "--on-schema-change",
    type=Choice(("refuse", "new-topic")),
    default="refuse",
    help="What to do when the columns are no longer those of the topic: refuse, or go on in a topic with .v2, .v3, … "
    "behind its name.",
)
@option(
    "--create-topics/--no-create-topics",
    default=True,
    help="Make topics that are not there; the following options say how.",
)
@option("--partitions", type=click.IntRange(1, 10_000), default=1, help="Partitions of a new topic.")
@option(
    "--replication-factor",
    type=click.IntRange(1, 100),
    help="Copies of a new topic; what the brokers are set to when left out.",
)
@option(
    "--cleanup", type=Choice(CLEANUPS), default="delete", help="Cleanup policy of a new topic; compact needs --key."
)
@option(
    "--retention",
    type=Retention(),
    metavar="TIME",
    help="How long a new topic keeps messages: 12h, 7d, 4w or forever; what the brokers are set to when left out.",
)
@option(
    "--topic-config",
    type=Assignment("segment.ms=3600000"),
    multiple=True,
    metavar="NAME=VALUE",
    help="Any other setting of a new topic, such as max.message.bytes=8000000; may be repeated.",
)
@option(
    "--property",
    "properties",
    multiple=True,
    envvar=None,
    show_envvar=False,
    metavar="NAME=VALUE",
    help="Property of the Kafka client (librdkafka), such as security.protocol=SASL_SSL; may be repeated. Environment "
    "variables KAFKA_SECURITY_…, KAFKA_SASL_…, KAFKA_SSL_… are properties too: KAFKA_SASL_PASSWORD is sasl.password.",
)
@dry_run_option
@run_options
@standard_options("kafka-consumer")
def publish(
    *,
    client: Client,
    brokers: str,
    selection: Selection,
    streams: tuple[str, ...],
    encoding: str,
    topic_template: str,
    key: tuple[str, ...] | None,
    compression: str,
    transaction_seconds: float,
    on_schema_change: str,
    create_topics: bool,
    partitions: int,
    replication_factor: int | None,
    cleanup: str,
    retention: int | None,
    topic_config: tuple[tuple[str, str], ...],
    properties: tuple[str, ...],
    dry_run: bool,
    run_options: RunOptions,
) -> int:
    """Publish streams of SERVER to the Kafka of BROKERS, each row exactly once.

    A run goes on where the topic ends, so that the same command can be given again after any interruption. Readers
    with isolation.level read_committed see whole ledgers, each once. At the end the topics are printed.
    """
    from kafka_consumer.brokers import Brokers, properties_of
    from kafka_consumer.planning import Publication
    from kafka_consumer.topics import TopicOptions

    names = key or ()
    if names and encoding == "arrow":
        raise click.UsageError("with --encoding arrow a message holds many rows and has no --key")
    if "compact" in cleanup and not names:
        raise click.UsageError(f"--cleanup {cleanup} needs a --key: it keeps the newest message of each key")
    config = {"cleanup.policy": cleanup} | dict(topic_config)
    if retention is not None:
        config["retention.ms"] = str(retention)
    publication = Publication(
        template=topic_template,
        encoding=encoding,
        key=names,
        topics=TopicOptions(create_topics, partitions, replication_factor or -1, config),
        on_schema_change="new-topic" if on_schema_change == "new-topic" else "refuse",
    )
    return _run(
        client,
        Brokers(brokers, properties_of(properties, os.environ)),
        publication,
        selection,
        streams,
        compression=compression,
        transaction_seconds=transaction_seconds,
        dry_run=dry_run,
        run_options=run_options,
    )


def _run(
    client: Client,
    brokers: Brokers,
    publication: Publication,
    selection: Selection,
    streams: tuple[str, ...],
    *,
    compression: str,
    transaction_seconds: float,
    dry_run: bool,
    run_options: RunOptions,
) -> int:
    from kafka_consumer.planning import plan_topic
    from kafka_consumer.publisher import Settings
    from kafka_consumer.sink import KafkaSink
    from kafka_consumer.topics import Topics
    from stellar_arrow_client.choice import choose
    from stellar_arrow_client.runner import Job, run_all

    chosen = choose(client, streams, selection)
    topics = Topics(brokers)
    topics.reach()
    # All before the first, so that what is wrong with one stream is said before anything is changed.
    plans = [plan_topic(brokers, topics, publication, one, client.latest_ledger) for one in chosen]
    names = [plan.output for plan in plans]
    if len(set(names)) < len(names):
        raise click.UsageError("a topic holds one stream: --topic-template must have {stream} in it to publish several")
    if dry_run:
        for plan in plans:
            click.echo(plan)
        return ExitCode.OK
    settings = Settings(
        compression=compression,
        transaction_seconds=transaction_seconds,
        memory=max(LEAST_MEMORY, MEMORY // len(plans)),
        retry=client.retry,
    )
    # The sink goes on where the topic ends; a run that has nothing to publish ends an earlier one all the same.
    jobs = [Job(one.request, KafkaSink(brokers, publication, settings)) for one in chosen]
    results = run_all(jobs, client, options=run_options, checkpoint_seconds=transaction_seconds)
    for name in names:
        click.echo(name)
    return max(result.exit_code for result in results)


def main() -> None:
    """Entry point of the script."""
    run_cli(publish)

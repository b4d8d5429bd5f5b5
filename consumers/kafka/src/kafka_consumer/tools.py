"""The commands beside publishing: ``schema`` and ``position``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kafka_consumer.values import ENCODING_NAMES
from stellar_arrow_client.errors import ExitCode, StellarArrowError
from stellar_arrow_client.options import (
    Choice,
    Group,
    Names,
    Selection,
    client_options,
    complete_columns,
    option,
    standard_options,
    stream_option,
)

if TYPE_CHECKING:
    from stellar_arrow_client.client import Client


@click.group("kafka-consumer", cls=Group)
def tools() -> None:
    """Commands beside publishing."""


@tools.command()
@client_options
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path), help="Where to write the files.")
@stream_option("Each has files of its own.", default="all")
@option(
    "--columns",
    type=Names(),
    metavar="NAME,…",
    shell_complete=complete_columns,
    help="Columns that are published; all that are not opt-in when left out.",
)
@option("--encoding", type=Choice(ENCODING_NAMES), default="json", help="Form of the messages.")
@standard_options("kafka-consumer")
def schema(
    *, client: Client, folder: Path, streams: tuple[str, ...], columns: tuple[str, ...] | None, encoding: str
) -> int:
    """Write what readers need to know of the messages, as files in FOLDER.

    For avro NAME.avsc, for protobuf NAME.proto and its descriptor set NAME.desc, for json NAME.schema.json (JSON
    Schema), for arrow NAME.arrow (an IPC schema, with what columns mean). Their paths are printed.
    """
    from kafka_consumer.encodings import ENCODINGS
    from stellar_arrow_client.checkpoint import write_atomically
    from stellar_arrow_client.choice import choose

    folder.mkdir(parents=True, exist_ok=True)
    for chosen in choose(client, streams, Selection(columns=columns)):
        for ending, content in ENCODINGS[encoding](chosen.schema, 0).schema_files(chosen.stream).items():
            path = folder / f"{chosen.stream}.{ending}"
            write_atomically(path, content)
            click.echo(path)
    return ExitCode.OK


@tools.command()
@click.argument("brokers", help="Addresses of Kafka: HOST:PORT, with commas between several.")
@click.argument("topic", help="A topic as the template gives it, without .v2 behind it.")
@option(
    "--property",
    "properties",
    multiple=True,
    show_envvar=False,
    metavar="NAME=VALUE",
    help="Property of the Kafka client (librdkafka); may be repeated. KAFKA_SASL_…, KAFKA_SSL_… count too.",
)
@standard_options("kafka-consumer")
def position(*, brokers: str, topic: str, properties: tuple[str, ...]) -> int:
    """Print what TOPIC holds: its ledgers, encoding, key and columns, as JSON."""
    from kafka_consumer.brokers import Brokers, properties_of
    from kafka_consumer.position import read_position
    from kafka_consumer.topics import CURSOR_SUFFIX, Topics

    kafka = Brokers(brokers, properties_of(properties, os.environ))
    topics, held = Topics(kafka), None
    topics.reach()
    if topics.find(topic + CURSOR_SUFFIX) is not None:
        with kafka.errors(f"read what topic {topic} holds"):
            held = read_position(kafka, topic + CURSOR_SUFFIX)
    if held is None:
        raise StellarArrowError(f"no kafka-consumer has published to topic {topic}")
    click.echo(held.to_json())
    return ExitCode.OK

"""The commands ``stellar-arrow-source config``: the settings with their origins, and an example of the file."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click

from stellar_arrow_client.options import Group
from stellar_arrow_client.settings import Origin, example, options_of, origin_of
from stellar_arrow_source.config import config_of, settle
from stellar_arrow_source.output import format_option, print_table


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting of the server.

    Attributes:
        name: as in a configuration file.
        value: without secrets; None where there is none.
    """

    name: str
    value: Any
    origin: Origin


@click.group(cls=Group)
def config() -> None:
    """Show the settings of the server, or an example of its configuration file."""


@config.command()
@format_option
@click.pass_context
def show(ctx: click.Context, output: str) -> None:
    """Show every setting and where its value comes from; without secrets.

    The options of the server stand before the word config, as in 'stellar-arrow-source --port 9000 config show'. The
    exit code is 2 when the settings contradict each other.
    """
    found = settings(ctx)
    if output == "json":
        click.echo(json.dumps([asdict(setting) for setting in found], indent=2))
    else:
        rows = [(setting.name, _shown(setting.value), str(setting.origin)) for setting in found]
        print_table(("SETTING", "VALUE", "FROM"), rows)
    config_of(ctx)  # raises what is wrong with them together


@config.command(name="example")
@click.pass_context
def example_(ctx: click.Context) -> None:
    """Print a configuration file with every setting, its meaning and its default, all commented out."""
    click.echo(example(ctx.find_root().command), nl=False)


def settings(ctx: click.Context) -> list[Setting]:
    """The settings of the outermost command, secrets taken out.

    Raises:
        InvalidRequestError: options contradict each other.
    """
    root, settled = ctx.find_root(), settle(ctx)
    options = {str(option.name): option for option in options_of(root.command) if option.expose_value}
    found = []
    for name, option in options.items():
        value, decided_by = settled.get(name, (root.params.get(name), name))
        found.append(Setting(option.opts[-1].lstrip("-"), _plain(value), origin_of(options[decided_by], root)))
    return found


def _plain(value: Any) -> Any:
    """A value as JSON can hold it, endpoints without credentials."""
    from stellar_arrow_source.ledgers.endpoint import without_credentials  # loads slowly

    match value:
        case Path():
            return str(value)
        case tuple() | list():
            return [_plain(part) for part in value]
        case str() if "://" in value:
            return without_credentials(value)
        case _:
            return value


def _shown(value: Any) -> str:
    match value:
        case None:
            return "-"
        case bool():
            return str(value).lower()
        case list():
            return ", ".join(map(str, value)) or "-"
        case _:
            return str(value)

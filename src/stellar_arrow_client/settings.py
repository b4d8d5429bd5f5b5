"""What the options of a command are set to, where each value comes from, and an example of its configuration file."""

from __future__ import annotations

import inspect
import json
import os
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import click
from click.core import ParameterSource

from stellar_arrow_client.command import config_file, in_file

_WIDTH = 100

_STRENGTH = (
    ParameterSource.COMMANDLINE,
    ParameterSource.PROMPT,
    ParameterSource.ENVIRONMENT,
    ParameterSource.DEFAULT_MAP,
    ParameterSource.DEFAULT,
)
"""Where values come from; the first goes before the others."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value comes from.

    Attributes:
        kind: flag, environment, file or default.
        name: the flag, the variable, or the file with section and key; None for a default.
    """

    kind: Literal["flag", "environment", "file", "default"]
    name: str | None = None

    def __str__(self) -> str:
        return self.kind if self.name is None else f"{self.kind} {self.name}"


def options_of(command: click.Command) -> Iterator[click.Option]:
    """The options of a command that a file may set."""
    return (param for param in command.params if isinstance(param, click.Option) and in_file(param))


def strongest(ctx: click.Context, name: str) -> click.Context:
    """Which of a context and those above it has the value of a parameter: by origin, then the nearest.

    Args:
        name: of a parameter that the outermost command has.
    """
    found, rank = ctx, len(_STRENGTH)
    at: click.Context | None = ctx
    while at is not None:
        source = at.get_parameter_source(name)
        if source in _STRENGTH and _STRENGTH.index(source) < rank:
            found, rank = at, _STRENGTH.index(source)
        at = at.parent
    return found


def origin_of(option: click.Option, ctx: click.Context) -> Origin:
    """Where the value that ``ctx`` has for ``option`` comes from."""
    match ctx.get_parameter_source(option.name or ""):
        case ParameterSource.COMMANDLINE | ParameterSource.PROMPT:
            return Origin("flag", max(option.opts, key=len))
        case ParameterSource.ENVIRONMENT:
            return Origin("environment", _variable(option, ctx))
        case ParameterSource.DEFAULT_MAP:
            return Origin("file", f"{config_file(ctx)} [{'.'.join(_path(ctx))}] {_key(option)}")
        case _:
            return Origin("default")


def example(command: click.Command) -> str:
    """A configuration file of a command: every option with its meaning, commented out, set to its default if any."""
    parts = [f"[{command.name}]"]
    for option in options_of(command):
        lines = textwrap.wrap(inspect.cleandoc(option.help or ""), _WIDTH - 2)
        if names := _variables(option):
            lines.append(f"Environment: {', '.join(names)}.")
        if isinstance(option.type, click.Choice):
            lines.append(f"One of {', '.join(map(str, option.type.choices))}.")
        parts.append("\n".join([*(f"# {line}" for line in lines), f"# {_key(option)} = {_toml(option)}".rstrip()]))
    return "\n\n".join(parts) + "\n"


def _toml(option: click.Option) -> str:
    default: Any = option.default
    if option.multiple:
        return json.dumps(list(default) if isinstance(default, (list, tuple)) else [])
    if option.is_flag:
        return "true" if default is True else "false"
    if isinstance(default, (int, float, str)):
        return json.dumps(default)
    return ""


def _key(option: click.Option) -> str:
    return max(option.opts, key=len).lstrip("-")


def _path(ctx: click.Context) -> list[str]:
    above = _path(ctx.parent) if ctx.parent else []
    return [*above, ctx.command.name or ""]


def _variables(option: click.Option) -> list[str]:
    given = option.envvar or ()
    return [given] if isinstance(given, str) else list(given)


def _variable(option: click.Option, ctx: click.Context) -> str:
    names = _variables(option)
    if ctx.auto_envvar_prefix and option.allow_from_autoenv:
        names.append(f"{ctx.auto_envvar_prefix}_{(option.name or '').upper()}")
    return next((name for name in names if os.environ.get(name)), names[0])

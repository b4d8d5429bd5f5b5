"""Completion in shells: scripts for bash, zsh and fish, and words that only the server of a command knows."""

from __future__ import annotations

import importlib.metadata
import os
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
from click.core import ParameterSource
from click.shell_completion import (
    BashComplete,
    CompletionItem,
    add_completion_class,
    get_completion_class,
    split_arg_string,
)

from stellar_arrow_client.command import commands_of
from stellar_arrow_client.discovery import installed_consumers

if TYPE_CHECKING:
    from stellar_arrow_client.client import Client

DISTRIBUTION: Final = "stellar-arrow-source"
SHELLS: Final = ("bash", "zsh", "fish")

ANSWER_SECONDS: Final = 2.0
"""How long somebody waits who pressed the tab key."""

Words = list[CompletionItem[str]]


@add_completion_class
class _Bash(BashComplete):
    """click's, for words with colons, such as ``localhost:8815`` and ``grpc://…``, at which bash breaks the line."""

    source_template = """\
%(complete_func)s() {
    local response type value
    COMPREPLY=()
    response=$(env STELLAR_ARROW_LINE="${COMP_LINE:0:COMP_POINT}" STELLAR_ARROW_BREAKS="$COMP_WORDBREAKS" \\
        %(complete_var)s=bash_complete "$1" 2>/dev/null)
    while IFS=',' read -r type value; do
        case $type in
            dir) compopt -o dirnames ;;
            file) compopt -o default ;;
            plain)
                COMPREPLY+=("$value")
                [[ $value == *[:/=] ]] && compopt -o nospace
                ;;
        esac
    done <<< "$response"
}

complete -o nosort -F %(complete_func)s %(prog_name)s
"""

    def get_completion_args(self) -> tuple[list[str], str]:
        line = os.environ["STELLAR_ARROW_LINE"]
        words = split_arg_string(line)
        incomplete = words.pop() if words and not line[-1:].isspace() else ""
        value = incomplete.partition("=")[2] if incomplete.startswith("--") else incomplete
        breaks = os.environ.get("STELLAR_ARROW_BREAKS", "")
        # bash puts the answer in the place of what comes after the last break.
        self._there = 1 + max((value.rfind(char) for char in breaks if char in ":="), default=-1)
        return words[1:], incomplete

    def format_completion(self, item: CompletionItem[Any]) -> str:
        return f"{item.type},{str(item.value)[self._there :]}"


def script(shell: str, commands: Iterable[str]) -> str:
    """What a shell must read for these commands to be completed."""
    kind = get_completion_class(shell)
    assert kind is not None
    parts = []
    for name in commands:
        variable = f"_{name}_COMPLETE".replace("-", "_").upper()
        parts.append(kind(click.Command(name), {}, name, variable).source())
    return "\n".join(parts)


def installed_commands() -> list[str]:
    """The commands of this project and of the installed consumers."""
    distributions = {DISTRIBUTION, *(consumer.distribution for consumer in installed_consumers())}
    scripts = importlib.metadata.entry_points(group="console_scripts")
    return sorted({entry.name for entry in scripts if entry.dist is not None and entry.dist.name in distributions})


def last_of_list(incomplete: str, names: Iterable[str]) -> Words:
    """Names that complete the last one of a list with commas."""
    before, comma, begun = incomplete.rpartition(",")
    given = set(before.split(","))
    return [CompletionItem(f"{before}{comma}{name}") for name in names if name.startswith(begun) and name not in given]


def complete_streams(ctx: click.Context, _param: click.Parameter, incomplete: str) -> Words:
    """The streams of the server that stands before; none when it does not answer."""
    return last_of_list(incomplete, _ask(ctx, lambda client: [stream.name for stream in client.streams()]))


def complete_tools(ctx: click.Context, _param: click.Parameter, incomplete: str) -> Words:
    """The commands beside a command, where its first argument stands: they are its first word or none."""
    if any(ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE for name in ctx.params):
        return []
    return [CompletionItem(name) for name in commands_of(ctx.command) if name.startswith(incomplete)]


def complete_columns(ctx: click.Context, _param: click.Parameter, incomplete: str) -> Words:
    """The columns of the streams that stand before, as the server has them."""
    streams = [
        name for key in ("stream", "streams") for value in _several(given(ctx, key)) for name in value.split(",")
    ]
    return last_of_list(
        incomplete,
        _ask(ctx, lambda client: list(dict.fromkeys(n for stream in streams for n in client.schema(stream).names))),
    )


def given(ctx: click.Context, name: str) -> Any:
    """What stands before the word to complete as the parameter ``name``.

    click knows no arguments where an option still lacks its value: then they are found by their places.
    """
    value = ctx.params.get(name)
    names = [param.name for param in ctx.command.params if isinstance(param, click.Argument)]
    if value is None and name in names:
        return next(iter(ctx.args[names.index(name) :]), None)
    return value


def _several(value: str | Iterable[str] | None) -> list[str]:
    return [value] if isinstance(value, str) else list(value or ())


def _ask(ctx: click.Context, question: Callable[[Client], list[str]]) -> list[str]:
    """What the server answers in time; nobody at a prompt wants to read why it does not."""
    answer: list[str] = []

    def ask() -> None:
        try:
            with _client(ctx) as client:
                answer.extend(question(client))
        except Exception:  # a traceback in the middle of a command line would be worse than no names
            return

    asking = threading.Thread(target=ask, name="completion", daemon=True)
    asking.start()
    asking.join(ANSWER_SECONDS)
    return answer


def _client(ctx: click.Context) -> Client:
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from stellar_arrow_client.client import Client  # pyarrow loads slowly
    from stellar_arrow_client.policy import RetryPolicy

    files = [given(ctx, name) for name in ("tls_roots", "client_cert", "client_key")]
    roots, cert, key = (Path(file).read_bytes() if file else None for file in files)
    retry = RetryPolicy(retry_for=0.0, first_tries=1)
    server, token = given(ctx, "server"), given(ctx, "token")
    return Client(server, token=token, tls_roots=roots, client_cert=cert, client_key=key, retry=retry)

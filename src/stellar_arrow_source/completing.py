"""Words that shells complete in the commands of the server: endpoints, streams, columns."""

from __future__ import annotations

import re

import click
from click.shell_completion import CompletionItem

from stellar_arrow_client.completion import Words, given, last_of_list
from stellar_arrow_client.errors import UnknownStreamError


def complete_endpoint(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> Words:
    """The kinds of endpoints; folders where none begins so."""
    from stellar_arrow_source.ledgers.endpoint import SUPPORTED  # loads slowly

    kinds = [kind for kind in re.findall(r"[a-z0-9+]+://", SUPPORTED) if kind.startswith(incomplete)]
    return [CompletionItem(kind) for kind in kinds] if kinds else [CompletionItem(incomplete, type="dir")]


def complete_stream(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> Words:
    """The streams; their other names where none begins so."""
    from stellar_arrow_source.tables import STREAMS  # loads slowly

    names = [stream.name for stream in STREAMS if stream.name.startswith(incomplete)]
    names = names or [alias for stream in STREAMS for alias in stream.aliases if alias.startswith(incomplete)]
    return [CompletionItem(name) for name in names]


def complete_columns(ctx: click.Context, _param: click.Parameter, incomplete: str) -> Words:
    """The columns of the stream that stands before."""
    from stellar_arrow_source.tables import find_stream  # loads slowly

    try:
        columns = find_stream(given(ctx, "stream") or "").columns
    except UnknownStreamError:
        return []
    return last_of_list(incomplete, [column.name for column in columns])

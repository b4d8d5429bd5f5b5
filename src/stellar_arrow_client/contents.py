"""What an output holds, and whether what is to be written belongs to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, Self

import pyarrow as pa

from stellar_arrow_client.choice import Chosen
from stellar_arrow_client.errors import IntegrityError, OutputMismatchError

_MAX_DIGITS = 8
"""Of a version."""


def said(schema: pa.Schema, name: str) -> str | None:
    """What the server says of a stream, such as its ``network``; None when it does not."""
    value: bytes = (schema.metadata or {}).get(name.encode(), b"")
    return value.decode(errors="replace") or None


class Described(Protocol):
    """What any record of an output says: stream, network (None while it is not known), condition (None: all rows)."""

    @property
    def stream(self) -> str: ...

    @property
    def network(self) -> str | None: ...

    @property
    def filter(self) -> str | None: ...


def check_same(held: Described, wanted: Described, output: object, elsewhere: str) -> None:
    """Refuse to mix rows of two streams, networks or conditions in one output.

    Args:
        output: what a user calls it.
        elsewhere: how to write to another one, such as ``choose another --prefix``.

    Raises:
        OutputMismatchError, IntegrityError: the output holds something else; the latter for another network.
    """
    if held.stream != wanted.stream:
        raise OutputMismatchError(f"{output} holds {held.stream}, not {wanted.stream}; {elsewhere}")
    if held.network and wanted.network and held.network != wanted.network:
        raise IntegrityError(
            f"{output} holds ledgers of {held.network!r} but the server gives those of {wanted.network!r}; {elsewhere}"
        )
    if held.filter != wanted.filter:
        rows = f"the rows with {held.filter}" if held.filter else "all rows"
        raise OutputMismatchError(f"{output} holds {rows}; give the same --filter or {elsewhere}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What an output of one stream holds. A consumer that must know more of it adds fields.

    Attributes:
        network: its passphrase, or its name where the server says no more; None while it is not known.
        schema_version: of the columns.
        columns: those of the stream, without what the output adds.
        filter: condition on the rows; None for all.
    """

    stream: str
    network: str | None
    schema_version: int
    columns: tuple[str, ...]
    filter: str | None

    @classmethod
    def of(cls, chosen: Chosen, **further: Any) -> Self:
        """What an output of a stream will hold; ``further`` are the fields that a consumer adds.

        Raises:
            IntegrityError: the server does not say which version the columns have.
        """
        version = said(chosen.schema, "schema_version") or ""
        if not (version.isascii() and version.isdigit() and len(version) <= _MAX_DIGITS):
            raise IntegrityError(f"the server does not say which version the columns of {chosen.stream} have")
        return cls(
            stream=chosen.stream,
            network=said(chosen.schema, "network_passphrase") or said(chosen.schema, "network"),
            schema_version=int(version),
            columns=tuple(chosen.schema.names),
            filter=chosen.request.filter,
            **further,
        )

    def check(self, wanted: Content, output: object, elsewhere: str) -> tuple[str, ...]:
        """See that what is wanted belongs to what an output holds.

        Args:
            output, elsewhere: see :func:`check_same`.

        Returns:
            The columns that the output lacks.

        Raises:
            OutputMismatchError, IntegrityError: it holds something else; the latter for another network.
        """
        check_same(self, wanted, output, elsewhere)
        if self.schema_version != wanted.schema_version:
            raise OutputMismatchError(
                f"{output} holds version {self.schema_version} of the columns of {self.stream}, the server gives "
                f"version {wanted.schema_version}, in which columns mean something else; {elsewhere}"
            )
        for name in self.columns:
            if name not in wanted.columns:
                raise OutputMismatchError(
                    f"{output} has the column {name}, which is not asked for or which the stream has no more; give it "
                    f"in --columns or {elsewhere}"
                )
        return tuple(name for name in wanted.columns if name not in self.columns)

    def check_lacking(self, lacking: tuple[str, ...], output: object, added: str, *, add_columns: bool) -> None:
        """Refuse columns that an output lacks unless they may be added.

        Args:
            lacking: see :meth:`check`.
            added: what becomes of rows that are there, such as ``rows that are there get null``.
            add_columns: what ``--schema-change`` says.

        Raises:
            OutputMismatchError: they may not.
        """
        if lacking and not add_columns:
            raise OutputMismatchError(
                f"{output} lacks {', '.join(lacking)}; give --schema-change add to add them ({added}) or --columns "
                f"{','.join(self.columns)} to go on without"
            )


def difference(held: Mapping[str, object], wanted: Mapping[str, object]) -> str:
    """How two sets of columns differ that are not the same, as part of a sentence.

    Args:
        held, wanted: the type of each column, or whatever else of it matters.
    """
    kinds = {
        "new": [name for name in wanted if name not in held],
        "gone": [name for name in held if name not in wanted],
        "other types": [name for name in wanted if name in held and wanted[name] != held[name]],
    }
    return "; ".join(f"{kind}: {', '.join(names)}" for kind, names in kinds.items() if names) or "in another order"


def check_unchanged(schema: pa.Schema, chosen: pa.Schema, stream: str) -> None:
    """See that a stream which is opened still has the schema for which its output was made ready.

    Raises:
        IntegrityError: it has changed in the meantime.
    """
    if not schema.equals(chosen):
        raise IntegrityError(f"the columns of {stream} changed while the run began; start again")

"""What a stream is: a name, a frame and columns. Everything else about streams derives from these declarations."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property

import pyarrow as pa

from stellar_arrow_client.errors import UnknownColumnError
from stellar_arrow_source.networks import network_name
from stellar_arrow_source.tables.expressions import Expression, Need
from stellar_arrow_source.tables.frame import Batch, Frame
from stellar_arrow_source.xdr import Relation


@dataclass(frozen=True, eq=False)
class Column:
    """One column of a stream.

    Attributes:
        name: as STREAMS and the Hubble tables name the fact.
        type: Arrow type.
        description: one sentence.
        read: makes the column of a frame.
        reads: expressions and relations that ``read`` uses, so that the program marks them.
        nullable: whether a row may be null.
        unit: of a number, such as ``stroop``.
        opt_in: left out unless asked for.
    """

    name: str
    type: pa.DataType
    description: str
    read: Callable[[Frame], pa.Array]
    reads: tuple[Expression | Relation, ...] = ()
    nullable: bool = False
    unit: str | None = None
    opt_in: bool = False

    @property
    def field(self) -> pa.Field:
        """The Arrow field, with ``description`` and ``unit`` as metadata."""
        metadata = {"description": self.description} | ({"unit": self.unit} if self.unit else {})
        return pa.field(self.name, self.type, self.nullable, metadata)

    def needs(self) -> Iterator[Need]:
        """What the program must mark for this column."""
        return needs_of(self.reads)


def needs_of(reads: Sequence[Expression | Relation]) -> Iterator[Need]:
    """What the program must mark for these expressions and relations."""
    for item in reads:
        if isinstance(item, Relation):
            yield Need(item.name)
        else:
            yield from item.needs()


@dataclass(frozen=True, eq=False)
class Stream:
    """A stream.

    Attributes:
        name, aliases: what a request may call it.
        description: one sentence; what a row is.
        frame: the rows of the stream in a batch.
        reads: what ``frame`` uses.
        columns: in order.
        schema_version: raised by a breaking change.
    """

    name: str
    description: str
    frame: Callable[[Batch], Frame]
    reads: tuple[Expression | Relation, ...]
    columns: tuple[Column, ...]
    aliases: tuple[str, ...] = ()
    schema_version: int = 1

    @cached_property
    def _by_name(self) -> dict[str, Column]:
        return {column.name: column for column in self.columns}

    def select(self, names: Sequence[str] | None = None) -> tuple[Column, ...]:
        """The columns named, in that order; all that are not opt-in for None.

        Raises:
            UnknownColumnError: the stream has no such column, or one is named twice, or none is named.
        """
        if names is None:
            return tuple(column for column in self.columns if not column.opt_in)
        if not names:
            raise UnknownColumnError(f"no column of {self.name} is named; leave the columns out to get them all")
        for name in names:
            if name not in self._by_name:
                near = get_close_matches(name, self._by_name, 1, 0.5)
                hint = f"; did you mean {near[0]}?" if near else f"; see the schema of {self.name}"
                raise UnknownColumnError(f"stream {self.name} has no column {name!r}{hint}")
        if len(set(names)) != len(names):
            twice = next(name for name in names if list(names).count(name) > 1)
            raise UnknownColumnError(f"column {twice} is named twice")
        return tuple(self._by_name[name] for name in names)

    def schema(self, names: Sequence[str] | None = None, network: str | None = None) -> pa.Schema:
        """The Arrow schema of those columns; ``network`` is a passphrase."""
        metadata = {"stream": self.name, "schema_version": str(self.schema_version)}
        if network is not None:
            metadata |= {"network": network_name(network), "network_passphrase": network}
        return pa.schema([column.field for column in self.select(names)], metadata)

"""The column ``claimants``: who may claim a balance, of the operation that creates it and of its entry."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import pyarrow as pa

from stellar_arrow_source.tables.columns import derived, listing
from stellar_arrow_source.tables.expressions import At, Plus
from stellar_arrow_source.tables.frame import Frame, Mask
from stellar_arrow_source.tables.spec import Column
from stellar_arrow_source.xdr import Relation, readers
from stellar_arrow_source.xdr.predicate import predicate_json

_FIELDS: Final = [pa.field("destination", pa.string(), False), pa.field("predicate", pa.string(), False)]
_TYPE: Final = pa.list_(pa.struct(_FIELDS))


def claimants(relation: Relation, parent: Relation, present: Callable[[Frame], Mask]) -> Column:
    """The claimants in rows of ``relation`` below each row's ``parent``, in their order; null outside ``present``."""
    destination, predicate = Plus(At(relation, "v0.destination"), 1), At(relation, "v0.predicate")

    def read_elements(elements: Frame) -> pa.Array:
        words = elements.batch.words
        parts = [
            readers.account(words, elements.positions(destination)),
            predicate_json(words, elements.positions(predicate)),
        ]
        return pa.StructArray.from_arrays(parts, fields=_FIELDS)

    def read(frame: Frame) -> pa.Array:
        return listing(frame, relation, parent, read_elements, present(frame), _TYPE)

    description = "who may claim the balance, with the predicate as XDR-JSON (SEP-51)"
    return derived("claimants", _TYPE, read, description, destination, predicate, nullable=True)

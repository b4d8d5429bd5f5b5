"""The schema that is read from stellar-sdk's docstrings."""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum

import pytest
import stellar_sdk.xdr as sdk

from stellar_arrow_source.xdr.schema import (
    UNBOUNDED,
    Array,
    Enum,
    Optional,
    Ref,
    SchemaError,
    Struct,
    Type,
    Union,
    VarArray,
    VarOpaque,
    enum_names,
    load_schema,
)


def references(kind: Type) -> Iterator[str]:
    match kind:
        case Ref(name):
            yield name
        case Array(element) | VarArray(element) | Optional(element):
            yield from references(element)
        case Struct(fields):
            for field in fields:
                yield from references(field.type)
        case Union(arms):
            for arm in arms:
                yield from references(arm.field.type)


def test_every_reference_is_defined() -> None:
    schema = load_schema()
    assert {name for kind in schema.values() for name in references(kind)} <= schema.keys()
    assert {"LedgerCloseMeta", "LedgerCloseMetaBatch", "SCVal"} <= schema.keys()


def test_enums_are_those_of_the_sdk() -> None:
    enums = [name for name, kind in load_schema().items() if isinstance(kind, Enum)]
    assert len(enums) > 50
    for name in enums:
        members = {member.value: member.name for member in getattr(sdk, name)}
        assert issubclass(getattr(sdk, name), IntEnum)
        assert enum_names(name) == members, name


def test_limits_are_resolved() -> None:
    schema = load_schema()
    transaction = schema["Transaction"]
    assert isinstance(transaction, Struct)
    operations = next(field.type for field in transaction.fields if field.name == "operations")
    assert operations == VarArray(Ref("Operation"), 100)
    assert schema["SCBytes"] == VarOpaque(UNBOUNDED)


def test_a_struct_is_no_enum() -> None:
    with pytest.raises(SchemaError, match="not an enum"):
        enum_names("Transaction")

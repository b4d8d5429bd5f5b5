"""Ledgers whose events contradict the rest of them are refused, saying where; nothing is guessed or left out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from stellar_sdk import xdr

from stellar_arrow_source.errors import DecodeError
from tests.differential.expected.join import Ledger
from tests.property.hostile import assert_tells_where
from tests.support.corpus import PUBNET
from tests.support.decoding import decode_rows, full_decoder
from tests.support.made_ledgers import made_ledger


def make_diagnostic(event: Any) -> None:
    event.type = xdr.ContractEventType.DIAGNOSTIC


def first_event(meta: Any) -> Any:
    """An event of an operation or of the transaction as a whole."""
    if meta.v3 is not None and meta.v3.soroban_meta is not None:
        return next(iter(meta.v3.soroban_meta.events), None)
    if meta.v4 is not None:
        events = [event for operation in meta.v4.operations for event in operation.events]
        return next(iter([*events, *(happened.event for happened in meta.v4.events)]), None)
    return None


def diagnostic_among_contract_events(meta: Any) -> bool:
    event = first_event(meta)
    if event is not None:
        make_diagnostic(event)
    return event is not None


def event_of_a_missing_operation(meta: Any) -> bool:
    if meta.v4 is None or not any(operation.events for operation in meta.v4.operations):
        return False
    meta.v4.operations = [*meta.v4.operations, *meta.v4.operations]
    return True


def contradictory(contradict: Callable[[Any], bool]) -> Iterator[bytes]:
    for seed in range(60):
        meta = xdr.LedgerCloseMeta.from_xdr_bytes(made_ledger(seed, PUBNET))
        ledger = Ledger(meta, PUBNET)
        contradicted = [contradict(processed.tx_apply_processing) for processed in ledger.body.tx_processing]
        if any(contradicted):
            yield meta.to_xdr_bytes()


@pytest.mark.parametrize(
    ("contradict", "reason"),
    [
        (diagnostic_among_contract_events, "of type DIAGNOSTIC"),
        (event_of_a_missing_operation, "an operation that the transaction does not have"),
    ],
)
def test_contradiction_is_refused(contradict: Callable[[Any], bool], reason: str) -> None:
    decoder = full_decoder(PUBNET, ["contract_events"])
    tried = 0
    for data in contradictory(contradict):
        with pytest.raises(DecodeError, match=reason) as raised:
            decoder.decode([data])
        assert_tells_where(raised.value, data)
        tried += 1
    assert tried >= 10


def test_diagnostic_events_do_not_depend_on_the_others() -> None:
    for data in contradictory(diagnostic_among_contract_events):
        decode_rows([data], PUBNET, ["diagnostic_events"])

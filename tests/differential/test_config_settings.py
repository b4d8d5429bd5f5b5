"""Every field of every configuration setting that XDR knows has a column of its own, with its value."""

from __future__ import annotations

import pytest
from stellar_sdk import xdr

from tests.differential.expected import expected_rows
from tests.differential.expected.schema import SCHEMAS
from tests.differential.expected.settings import values_of
from tests.support.corpus import PUBNET
from tests.support.decoding import decode_rows
from tests.support.generate import Generator, union_cases
from tests.support.made_ledgers import made_ledger

STREAM = "config_settings"
NOT_OF_A_SETTING = {
    "ledger_sequence", "ledger_close_time", "config_setting_id", "config_setting", "last_modified_ledger",
    "ledger_entry_change", "deleted", "ledger_key_hash", "ledger_entry_xdr",
}  # fmt: skip


def settings(seed: int) -> list[xdr.ConfigSettingEntry]:
    """One of each kind, in the order of their codes."""
    draw = Generator(seed)
    return [draw.arm(xdr.ConfigSettingEntry, *case) for case in union_cases(xdr.ConfigSettingEntry)]


def test_every_field_has_a_column_and_no_column_has_two() -> None:
    """An arm or a field that a newer stellar_sdk brings is missed here."""
    made = settings(1)
    assert [setting.config_setting_id for setting in made] == list(xdr.ConfigSettingID)
    columns = [name for setting in made for name, _ in values_of(setting)]
    assert len(set(columns)) == len(columns)
    assert set(columns) == {column.name for column in SCHEMAS[STREAM]} - NOT_OF_A_SETTING


@pytest.mark.parametrize("seed", range(4))
def test_each_setting_fills_its_columns_and_no_other(seed: int) -> None:
    meta = xdr.LedgerCloseMeta.from_xdr_bytes(made_ledger(seed, PUBNET, budget=600))
    made = settings(seed)
    changes = [
        xdr.LedgerEntryChange(xdr.LedgerEntryChangeType.LEDGER_ENTRY_CREATED, created=entry_of(each)) for each in made
    ]
    upgrade = Generator(seed).make(xdr.UpgradeEntryMeta, changes=xdr.LedgerEntryChanges(changes))
    body = meta.v0 or meta.v1 or meta.v2
    body.upgrades_processing = [upgrade]  # the last that a ledger does
    data = meta.to_xdr_bytes()
    rows = decode_rows([data], PUBNET, (STREAM,))[STREAM]
    assert rows == expected_rows(data, PUBNET)[STREAM]
    assert [row["config_setting_id"] for row in rows] == [int(kind) for kind in xdr.ConfigSettingID]
    for row, setting in zip(rows, made, strict=True):
        own = dict(values_of(setting))
        assert {name: row[name] for name in own} == own
        others = row.keys() - own.keys() - NOT_OF_A_SETTING
        assert all(row[name] is None for name in others), setting.config_setting_id.name


def entry_of(setting: xdr.ConfigSettingEntry) -> xdr.LedgerEntry:
    data = xdr.LedgerEntryData(xdr.LedgerEntryType.CONFIG_SETTING, config_setting=setting)
    return Generator(1).make(xdr.LedgerEntry, data=data)

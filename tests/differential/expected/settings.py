"""Expected values of ``config_settings``, whatever settings stellar_sdk knows."""

from __future__ import annotations

import re
from typing import Any

from stellar_sdk import xdr

from .values import arm, plain

NAMES = {
    "bucket_list_level": "eviction_bucket_list_level",
    "is_curr_bucket": "eviction_is_curr_bucket",
    "bucket_file_offset": "eviction_bucket_file_offset",
    "keys": "frozen_ledger_keys",
    "keys_to_freeze": "frozen_ledger_keys_to_freeze",
    "keys_to_unfreeze": "frozen_ledger_keys_to_unfreeze",
    "tx_hashes": "freeze_bypass_txs",
    "add_txs": "freeze_bypass_txs_to_add",
    "remove_txs": "freeze_bypass_txs_to_remove",
}
"""Fields whose own name does not tell what setting they are of → column."""


def setting_values(key: Any, entry: Any) -> dict[str, Any]:
    kind = key.config_setting_id
    row = {"config_setting_id": int(kind), "config_setting": kind.name}
    return row if entry is None else row | dict(values_of(entry))


def values_of(setting: Any) -> list[tuple[str, Any]]:
    """(column, value) of every field of a ConfigSettingEntry."""
    (name,) = (name for name, value in vars(setting).items() if value is not None and name != "config_setting_id")
    content = getattr(setting, name)
    if isinstance(content, xdr.ContractCostParams):
        return [(name, [cost(param) for param in content.contract_cost_params])]
    if isinstance(content, list) or not is_struct(content):
        return [(name, value_of(content))]
    return [(column(field), value_of(value)) for field, value in vars(content).items()]


def is_struct(content: Any) -> bool:
    return "struct" in (type(content).__doc__ or "")


def column(field: str) -> str:
    """``fee_disk_read1_kb`` → ``fee_disk_read_1kb``, as the peers have it."""
    return NAMES.get(field) or re.sub(r"(\d+)_kb", r"_\1kb", field)


def value_of(value: Any) -> Any:
    return [plain(item) for item in value] if isinstance(value, list) else plain(value)


def cost(param: Any) -> dict[str, int]:
    assert arm(param.ext) is None
    return {
        "ext": param.ext.v,
        "const_term": plain(param.const_term),
        "linear_term": plain(param.linear_term),
    }

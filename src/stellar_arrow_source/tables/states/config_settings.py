"""The stream ``config_settings``: ConfigSettingEntry, the network's limits and fees of smart contracts, and its timing.

Each setting fills the columns of its own arm of the union; those of the other arms are null.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import pyarrow as pa
from stellar_sdk.xdr import LedgerEntryType

from stellar_arrow_source.tables.changes import OfEntry, in_entry
from stellar_arrow_source.tables.columns import (
    HASH,
    amount,
    at,
    derived,
    enum_table,
    enumeration,
    listing,
    number,
)  # fmt: skip
from stellar_arrow_source.tables.expressions import At, Expression
from stellar_arrow_source.tables.frame import Frame
from stellar_arrow_source.tables.relations import (
    BYPASS_TX,
    CHANGE,
    COST_PARAM,
    FROZEN_KEY,
    REMOVED_BYPASS_TX,
    STATE_SIZE,
    UNFROZEN_KEY,
)  # fmt: skip
from stellar_arrow_source.tables.spec import Column
from stellar_arrow_source.tables.states.common import state_stream
from stellar_arrow_source.xdr import Relation, readers

_SETTING_ID: Final = OfEntry(
    {LedgerEntryType.CONFIG_SETTING: "configSetting"},
    {LedgerEntryType.CONFIG_SETTING: "configSetting.configSettingID"},
)


def _of_setting(path: str) -> Expression:
    return in_entry({LedgerEntryType.CONFIG_SETTING: f"configSetting.{path}"})


def _u32(name: str, path: str, description: str, unit: str | None = None) -> Column:
    return number(name, pa.uint32(), _of_setting(path), description, nullable=True, unit=unit)


def _bytes(name: str, path: str, description: str) -> Column:
    return _u32(name, path, description, "byte")


def _i64(name: str, path: str, description: str, unit: str | None = None) -> Column:
    return number(name, pa.int64(), _of_setting(path), description, nullable=True, unit=unit)


def _fee(name: str, path: str, description: str) -> Column:
    return amount(name, _of_setting(path), description, nullable=True)


def _list(
    name: str,
    relation: Relation,
    path: str,
    element: pa.DataType,
    read: Callable[[Frame], pa.Array],
    description: str,
    *reads: Expression,
    unit: str | None = None,
) -> Column:
    """What ``read`` makes of the elements of the list at ``path``, rows of ``relation``."""
    length = _of_setting(path)

    def read_lists(frame: Frame) -> pa.Array:
        return listing(frame, relation, CHANGE, read, frame.positions(length) > 0, pa.list_(element))

    return derived(name, pa.list_(element), read_lists, description, length, *reads, nullable=True, unit=unit)


_COST_TERMS: Final = (At(COST_PARAM, "ext"), At(COST_PARAM, "constTerm"), At(COST_PARAM, "linearTerm"))
_COST_FIELDS: Final = [
    pa.field("ext", pa.int32(), False),
    pa.field("const_term", pa.int64(), False),
    pa.field("linear_term", pa.int64(), False),
]


def _read_costs(costs: Frame) -> pa.Array:
    words = costs.batch.words
    ext, const, linear = map(costs.positions, _COST_TERMS)
    parts = [readers.u32(words, ext, pa.int32()), readers.i64(words, const), readers.i64(words, linear)]
    return pa.StructArray.from_arrays(parts, fields=_COST_FIELDS)


def _costs(name: str, path: str, description: str) -> Column:
    return _list(name, COST_PARAM, path, pa.struct(_COST_FIELDS), _read_costs, description, *_COST_TERMS)


def _frozen_keys(name: str, relation: Relation, path: str, description: str) -> Column:
    key = At(relation)
    read = at(pa.binary(), readers.binary, key)
    return _list(name, relation, path, pa.binary(), read, f"{description}, each a LedgerKey in XDR", key)


def _bypass_txs(name: str, relation: Relation, path: str, description: str) -> Column:
    tx_hash = At(relation)
    return _list(name, relation, path, HASH, at(HASH, readers.fixed, tx_hash, 32), description, tx_hash)


_STATE_SIZE: Final = At(STATE_SIZE)
_IS_CURRENT: Final = _of_setting("evictionIterator.isCurrBucket")
_COMPUTE: Final = "contractCompute"
_LEDGER_COST: Final = "contractLedgerCost"
_ARCHIVAL: Final = "stateArchivalSettings"
_TIMING: Final = "contractSCPTiming"

CONFIG_SETTINGS: Final = state_stream(
    "config_settings",
    LedgerEntryType.CONFIG_SETTING,
    "configuration setting",
    (
        number("config_setting_id", pa.int32(), _SETTING_ID, "code of the setting"),
        enumeration(
            "config_setting", enum_table("ConfigSettingID"), _SETTING_ID, "the setting, as the XDR member is named"
        ),
        _bytes("contract_max_size_bytes", "contractMaxSizeBytes", "most that a contract's code may have"),
        # contractCompute
        _i64(
            "ledger_max_instructions",
            f"{_COMPUTE}.ledgerMaxInstructions",
            "most instructions of a ledger",
            "instruction",
        ),
        _i64(
            "tx_max_instructions", f"{_COMPUTE}.txMaxInstructions", "most instructions of a transaction", "instruction"
        ),
        _fee(
            "fee_rate_per_instructions_increment",
            f"{_COMPUTE}.feeRatePerInstructionsIncrement",
            "fee for 10000 instructions",
        ),
        _bytes("tx_memory_limit", f"{_COMPUTE}.txMemoryLimit", "most memory of a transaction"),
        # contractLedgerCost
        _u32(
            "ledger_max_disk_read_entries",
            f"{_LEDGER_COST}.ledgerMaxDiskReadEntries",
            "most entries that a ledger may read from disk",
        ),
        _bytes(
            "ledger_max_disk_read_bytes",
            f"{_LEDGER_COST}.ledgerMaxDiskReadBytes",
            "most that a ledger may read from disk",
        ),
        _u32(
            "ledger_max_write_ledger_entries",
            f"{_LEDGER_COST}.ledgerMaxWriteLedgerEntries",
            "most entries that a ledger may write",
        ),
        _bytes("ledger_max_write_bytes", f"{_LEDGER_COST}.ledgerMaxWriteBytes", "most that a ledger may write"),
        _u32(
            "tx_max_disk_read_entries",
            f"{_LEDGER_COST}.txMaxDiskReadEntries",
            "most entries that a transaction may read from disk",
        ),
        _bytes(
            "tx_max_disk_read_bytes", f"{_LEDGER_COST}.txMaxDiskReadBytes", "most that a transaction may read from disk"
        ),
        _u32(
            "tx_max_write_ledger_entries",
            f"{_LEDGER_COST}.txMaxWriteLedgerEntries",
            "most entries that a transaction may write",
        ),
        _bytes("tx_max_write_bytes", f"{_LEDGER_COST}.txMaxWriteBytes", "most that a transaction may write"),
        _fee("fee_disk_read_ledger_entry", f"{_LEDGER_COST}.feeDiskReadLedgerEntry", "fee for an entry read from disk"),
        _fee("fee_write_ledger_entry", f"{_LEDGER_COST}.feeWriteLedgerEntry", "fee for an entry written"),
        _fee("fee_disk_read_1kb", f"{_LEDGER_COST}.feeDiskRead1KB", "fee for 1 KB read from disk"),
        _i64(
            "soroban_state_target_size_bytes",
            f"{_LEDGER_COST}.sorobanStateTargetSizeBytes",
            "size of the contracts' state up to which rent grows linearly",
            "byte",
        ),
        _fee(
            "rent_fee_1kb_soroban_state_size_low",
            f"{_LEDGER_COST}.rentFee1KBSorobanStateSizeLow",
            "rent for 1 KB while the contracts' state is empty",
        ),
        _fee(
            "rent_fee_1kb_soroban_state_size_high",
            f"{_LEDGER_COST}.rentFee1KBSorobanStateSizeHigh",
            "rent for 1 KB once the contracts' state has its target size",
        ),
        _u32(
            "soroban_state_rent_fee_growth_factor",
            f"{_LEDGER_COST}.sorobanStateRentFeeGrowthFactor",
            "by how much faster rent grows beyond the target size",
        ),
        # contractLedgerCostExt
        _u32(
            "tx_max_footprint_entries",
            "contractLedgerCostExt.txMaxFootprintEntries",
            "most entries of a transaction's footprint",
        ),
        _fee("fee_write_1kb", "contractLedgerCostExt.feeWrite1KB", "fee for 1 KB written"),
        # contractHistoricalData, contractEvents, contractBandwidth
        _fee("fee_historical_1kb", "contractHistoricalData.feeHistorical1KB", "fee for 1 KB kept in archives"),
        _bytes(
            "tx_max_contract_events_size_bytes",
            "contractEvents.txMaxContractEventsSizeBytes",
            "most events of a contract call",
        ),
        _fee("fee_contract_events_1kb", "contractEvents.feeContractEvents1KB", "fee for 1 KB of events"),
        _bytes(
            "ledger_max_txs_size_bytes",
            "contractBandwidth.ledgerMaxTxsSizeBytes",
            "most that a ledger's transactions may have together",
        ),
        _bytes("tx_max_size_bytes", "contractBandwidth.txMaxSizeBytes", "most that a transaction may have"),
        _fee("fee_tx_size_1kb", "contractBandwidth.feeTxSize1KB", "fee for 1 KB of a transaction"),
        _costs(
            "contract_cost_params_cpu_insns",
            "contractCostParamsCpuInsns",
            "instructions by ContractCostType: const_term, and linear_term / 128 for each unit of input",
        ),
        _costs(
            "contract_cost_params_mem_bytes",
            "contractCostParamsMemBytes",
            "bytes of memory by ContractCostType: const_term, and linear_term / 128 for each unit of input",
        ),
        _bytes("contract_data_key_size_bytes", "contractDataKeySizeBytes", "most that a key of contract data may have"),
        _bytes(
            "contract_data_entry_size_bytes",
            "contractDataEntrySizeBytes",
            "most that an entry of contract data may have",
        ),
        # stateArchivalSettings
        _u32("max_entry_ttl", f"{_ARCHIVAL}.maxEntryTTL", "longest life of an entry", "ledger"),
        _u32("min_temporary_ttl", f"{_ARCHIVAL}.minTemporaryTTL", "shortest life of a temporary entry", "ledger"),
        _u32("min_persistent_ttl", f"{_ARCHIVAL}.minPersistentTTL", "shortest life of a persistent entry", "ledger"),
        _i64(
            "persistent_rent_rate_denominator",
            f"{_ARCHIVAL}.persistentRentRateDenominator",
            "what the fee for writing is divided by to give the rent of a persistent entry",
        ),
        _i64(
            "temp_rent_rate_denominator",
            f"{_ARCHIVAL}.tempRentRateDenominator",
            "what the fee for writing is divided by to give the rent of a temporary entry",
        ),
        _u32("max_entries_to_archive", f"{_ARCHIVAL}.maxEntriesToArchive", "most entries that a ledger may archive"),
        _u32(
            "live_soroban_state_size_window_sample_size",
            f"{_ARCHIVAL}.liveSorobanStateSizeWindowSampleSize",
            "samples of which the average size of the contracts' state is made",
        ),
        _u32(
            "live_soroban_state_size_window_sample_period",
            f"{_ARCHIVAL}.liveSorobanStateSizeWindowSamplePeriod",
            "ledgers from one sample to the next",
            "ledger",
        ),
        _bytes("eviction_scan_size", f"{_ARCHIVAL}.evictionScanSize", "most that a ledger scans for entries to evict"),
        _u32(
            "starting_eviction_scan_level",
            f"{_ARCHIVAL}.startingEvictionScanLevel",
            "lowest level of the bucket list to be scanned",
        ),
        _u32(
            "ledger_max_tx_count",
            "contractExecutionLanes.ledgerMaxTxCount",
            "most contract transactions of a ledger",
        ),
        _list(
            "live_soroban_state_size_window",
            STATE_SIZE,
            "liveSorobanStateSizeWindow",
            pa.uint64(),
            at(pa.uint64(), readers.i64, _STATE_SIZE, pa.uint64()),
            "sizes of the contracts' state, sampled one after the other",
            _STATE_SIZE,
            unit="byte",
        ),
        # evictionIterator
        _u32(
            "eviction_bucket_list_level", "evictionIterator.bucketListLevel", "level of the bucket list that is scanned"
        ),
        derived(
            "eviction_is_curr_bucket",
            pa.bool_(),
            at(pa.bool_(), readers.boolean, _IS_CURRENT),
            "whether that level's current bucket is scanned, not its snapshot",
            _IS_CURRENT,
            nullable=True,
        ),
        number(
            "eviction_bucket_file_offset",
            pa.uint64(),
            _of_setting("evictionIterator.bucketFileOffset"),
            "place in the bucket's file that the scan has come to",
            nullable=True,
            unit="byte",
        ),
        _u32(
            "ledger_max_dependent_tx_clusters",
            "contractParallelCompute.ledgerMaxDependentTxClusters",
            "most clusters of dependent transactions of a stage",
        ),
        *(
            _u32(name, f"{_TIMING}.{field}", description, "millisecond")
            for name, field, description in (
                (
                    "ledger_target_close_time_milliseconds",
                    "ledgerTargetCloseTimeMilliseconds",
                    "time from one ledger to the next that the network aims at",
                ),
                (
                    "nomination_timeout_initial_milliseconds",
                    "nominationTimeoutInitialMilliseconds",
                    "time of the first round of nomination",
                ),
                (
                    "nomination_timeout_increment_milliseconds",
                    "nominationTimeoutIncrementMilliseconds",
                    "time by which each round of nomination is longer than the one before",
                ),
                (
                    "ballot_timeout_initial_milliseconds",
                    "ballotTimeoutInitialMilliseconds",
                    "time of the first ballot",
                ),
                (
                    "ballot_timeout_increment_milliseconds",
                    "ballotTimeoutIncrementMilliseconds",
                    "time by which each ballot is longer than the one before",
                ),
            )
        ),
        _frozen_keys("frozen_ledger_keys", FROZEN_KEY, "frozenLedgerKeys.keys", "entries that are frozen"),
        _frozen_keys(
            "frozen_ledger_keys_to_freeze", FROZEN_KEY, "frozenLedgerKeysDelta.keysToFreeze", "entries to freeze"
        ),
        _frozen_keys(
            "frozen_ledger_keys_to_unfreeze",
            UNFROZEN_KEY,
            "frozenLedgerKeysDelta.keysToUnfreeze",
            "entries to freeze no more",
        ),
        _bypass_txs(
            "freeze_bypass_txs",
            BYPASS_TX,
            "freezeBypassTxs.txHashes",
            "hashes of transactions that may touch frozen entries",
        ),
        _bypass_txs(
            "freeze_bypass_txs_to_add",
            BYPASS_TX,
            "freezeBypassTxsDelta.addTxs",
            "hashes of transactions to be allowed to touch frozen entries",
        ),
        _bypass_txs(
            "freeze_bypass_txs_to_remove",
            REMOVED_BYPASS_TX,
            "freezeBypassTxsDelta.removeTxs",
            "hashes of transactions to be allowed so no more",
        ),
    ),
)

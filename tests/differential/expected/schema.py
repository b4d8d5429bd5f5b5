"""Names, types, nullability and order of every stream's columns, as the streams' contract states them.

A line is ``name type``; ``?`` after the type means nullable, ``*`` that the column is given only when named.
"""

from __future__ import annotations

from typing import NamedTuple


class ExpectedColumn(NamedTuple):
    name: str
    type: str
    nullable: bool
    opt_in: bool


def parse(text: str) -> tuple[ExpectedColumn, ...]:
    columns = []
    for line in text.strip().splitlines():
        name, declared = line.split(maxsplit=1)
        bare = declared.rstrip("?*")
        columns.append(ExpectedColumn(name, bare, "?" in declared[len(bare) :], declared.endswith("*")))
    return tuple(columns)


LEDGERS = """
ledger_sequence uint32
ledger_close_time timestamp[us, tz=UTC]
ledger_hash fixed_size_binary[32]
previous_ledger_hash fixed_size_binary[32]
transaction_count uint32
operation_count uint32
tx_set_operation_count uint32
successful_transaction_count uint32
failed_transaction_count uint32
protocol_version uint32
base_fee uint32
base_reserve uint32
max_tx_set_size uint32
close_time_resolution uint32
total_coins int64
fee_pool int64
tx_set_hash fixed_size_binary[32]
tx_set_result_hash fixed_size_binary[32]
bucket_list_hash fixed_size_binary[32]
node_id string?
signature binary?
soroban_fee_write_1kb int64?
total_byte_size_of_live_soroban_state uint64?
evicted_ledger_keys_type list<string>?
evicted_ledger_keys_hash list<fixed_size_binary[32]>?
ledger_close_meta_version uint8
ledger_header_xdr binary*
ledger_close_meta_xdr binary*
"""

TRANSACTIONS = """
ledger_sequence uint32
ledger_close_time timestamp[us, tz=UTC]
transaction_id int64
transaction_index uint32
transaction_hash fixed_size_binary[32]
source_account string
source_account_muxed string?
account_sequence int64
fee_account string?
fee_account_muxed string?
inner_transaction_hash fixed_size_binary[32]?
max_fee int64
new_max_fee int64?
fee_charged int64
successful bool
result_code int32
transaction_result_code string
inner_result_code int32?
inner_transaction_result_code string?
operation_count uint32
memo_type string
memo string?
memo_bytes binary?
time_bounds_min uint64?
time_bounds_max uint64?
ledger_bounds_min uint32?
ledger_bounds_max uint32?
min_account_sequence int64?
min_account_sequence_age uint64?
min_account_sequence_ledger_gap uint32?
extra_signers list<string>?
signature_count uint32
transaction_envelope_type string
protocol_version uint32
transaction_meta_version uint8
resource_fee int64?
soroban_resources_instructions uint32?
soroban_resources_disk_read_bytes uint32?
soroban_resources_write_bytes uint32?
soroban_resources_archived_entries list<uint32>?
soroban_footprint_read_only_count uint32?
soroban_footprint_read_write_count uint32?
inclusion_fee_bid int64?
inclusion_fee_charged int64?
resource_fee_refund int64?
non_refundable_resource_fee_charged int64?
refundable_resource_fee_charged int64?
rent_fee_charged int64?
transaction_envelope_xdr binary*
transaction_result_xdr binary*
transaction_meta_xdr binary*
transaction_fee_meta_xdr binary*
"""

OPERATIONS = """
ledger_sequence uint32
ledger_close_time timestamp[us, tz=UTC]
transaction_id int64
transaction_index uint32
operation_id int64
operation_index uint32
transaction_hash fixed_size_binary[32]
operation_type int32
operation_type_string string
source_account string
source_account_muxed string?
transaction_successful bool
successful bool
operation_result_code string?
operation_trace_code string?
destination string?
destination_muxed string?
asset_type string?
asset_code string?
asset_issuer string?
amount int64?
source_asset_type string?
source_asset_code string?
source_asset_issuer string?
source_amount int64?
source_max int64?
destination_min int64?
path list<struct<asset_type string, asset_code string?, asset_issuer string?>>?
starting_balance int64?
offer_id int64?
created_offer_id int64?
price_n int32?
price_d int32?
selling_asset_type string?
selling_asset_code string?
selling_asset_issuer string?
buying_asset_type string?
buying_asset_code string?
buying_asset_issuer string?
limit int64?
trustor string?
authorize uint32?
set_flags uint32?
clear_flags uint32?
inflation_destination string?
master_key_weight uint32?
low_threshold uint32?
med_threshold uint32?
high_threshold uint32?
home_domain string?
signer_key string?
signer_weight uint32?
data_name string?
data_value binary?
bump_to int64?
balance_id string?
claimants list<struct<destination string, predicate string>>?
sponsored_id string?
sponsorship_entry_type string?
sponsorship_account string?
from_account string?
from_account_muxed string?
liquidity_pool_id string?
reserve_a_asset_type string?
reserve_a_asset_code string?
reserve_a_asset_issuer string?
reserve_b_asset_type string?
reserve_b_asset_code string?
reserve_b_asset_issuer string?
liquidity_pool_fee int32?
reserve_a_max_amount int64?
reserve_b_max_amount int64?
min_price_n int32?
min_price_d int32?
max_price_n int32?
max_price_d int32?
shares int64?
reserve_a_min_amount int64?
reserve_b_min_amount int64?
host_function_type string?
contract_id string?
function_name string?
parameters list<string>?
contract_code_hash fixed_size_binary[32]?
contract_deployer string?
contract_salt fixed_size_binary[32]?
auth_count uint32?
footprint_read_only list<fixed_size_binary[32]>?
footprint_read_write list<fixed_size_binary[32]>?
extend_to uint32?
operation_xdr binary*
operation_result_xdr binary?*
"""

PAYMENTS = """
ledger_sequence uint32
ledger_close_time timestamp[us, tz=UTC]
transaction_id int64
transaction_index uint32
operation_id int64
operation_index uint32
transaction_hash fixed_size_binary[32]
payment_type string
operation_type_string string
source_account string
source_account_muxed string?
destination string
destination_muxed string?
asset_type string
asset_code string
asset_issuer string?
amount int64?
source_asset_type string?
source_asset_code string?
source_asset_issuer string?
source_amount int64?
memo_type string
memo string?
memo_bytes binary?
successful bool
transaction_successful bool
"""

LEDGER_ENTRY_CHANGES = """
ledger_sequence uint32
ledger_close_time timestamp[us, tz=UTC]
transaction_id int64?
transaction_index uint32?
operation_id int64?
operation_index uint32?
transaction_hash fixed_size_binary[32]?
change_site string
change_index uint32
change_type string
change_type_code int32
ledger_entry_type string
ledger_key_hash fixed_size_binary[32]
last_modified_ledger uint32?
sponsor string?
pre_change_index uint32?
account_id string?
asset_type string?
asset_code string?
asset_issuer string?
balance int64?
offer_id int64?
balance_id string?
liquidity_pool_id string?
contract_id string?
successful bool?
ledger_key_xdr binary*
ledger_entry_xdr binary?*
change_xdr binary*
"""

TRADES = """
ledger_sequence uint32
ledger_close_time timestamp[us, tz=UTC]
transaction_id int64
transaction_index uint32
operation_id int64
operation_index uint32
transaction_hash fixed_size_binary[32]
order uint32
trade_type string
seller_account string?
liquidity_pool_id string?
offer_id int64?
sold_asset_type string
sold_asset_code string
sold_asset_issuer string?
sold_amount int64
buyer_account string
buyer_account_muxed string?
bought_asset_type string
bought_asset_code string
bought_asset_issuer string?
bought_amount int64
price_n int64?
price_d int64?
operation_type_string string
"""

CONTRACT_EVENTS = """
ledger_sequence uint32
ledger_close_time timestamp[us, tz=UTC]
transaction_id int64
transaction_index uint32
operation_id int64?
operation_index uint32?
transaction_hash fixed_size_binary[32]
event_index uint32
stage string?
event_type int32
event_type_string string
contract_id string?
successful bool
in_successful_contract_call bool
topics list<string>
data string
topic_count uint32
topic0 string?
topics_xdr list<binary>*
data_xdr binary*
contract_event_xdr binary*
"""

DIAGNOSTIC_EVENTS = """
ledger_sequence uint32
ledger_close_time timestamp[us, tz=UTC]
transaction_id int64
transaction_index uint32
transaction_hash fixed_size_binary[32]
event_index uint32
event_type int32
event_type_string string
contract_id string?
successful bool
in_successful_contract_call bool
topics list<string>
data string
topic_count uint32
topic0 string?
topics_xdr list<binary>*
data_xdr binary*
contract_event_xdr binary*
"""

TTP_EVENTS = """
ledger_sequence uint32
ledger_close_time timestamp[us, tz=UTC]
transaction_id int64
transaction_index uint32
operation_id int64?
operation_index uint32?
event_index uint32
transaction_hash fixed_size_binary[32]
successful bool
event_type string
from_address string?
to_address string?
to_muxed_kind string?
to_muxed_id string?
to_muxed_bytes binary?
asset_type string?
asset_code string?
asset_issuer string?
contract_id string
amount decimal128(38, 0)?
amount_raw string
is_native_asset bool
is_fee bool
is_fee_refund bool
names_administrator bool
events_mode string
"""

ACCOUNTS = """
ledger_sequence uint32
ledger_close_time timestamp[us, tz=UTC]
account_id string
balance int64?
buying_liabilities int64?
selling_liabilities int64?
sequence_number int64?
sequence_ledger uint32?
sequence_time uint64?
num_subentries uint32?
inflation_destination string?
flags uint32?
home_domain string?
master_weight uint32?
threshold_low uint32?
threshold_medium uint32?
threshold_high uint32?
num_sponsored uint32?
num_sponsoring uint32?
sponsor string?
last_modified_ledger uint32?
ledger_entry_change uint32
deleted bool
ledger_key_hash fixed_size_binary[32]
ledger_entry_xdr binary?*
"""

ACCOUNT_SIGNERS = """
ledger_sequence uint32
ledger_close_time timestamp[us, tz=UTC]
account_id string
signer string
weight uint32?
sponsor string?
last_modified_ledger uint32?
ledger_entry_change uint32
deleted bool
ledger_key_hash fixed_size_binary[32]
"""

TRUST_LINES = """
ledger_sequence uint32
ledger_close_time timestamp[us, tz=UTC]
account_id string
asset_type string
asset_code string?
asset_issuer string?
liquidity_pool_id string?
balance int64?
trust_line_limit int64?
buying_liabilities int64?
selling_liabilities int64?
flags uint32?
sponsor string?
last_modified_ledger uint32?
ledger_entry_change uint32
deleted bool
ledger_key_hash fixed_size_binary[32]
ledger_entry_xdr binary?*
"""

OFFERS = """
ledger_sequence uint32
ledger_close_time timestamp[us, tz=UTC]
seller_id string
offer_id int64
selling_asset_type string?
selling_asset_code string?
selling_asset_issuer string?
buying_asset_type string?
buying_asset_code string?
buying_asset_issuer string?
amount int64?
price_n int32?
price_d int32?
flags uint32?
sponsor string?
last_modified_ledger uint32?
ledger_entry_change uint32
deleted bool
ledger_key_hash fixed_size_binary[32]
ledger_entry_xdr binary?*
"""

CLAIMABLE_BALANCES = """
ledger_sequence uint32
ledger_close_time timestamp[us, tz=UTC]
balance_id string
claimants list<struct<destination string, predicate string>>?
asset_type string?
asset_code string?
asset_issuer string?
asset_amount int64?
flags uint32?
sponsor string?
last_modified_ledger uint32?
ledger_entry_change uint32
deleted bool
ledger_key_hash fixed_size_binary[32]
ledger_entry_xdr binary?*
"""

LIQUIDITY_POOLS = """
ledger_sequence uint32
ledger_close_time timestamp[us, tz=UTC]
liquidity_pool_id string
type string?
fee int32?
trustline_count int64?
pool_share_count int64?
asset_a_type string?
asset_a_code string?
asset_a_issuer string?
asset_a_amount int64?
asset_b_type string?
asset_b_code string?
asset_b_issuer string?
asset_b_amount int64?
last_modified_ledger uint32?
ledger_entry_change uint32
deleted bool
ledger_key_hash fixed_size_binary[32]
ledger_entry_xdr binary?*
"""

CONFIG_SETTINGS = """
ledger_sequence uint32
ledger_close_time timestamp[us, tz=UTC]
config_setting_id int32
config_setting string
contract_max_size_bytes uint32?
ledger_max_instructions int64?
tx_max_instructions int64?
fee_rate_per_instructions_increment int64?
tx_memory_limit uint32?
ledger_max_disk_read_entries uint32?
ledger_max_disk_read_bytes uint32?
ledger_max_write_ledger_entries uint32?
ledger_max_write_bytes uint32?
tx_max_disk_read_entries uint32?
tx_max_disk_read_bytes uint32?
tx_max_write_ledger_entries uint32?
tx_max_write_bytes uint32?
fee_disk_read_ledger_entry int64?
fee_write_ledger_entry int64?
fee_disk_read_1kb int64?
soroban_state_target_size_bytes int64?
rent_fee_1kb_soroban_state_size_low int64?
rent_fee_1kb_soroban_state_size_high int64?
soroban_state_rent_fee_growth_factor uint32?
tx_max_footprint_entries uint32?
fee_write_1kb int64?
fee_historical_1kb int64?
tx_max_contract_events_size_bytes uint32?
fee_contract_events_1kb int64?
ledger_max_txs_size_bytes uint32?
tx_max_size_bytes uint32?
fee_tx_size_1kb int64?
contract_cost_params_cpu_insns list<struct<ext int32, const_term int64, linear_term int64>>?
contract_cost_params_mem_bytes list<struct<ext int32, const_term int64, linear_term int64>>?
contract_data_key_size_bytes uint32?
contract_data_entry_size_bytes uint32?
max_entry_ttl uint32?
min_temporary_ttl uint32?
min_persistent_ttl uint32?
persistent_rent_rate_denominator int64?
temp_rent_rate_denominator int64?
max_entries_to_archive uint32?
live_soroban_state_size_window_sample_size uint32?
live_soroban_state_size_window_sample_period uint32?
eviction_scan_size uint32?
starting_eviction_scan_level uint32?
ledger_max_tx_count uint32?
live_soroban_state_size_window list<uint64>?
eviction_bucket_list_level uint32?
eviction_is_curr_bucket bool?
eviction_bucket_file_offset uint64?
ledger_max_dependent_tx_clusters uint32?
ledger_target_close_time_milliseconds uint32?
nomination_timeout_initial_milliseconds uint32?
nomination_timeout_increment_milliseconds uint32?
ballot_timeout_initial_milliseconds uint32?
ballot_timeout_increment_milliseconds uint32?
frozen_ledger_keys list<binary>?
frozen_ledger_keys_to_freeze list<binary>?
frozen_ledger_keys_to_unfreeze list<binary>?
freeze_bypass_txs list<fixed_size_binary[32]>?
freeze_bypass_txs_to_add list<fixed_size_binary[32]>?
freeze_bypass_txs_to_remove list<fixed_size_binary[32]>?
last_modified_ledger uint32?
ledger_entry_change uint32
deleted bool
ledger_key_hash fixed_size_binary[32]
ledger_entry_xdr binary?*
"""

CONTRACT_DATA = """
ledger_sequence uint32
ledger_close_time timestamp[us, tz=UTC]
contract_address string
contract_id string?
contract_key_type string
contract_durability string
key string
val string?
asset_type string?
asset_code string?
asset_issuer string?
balance_holder string?
balance decimal128(38, 0)?
balance_raw string?
key_xdr binary*
val_xdr binary?*
last_modified_ledger uint32?
ledger_entry_change uint32
deleted bool
ledger_key_hash fixed_size_binary[32]
ledger_entry_xdr binary?*
"""

CONTRACT_CODE = """
ledger_sequence uint32
ledger_close_time timestamp[us, tz=UTC]
contract_code_hash fixed_size_binary[32]
contract_code_ext_v int32?
n_instructions uint32?
n_functions uint32?
n_globals uint32?
n_table_entries uint32?
n_types uint32?
n_data_segments uint32?
n_elem_segments uint32?
n_imports uint32?
n_exports uint32?
n_data_segment_bytes uint32?
contract_code_size uint32?
contract_code_wasm binary?*
last_modified_ledger uint32?
ledger_entry_change uint32
deleted bool
ledger_key_hash fixed_size_binary[32]
ledger_entry_xdr binary?*
"""

TTL = """
ledger_sequence uint32
ledger_close_time timestamp[us, tz=UTC]
key_hash fixed_size_binary[32]
live_until_ledger_seq uint32?
last_modified_ledger uint32?
ledger_entry_change uint32
deleted bool
ledger_key_hash fixed_size_binary[32]
ledger_entry_xdr binary?*
"""

RESTORED_KEYS = """
ledger_sequence uint32
ledger_close_time timestamp[us, tz=UTC]
ledger_key_hash fixed_size_binary[32]
ledger_entry_type string
contract_id string?
contract_key_type string?
contract_durability string?
key string?
contract_code_hash fixed_size_binary[32]?
key_hash fixed_size_binary[32]?
last_modified_ledger uint32
ledger_key_xdr binary*
"""

EVICTED_KEYS = """
ledger_sequence uint32
ledger_close_time timestamp[us, tz=UTC]
ledger_key_hash fixed_size_binary[32]
ledger_entry_type string
contract_id string?
contract_key_type string?
contract_durability string?
key string?
contract_code_hash fixed_size_binary[32]?
key_hash fixed_size_binary[32]?
ledger_key_xdr binary*
"""

EFFECTS = """
ledger_sequence uint32
ledger_close_time timestamp[us, tz=UTC]
transaction_id int64
transaction_index uint32
operation_id int64
operation_index uint32
transaction_hash fixed_size_binary[32]
effect_index uint32
effect_id string
effect_type int32
effect_type_string string
address string
address_muxed string?
asset_type string?
asset_code string?
asset_issuer string?
amount decimal128(38, 0)?
amount_raw string?
contract string?
contract_event_type string?
starting_balance int64?
seller string?
seller_muxed string?
offer_id int64?
sold_asset_type string?
sold_asset_code string?
sold_asset_issuer string?
sold_amount int64?
bought_asset_type string?
bought_asset_code string?
bought_asset_issuer string?
bought_amount int64?
balance_id string?
predicate string?
claimable_balance_clawback_enabled_flag bool?
signer_key string?
signer_weight uint32?
low_threshold uint32?
med_threshold uint32?
high_threshold uint32?
home_domain string?
inflation_destination string?
auth_required_flag bool?
auth_revocable_flag bool?
auth_immutable_flag bool?
auth_clawback_enabled_flag bool?
trustor string?
limit int64?
authorized_flag bool?
authorized_to_maintain_liabilities_flag bool?
clawback_enabled_flag bool?
data_name string?
data_value binary?
new_seq int64?
sponsor string?
new_sponsor string?
former_sponsor string?
liquidity_pool_id string?
liquidity_pool_type string?
liquidity_pool_fee int32?
trustline_count int64?
pool_share_count int64?
asset_a_type string?
asset_a_code string?
asset_a_issuer string?
asset_a_amount int64?
asset_b_type string?
asset_b_code string?
asset_b_issuer string?
asset_b_amount int64?
reserve_a_deposited int64?
reserve_b_deposited int64?
shares_received int64?
reserve_a_received int64?
reserve_b_received int64?
shares_redeemed int64?
reserve_a_revoked int64?
reserve_b_revoked int64?
reserve_a_balance_id string?
reserve_b_balance_id string?
shares_revoked int64?
entries list<fixed_size_binary[32]>?
extend_to uint32?
"""

SCHEMAS = {
    "ledgers": parse(LEDGERS),
    "transactions": parse(TRANSACTIONS),
    "operations": parse(OPERATIONS),
    "payments": parse(PAYMENTS),
    "ttp_events": parse(TTP_EVENTS),
    "trades": parse(TRADES),
    "contract_events": parse(CONTRACT_EVENTS),
    "diagnostic_events": parse(DIAGNOSTIC_EVENTS),
    "ledger_entry_changes": parse(LEDGER_ENTRY_CHANGES),
    "accounts": parse(ACCOUNTS),
    "account_signers": parse(ACCOUNT_SIGNERS),
    "trust_lines": parse(TRUST_LINES),
    "offers": parse(OFFERS),
    "claimable_balances": parse(CLAIMABLE_BALANCES),
    "liquidity_pools": parse(LIQUIDITY_POOLS),
    "config_settings": parse(CONFIG_SETTINGS),
    "contract_data": parse(CONTRACT_DATA),
    "contract_code": parse(CONTRACT_CODE),
    "ttl": parse(TTL),
    "restored_keys": parse(RESTORED_KEYS),
    "evicted_keys": parse(EVICTED_KEYS),
    "effects": parse(EFFECTS),
}

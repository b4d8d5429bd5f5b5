"""Effects say of each operation what the streams of payments, trades, transfers and entry changes say of it.

The streams are derived on different ways: effects mostly from operations, trades from results, transfers from
events where the ledger has them, changes from the meta. None of these rules needs a second reading of the XDR.
"""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import pytest

from stellar_arrow_source.ledgers.endpoint import open_source
from stellar_arrow_source.tables import LedgerDecoder
from tests.support.corpus import PASSPHRASES, files, read
from tests.support.decoding import Row, rows_by_ledger

COLUMNS = {
    "operations": ("operation_type_string", "source_account", "successful", "transaction_successful"),
    "effects": None,
    "payments": None,
    "trades": None,
    "ttp_events": None,
    "ledger_entry_changes": ("change_type", "ledger_entry_type", "ledger_key_hash", "asset_type"),
}
COMMON = ("ledger_sequence", "ledger_close_time", "transaction_id", "transaction_index", "transaction_hash")
IDS = (*COMMON, "operation_id", "operation_index")

AT_LEAST = {
    "corpus": {
        "failed": 1400, "paid": 1200, "orderbook": 440, "liquidity_pool": 44, "rounded to nothing": 7, "lives": 98,
        "account created": 719, "account removed": 62, "trustline created": 290, "trustline removed": 57,
        "claimable_balance created": 159, "claimable_balance removed": 10, "liquidity_pool created": 4,
        "faults of balances": 4, "faults of merges": 4,
        "moves of payment": 440, "moves of manage_sell_offer": 300, "moves of invoke_host_function": 34,
    },
    "synthetic": {
        "failed": 700, "paid": 2000, "orderbook": 750, "liquidity_pool": 150, "lives": 68,
        "account created": 111, "account removed": 64, "trustline created": 51, "trustline removed": 8,
        "claimable_balance created": 150, "claimable_balance removed": 130, "data created": 119, "data removed": 7,
        "moves of payment": 1300, "moves of path_payment_strict_send": 360, "moves of path_payment_strict_receive": 190,
        "moves of manage_buy_offer": 150, "moves of claim_claimable_balance": 100, "moves of clawback": 30,
        "moves of liquidity_pool_deposit": 80, "moves of liquidity_pool_withdraw": 80, "moves of account_merge": 60,
        "moves of invoke_host_function": 400,
    },
}  # fmt: skip
"""How often what these tests look at must be met, so that they show something."""
SELDOM = {
    "corpus": {"clawback_claimable_balance", "liquidity_pool_withdraw"},
    "synthetic": {"restore_footprint"},
}
"""Kinds of operations that never succeed in these ledgers."""

Asset = tuple[str | None, ...]
Movements = Counter[tuple[str, Asset]]
"""Holder and asset → by how much the holding grew."""


@dataclass(slots=True)
class Operation:
    """One operation, and its rows of each stream, in order."""

    where: str
    row: Row
    rows: dict[str, list[Row]] = field(default_factory=lambda: defaultdict(list))

    @property
    def kind(self) -> str:
        return str(self.row["operation_type_string"])

    @property
    def effects(self) -> list[Row]:
        return self.rows["effects"]

    def of(self, *types: str) -> list[Row]:
        return [row for row in self.effects if row["effect_type_string"] in types]


def ledgers_of(kind: str) -> Iterator[tuple[str, str, list[bytes]]]:
    """Name, network passphrase and LedgerCloseMetas of ledgers to decode together."""
    if kind == "corpus":
        for file in files():
            yield file, PASSPHRASES[file.split("/", 1)[0]], [ledger.xdr for ledger in read(file)]
    else:
        source = open_source("synthetic://?ledgers=100&transactions=40")
        made = [bytes(ledger.xdr) for ledger in source.ledgers(2, 101, threading.Event())]
        yield kind, str(source.network_passphrase), made


@pytest.fixture(scope="module", params=["corpus", "synthetic"])
def kind(request: pytest.FixtureRequest) -> str:
    """Real ledgers and core's own, or synthetic ones, which hold what those seldom do."""
    if request.param == "corpus" and not files():
        pytest.skip("no ledger corpus; set STELLAR_LEDGER_CORPUS")
    return str(request.param)


@pytest.fixture(scope="module")
def operations(kind: str) -> list[Operation]:
    """All operations of these ledgers."""
    columns = {name: None if own is None else [*IDS, *own] for name, own in COLUMNS.items()}
    decoders: dict[str, LedgerDecoder] = {}
    found: list[Operation] = []
    for name, passphrase, ledgers in ledgers_of(kind):
        decoder = decoders.setdefault(passphrase, LedgerDecoder(columns, passphrase=passphrase))
        decoded = decoder.decode(ledgers)
        rows = {stream: rows_by_ledger(decoded, stream) for stream in columns}
        for index in range(len(ledgers)):
            here = f"{name}#{index}"
            of_ledger = {row["operation_id"]: Operation(here, row) for row in next(rows["operations"])}
            for stream in rows.keys() - {"operations"}:
                for row in next(rows[stream]):
                    if row["operation_id"] is not None:
                        of_ledger[row["operation_id"]].rows[stream].append(row)
            found += of_ledger.values()
    assert found
    return found


def differing(operations: list[Operation], rule: Callable[[Operation], tuple[Any, Any]]) -> list[str]:
    """Operations of which the rule gives two different values."""
    told = ((operation, *rule(operation)) for operation in operations)
    return [
        f"{op.where} {op.kind} {op.row['operation_id']}: {one} is not {other}"
        for op, one, other in told
        if one != other
    ][:10]


def assert_met(kind: str, met: Counter[str], group: str = "") -> None:
    """What was counted occurred at least as often as it must, faults just as often; a group's also if never met."""
    wanted = [name for name in AT_LEAST[kind] if name in met or (group and name.startswith(group))]
    assert not {name: met[name] for name in wanted if met[name] < AT_LEAST[kind][name]}
    assert not {
        name: met[name] for name in met if name.startswith("faults") and met[name] > AT_LEAST[kind].get(name, 0)
    }


def asset_of(row: Row, prefix: str = "") -> Asset:
    return tuple(row[f"{prefix}asset_{part}"] for part in ("type", "code", "issuer"))


def test_only_what_succeeded_has_effects(operations: list[Operation], kind: str) -> None:
    """What an operation of a failed transaction did was undone."""
    assert_met(kind, Counter({"failed": sum(not op.row["transaction_successful"] for op in operations)}))
    assert not [op.where for op in operations if op.effects and not op.row["successful"]]


def test_effects_are_numbered_and_carry_the_ids_of_their_operation(operations: list[Operation]) -> None:
    for op in operations:
        for index, row in enumerate(op.effects, 1):
            assert row["effect_index"] == index, op.where
            assert row["effect_id"] == f"{row['operation_id']:019d}-{index:010d}"
            assert {name: row[name] for name in IDS} == {name: op.row[name] for name in IDS}


ALWAYS = {
    "create_account": ["account_created", "account_debited", "signer_created"],
    "payment": ["account_credited", "account_debited"],
    "path_payment_strict_receive": ["account_credited", "account_debited"],
    "path_payment_strict_send": ["account_credited", "account_debited"],
    "account_merge": ["account_debited", "account_credited", "account_removed"],
    "claim_claimable_balance": ["claimable_balance_claimed"],
    "clawback": ["account_credited", "account_debited"],
    "clawback_claimable_balance": ["claimable_balance_clawed_back", "account_credited"],
    "set_trust_line_flags": ["trustline_flags_updated"],
    "liquidity_pool_deposit": ["liquidity_pool_deposited"],
    "liquidity_pool_withdraw": ["liquidity_pool_withdrew"],
    "extend_footprint_ttl": ["extend_footprint_ttl"],
    "restore_footprint": ["restore_footprint"],
}
"""Kind of operation → the effects that it begins with whenever it succeeds."""


def test_operations_begin_with_what_they_always_do(operations: list[Operation], kind: str) -> None:
    assert ALWAYS.keys() - {op.kind for op in operations if op.row["successful"]} == SELDOM[kind]

    def beginning(op: Operation) -> tuple[Any, Any]:
        always = ALWAYS.get(op.kind, []) if op.row["successful"] else []
        return [row["effect_type_string"] for row in op.effects[: len(always)]], always

    assert differing(operations, beginning) == []


def test_who_pays_and_is_paid_is_debited_and_credited(operations: list[Operation], kind: str) -> None:
    """The payment's amounts, of a path payment both, and muxed addresses."""

    def told(row: Row) -> tuple[Any, ...]:
        created = row["effect_type_string"] == "account_created"
        what = (("native", "XLM", None), row["starting_balance"]) if created else (asset_of(row), int(row["amount"]))
        return row["address"], row["address_muxed"], *what

    def both(op: Operation) -> tuple[Any, Any]:
        paid = [row for row in op.rows["payments"] if row["successful"]]
        wanted: list[Any] = []
        for row in paid:
            sent = (asset_of(row), row["amount"])
            if row["source_amount"] is not None:
                sent = (asset_of(row, "source_"), row["source_amount"])
            wanted += [
                (row["destination"], row["destination_muxed"], asset_of(row), row["amount"]),
                (row["source_account"], row["source_account_muxed"], *sent),
            ]
        effects = op.of("account_created", "account_credited", "account_debited") if paid else []
        return sorted(map(told, effects), key=repr), sorted(wanted, key=repr)

    paid = sum(bool(row["successful"]) for op in operations for row in op.rows["payments"])
    assert_met(kind, Counter({"paid": paid}))
    assert differing(operations, both) == []


SWAP = [
    f"{side}_{part}" for side in ("sold", "bought") for part in ("asset_type", "asset_code", "asset_issuer", "amount")
]
MIRRORED = [
    name.replace(*pair) for name in SWAP for pair in [("sold", "bought"), ("bought", "sold")] if pair[0] in name
]


def values(row: Row, names: list[str]) -> list[Any]:
    return [row[name] for name in names]


def is_nothing(trade: Row) -> bool:
    """Both amounts were rounded to zero."""
    return bool(trade["sold_amount"] == trade["bought_amount"] == 0)


def as_effects(trade: Row) -> Iterator[list[Any]]:
    """An offer's trade is two effects, first on who came to trade; a pool's is one, on who came, told of the pool.

    A trade of nothing has none.
    """
    if is_nothing(trade):
        return
    buyer = values(trade, ["buyer_account", "buyer_account_muxed"])
    seller, gave, got = [trade["seller_account"], None], values(trade, SWAP), values(trade, MIRRORED)
    if trade["trade_type"] == "liquidity_pool":
        yield ["liquidity_pool_trade", *buyer, trade["liquidity_pool_id"], None, None, None, *gave]
    else:
        yield ["trade", *buyer, None, trade["offer_id"], *seller, *got]
        yield ["trade", *seller, None, trade["offer_id"], *buyer, *gave]


def test_every_trade_has_its_effects_and_every_effect_its_trade(operations: list[Operation], kind: str) -> None:
    met: Counter[str] = Counter(dict.fromkeys(("orderbook", "liquidity_pool", "rounded to nothing"), 0))

    def both(op: Operation) -> tuple[Any, Any]:
        trades, effects = op.rows["trades"], op.of("trade", "liquidity_pool_trade")
        met.update("rounded to nothing" if is_nothing(row) else row["trade_type"] for row in trades)
        names = [
            "effect_type_string",
            "address",
            "address_muxed",
            "liquidity_pool_id",
            "offer_id",
            "seller",
            "seller_muxed",
        ]
        return [values(row, [*names, *SWAP]) for row in effects], list(chain.from_iterable(map(as_effects, trades)))

    assert differing(operations, both) == []
    assert_met(kind, met)


def moved_by_events(op: Operation) -> Movements:
    """What accounts and contracts got and gave, by the transfers; issuers hold nothing of what they issue.

    Lumens that a classic operation mints or burns, but for inflation, were made by faults of the protocols before 8:
    the transfers tell of them by the entries, while effects tell what the operation meant to do.
    """
    found: Movements = Counter()
    for row in op.rows["ttp_events"]:
        if row["asset_type"] is None or is_faulty(op, row):
            continue
        for holder, sign in ((row["from_address"], -1), (row["to_address"], 1)):
            if holder is not None and holder[0] in "GC" and holder != row["asset_issuer"]:
                found[holder, asset_of(row)] += sign * int(row["amount_raw"])
    return Counter({key: amount for key, amount in found.items() if amount})


def is_faulty(op: Operation, event: Row) -> bool:
    made = event["asset_type"] == "native" and event["event_type"] in ("mint", "burn")
    return made and op.kind not in ("inflation", "invoke_host_function")


def moved_by_effects(op: Operation) -> Movements:
    """The same by the effects.

    Of a path payment the source's trades repeat what it was debited, and move what it got only to pass it on: they do
    not count. Of a claimable balance, and of a pool, effects tell the account's side only.
    """
    found: Movements = Counter()

    def move(holder: str, asset: Asset, amount: Any) -> None:
        if holder != asset[2] and holder[0] in "GC":
            found[holder, asset] += int(amount)

    paths = op.kind.startswith("path_payment")
    trades = 0
    for row in op.effects:
        match row["effect_type_string"]:
            case "account_created" if op.kind == "create_account":  # by a contract, events tell of it
                move(row["address"], ("native", "XLM", None), row["starting_balance"])
            case "account_credited":
                move(row["address"], asset_of(row), row["amount_raw"])
            case "account_debited":
                move(row["address"], asset_of(row), -int(row["amount_raw"]))
            case "contract_credited":
                move(row["contract"], asset_of(row), row["amount_raw"])
            case "contract_debited":
                move(row["contract"], asset_of(row), -int(row["amount_raw"]))
            case "trade":
                trades += 1
                if trades % 2 == 0 or not paths:
                    move(row["address"], asset_of(row, "sold_"), -row["sold_amount"])
                    move(row["address"], asset_of(row, "bought_"), row["bought_amount"])
            case "liquidity_pool_deposited" | "liquidity_pool_withdrew" as kind:
                column, sign = ("deposited", -1) if kind.endswith("deposited") else ("received", 1)
                for side in "ab":
                    asset = tuple(row[f"asset_{side}_{part}"] for part in ("type", "code", "issuer"))
                    move(row["address"], asset, sign * row[f"reserve_{side}_{column}"])
    return Counter({key: amount for key, amount in found.items() if amount})


def test_effects_move_what_transfers_move(operations: list[Operation], kind: str) -> None:
    assert differing(operations, lambda op: (dict(moved_by_effects(op)), dict(moved_by_events(op)))) == []
    met = Counter(f"moves of {op.kind}" for op in operations if moved_by_events(op))
    met["faults of balances"] = sum(is_faulty(op, row) for op in operations for row in op.rows["ttp_events"])
    assert_met(kind, met, "moves of ")


def steps(op: Operation) -> Counter[str]:
    """How many entries of each type the operation created and removed, by its first and last change of each."""
    first: dict[bytes, Row] = {}
    last: dict[bytes, Row] = {}
    for row in op.rows["ledger_entry_changes"]:
        first.setdefault(row["ledger_key_hash"], row)
        last[row["ledger_key_hash"]] = row
    created = [row for row in first.values() if row["change_type"] == "LEDGER_ENTRY_CREATED"]
    removed = [row for row in last.values() if row["change_type"] == "LEDGER_ENTRY_REMOVED"]
    found = Counter(f"{row['ledger_entry_type']} created" for row in created)
    found.update(f"{row['ledger_entry_type']} removed" for row in removed)
    return found


def told_steps(op: Operation) -> Counter[str]:
    """The same by the effects. A revoked pool share leaves its reserves as claimable balances."""
    found = Counter(STEPS[row["effect_type_string"]] for row in op.of(*STEPS))
    revoked = [row[f"reserve_{side}_balance_id"] for row in op.effects for side in "ab"]
    found["claimable_balance created"] += len(revoked) - revoked.count(None)
    return +found


STEPS = {
    f"{entry}_{step}": f"{entry} {step}"
    for entry in ("account", "trustline", "data", "claimable_balance", "liquidity_pool")
    for step in ("created", "removed")
} | dict.fromkeys(("claimable_balance_claimed", "claimable_balance_clawed_back"), "claimable_balance removed")
"""Effect → what becomes of an entry."""


def test_effects_tell_every_entry_that_comes_or_goes(operations: list[Operation], kind: str) -> None:
    """But for accounts that protocols before 8 let merge a second time, when they were gone."""
    known = set(STEPS.values())
    met: Counter[str] = Counter(dict.fromkeys(known | {"faults of merges"}, 0))

    def both(op: Operation) -> tuple[Any, Any]:
        found = Counter({step: count for step, count in steps(op).items() if step in known})
        if op.kind == "account_merge" and op.row["successful"] and not found:
            met["faults of merges"] += 1
            found["account removed"] += 1
        met.update(found)
        return told_steps(op), found if op.row["successful"] else Counter()

    assert differing(operations, both) == []
    assert_met(kind, met)


def test_effects_of_footprints_list_the_lives_that_were_changed(operations: list[Operation], kind: str) -> None:
    listed = 0
    for op in operations:
        for row in op.of("extend_footprint_ttl", "restore_footprint"):
            lives = [one for one in op.rows["ledger_entry_changes"] if one["ledger_entry_type"] == "ttl"]
            assert len(set(row["entries"])) == len(row["entries"]) == len({one["ledger_key_hash"] for one in lives})
            listed += len(row["entries"])
    assert_met(kind, Counter({"lives": listed}))

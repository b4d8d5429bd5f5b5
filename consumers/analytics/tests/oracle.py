"""The analyses once more, in plain Python over the rows: what the consumer's results must equal."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from decimal import Decimal
from fractions import Fraction

from analytics_consumer.analyses import Analysis
from analytics_consumer.selection import Selection

from consumers.analytics.tests.made import EPOCH, Made, Row

Groups = dict[tuple[str | None, ...], list[Row]]


def asset(row: Row, prefix: str = "") -> str | None:
    kind = row.get(f"{prefix}asset_type")
    if kind == "native":
        return "native"
    code, issuer = row.get(f"{prefix}asset_code"), row.get(f"{prefix}asset_issuer")
    return None if code is None else f"{code}:{issuer}"


def group(rows: Iterable[Row], key: Callable[[Row], tuple[str | None, ...]]) -> Groups:
    groups: Groups = defaultdict(list)
    for row in rows:
        groups[key(row)].append(row)
    return groups


def wanted(row: Row, selection: Selection, default: frozenset[str] | None = None) -> bool:
    name = asset(row)
    if selection.assets is None:
        return default is None or name in default
    return name in selection.assets.names or (
        row["asset_code"] in selection.assets.codes and row["asset_type"] != "native"
    )


def nearest_rank(values: list[int], percent: int) -> int:
    return sorted(values)[math.ceil(len(values) * percent / 100) - 1]


def rate(part: int, whole: int) -> float | None:
    return round(part / whole, 6) if whole else None


def payment_volume(rows: list[Row], selection: Selection) -> list[Row]:
    paid = [row for row in rows if row["successful"] and wanted(row, selection)]
    return [
        {
            "asset": key[0],
            "payments": len(of),
            "amount": sum(r["amount"] for r in of),
            "largest": max(r["amount"] for r in of),
        }
        for key, of in group(paid, lambda r: (asset(r),)).items()
    ]


def high_value(rows: list[Row], selection: Selection) -> list[Row]:
    paid = [
        row
        for row in rows
        if row["successful"] and row["amount"] >= selection.threshold and wanted(row, selection, frozenset({"native"}))
    ]
    return [
        {
            "source_account": key[0],
            "asset": key[1],
            "payments": len(of),
            "amount": sum(r["amount"] for r in of),
            "largest": max(r["amount"] for r in of),
            "receivers": len({r["destination"] for r in of}),
        }
        for key, of in group(paid, lambda r: (r["source_account"], asset(r))).items()
    ]


def account_activity(rows: list[Row], selection: Selection) -> list[Row]:
    return [
        {
            "source_account": key[0],
            "operation_type": key[1],
            "operations": len(of),
            "succeeded": sum(r["successful"] for r in of),
            "failed": sum(not r["successful"] for r in of),
        }
        for key, of in group(rows, lambda r: (r["source_account"], r["operation_type_string"])).items()
    ]


def fees(rows: list[Row], selection: Selection) -> list[Row]:
    found = []
    for key, of in group(rows, lambda r: ("classic" if r["resource_fee"] is None else "soroban",)).items():
        charged = [r["fee_charged"] for r in of]
        bids = sum(r["max_fee"] if r["new_max_fee"] is None else r["new_max_fee"] for r in of)
        succeeded = sum(r["successful"] for r in of)
        found.append(
            {
                "kind": key[0],
                "transactions": len(of),
                "succeeded": succeeded,
                "failed": len(of) - succeeded,
                "success_rate": rate(succeeded, len(of)),
                "fees": sum(charged),
                "least": min(charged),
                "p50": nearest_rank(charged, 50),
                "p90": nearest_rank(charged, 90),
                "p99": nearest_rank(charged, 99),
                "largest": max(charged),
                "bids": bids,
                "bid_to_charged": rate(bids, sum(charged)),
            }
        )
    return found


PAYMENTS = {
    "create_account",
    "payment",
    "path_payment_strict_receive",
    "path_payment_strict_send",
    "account_merge",
}


def asset_adoption(rows: list[Row], selection: Selection) -> list[Row]:
    used = [
        row
        for row in rows
        if row["successful"]
        and row["operation_type_string"] in PAYMENTS | {"change_trust"}
        and asset(row) is not None
        and wanted(row, selection)
    ]
    found = []
    for key, of in group(used, lambda r: (asset(r),)).items():
        paid = [r for r in of if r["operation_type_string"] != "change_trust"]
        trust = [r for r in of if r["operation_type_string"] == "change_trust"]
        opened = [r for r in trust if r["limit"] > 0]
        found.append(
            {
                "asset": key[0],
                "payments": len(paid),
                "payers": len({r["source_account"] for r in paid}),
                "receivers": len({r["destination"] for r in paid}),
                "trust_lines_set": len(opened),
                "trusters": len({r["source_account"] for r in opened}),
                "trust_lines_removed": len(trust) - len(opened),
            }
        )
    return found


def contract_activity(rows: list[Row], selection: Selection) -> list[Row]:
    calls = [r for r in rows if r.get("host_function_type") == "HOST_FUNCTION_TYPE_INVOKE_CONTRACT"]
    found = []
    for key, of in group(calls, lambda r: (r["contract_id"], r["function_name"])).items():
        succeeded = sum(r["successful"] for r in of)
        found.append(
            {
                "contract_id": key[0],
                "function_name": key[1],
                "calls": len(of),
                "succeeded": succeeded,
                "failed": len(of) - succeeded,
                "success_rate": rate(succeeded, len(of)),
                "callers": len({r["source_account"] for r in of}),
            }
        )
    return found


def dex_activity(rows: list[Row], selection: Selection) -> list[Row]:
    def pair(row: Row) -> tuple[str | None, str | None]:
        if row["operation_type_string"].startswith("path"):
            return asset(row, "source_"), asset(row)
        return asset(row, "selling_"), asset(row, "buying_")

    exchanges = [
        r
        for r in rows
        if r["successful"] and ("offer" in r["operation_type_string"] or r["operation_type_string"].startswith("path"))
    ]
    found = []
    for key, of in group(exchanges, pair).items():
        offers = [r for r in of if "offer" in r["operation_type_string"]]
        live = [r for r in offers if r["amount"] > 0]
        found.append(
            {
                "sold": key[0],
                "bought": key[1],
                "operations": len(of),
                "offers_placed": sum(not r["offer_id"] for r in live),
                "offers_updated": sum(bool(r["offer_id"]) for r in live),
                "offers_cancelled": len(offers) - len(live),
                "path_payments": len(of) - len(offers),
                "accounts": len({r["source_account"] for r in of}),
            }
        )
    return found


def token_volume(rows: list[Row], selection: Selection) -> list[Row]:
    flows = [{**r, "amount": int(r["amount_raw"])} for r in rows if r["event_type"] != "fee" and wanted(r, selection)]
    found = []
    for key, of in group(flows, lambda r: (asset(r) or r["contract_id"],)).items():
        kinds: dict[str, list[Row]] = {kind: [] for kind in ("transfer", "mint", "burn", "clawback")}
        for row in of:
            kinds[row["event_type"]].append(row)
        moved = [r["amount"] for r in kinds["transfer"]]
        minted = sum(r["amount"] for r in kinds["mint"])
        destroyed = sum(r["amount"] for r in kinds["burn"] + kinds["clawback"])
        found.append(
            {
                "asset": key[0],
                "transfers": len(moved),
                "amount": sum(moved),
                "largest": max(moved, default=None),
                "senders": len({r["from_address"] for r in kinds["transfer"]}),
                "receivers": len({r["to_address"] for r in kinds["transfer"]}),
                "mints": len(kinds["mint"]),
                "burns": len(kinds["burn"]),
                "clawbacks": len(kinds["clawback"]),
                "minted": minted,
                "destroyed": destroyed,
                "supply_change": minted - destroyed,
            }
        )
    return found


def decimal(price: Fraction) -> Decimal:
    """The first 18 significant digits of a price, by long division."""
    digits, whole = 0, price
    while whole and whole < 10**17:
        whole, digits = whole * 10, digits + 1
    while whole >= 10**18:
        whole, digits = whole / 10, digits - 1
    return Decimal((0, tuple(map(int, str(math.floor(whole)))), -digits)).normalize()


def dex_volume(rows: list[Row], selection: Selection) -> list[Row]:
    def selected(row: Row, side: str) -> bool:
        return wanted({f"asset_{part}": row[f"{side}_asset_{part}"] for part in ("type", "code", "issuer")}, selection)

    def pair(row: Row) -> tuple[str | None, str | None]:
        sold, bought = asset(row, "sold_"), asset(row, "bought_")
        assert sold is not None
        assert bought is not None
        first, second = sorted([sold, bought], key=lambda name: (name != "native", name))
        return first, second

    found = []
    for key, of in group([r for r in rows if selected(r, "sold") or selected(r, "bought")], pair).items():
        sides = [(r["sold_amount"], r["bought_amount"])[:: 1 if asset(r, "sold_") == key[0] else -1] for r in of]
        base, counter = (sum(side) for side in zip(*sides, strict=True))
        prices = [decimal(Fraction(got, given)) for given, got in sides if given]
        found.append(
            {
                "base": key[0],
                "counter": key[1],
                "trades": len(of),
                "pool_trades": sum(r["trade_type"] == "liquidity_pool" for r in of),
                "takers": len({r["buyer_account"] for r in of}),
                "base_volume": base,
                "counter_volume": counter,
                "average": decimal(Fraction(counter, base)) if base else None,
                "open": prices[0] if prices else None,
                "high": max(prices, default=None),
                "low": min(prices, default=None),
                "close": prices[-1] if prices else None,
            }
        )
    return found


def contract_events(rows: list[Row], selection: Selection) -> list[Row]:
    return [
        {
            "contract_id": key[0],
            "events": len(of),
            "effective": sum(r["in_successful_contract_call"] for r in of),
            "names": len({r["topic0"] for r in of} - {None}),
            "transactions": len({r["transaction_id"] for r in of}),
        }
        for key, of in group(rows, lambda r: (r["contract_id"],)).items()
    ]


ORACLES: dict[str, Callable[[list[Row], Selection], list[Row]]] = {
    "payment-volume": payment_volume,
    "high-value": high_value,
    "account-activity": account_activity,
    "fees": fees,
    "asset-adoption": asset_adoption,
    "contract-activity": contract_activity,
    "token-volume": token_volume,
    "dex-activity": dex_activity,
    "dex-volume": dex_volume,
    "contract-events": contract_events,
}


def expected_windows(ledgers: list[Made], minutes: int, every: int) -> list[list[Made]]:
    """The windows that are due, by brute force: after each ledger in another ``every``, and at the end."""
    epoch = int(EPOCH.timestamp())
    due = []
    for index, ledger in enumerate(ledgers):
        last = index == len(ledgers) - 1
        ticked = index and (epoch + ledger.seconds) // every > (epoch + ledgers[index - 1].seconds) // every
        inside = [x for x in ledgers[: index + 1] if ledger.seconds - minutes * 60 < x.seconds <= ledger.seconds]
        due += [inside] * (bool(ticked) + last)
    return due


def in_order(analysis: Analysis, rows: list[Row]) -> list[Row]:
    """Largest first; equal ones by their keys, null after all else."""

    def keys(row: Row) -> list[tuple[bool, str]]:
        return [(row[key] is None, row[key] or "") for key in analysis.keys]

    return sorted(rows, key=lambda row: (-row[analysis.order], keys(row)))

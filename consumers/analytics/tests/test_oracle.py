"""Every analysis against plain Python over the rows, and against SQL, on made-up ledgers."""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Callable, Iterable

import duckdb
import pyarrow as pa
import pytest
from analytics_consumer.analyses import ANALYSES, Analysis
from analytics_consumer.selection import AssetFilter, Selection

from consumers.analytics.tests.made import EPOCH, Made, Row, make_ledgers, run_sink, to_batch

Groups = dict[tuple[str | None, ...], list[Row]]
BY_NAME = {analysis.name: analysis for analysis in ANALYSES}


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
        r for r in rows if r["successful"] and ("offer" in r["operation_type_string"] or "source_asset_type" in r)
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


ORACLES: dict[str, Callable[[list[Row], Selection], list[Row]]] = {
    "payment-volume": payment_volume,
    "high-value": high_value,
    "account-activity": account_activity,
    "fees": fees,
    "asset-adoption": asset_adoption,
    "contract-activity": contract_activity,
    "dex-activity": dex_activity,
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


def random_cuts(rng: random.Random, count: int) -> list[int]:
    return sorted(rng.sample(range(count), rng.randrange(count)))


SELECTIONS = [
    Selection(),
    Selection(AssetFilter(frozenset({"native"}), frozenset({"USDC"})), threshold=20),
    Selection(AssetFilter(frozenset(), frozenset({"XLM"})), threshold=2**63 - 1),
]


@pytest.mark.parametrize("seed", range(6))
def test_every_result_equals_plain_python(analysis: Analysis, seed: int) -> None:
    rng = random.Random(f"{analysis.name} {seed}")
    ledgers = make_ledgers(rng, analysis.stream, rng.randrange(1, 60))
    minutes, every = rng.choice([1, 2, 7]), rng.choice([1, 30, 60, 600])
    selection = SELECTIONS[seed % len(SELECTIONS)] if "asset" in analysis.options else Selection()
    recorder = run_sink(
        analysis,
        ledgers,
        minutes=minutes,
        every=every,
        selection=selection,
        cuts=random_cuts(rng, len(ledgers)),
    )

    windows = expected_windows(ledgers, minutes, every)
    assert len(recorder.results) == len(windows)
    for result, window in zip(recorder.results, windows, strict=True):
        rows = [row for ledger in window for row in ledger.rows]
        assert result.rows == in_order(analysis, ORACLES[analysis.name](rows, selection))
        assert result.groups == len(result.rows)
        span = result.span
        assert (span.first.sequence, span.last.sequence) == (window[0].sequence, window[-1].sequence)
        assert span.ledgers == len(window)
        assert span.full == (window[0] is not ledgers[0])
    assert [result.final for result in recorder.results] == [False] * (len(windows) - 1) + [True]


@pytest.mark.parametrize("seed", range(3))
def test_batch_boundaries_do_not_matter(analysis: Analysis, seed: int) -> None:
    rng = random.Random(seed)
    ledgers = make_ledgers(rng, analysis.stream, 50)
    outputs = {
        tuple(result.to_json() for result in run_sink(analysis, ledgers, cuts=cuts).results)
        for cuts in ([], range(len(ledgers)), random_cuts(rng, len(ledgers)), random_cuts(rng, len(ledgers)))
    }
    assert len(outputs) == 1


SQL = {
    "payment-volume": """
        SELECT CASE WHEN asset_type = 'native' THEN 'native' ELSE asset_code || ':' || asset_issuer END AS asset,
               count(*) AS payments, sum(amount)::HUGEINT AS amount, max(amount) AS largest
        FROM rows WHERE successful GROUP BY 1""",
    "high-value": """
        SELECT source_account, 'native' AS asset, count(*) AS payments, sum(amount)::HUGEINT AS amount,
               max(amount) AS largest, count(DISTINCT destination) AS receivers
        FROM rows WHERE successful AND asset_type = 'native' AND amount >= 10000000000 GROUP BY 1""",
    "account-activity": """
        SELECT source_account, operation_type_string AS operation_type, count(*) AS operations,
               count(*) FILTER (successful) AS succeeded, count(*) FILTER (NOT successful) AS failed
        FROM rows GROUP BY ALL""",
    "contract-activity": """
        SELECT contract_id, function_name, count(*) AS calls, count(*) FILTER (successful) AS succeeded,
               count(*) FILTER (NOT successful) AS failed,
               round(count(*) FILTER (successful) / count(*), 6) AS success_rate,
               count(DISTINCT source_account) AS callers
        FROM rows WHERE host_function_type = 'HOST_FUNCTION_TYPE_INVOKE_CONTRACT' GROUP BY ALL""",
}


@pytest.mark.parametrize("name", SQL)
def test_final_result_equals_sql(name: str) -> None:
    analysis, rng = BY_NAME[name], random.Random(name)
    ledgers = make_ledgers(rng, analysis.stream, 120, most_rows=40)
    result = run_sink(analysis, ledgers, minutes=60, cuts=random_cuts(rng, len(ledgers))).results[-1]
    batch, _ = to_batch(analysis, ledgers)
    last = ledgers[-1].closed
    rows = pa.Table.from_batches([batch])
    with duckdb.connect() as connection:
        connection.register("everything", rows)
        connection.execute(
            "CREATE TEMP VIEW rows AS SELECT * FROM everything "
            f"WHERE ledger_close_time > TIMESTAMPTZ '{last}' - INTERVAL 60 MINUTE"
        )
        answer = connection.sql(SQL[name])
        found = [dict(zip(answer.columns, row, strict=True)) for row in answer.fetchall()]
    assert result.rows == in_order(analysis, found)
    assert result.groups > 1


def test_percentiles_equal_sql() -> None:
    analysis, rng = BY_NAME["fees"], random.Random("fees")
    ledgers = make_ledgers(rng, "transactions", 60, most_rows=30)
    result = run_sink(analysis, ledgers, minutes=600).results[-1]
    batch, _ = to_batch(analysis, ledgers)
    with duckdb.connect() as connection:
        connection.register("rows", pa.Table.from_batches([batch]))
        answer = connection.sql(
            "SELECT quantile_disc(fee_charged, [0.5, 0.9, 0.99]) FROM rows "
            "GROUP BY resource_fee IS NULL ORDER BY count(*) DESC"
        ).fetchall()
    assert [[row["p50"], row["p90"], row["p99"]] for row in result.rows] == [row[0] for row in answer]

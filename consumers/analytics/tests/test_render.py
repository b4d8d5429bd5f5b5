"""What results look like."""

from __future__ import annotations

import io
import json
from random import Random
from typing import Any

import pytest
from analytics_consumer.analyses import ANALYSES, Analysis
from analytics_consumer.render import JsonLines, LiveTable, Tables
from analytics_consumer.result import Result, iso_time
from rich.console import Console

from consumers.analytics.tests.made import Made, make_ledgers, run_sink

ISSUER = "GA5ZSEJYB37JRC5AVCIA5MOP4RHTM335X2KGX3IHOJAPP5RE34K4KZVN"
CONTRACT = "CAAACAQDAQCQMBYIBEFAWDANBYHRAEISCMKBKFQXDAMRUGY4DUPB6N4O"


def result(seconds: int = 90) -> Result:
    row: dict[str, Any] = {
        "asset_type": "credit_alphanum4",
        "asset_code": "USDC",
        "asset_issuer": ISSUER,
        "successful": True,
    }
    lumens: dict[str, Any] = {
        "asset_type": "native",
        "asset_code": "XLM",
        "asset_issuer": None,
        "successful": True,
        "amount": 5,
    }
    rows = [row | {"amount": 2**63 - 1}, row | {"amount": 2**63 - 1}, lumens]
    ledgers = [Made(53312000, 0, []), Made(53312001, seconds, rows)]
    return run_sink(ANALYSES[0], ledgers, minutes=60).results[-1]


def test_json_line() -> None:
    assert json.loads(result().to_json()) == {
        "analysis": "payment-volume",
        "window_minutes": 60,
        "from_ledger": 53312000,
        "to_ledger": 53312001,
        "ledgers": 2,
        "window_start": "2024-09-30T23:01:30Z",
        "window_end": "2024-10-01T00:01:30Z",
        "full": False,
        "groups": 2,
        "rows": [
            {
                "asset": f"USDC:{ISSUER}",
                "payments": 2,
                "amount": "18446744073709551614",
                "largest": "9223372036854775807",
            },
            {"asset": "native", "payments": 1, "amount": "5", "largest": "5"},
        ],
        "final": True,
    }


def test_json_of_every_analysis_is_strict(analysis: Analysis) -> None:
    for one in run_sink(analysis, make_ledgers(Random(1), analysis.stream, 60)).results:
        line = one.to_json()
        assert "\n" not in line
        content = json.loads(line, parse_constant=lambda text: pytest.fail(f"{text} is no JSON"))
        assert [list(row) for row in content["rows"]] == [
            [*analysis.keys, *(measure.name for measure in analysis.measures)]
        ] * len(content["rows"])


def screen(one: Result, width: int = 160) -> str:
    console = Console(file=io.StringIO(), width=width, record=True)
    Tables(console).finish(one)
    return console.export_text()


def test_table() -> None:
    text = screen(result())
    assert "payment-volume, 60 minutes to 2024-10-01T00:01:30Z (final)" in text
    assert "ledgers 53312000 to 53312001, 2 of them" in text
    assert "USDC:GA5Z…KZVN" in text
    assert "1,844,674,407,370.9551614" in text
    assert "2 of 2 rows, by payments; the window is not full yet: 1 min 30 s seen" in text
    assert "not full" not in screen(result(seconds=3600))


def test_a_table_that_does_not_fit_becomes_records() -> None:
    assert "asset          ┃ payments" in screen(result(), 90)
    text = screen(result(), 60)
    assert "│ payments │                         2 │" in text
    assert text.count("1,844,674,407,370.9551614") == 1  # no digit is cut off


def test_table_shows_text_as_it_is() -> None:
    """Names come from the ledger; markup in them must not reach the terminal as such."""
    calls = next(one for one in ANALYSES if one.name == "contract-activity")
    row = {
        "host_function_type": "HOST_FUNCTION_TYPE_INVOKE_CONTRACT",
        "contract_id": None,
        "function_name": "[red]x[/red]\x1b[2J",
        "source_account": "GA",
        "successful": False,
    }
    text = screen(run_sink(calls, [Made(1, 0, [row])]).results[-1])
    assert "[red]x[/red]\N{REPLACEMENT CHARACTER}[2J" in text
    assert "0.0000" in text


def test_live_table_draws_in_place_and_leaves_the_last_one() -> None:
    stream = io.StringIO()
    live = LiveTable(Console(file=stream, width=120, height=40, force_terminal=True))
    asked = []

    def ask() -> Result:
        asked.append(1)
        return result()

    for _ in range(50):
        live.update(ask, due=False)
    live.finish(result())
    live.close()
    assert len(asked) == 1  # at most a few a second
    assert stream.getvalue().count("payment-volume") == 3  # the first, the last, and the last again as it is left
    assert "\x1b[1A\x1b[2K" in stream.getvalue()  # the first one is overwritten


def test_live_table_that_never_drew_leaves_nothing() -> None:
    stream = io.StringIO()
    LiveTable(Console(file=stream, force_terminal=True)).close()
    assert stream.getvalue() == ""


def test_json_lines_are_written_when_due() -> None:
    stream = io.StringIO()
    lines = JsonLines(stream)
    lines.update(result, due=False)
    assert stream.getvalue() == ""
    lines.update(result, due=True)
    assert stream.getvalue() == f"{result().to_json()}\n"


def test_times() -> None:
    assert iso_time(0) == "1970-01-01T00:00:00Z"
    assert iso_time(1_500_000) == "1970-01-01T00:00:01.500000Z"


def test_amounts_of_tokens_and_prices() -> None:
    """A Stellar asset has seven decimals; of another token nobody here knows them."""
    flow: dict[str, Any] = {"event_type": "transfer", "from_address": "GA", "to_address": "GB", "contract_id": CONTRACT}
    lumens = flow | {"asset_type": "native", "asset_code": "XLM", "asset_issuer": None, "amount_raw": "12345678901"}
    token = flow | {"asset_type": None, "asset_code": None, "asset_issuer": None, "amount_raw": str(2**127 - 1)}
    volume = next(one for one in ANALYSES if one.name == "token-volume")
    text = screen(run_sink(volume, [Made(1, 0, [lumens, lumens, token])]).results[-1], 300)
    assert "2,469.1357802" in text
    assert "170,141,183,460,469,231,731,687,303,715,884,105,727 " in text

    trade: dict[str, Any] = {"trade_type": "orderbook", "buyer_account": "GA", "sold_amount": 3, "bought_amount": 10**6}
    trade |= {"sold_asset_type": "native", "sold_asset_code": "XLM", "sold_asset_issuer": None}
    trade |= {"bought_asset_type": "credit_alphanum4", "bought_asset_code": "USDC", "bought_asset_issuer": ISSUER}
    volume = next(one for one in ANALYSES if one.name == "dex-volume")
    shown = run_sink(volume, [Made(1, 0, [trade])]).results[-1]
    assert "333,333.3 " in screen(shown, 300)
    assert json.loads(shown.to_json())["rows"][0]["average"] == "333333.333333333333"

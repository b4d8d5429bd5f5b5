"""Amounts and assets as people write them."""

from __future__ import annotations

import random

import pyarrow as pa
import pytest
from analytics_consumer.selection import MAX_STROOPS, AssetFilter, format_units, parse_units

from stellar_arrow_client.errors import InvalidRequestError

ISSUER = "GA5ZSEJYB37JRC5AVCIA5MOP4RHTM335X2KGX3IHOJAPP5RE34K4KZVN"
CONTRACT = "CAAACAQDAQCQMBYIBEFAWDANBYHRAEISCMKBKFQXDAMRUGY4DUPB6N4O"


@pytest.mark.parametrize(
    ("text", "stroops"),
    [
        ("1000", 10_000_000_000),
        ("0", 0),
        ("0.5", 5_000_000),
        ("0.0000001", 1),
        ("1.1", 11_000_000),
        ("922337203685.4775807", MAX_STROOPS),
        ("0000000000000000001", 10_000_000),
    ],
)
def test_units_are_exact(text: str, stroops: int) -> None:
    assert parse_units(text) == stroops


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-1",
        "+1",
        "1e3",
        "1,000",
        ".5",
        "5.",
        "0.00000001",
        "nan",
        " 1",
        "1 ",
        "\u0661",
        "9" * 20,
        "922337203685.4775808",
    ],
)
def test_what_is_no_amount_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequestError, match=r"amount"):
        parse_units(text)


def test_units_come_back() -> None:
    rng = random.Random(7)
    for stroops in [0, 1, MAX_STROOPS, *(rng.randrange(2**63) for _ in range(200))]:
        assert parse_units(format_units(stroops).replace(",", "")) == stroops
    assert format_units(10**30) == "100,000,000,000,000,000,000,000.0000000"
    assert format_units(-1) == "-0.0000001"


def test_assets_are_told_apart() -> None:
    names = ["native", f"XLM:{ISSUER}", f"USDC:{ISSUER}", "USDC:GOTHER", None]
    codes = ["XLM", "XLM", "USDC", "USDC", None]

    def mask(*texts: str) -> list[bool]:
        chosen = AssetFilter.parse(texts)
        return list(chosen.mask(pa.chunked_array([names]), pa.chunked_array([codes])).to_pylist())

    assert mask("native") == [True, False, False, False, False]
    assert mask(f"XLM:{ISSUER}") == [False, True, False, False, False]
    assert mask("USDC") == [False, False, True, True, False]
    assert mask("native", f"USDC:{ISSUER}") == [True, False, True, False, False]


def test_a_token_is_named_by_its_contract() -> None:
    names, codes = pa.chunked_array([["native", CONTRACT]]), pa.chunked_array([["XLM", None]])
    assert AssetFilter.parse([CONTRACT]).mask(names, codes).to_pylist() == [False, True]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("XLM", "write native for lumens"),
        ("USDC:", "is not an issuer"),
        (f"USDC:{ISSUER[:-1]}M", "valid checksum"),
        (f"USDC:{ISSUER.lower()}", "is not an issuer"),
        (f":{ISSUER}", "is no asset"),
        (f"{CONTRACT[:-1]}A", "is no asset"),
        (f"USDC:{CONTRACT}", "is not an issuer"),
        ("THIRTEENCHARS", "is no asset"),
        ("US DC", "is no asset"),
        ("", "is no asset"),
        ("USDC:MA7QYNF7SOWQ3GLR2BGMZEHXAVIRZA4KVWLTJJFC7MGXUA74P7UJUAAAAAAAAAAAACJUQ", "is not an issuer"),
    ],
)
def test_what_is_no_asset_is_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidRequestError, match=message):
        AssetFilter.parse([text])

"""Makes some of a random ledger's contract events token-transfer events (CAP-67), right ones and nearly right ones."""

from __future__ import annotations

import random
from typing import Any

from stellar_sdk import scval, xdr

ADDRESSES = (
    "GA5ZSEJYB37JRC5AVCIA5MOP4RHTM335X2KGX3IHOJAPP5RE34K4KZVN",
    "MA5ZSEJYB37JRC5AVCIA5MOP4RHTM335X2KGX3IHOJAPP5RE34K4KAAAAAAAAAAABFOJC",
    "CAS3J7GYLGXMF6TDJBBYYSE3HQ6BBSMLNUQ34T6TZMYMW2EVH34XOWMA",
    "LAFYVL7PUGSAI5XIQ2JJ3N5NT2QDRJNN4YCYI434AQCFY3IBRBY7IUC5",
    "BAACGWRAPWSL46VRVYLBAAQBQGZTE6SPZENBGU24AXUGB4XW54Q3KPORYU",
)
LUMENS = "CAS3J7GYLGXMF6TDJBBYYSE3HQ6BBSMLNUQ34T6TZMYMW2EVH34XOWMA"
"""Contract of the native asset on pubnet."""
AMOUNTS = (0, 1, -1, 100, 2**63, 10**38 - 1, 10**38, 2**127 - 1, -(2**127))
MUXED = (
    scval.to_uint64(2**64 - 1),
    scval.to_string("é"),
    scval.to_string(b"\xff"),
    scval.to_bytes(bytes(range(32))),
    scval.to_bytes(b"short"),
    scval.to_void(),
)


def make_transfer(chance: random.Random, event: Any) -> None:
    """Turn ``event`` into one that a token's contract could emit, in the form of either version of the meta."""
    kind = chance.choice(["transfer", "mint", "burn", "clawback", "fee", "approve"])
    named = [scval.to_address(chance.choice(ADDRESSES)) for _ in range(chance.randint(1, 2))]
    asset = [scval.to_string(chance.choice(["native", "USDC:" + ADDRESSES[0], "USDC:G", ""]))]
    amount = scval.to_int128(chance.choice(AMOUNTS))
    entries = {scval.to_symbol("amount"): amount, scval.to_symbol("to_muxed_id"): chance.choice(MUXED)}
    event.type = xdr.ContractEventType.CONTRACT
    event.body.v0.topics = [scval.to_symbol(kind), *named, *asset * chance.randint(0, 1)]
    event.body.v0.data = scval.to_map(entries) if chance.random() < 0.5 else amount
    if chance.random() < 0.5:
        event.contract_id = xdr.ContractID(scval.to_address(LUMENS).address.contract_id.contract_id)


def make_fee(chance: random.Random, event: Any) -> None:
    """Turn ``event`` into a fee, mostly in lumens."""
    event.type = xdr.ContractEventType.CONTRACT
    event.contract_id = xdr.ContractID(scval.to_address(LUMENS).address.contract_id.contract_id)
    payer = scval.to_address(ADDRESSES[0])
    event.body.v0.topics = [scval.to_symbol("fee"), *[payer] * chance.choice([1, 1, 1, 2])]
    event.body.v0.data = scval.to_int128(chance.choice(AMOUNTS))


def make_lumens_move(chance: random.Random, event: Any, version: int) -> None:
    """Turn ``event`` into one that the contract of the native asset emits, in that version of the meta."""
    kind = chance.choice(["transfer", "transfer", "mint", "burn", "clawback"])
    number = 2 if kind == "transfer" or (version == 3 and kind in ("mint", "clawback")) else 1
    named = [scval.to_address(chance.choice(ADDRESSES)) for _ in range(number)]
    amount = scval.to_int128(chance.choice(AMOUNTS))
    muxed = {scval.to_symbol("amount"): amount, scval.to_symbol("to_muxed_id"): scval.to_uint64(chance.getrandbits(64))}
    event.type = xdr.ContractEventType.CONTRACT
    event.contract_id = xdr.ContractID(scval.to_address(LUMENS).address.contract_id.contract_id)
    event.body.v0.topics = [scval.to_symbol(kind), *named, scval.to_string("native")]
    event.body.v0.data = scval.to_map(muxed) if version == 4 and chance.random() < 0.5 else amount

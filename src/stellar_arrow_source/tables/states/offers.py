"""The stream ``offers``: OfferEntry."""

from __future__ import annotations

from typing import Final

import pyarrow as pa
from stellar_sdk.xdr import LedgerEntryType

from stellar_arrow_source.tables.changes import in_entry, in_key
from stellar_arrow_source.tables.columns import account, amount, asset, number
from stellar_arrow_source.tables.expressions import Expression, Plus
from stellar_arrow_source.tables.ledger_entry_changes import OWNER
from stellar_arrow_source.tables.spec import Column
from stellar_arrow_source.tables.states.common import state_stream


def _of_offer(path: str) -> Expression:
    return in_entry({LedgerEntryType.OFFER: f"offer.{path}"})


def _offer_number(name: str, type: pa.DataType, where: Expression, description: str) -> Column:
    return number(name, type, where, description, nullable=True)


OFFERS: Final = state_stream(
    "offers",
    LedgerEntryType.OFFER,
    "offer",
    (
        account("seller_id", Plus(OWNER, 1), "account that offers"),
        number("offer_id", pa.int64(), in_key({LedgerEntryType.OFFER: "offer.offerID"}), "the offer"),
        *asset(_of_offer("selling"), "the asset sold", "selling_"),
        *asset(_of_offer("buying"), "the asset bought", "buying_"),
        amount("amount", _of_offer("amount"), "what is left to sell", nullable=True),
        _offer_number("price_n", pa.int32(), _of_offer("price"), "price of what is sold: numerator"),
        _offer_number("price_d", pa.int32(), Plus(_of_offer("price"), 1), "price of what is sold: denominator"),
        _offer_number("flags", pa.uint32(), _of_offer("flags"), "OfferEntryFlags"),
    ),
)

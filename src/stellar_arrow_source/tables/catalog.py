"""The streams there are: one explicit list, from which CLI choices, the server's listing, docs and tests derive."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Final

from stellar_arrow_client.errors import UnknownStreamError
from stellar_arrow_source.tables.effects.stream import EFFECTS
from stellar_arrow_source.tables.events import CONTRACT_EVENTS, DIAGNOSTIC_EVENTS
from stellar_arrow_source.tables.ledger_entry_changes import LEDGER_ENTRY_CHANGES
from stellar_arrow_source.tables.ledgers import LEDGERS
from stellar_arrow_source.tables.operations import OPERATIONS
from stellar_arrow_source.tables.payments import PAYMENTS
from stellar_arrow_source.tables.spec import Stream
from stellar_arrow_source.tables.states.account_signers import ACCOUNT_SIGNERS
from stellar_arrow_source.tables.states.accounts import ACCOUNTS
from stellar_arrow_source.tables.states.claimable_balances import CLAIMABLE_BALANCES
from stellar_arrow_source.tables.states.config_settings import CONFIG_SETTINGS
from stellar_arrow_source.tables.states.contract_code import CONTRACT_CODE
from stellar_arrow_source.tables.states.contract_data import CONTRACT_DATA
from stellar_arrow_source.tables.states.evicted_keys import EVICTED_KEYS
from stellar_arrow_source.tables.states.liquidity_pools import LIQUIDITY_POOLS
from stellar_arrow_source.tables.states.offers import OFFERS
from stellar_arrow_source.tables.states.restored_keys import RESTORED_KEYS
from stellar_arrow_source.tables.states.trust_lines import TRUST_LINES
from stellar_arrow_source.tables.states.ttl import TTL
from stellar_arrow_source.tables.trades import TRADES
from stellar_arrow_source.tables.transactions import TRANSACTIONS
from stellar_arrow_source.tables.transfers.stream import TTP_EVENTS

STREAMS: Final[tuple[Stream, ...]] = (
    LEDGERS,
    TRANSACTIONS,
    OPERATIONS,
    PAYMENTS,
    TTP_EVENTS,
    TRADES,
    EFFECTS,
    CONTRACT_EVENTS,
    DIAGNOSTIC_EVENTS,
    LEDGER_ENTRY_CHANGES,
    ACCOUNTS,
    ACCOUNT_SIGNERS,
    TRUST_LINES,
    OFFERS,
    CLAIMABLE_BALANCES,
    LIQUIDITY_POOLS,
    CONFIG_SETTINGS,
    CONTRACT_DATA,
    CONTRACT_CODE,
    TTL,
    RESTORED_KEYS,
    EVICTED_KEYS,
)
"""All streams, in the order in which they are listed."""

_BY_NAME: Final = {name: stream for stream in STREAMS for name in (stream.name, *stream.aliases)}


def find_stream(name: str) -> Stream:
    """The stream of that name or alias.

    Raises:
        UnknownStreamError: there is none; the message names the nearest.
    """
    stream = _BY_NAME.get(name)
    if stream is None:
        near = get_close_matches(name, _BY_NAME, 1, 0.5)
        hint = f"did you mean {near[0]}?" if near else f"the streams are {', '.join(s.name for s in STREAMS)}"
        raise UnknownStreamError(f"there is no stream {name!r}; {hint}")
    return stream

"""Compiles the decoder of all columns, which the first test in each process would do otherwise.

``python -m tests.support.compiling``
"""

from __future__ import annotations

import threading

from stellar_arrow_source.ledgers.synthetic import SyntheticSource
from tests.support.decoding import full_decoder

if __name__ == "__main__":
    source = SyntheticSource.from_endpoint("synthetic://")
    ledger = next(source.ledgers(2, 2, threading.Event()))
    full_decoder(source.network_passphrase).decode([ledger.xdr])

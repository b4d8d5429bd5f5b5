"""The state streams: what a ledger left of each entry that it changed, one row per key and ledger."""

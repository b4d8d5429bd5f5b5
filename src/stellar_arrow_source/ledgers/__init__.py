"""Where ledgers come from: sources of raw LedgerCloseMeta, the service that hands them on, and their proof."""

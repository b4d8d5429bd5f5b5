"""Client SDK: typed, resumable streams of Stellar ledgers from a stellar-arrow-source server."""

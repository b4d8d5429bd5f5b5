"""Sliding-window analytics over Stellar ledgers, on the client SDK of stellar-arrow-source."""

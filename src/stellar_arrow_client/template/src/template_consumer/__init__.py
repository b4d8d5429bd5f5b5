"""Writes a stream of Stellar ledgers as JSON lines."""

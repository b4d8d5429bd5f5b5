"""Rows of a stream straight from a source of ledgers, for people and pipes."""

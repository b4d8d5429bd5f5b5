"""Writes Stellar streams from Arrow Flight into PostgreSQL, each row exactly once."""

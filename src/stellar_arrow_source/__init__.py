"""Apache Arrow Flight server for Stellar ledgers."""

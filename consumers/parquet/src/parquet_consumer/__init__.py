"""Archives Stellar streams from Arrow Flight as partitioned Parquet files."""

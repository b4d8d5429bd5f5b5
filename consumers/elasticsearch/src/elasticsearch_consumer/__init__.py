"""Writes Stellar streams from Arrow Flight into Elasticsearch or OpenSearch, each row exactly once."""

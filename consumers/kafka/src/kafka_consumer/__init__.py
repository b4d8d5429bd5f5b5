"""Publishes Stellar streams from Arrow Flight to Apache Kafka, exactly once."""

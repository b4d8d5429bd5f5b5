"""For tests of consumers: a server of given tables, sample data, and the conformance suite."""

from stellar_arrow_client.testing.sample import SAMPLE_STREAM, sample_table
from stellar_arrow_client.testing.server import FakeServer, Fault

__all__ = ["SAMPLE_STREAM", "FakeServer", "Fault", "sample_table"]

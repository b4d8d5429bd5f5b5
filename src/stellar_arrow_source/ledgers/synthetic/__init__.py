"""Deterministic, protocol-valid ledgers of a network that does not exist."""

from stellar_arrow_source.ledgers.synthetic.source import SyntheticSource

__all__ = ["SyntheticSource"]

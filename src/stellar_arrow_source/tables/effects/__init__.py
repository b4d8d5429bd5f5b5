"""Horizon's effects: what an operation did to whom."""

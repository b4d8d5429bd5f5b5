"""Columnar decoding of Stellar's XDR: knows the schema, knows no table."""

from stellar_arrow_source.xdr.arena import Arena, LedgerBuffer
from stellar_arrow_source.xdr.batch import LedgerBatch, split_batch
from stellar_arrow_source.xdr.compiler import compile_program
from stellar_arrow_source.xdr.plan import Program, Relation

__all__ = ["Arena", "LedgerBatch", "LedgerBuffer", "Program", "Relation", "compile_program", "split_batch"]

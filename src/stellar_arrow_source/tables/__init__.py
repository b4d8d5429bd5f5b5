"""The streams and their decoder."""

from stellar_arrow_source.tables.catalog import STREAMS, find_stream
from stellar_arrow_source.tables.decoder import DecodedBatch, LedgerDecoder
from stellar_arrow_source.tables.spec import Column, Stream

__all__ = ["STREAMS", "Column", "DecodedBatch", "LedgerDecoder", "Stream", "find_stream"]

"""Rows as JSON lines: ``token_transfer.TokenTransferEvent`` in the JSON form of Protocol Buffers.

Field names are in lowerCamelCase, 64-bit integers are strings, bytes are Base64, times are RFC 3339, and a field
that is not set is left out: what ``MessageToJson`` of protobuf and its fellows in other languages write and read.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from ttp_processor.columns import content, each, hexadecimal, join, seconds, text_of


def lines(batch: pa.RecordBatch) -> memoryview:
    """The rows as lines, each with its end.

    Args:
        batch: with the columns of :data:`ttp_processor.columns.COLUMNS`.
    """
    return content(join(b'{"meta":{', _meta(batch), b'},"', batch["event_type"], b'":{', _body(batch), b"}}\n"))


def _meta(batch: pa.RecordBatch) -> pa.Array:
    return join(
        each(batch["ledger_sequence"], lambda sequence: b'"ledgerSequence":%d' % sequence),
        each(seconds(batch["ledger_close_time"]), lambda time: b',"closedAt":"%s"' % _rfc3339(time)),
        b',"txHash":"',
        hexadecimal(batch["transaction_hash"]),
        b'"',
        each(batch["transaction_index"], lambda index: b',"transactionIndex":%d' % index),
        each(batch["operation_index"], lambda index: b',"operationIndex":%d' % index),
        join(b',"contractAddress":"', batch["contract_id"], b'"'),
        _muxed(batch),
    )


def _rfc3339(time: int) -> bytes:
    return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%dT%H:%M:%SZ").encode()


def _body(batch: pa.RecordBatch) -> pa.Array:
    gives = join(b'"from":"', batch["from_address"], b'",', strict=True)
    gets = join(b'"to":"', batch["to_address"], b'",', strict=True)
    return join(gives, gets, _asset(batch), b'"amount":"', batch["amount_raw"], b'"')


def _asset(batch: pa.RecordBatch) -> pa.Array:
    code = each(batch["asset_code"], _quoted)
    issued = join(
        b'"asset":{"issuedAsset":{"assetCode":', code, b',"issuer":"', batch["asset_issuer"], b'"}},', strict=True
    )
    return pc.if_else(pc.equal(batch["asset_type"], "native"), b'"asset":{"native":true},', issued)


def _muxed(batch: pa.RecordBatch) -> pa.Array:
    kinds = batch["to_muxed_kind"]
    value = each(text_of(batch), _quoted)
    return join(each(kinds, _MUXED.__getitem__), value, b"}", strict=True)


_MUXED: Final = {kind: b',"toMuxedInfo":{"%s":' % kind.encode() for kind in ("text", "id", "hash")}


def _quoted(text: str) -> bytes:
    return json.dumps(text).encode()

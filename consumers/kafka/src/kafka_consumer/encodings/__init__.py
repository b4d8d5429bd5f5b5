"""The forms that rows can have in messages."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import pyarrow as pa

from kafka_consumer.encodings.arrow import ArrowEncoding
from kafka_consumer.encodings.avro import AvroEncoding
from kafka_consumer.encodings.base import Encoding, Messages
from kafka_consumer.encodings.json import JsonEncoding
from kafka_consumer.encodings.protobuf import ProtobufEncoding

__all__ = ["ENCODINGS", "Encoding", "Messages"]

ENCODINGS: Final[Mapping[str, Callable[[pa.Schema, int], Encoding]]] = {
    "json": JsonEncoding,
    "avro": AvroEncoding,
    "protobuf": ProtobufEncoding,
    "arrow": ArrowEncoding,
}
"""An encoding by name, made of the schema of the stream and the bytes that a message may have."""

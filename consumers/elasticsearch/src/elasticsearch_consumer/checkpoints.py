"""The index of checkpoints: what each series of indices holds, which ledgers of it, and who writes it.

A document changes only while it is as it was read (optimistic concurrency). A run writes its name into it, so that an
earlier one which is still at work finds out at its next checkpoint, before it acknowledges anything.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final
from uuid import uuid4

from elasticsearch_consumer.errors import DocumentError, ServerError
from elasticsearch_consumer.session import Answer, Session
from stellar_arrow_client.contents import Content
from stellar_arrow_client.ranges import LedgerRanges

_KEYWORD: Final = {"type": "keyword"}
_MAPPINGS: Final = {
    "dynamic": "strict",
    "properties": {
        "stream": _KEYWORD,
        "network": _KEYWORD,
        "schema_version": {"type": "long"},
        "columns": _KEYWORD,
        "filter": _KEYWORD,
        "index_ledgers": {"type": "long"},
        "ledgers": {"type": "long_range"},
        "writer": _KEYWORD,
        "updated_at": {"type": "date"},
    },
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesContent(Content):
    """What a series of indices holds.

    Attributes:
        index_ledgers: ledgers of an index.
    """

    index_ledgers: int


@dataclass(slots=True)
class Checkpoint:
    """The checkpoint of one series.

    Attributes:
        content: what it holds.
        ledgers: those whose rows, none or more, are all there.
    """

    content: SeriesContent
    ledgers: LedgerRanges = field(default_factory=LedgerRanges)
    writer: str = ""
    version: tuple[int, int] | None = None
    """Sequence number and primary term of the document; None when there is none yet."""


class Checkpoints:
    """The checkpoints of all series with one prefix."""

    def __init__(self, session: Session, prefix: str) -> None:
        self._session = session
        self._index = f"{prefix}-checkpoints"
        self._writer = str(uuid4())

    def create(self) -> None:
        """Make the index unless it is there."""
        answer = self._session.ask(
            "PUT",
            f"/{self._index}",
            {"settings": {"index.number_of_shards": 1, "index.auto_expand_replicas": "0-1"}, "mappings": _MAPPINGS},
            doing=f"make the index {self._index}",
            allowed=(400,),
        )
        if answer.status == 400 and "already_exists" not in answer.reason:
            raise ServerError(f"cannot make the index {self._index}: {answer.reason}")

    def find(self, alias: str) -> Checkpoint | None:
        """The checkpoint of a series; None when there is none.

        Raises:
            DocumentError: it is not what this consumer writes.
        """
        answer = self._session.ask(
            "GET", f"/{self._index}/_doc/{alias}", doing=f"read the checkpoint of {alias}", allowed=(404,)
        )
        if answer.status == 404:
            return None
        try:
            return _parse(answer)
        except (KeyError, TypeError, ValueError) as error:
            raise DocumentError(
                f"the checkpoint {alias} in the index {self._index} cannot be understood ({error!r}); delete it and "
                f"the indices {alias}-* to write them anew, or choose another --prefix"
            ) from None

    def take(self, alias: str, checkpoint: Checkpoint) -> None:
        """Write it, and be the one who may write it from now on.

        Raises:
            ServerError: another run changed it in the meantime.
        """
        checkpoint.writer = self._writer
        self._put(alias, checkpoint)

    def add(self, alias: str, checkpoint: Checkpoint, first: int, last: int) -> None:
        """Add ledgers whose rows are durable.

        Raises:
            ServerError: another run has taken the series over, or its checkpoint was deleted.
        """
        checkpoint.ledgers.add(first, last)
        self._put(alias, checkpoint)

    def _put(self, alias: str, checkpoint: Checkpoint) -> None:
        document = _document(checkpoint)
        parameters = {"refresh": "true"}
        path = f"/{self._index}/_create/{alias}"
        if checkpoint.version is not None:
            path = f"/{self._index}/_doc/{alias}"
            number, term = map(str, checkpoint.version)
            parameters |= {"if_seq_no": number, "if_primary_term": term}
        doing = f"write the checkpoint of {alias}"
        answer = self._session.ask("PUT", path, document, doing=doing, allowed=(404, 409), **parameters)
        if answer.status in (404, 409):
            # A write whose answer was lost may have come to pass.
            found = self.find(alias)
            if found is None or _document(found) | {"updated_at": ""} != document | {"updated_at": ""}:
                raise ServerError(
                    f"another run writes into {alias}, or its checkpoint was deleted; let only one at a time write "
                    "there, and run the same command again"
                )
            checkpoint.version = found.version
        else:
            checkpoint.version = (answer.body["_seq_no"], answer.body["_primary_term"])


def _document(checkpoint: Checkpoint) -> dict[str, Any]:
    content = checkpoint.content
    return {
        "stream": content.stream,
        "network": content.network,
        "schema_version": content.schema_version,
        "columns": list(content.columns),
        "filter": content.filter,
        "index_ledgers": content.index_ledgers,
        "ledgers": [{"gte": first, "lte": last} for first, last in checkpoint.ledgers],
        "writer": checkpoint.writer,
        "updated_at": datetime.now(UTC).isoformat(),
    }


def _parse(answer: Answer) -> Checkpoint:
    source = answer.body["_source"]
    content = SeriesContent(
        stream=str(source["stream"]),
        network=source["network"],
        schema_version=int(source["schema_version"]),
        columns=tuple(map(str, source["columns"])),
        filter=source["filter"],
        index_ledgers=int(source["index_ledgers"]),
    )
    if content.index_ledgers < 1:
        raise ValueError("index_ledgers")
    ledgers = LedgerRanges((int(held["gte"]), int(held["lte"])) for held in source["ledgers"])
    return Checkpoint(
        content, ledgers, str(source["writer"]), (int(answer.body["_seq_no"]), int(answer.body["_primary_term"]))
    )

"""The wire contract: what a client asks for, what every batch says of itself, and how an error travels.

* :class:`StreamRequest`: the ticket (or descriptor) in its text and JSON forms.
* :class:`Cursor`: the ``app_metadata`` of every record batch.
* :func:`error_payload`, :func:`error_from_payload`: the ``extra_info`` of every Flight error.

Actions of a server (``do_action``), each answering with one JSON object:

=================  ==========================================================================================
``health``         ``{"status": "ok", …}``
``latest-ledger``  ``{"oldest": ledger or null, "latest": ledger or null}``: what the source holds
``streams``        ``{"streams": [{"name", "aliases", "description", "schema_version"}, …]}``
=================  ==========================================================================================
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal, cast, get_args

from stellar_arrow_client import errors
from stellar_arrow_client.errors import IntegrityError, InvalidRequestError, StellarArrowError

LEDGER: Final = "ledger_sequence"
TIME: Final = "ledger_close_time"
"""The columns that every stream has."""

MAX_LEDGER: Final = 2**32 - 1
MAX_TICKET_BYTES: Final = 64 * 1024
MAX_COLUMNS: Final = 1024
MAX_METADATA_BYTES: Final = 4 * 1024
MAX_NAME_LENGTH: Final = 128
MAX_FILTER_LENGTH: Final = 16 * 1024
MAX_RETRY_SECONDS: Final = 7 * 86_400

ACTION_HEALTH: Final = "health"
ACTION_LATEST_LEDGER: Final = "latest-ledger"
ACTION_STREAMS: Final = "streams"

Compression = Literal["zstd", "lz4"]
COMPRESSIONS: Final[tuple[str, ...]] = get_args(Compression)

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_DIGITS = re.compile(r"[0-9]{1,20}")
_FORMS = "write stream, stream:start:, stream:start:end or a JSON object such as "
_EXAMPLE = '{"stream": "payments", "start": 53312000, "end": 53312999}'
_FORM_HINT = f"{_FORMS}{_EXAMPLE}"


@dataclass(frozen=True, slots=True)
class StreamRequest:
    """A range of ledgers of one stream.

    Attributes:
        stream: name or alias of the stream.
        start: first ledger, or None for the latest one at the time of asking.
        end: last ledger (inclusive), or None to follow the tip for ever.
        columns: names of the columns wanted, in that order; None for all that are not opt-in.
        filter: condition on the rows, in SQL's notation, such as ``asset_code = 'USDC'``; None for all rows.
        compression: of the record batches on the wire; None for none.

    Raises:
        InvalidRequestError: a field is out of its range or of the wrong type; the message names it.
    """

    stream: str
    start: int | None = None
    end: int | None = None
    columns: tuple[str, ...] | None = None
    filter: str | None = None
    compression: Compression | None = None

    def __post_init__(self) -> None:
        _check_name("stream", self.stream)
        _check_ledger("start", self.start)
        _check_ledger("end", self.end)
        if self.end is not None and self.start is None:
            raise InvalidRequestError(f"end is {self.end} but start is missing; {_FORM_HINT}")
        if self.start is not None and self.end is not None and self.start > self.end:
            raise InvalidRequestError(
                f"start {self.start} is after end {self.end}; end is inclusive and 0 means without end"
            )
        if self.columns is not None:
            _check_columns(self.columns)
        _check_filter(self.filter)
        if self.compression is not None and self.compression not in COMPRESSIONS:
            raise InvalidRequestError(
                f"compression must be {' or '.join(COMPRESSIONS)} or left out, not {_show(self.compression)}"
            )

    @classmethod
    def parse(cls, text: str | bytes) -> StreamRequest:
        """Read a ticket in text or JSON form; strict: nothing is trimmed, guessed or ignored.

        Raises:
            InvalidRequestError: says what is wrong and shows the right form.
        """
        _check_size(text if isinstance(text, bytes) else text.encode(errors="surrogatepass"))
        if isinstance(text, bytes):
            try:
                text = text.decode("utf-8")
            except UnicodeDecodeError as error:
                raise InvalidRequestError(f"the request is not UTF-8 text (byte {error.start}); {_FORM_HINT}") from None
        return cls._from_json(text) if text.lstrip().startswith("{") else cls._from_text(text)

    @classmethod
    def _from_text(cls, text: str) -> StreamRequest:
        stream, *bounds = text.split(":")
        if len(bounds) not in (0, 2):
            raise InvalidRequestError(f"{_show(text)} is not a request; {_FORM_HINT}")
        if not bounds:
            return cls(stream)
        start, end = bounds
        return cls(stream, _text_ledger("start", start), _text_ledger("end", end) if end else None)

    @classmethod
    def _from_json(cls, text: str) -> StreamRequest:
        try:
            fields = json.loads(text, object_pairs_hook=_unique_keys)
        except InvalidRequestError:
            raise
        except (ValueError, RecursionError) as error:
            raise InvalidRequestError(f"the request is not valid JSON ({error}); {_FORM_HINT}") from None
        if not isinstance(fields, dict):
            raise InvalidRequestError(f"the request must be a JSON object; {_FORM_HINT}")
        known = [field.name for field in dataclasses.fields(cls)]
        for key in fields:
            if key not in known:
                raise InvalidRequestError(f"unknown key {_show(key)} in the request, not {', '.join(known)}")
        if "stream" not in fields:
            raise InvalidRequestError(f'the request has no "stream"; {_FORM_HINT}')
        if _is_zero(fields.get("end")):
            fields["end"] = None
        if isinstance(fields.get("columns"), list):
            fields["columns"] = tuple(fields["columns"])
        return cls(**fields)

    def to_ticket(self) -> bytes:
        """The canonical JSON form: compact, fields in order, absent ones left out.

        Raises:
            InvalidRequestError: it would be longer than a server accepts.
        """
        fields = {name: value for name, value in dataclasses.asdict(self).items() if value is not None}
        ticket = json.dumps(fields, separators=(",", ":"), ensure_ascii=False).encode()
        _check_size(ticket)
        return ticket

    def resumed_at(self, ledger: int) -> StreamRequest:
        """The rest of this request from ``ledger`` on."""
        return dataclasses.replace(self, start=ledger)

    def __str__(self) -> str:
        """The range in text form, for messages."""
        if self.start is None:
            return self.stream
        return f"{self.stream}:{self.start}:{'' if self.end is None else self.end}"


@dataclass(frozen=True, slots=True)
class Cursor:
    """The ledgers that a record batch covers: ``first`` to ``last``, inclusive, also those without a row.

    A batch that completes no ledger has ``last = first - 1``: with rows it is a part of ledger ``first``,
    which goes on in the next batch; without rows it is a heartbeat, sent while there is nothing new.

    Raises:
        IntegrityError: the numbers contradict each other.
    """

    first: int
    last: int

    def __post_init__(self) -> None:
        if type(self.first) is not int or type(self.last) is not int:
            raise IntegrityError(f"{_show(self.first)} to {_show(self.last)} is not a range of ledgers")
        if not 1 <= self.first <= self.last + 1 <= MAX_LEDGER + 1:
            raise IntegrityError(f"{_show(self.first)} to {_show(self.last)} is not a range of ledgers")

    @property
    def cursor(self) -> int:
        """The next ledger to ask for: everything before it is complete."""
        return self.last + 1

    @property
    def advances(self) -> bool:
        """Whether the batch completes at least one ledger."""
        return self.first <= self.last

    def to_metadata(self) -> bytes:
        """The ``app_metadata`` of a batch: ``{"first": …, "last": …, "cursor": …}``."""
        return b'{"first":%d,"last":%d,"cursor":%d}' % (self.first, self.last, self.cursor)

    @classmethod
    def from_metadata(cls, metadata: bytes) -> Cursor:
        """Read the ``app_metadata`` of a batch.

        Raises:
            IntegrityError: it is not what :meth:`to_metadata` writes.
        """
        if len(metadata) > MAX_METADATA_BYTES:
            raise IntegrityError(f"a batch carries {len(metadata)} bytes of metadata instead of a cursor")
        try:
            fields = json.loads(metadata)
            first, last, cursor = fields["first"], fields["last"], fields["cursor"]
        except (ValueError, RecursionError, LookupError, TypeError):
            raise IntegrityError(f"a batch carries no cursor: its metadata is {_show(metadata)}") from None
        found = cls(first, last)
        if cursor != found.cursor or type(cursor) is not int:
            raise IntegrityError(f"a batch of ledgers {first} to {last} has the cursor {_show(cursor)}")
        return found


def error_payload(error: StellarArrowError, resume: int | None = None) -> bytes:
    """The ``extra_info`` of a Flight error.

    ``{"code": class name, "resume": ledger or null, "exit_code": number, "message": text}``; ``resume`` is
    the next ledger to ask for, when the stream had begun. With ``"retry_after": seconds`` when that is known.
    """
    fields: dict[str, Any] = {
        "code": type(error).__name__,
        "resume": resume,
        "exit_code": int(error.exit_code),
        "message": str(error),
    }
    if error.retry_after is not None:
        fields["retry_after"] = round(error.retry_after, 3)
    return json.dumps(fields).encode()


def error_from_payload(payload: bytes, message: str) -> StellarArrowError:
    """The typed error of a Flight error's ``extra_info``.

    A class that only the server knows becomes the class of :mod:`stellar_arrow_client.errors` with its exit
    code. ``message`` is what to say when the payload is not ours.
    """
    try:
        fields = json.loads(payload[:MAX_TICKET_BYTES])
        code, resume = fields["code"], fields["resume"]
        exit_code, text = fields["exit_code"], fields["message"]
    except (ValueError, RecursionError, LookupError, TypeError):
        return StellarArrowError(message)
    by_name, by_exit_code = _error_classes()
    if not isinstance(text, str) or not isinstance(code, str) or not isinstance(exit_code, int):
        return StellarArrowError(message)
    error = by_name.get(code, by_exit_code.get(exit_code, StellarArrowError))(text)
    error.resume = resume if type(resume) is int and 1 <= resume <= MAX_LEDGER + 1 else None
    wait = fields.get("retry_after")
    error.retry_after = float(wait) if type(wait) in (int, float) and 0 <= wait <= MAX_RETRY_SECONDS else None
    return error


def _error_classes() -> tuple[dict[str, type[StellarArrowError]], dict[int, type[StellarArrowError]]]:
    """Classes of :mod:`stellar_arrow_client.errors` by name, and the most general one of an exit code."""
    classes = list(_subclasses(StellarArrowError))
    general: dict[int, type[StellarArrowError]] = {}
    for cls in classes:
        general.setdefault(int(cls.exit_code), cls)
    return {cls.__name__: cls for cls in classes}, general


def _subclasses(cls: type[StellarArrowError]) -> Iterator[type[StellarArrowError]]:
    if cls.__module__ == errors.__name__:
        yield cls
        for subclass in cls.__subclasses__():
            yield from _subclasses(subclass)


def _check_size(ticket: bytes) -> None:
    if len(ticket) > MAX_TICKET_BYTES:
        raise InvalidRequestError(f"the request has {len(ticket)} bytes, the most allowed is {MAX_TICKET_BYTES}")


def _unique_keys(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for key, value in pairs:
        if key in fields:
            raise InvalidRequestError(f"the key {_show(key)} stands twice in the request")
        fields[key] = value
    return fields


def _is_zero(value: object) -> bool:
    return type(value) is int and value == 0


def _text_ledger(name: str, text: str) -> int | None:
    if not _DIGITS.fullmatch(text):
        raise InvalidRequestError(f"{name} must be a ledger number, not {_show(text)}; {_FORM_HINT}")
    number = int(text)
    return None if name == "end" and number == 0 else number


def _check_ledger(name: str, value: object) -> None:
    if value is None:
        return
    if type(value) is not int:
        raise InvalidRequestError(f"{name} must be a ledger number, not {_show(value)}")
    if not 1 <= value <= MAX_LEDGER:
        raise InvalidRequestError(f"{name} must be between 1 and {MAX_LEDGER}, not {_show(value)}")


def _check_name(what: str, value: object) -> None:
    if not isinstance(value, str) or len(value) > MAX_NAME_LENGTH or not _NAME.fullmatch(value):
        raise InvalidRequestError(f"{what} must be a name such as payments, not {_show(value)}; {_FORM_HINT}")


def _check_filter(value: object) -> None:
    if value is None:
        return
    if not isinstance(value, str) or not value.strip():
        raise InvalidRequestError(f"filter must be a condition such as amount > 100, not {_show(value)}")
    if len(value) > MAX_FILTER_LENGTH:
        raise InvalidRequestError(f"filter has {len(value)} characters, at most {MAX_FILTER_LENGTH} are allowed")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InvalidRequestError(f"filter holds half a surrogate pair: {_show(value)}") from None


def _check_columns(columns: object) -> None:
    if not isinstance(columns, tuple) or not 1 <= len(columns) <= MAX_COLUMNS:
        raise InvalidRequestError(
            f"columns must be a list of 1 to {MAX_COLUMNS} names, not {_show(columns)}; leave it out for all"
        )
    for name in columns:
        if not isinstance(name, str) or len(name) > MAX_NAME_LENGTH or not _NAME.fullmatch(name):
            raise InvalidRequestError(f"columns must hold column names such as amount, not {_show(name)}")
    if len(set(columns)) < len(columns):
        twice = next(name for name in columns if columns.count(name) > 1)
        raise InvalidRequestError(f"columns names {_show(twice)} twice")


def _show(value: object) -> str:
    """``value`` for a message: quoted, escaped and cut."""
    text = repr(cast(Any, value))
    return text if len(text) <= 80 else f"{text[:77]}..."

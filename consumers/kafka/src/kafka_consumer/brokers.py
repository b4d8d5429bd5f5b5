"""The connection to the brokers: its properties, its clients, and what its errors mean."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient

from kafka_consumer.errors import BrokerAuthenticationError, BrokersUnavailableError, MessageTooLargeError, PublishError
from stellar_arrow_client.errors import InvalidRequestError, StellarArrowError

ENVIRONMENT_PREFIXES: Final = ("KAFKA_SASL_", "KAFKA_SECURITY_", "KAFKA_SSL_")
"""Environment variables that are properties: KAFKA_SASL_PASSWORD is sasl.password."""
CALL_SECONDS: Final = 10.0

_OWN: Final = {
    "acks",
    "auto.offset.reset",
    "bootstrap.servers",
    "compression.codec",
    "compression.type",
    "enable.auto.commit",
    "enable.idempotence",
    "enable.partition.eof",
    "group.id",
    "isolation.level",
    "message.max.bytes",
    "metadata.broker.list",
    "transactional.id",
}
"""What the guarantees rest on, or has an option of its own."""
_SECRET: Final = ("password", "secret", "token", "key.pem", "oauthbearer.config")

_UNAUTHORIZED: Final = {
    KafkaError._AUTHENTICATION,
    KafkaError._SSL,
    KafkaError.SASL_AUTHENTICATION_FAILED,
    KafkaError.ILLEGAL_SASL_STATE,
    KafkaError.UNSUPPORTED_SASL_MECHANISM,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
}
_TOO_LARGE: Final = {KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE}
_REFUSED: Final = {
    KafkaError._INVALID_ARG,
    KafkaError.INVALID_CONFIG,
    KafkaError.INVALID_PARTITIONS,
    KafkaError.INVALID_RECORD,
    KafkaError.INVALID_REPLICATION_FACTOR,
    KafkaError.INVALID_REQUEST,
    KafkaError.INVALID_TIMESTAMP,
    KafkaError.INVALID_TRANSACTION_TIMEOUT,
    KafkaError.POLICY_VIOLATION,
    KafkaError.TOPIC_EXCEPTION,
    KafkaError.UNSUPPORTED_FOR_MESSAGE_FORMAT,
    KafkaError.UNSUPPORTED_VERSION,
    KafkaError._UNKNOWN_TOPIC,
}

log = logging.getLogger(__name__)


class _LibraryLog:
    """Takes what the library says; it is not for users, who get one sentence when something is wrong."""

    @staticmethod
    def log(_level: int, message: str, *arguments: object) -> None:
        log.debug(message, *arguments)


@dataclass(frozen=True, slots=True)
class Brokers:
    """Kafka's brokers and how to connect to them.

    Attributes:
        addresses: ``host:port``, with commas between several.
        properties: of librdkafka, such as ``security.protocol``.
    """

    addresses: str
    properties: Mapping[str, str] = field(default_factory=dict, repr=False)
    _said: list[KafkaError] = field(default_factory=list, repr=False)

    def admin(self) -> AdminClient:
        """A client to look after topics."""
        with self._properties():
            return AdminClient(self._with({}))

    def producer(self, settings: Mapping[str, Any]) -> Producer:
        """A producer with settings of ours on top of the properties."""
        with self._properties():
            return Producer(self._with(settings))

    def reader(self) -> Consumer:
        """A consumer of committed records, in no group, that tells when it has come to the end."""
        settings = {
            "group.id": "stellar-arrow",  # the library wants one; nothing is committed under it
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "isolation.level": "read_committed",
            "auto.offset.reset": "error",
            "fetch.wait.max.ms": 10,  # or the end is known only after that long
        }
        with self._properties():
            return Consumer(self._with(settings))

    def _with(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        ours = {"bootstrap.servers": self.addresses, "error_cb": self._note, "logger": _LibraryLog}
        return {"client.id": "kafka-consumer", **settings, **self.properties, **ours}

    @contextmanager
    def _properties(self) -> Iterator[None]:
        try:
            yield
        except (KafkaException, ValueError, TypeError) as error:
            raise InvalidRequestError(f"the properties for Kafka are not valid: {self._veiled(_text(error))}") from None

    def _note(self, error: KafkaError) -> None:
        """Errors that come by themselves tell why calls time out."""
        del self._said[:-3]
        self._said.append(error)

    def refusal(self) -> KafkaError | None:
        """That the brokers refuse the credentials, if they lately said so."""
        return next((error for error in reversed(self._said) if error.code() in _UNAUTHORIZED), None)

    @contextmanager
    def errors(self, doing: str) -> Iterator[None]:
        """Turn errors of Kafka into typed ones; ``doing`` is what went wrong, such as "create topic x"."""
        try:
            yield
        except KafkaException as error:
            raise self.typed(doing, error) from None

    def typed(self, doing: str, error: KafkaException) -> StellarArrowError:
        """The error as one sentence that says what to do."""
        cause: KafkaError = error.args[0]
        refused = cause if cause.code() in _UNAUTHORIZED else self.refusal()
        if refused is not None:
            return BrokerAuthenticationError(
                f"cannot {doing}: Kafka at {self.addresses} refuses it ({self._veiled(refused.str())}); check the "
                "credentials (--property or KAFKA_SASL_…, KAFKA_SSL_…) and what they are allowed to do"
            )
        if cause.code() in _TOO_LARGE:
            return MessageTooLargeError(f"cannot {doing}: {cause.str()}; raise max.message.bytes of the topic")
        if is_permanent(cause):
            return PublishError(f"cannot {doing}: Kafka refuses it: {self._veiled(cause.str())}")
        reason = self._veiled((self._said or [cause])[-1].str())
        return BrokersUnavailableError(
            f"cannot {doing}: Kafka at {self.addresses} does not answer ({reason}); check the address and that it is "
            "running"
        )

    def _veiled(self, text: str) -> str:
        for name, value in self.properties.items():
            if value and is_secret(name):
                text = text.replace(value, "…")
        return text


def is_permanent(error: KafkaError) -> bool:
    """Whether trying again cannot help."""
    return error.code() in _UNAUTHORIZED | _TOO_LARGE | _REFUSED


def is_secret(name: str) -> bool:
    """Whether a property must not be shown."""
    return any(part in name for part in _SECRET)


def properties_of(flags: Sequence[str], environment: Mapping[str, str]) -> dict[str, str]:
    """Properties from ``name=value`` flags, before those of the environment.

    Raises:
        InvalidRequestError: a flag has another form, or sets what the guarantees rest on.
    """
    properties = {
        name.removeprefix("KAFKA_").lower().replace("_", "."): value
        for name, value in environment.items()
        if name.startswith(ENVIRONMENT_PREFIXES) and value
    }
    for flag in flags:
        name, equals, value = flag.partition("=")
        name = name.strip().lower()
        if not equals or not name:
            raise InvalidRequestError("--property takes name=value, such as security.protocol=SASL_SSL")
        if name in _OWN:
            raise InvalidRequestError(f"--property cannot set {name}: the guarantees rest on it, or it has an option")
        properties[name] = value.strip()
    return properties


def _text(error: Exception) -> str:
    cause = error.args[0] if error.args else error
    return cause.str() if isinstance(cause, KafkaError) else str(cause)

"""A Kafka broker of our own, for tests and benchmarks."""

from __future__ import annotations

import datetime
import subprocess
import tempfile
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from ipaddress import ip_address
from pathlib import Path
from typing import Self

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.support.programs import JAVA, TEST_SERVERS, free_ports, lack_of_java, wait_for
from tests.support.proxy import CuttableProxy

JARS = TEST_SERVERS / "kafka"
USER, PASSWORD = "publisher", "a secret that nobody may see"
SECONDS = 60.0


@cache
def what_lacks() -> str | None:
    """Why no broker can be had here; None when one can."""
    return lack_of_java("Kafka", JARS, "kafka_*.jar")


class KafkaServer:
    """One broker in KRaft mode, in a folder of its own, on the loopback interface.

    Attributes:
        address: where everybody may connect.
        cuttable: the same through :attr:`proxy`.
        secure: the same with TLS (SASL_SSL, PLAIN), for :data:`USER` with :data:`PASSWORD`.
        authority: PEM file with the certificate of the broker.
        process: of the broker.
    """

    def __init__(self, folder: Path, proxy: CuttableProxy, ports: list[int]) -> None:
        self.proxy = proxy
        plain, self._cut, secure, controller = ports
        self.address, self.secure = f"127.0.0.1:{plain}", f"127.0.0.1:{secure}"
        self.cuttable = f"127.0.0.1:{proxy.port}"
        self.authority = folder / "broker.pem"
        self._log = folder / "log"
        self._config = folder / "server.properties"
        keystore = folder / "keystore.pem"
        _make_certificate(self.authority, keystore)
        login = "org.apache.kafka.common.security.plain.PlainLoginModule required"
        self._config.write_text(
            f"""
process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=127.0.0.1:{controller}
listeners=PLAIN://127.0.0.1:{plain},CUT://127.0.0.1:{self._cut},SECURE://127.0.0.1:{secure},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAIN://{self.address},CUT://{self.cuttable},SECURE://{self.secure}
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAIN:PLAINTEXT,CUT:PLAINTEXT,SECURE:SASL_SSL
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAIN
sasl.enabled.mechanisms=PLAIN
listener.name.secure.plain.sasl.jaas.config={login} user_{USER}="{PASSWORD}";
listener.name.secure.ssl.keystore.type=PEM
listener.name.secure.ssl.keystore.location={keystore}
log.dirs={folder / "data"}
broker.session.timeout.ms=2000
broker.heartbeat.interval.ms=400
auto.create.topics.enable=false
offsets.topic.num.partitions=1
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=4
transaction.abort.timed.out.transaction.cleanup.interval.ms=200
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
"""
        )
        identity = urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        format_ = ("format", "--standalone", f"--cluster-id={identity}", "--config", str(self._config))
        code = self._run("kafka.tools.StorageTool", *format_).wait(SECONDS)
        assert code == 0, f"Kafka cannot format its storage: {self._log.read_text()}"
        self.process = self.start().process

    def start(self) -> Self:
        """Start it and wait until it answers."""
        self.process = self._run("kafka.Kafka", str(self._config))
        admin = AdminClient({"bootstrap.servers": self.address, "logger": _Silent})

        def answers() -> bool:
            try:
                return bool(admin.list_topics(timeout=1).brokers)
            except KafkaException:
                return False

        wait_for(self.process, answers, self._log)
        return self

    def stop(self, *, crash: bool = False) -> None:
        """Stop it."""
        if crash:
            self.process.kill()
        else:
            self.process.terminate()
        self.process.wait(SECONDS)

    def _run(self, *command: str) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as log:
            return subprocess.Popen(
                [*JAVA, "-Xmx512m", "-Xms128m", "-cp", f"{JARS}/*", *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )


class _Silent:
    @staticmethod
    def log(*_: object) -> None:
        """Whether it answers is all that counts."""


@contextmanager
def kafka_server() -> Iterator[KafkaServer]:
    """A running broker, in a folder that goes with it."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kafka-", ignore_cleanup_errors=True)))
        ports = free_ports(4)
        proxy = stack.enter_context(CuttableProxy(ports[1]))
        server = KafkaServer(folder, proxy, ports)
        try:
            yield server
        finally:
            server.stop(crash=True)


def _make_certificate(certificate: Path, keystore: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = made.public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    certificate.write_bytes(pem)
    keystore.write_bytes(private + pem)

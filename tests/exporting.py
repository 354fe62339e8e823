"""What the tests of the exporter share: spans, batches, exporters that are shut down, certificates."""

from __future__ import annotations

import logging
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, TraceFlags

from otlpfast._impl import BatchBuilder
from otlpfast.batch import ExportOutcome, SpanBatch
from otlpfast.export import OTLPSpanExporter

from .collector import Collector

SECRET = "hunter2-very-secret"
NEVER = float("inf")
EXPORTED, REJECTED, FAILED = ExportOutcome(exported=3), ExportOutcome(rejected=3), ExportOutcome(failed=3)


@pytest.fixture(name="collector")
def collector_fixture() -> Iterator[Collector]:
    with Collector() as running:
        yield running


@pytest.fixture(name="make")
def make_fixture(request: pytest.FixtureRequest) -> Callable[..., OTLPSpanExporter]:
    """Exporters that are shut down after the test."""

    def new(endpoint: str | Collector, **settings: Any) -> OTLPSpanExporter:
        exporter = OTLPSpanExporter(
            endpoint.endpoint if isinstance(endpoint, Collector) else endpoint, **settings
        )
        request.addfinalizer(lambda: exporter.shutdown(0))
        return exporter

    return new


Make = Callable[..., OTLPSpanExporter]


def spans(count: int = 3, **attributes: Any) -> list[ReadableSpan]:
    return [
        ReadableSpan(
            f"span {number}",
            SpanContext(0xABC, 0x100 + number, False, TraceFlags(1)),
            resource=Resource({"service.name": "test"}),
            attributes={"n": number, **attributes},
            start_time=1,
            end_time=2,
            instrumentation_scope=InstrumentationScope("scope"),
        )
        for number in range(count)
    ]


def batch(count: int = 3, **attributes: Any) -> SpanBatch:
    builder = BatchBuilder()
    for span in spans(count, **attributes):
        builder.add(span)
    return SpanBatch(builder.finish())


@dataclass
class Pieces:
    """A batch of given buffers."""

    buffers: tuple[Any, ...]
    count: int = 3


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.name == "otlpfast.export"]


def one_warning(caplog: pytest.LogCaptureFixture) -> str:
    assert len(warnings(caplog)) == 1, warnings(caplog)
    record = next(r for r in caplog.records if r.name == "otlpfast.export")
    assert record.levelno == logging.WARNING
    assert record.exc_info is None
    assert record.getMessage().isprintable()
    return record.getMessage()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


class Silent:
    """A listener that accepts connections in the backlog and never reads."""

    def __init__(self) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"http://127.0.0.1:{self._server.getsockname()[1]}/v1/traces"

    def __enter__(self) -> Silent:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.close()


class Certificates:
    """A CA of our own, a server certificate for 127.0.0.1, and a client certificate."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # Python 3.13 insists on what RFC 5280 wants of a CA and of what it signs.
        use = ["-addext", "keyUsage=critical,keyCertSign,cRLSign"]
        self._openssl(
            "req", "-x509", *self._key("ca"), "-subj", "/CN=otlpfast test CA", *use, "-out", self.path("ca")
        )
        self._signed("server", "subjectAltName=IP:127.0.0.1,DNS:localhost\n")
        self._signed("client")
        self.ca = self.path("ca")

    def path(self, name: str) -> str:
        return str(self.folder / f"{name}.pem")

    def server(self, *, ask_client: bool = False) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.path("server"), self.path("server.key"))
        if ask_client:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(self.ca)
        return context

    def _key(self, name: str) -> list[str]:
        key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        return [*key, "-keyout", self.path(f"{name}.key")]

    def _signed(self, name: str, extensions: str = "") -> None:
        request, config = str(self.folder / f"{name}.csr"), self.folder / f"{name}.ext"
        config.write_text("authorityKeyIdentifier=keyid\nsubjectKeyIdentifier=hash\n" + extensions)
        self._openssl("req", *self._key(name), "-subj", f"/CN={name}", "-out", request)
        ca = ["-CA", self.path("ca"), "-CAkey", self.path("ca.key"), "-CAcreateserial", "-days", "2"]
        self._openssl("x509", "-req", "-in", request, *ca, "-extfile", str(config), "-out", self.path(name))

    def _openssl(self, *command: str) -> None:
        subprocess.run(["openssl", *command], check=True, capture_output=True)


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(name="certificates", scope="session")
def certificates_fixture(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))

"""The official OpenTelemetry Collector takes what both exporters send, and hands it on unchanged.

`make collector` builds it; without it these tests are skipped.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otlpfast import BatchSpanProcessor, OTLPSpanExporter
from otlpfast.batch import ExportOutcome, SpanBatch

from .collector import PATIENCE, Collector
from .exporting import SECRET, Certificates, batch, certificates_fixture, free_port, warnings  # noqa: F401
from .pipeline import account, until
from .spans import every_field, official

BINARY = Path(__file__).parent.parent / "build" / "collector" / "otelcol"
if not BINARY.exists():
    pytest.skip(f"{BINARY} is not there: `make collector` builds it", allow_module_level=True)

PROTOCOLS = ("http/protobuf", "grpc")
HTTP_LIMIT, GRPC_LIMIT_MIB = 20_000, 1


class Official:
    """otelcol with four receivers, which forwards each request at once, over HTTP.

    plain; small, with limits that batches of tests exceed; tls; mutual, which wants a client certificate.
    """

    def __init__(self, folder: Path, certificates: Certificates, target: Collector) -> None:
        tls = {
            "cert_file": certificates.path("server"),
            "key_file": certificates.path("server.key"),
        }
        mutual = {**tls, "client_ca_file": certificates.ca}
        self.ports = {(name, way): free_port() for name in RECEIVERS for way in PROTOCOLS}
        receivers = {
            "otlp/plain": self._receiver("plain"),
            "otlp/tls": self._receiver("tls", http={"tls": tls}, grpc={"tls": tls}),
            "otlp/mutual": self._receiver("mutual", http={"tls": mutual}, grpc={"tls": mutual}),
            "otlp/small": self._receiver(
                "small",
                http={"max_request_body_size": HTTP_LIMIT},
                grpc={"max_recv_msg_size_mib": GRPC_LIMIT_MIB},
            ),
        }
        # Without a queue of its own, so that it answers when the spans have arrived.
        forward = {
            "endpoint": target.base,
            "compression": "none",
            "sending_queue": {"enabled": False},
            "retry_on_failure": {"enabled": False},
        }
        config = {
            "receivers": receivers,
            "exporters": {"otlp_http": forward},
            "service": {
                "telemetry": {"metrics": {"level": "none"}},
                "pipelines": {"traces": {"receivers": [*receivers], "exporters": ["otlp_http"]}},
            },
        }
        (folder / "config.yaml").write_text(json.dumps(config))  # YAML, too
        self.log = folder / "log"
        environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [str(BINARY), "--config", str(folder / "config.yaml")],
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        until(lambda: all(map(self._listens, self.ports.values())), "the Collector listens")

    def _receiver(self, name: str, **more: dict[str, Any]) -> dict[str, Any]:
        def protocol(way: str) -> dict[str, Any]:
            return {"endpoint": f"127.0.0.1:{self.ports[name, way]}", **more.get(way[:4], {})}

        return {"protocols": {way[:4]: protocol(way) for way in PROTOCOLS}}

    def _listens(self, port: int) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", port)) == 0

    def endpoint(self, name: str, protocol: str) -> str:
        scheme = "https" if name in ("tls", "mutual") else "http"
        path = "" if protocol == "grpc" else "/v1/traces"
        return f"{scheme}://127.0.0.1:{self.ports[name, protocol]}{path}"

    def close(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(PATIENCE)
        finally:
            self.process.kill()


RECEIVERS = ("plain", "tls", "mutual", "small")


class Peer:
    """The official Collector, and ours behind it."""

    def __init__(self, agent: Official, target: Collector) -> None:
        self.agent, self._target = agent, target
        self._before = 0

    def exporter(self, name: str, protocol: str, **settings: Any) -> OTLPSpanExporter:
        return OTLPSpanExporter(self.agent.endpoint(name, protocol), protocol=protocol, **settings)

    def arrived(self) -> list[ExportTraceServiceRequest]:
        """The requests that have come out since the last time."""
        before, self._before = self._before, len(self._target.requests)
        return [request.message for request in self._target.requests[before : self._before]]


@pytest.fixture(scope="module", name="peer")
def peer_fixture(tmp_path_factory: pytest.TempPathFactory, certificates: Certificates) -> Iterator[Peer]:
    with Collector() as target:
        agent = Official(tmp_path_factory.mktemp("otelcol"), certificates, target)
        try:
            yield Peer(agent, target)
        finally:
            agent.close()


def span_names(requests: list[ExportTraceServiceRequest]) -> list[str]:
    return [
        span.name
        for request in requests
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]


def send(exporter: OTLPSpanExporter, sent: SpanBatch) -> ExportOutcome:
    try:
        return exporter.export_batch(sent)
    finally:
        exporter.shutdown()


@pytest.mark.parametrize(
    ("protocol", "compression"),
    [
        *(("http/protobuf", compression) for compression in ("none", "gzip", "deflate", "zstd")),
        *(("grpc", compression) for compression in ("none", "gzip")),
    ],
)
def test_every_field_comes_out_as_the_official_exporter_sends_it(
    protocol: str, compression: str, peer: Peer
) -> None:
    spans = every_field()
    exporter = peer.exporter("plain", protocol, compression=compression)
    processor = BatchSpanProcessor(exporter, max_export_batch_size=2048)
    for span in spans:
        processor.on_end(span)
    assert processor.force_flush() is True
    assert processor.stats() == account(len(spans), exported=len(spans))
    processor.shutdown()
    assert peer.arrived() == [official(spans)]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_tls(protocol: str, peer: Peer, certificates: Certificates) -> None:
    exporter = peer.exporter("tls", protocol, certificate_file=certificates.ca)
    assert send(exporter, batch()) == ExportOutcome(exported=3)
    assert len(span_names(peer.arrived())) == 3


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_mutual_tls(
    protocol: str, peer: Peer, certificates: Certificates, caplog: pytest.LogCaptureFixture
) -> None:
    stranger = peer.exporter("mutual", protocol, certificate_file=certificates.ca, timeout=1)
    assert send(stranger, batch()) == ExportOutcome(failed=3)
    text = warnings(caplog)[0]
    assert "certificate" in text or "timed out" in text  # where the machine is very busy
    known = peer.exporter(
        "mutual",
        protocol,
        certificate_file=certificates.ca,
        client_key_file=certificates.path("client.key"),
        client_certificate_file=certificates.path("client"),
        headers={"authorization": f"Bearer {SECRET}"},
    )
    assert send(known, batch()) == ExportOutcome(exported=3)
    assert len(span_names(peer.arrived())) == 3


@pytest.mark.parametrize(
    ("protocol", "compression"),
    [
        *(("http/protobuf", compression) for compression in ("none", "gzip", "zstd")),
        *(("grpc", compression) for compression in ("none", "gzip")),
    ],
)
def test_a_request_beyond_the_receiver_s_limit_arrives_whole_in_smaller_ones(
    protocol: str, compression: str, peer: Peer, caplog: pytest.LogCaptureFixture
) -> None:
    size, limit = (100_000, GRPC_LIMIT_MIB << 20) if protocol == "grpc" else (1000, HTTP_LIMIT)
    sent = batch(50, text="x" * size)
    assert sent.nbytes > 2 * limit
    exporter = peer.exporter("small", protocol, compression=compression)
    assert send(exporter, sent) == ExportOutcome(exported=50)
    requests = peer.arrived()
    assert span_names(requests) == [f"span {number}" for number in range(50)]
    assert len(requests) > 1
    assert not warnings(caplog)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_span_beyond_the_receiver_s_limit_costs_itself_alone(protocol: str, peer: Peer) -> None:
    size = 2 << 20
    exporter = peer.exporter("small", protocol)
    assert send(exporter, batch(1, text="x" * size)) == ExportOutcome(too_large=1)
    assert peer.arrived() == []


def test_over_grpc_the_default_limits_of_both_fit(peer: Peer, caplog: pytest.LogCaptureFixture) -> None:
    sent = batch(9, text="x" * 600_000)
    assert send(peer.exporter("plain", "grpc"), sent) == ExportOutcome(exported=9)
    requests = peer.arrived()
    assert len(span_names(requests)) == 9
    assert len(requests) == 2
    assert not warnings(caplog)

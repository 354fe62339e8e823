"""A real collector between otlpfast and the official protobuf classes: rotel, in Rust, by HTTP and gRPC."""

from __future__ import annotations

import os
import socket
import subprocess
import sysconfig
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan

from otlpfast import BatchSpanProcessor, OTLPSpanExporter, encode_spans
from otlpfast.batch import ExportOutcome

from .collector import PATIENCE, Collector
from .exporting import batch, free_port, warnings
from .pipeline import account, end_spans, until
from .spans import every_field, official, provider, span_lists, stock_spans

rotel = pytest.importorskip("rotel")

PROTOCOLS = ("http/protobuf", "grpc")


class Rotel:
    """rotel-agent: takes OTLP over HTTP and gRPC, and forwards each request at once over HTTP."""

    def __init__(self, folder: Path, target: Collector) -> None:
        http, grpc = free_port(), free_port()
        self.endpoints = {
            "http/protobuf": f"http://127.0.0.1:{http}/v1/traces",
            "grpc": f"http://127.0.0.1:{grpc}",
        }
        self.log = folder / "log"
        command = [
            str(Path(rotel.__file__).parent / "rotel-agent"),
            "start",
            *("--pid-file", str(folder / "pid")),
            *("--otlp-http-endpoint", f"127.0.0.1:{http}"),
            *("--otlp-grpc-endpoint", f"127.0.0.1:{grpc}"),
            *("--exporter", "otlp", "--otlp-exporter-protocol", "http"),
            *("--otlp-exporter-endpoint", target.base),
            "--disable-batching",
        ]
        libraries = [sysconfig.get_config_var("LIBDIR"), os.environ.get("LD_LIBRARY_PATH")]
        environment = {**os.environ, "LD_LIBRARY_PATH": os.pathsep.join(filter(None, libraries))}
        environment.pop("LD_PRELOAD", None)  # sanitizers are not for rotel
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
        until(lambda: self._listens(http) and self._listens(grpc), "rotel listens")

    def _listens(self, port: int) -> bool:
        if self.process.poll() == 127 and "libpython" in self.log.read_text():
            pytest.skip("rotel-agent needs a shared libpython, and this interpreter was built without")
        assert self.process.poll() is None, self.log.read_text()
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", port)) == 0

    def close(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(PATIENCE)
        finally:
            self.process.kill()


@pytest.fixture(scope="module", name="peer")
def peer_fixture(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Rotel, Collector]]:
    with Collector() as collector:
        agent = Rotel(tmp_path_factory.mktemp("rotel"), collector)
        try:
            yield agent, collector
        finally:
            agent.close()


def forwarded(
    peer: tuple[Rotel, Collector], protocol: str, spans: list[ReadableSpan]
) -> ExportTraceServiceRequest:
    """What comes out of rotel after a batch processor of ours has sent it the spans."""
    agent, collector = peer
    before = len(collector.requests)
    exporter = OTLPSpanExporter(agent.endpoints[protocol], protocol=protocol, compression="gzip")
    processor = BatchSpanProcessor(exporter, max_export_batch_size=2048)
    for span in spans:
        processor.on_end(span)
    sampled = sum(span.context.trace_flags.sampled for span in spans)
    assert processor.force_flush() is True
    assert processor.stats() == account(sampled, exported=sampled)
    processor.shutdown()
    return collector.wait_for_request(before + 1).message


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_field_comes_out_as_the_official_exporter_sends_it(
    protocol: str, peer: tuple[Rotel, Collector]
) -> None:
    spans = every_field()
    assert forwarded(peer, protocol, spans) == official(spans)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_large_batch_comes_out_byte_for_byte(protocol: str, peer: tuple[Rotel, Collector]) -> None:
    spans = stock_spans(2000)
    assert forwarded(peer, protocol, spans) == official(spans)
    assert peer[1].requests[-1].body == encode_spans(spans)


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(spans=span_lists(), protocol=st.sampled_from(PROTOCOLS))
def test_whatever_the_official_encoder_can_encode(
    peer: tuple[Rotel, Collector], protocol: str, spans: list[ReadableSpan]
) -> None:
    sampled = [span for span in spans if span.context.trace_flags.sampled]
    if sampled:
        assert forwarded(peer, protocol, spans) == official(sampled)


@pytest.mark.parametrize("max_request_bytes", [None, 0], ids=["split beforehand", "split when refused"])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_batch_beyond_4_mib_arrives_whole(
    protocol: str,
    max_request_bytes: int | None,
    peer: tuple[Rotel, Collector],
    caplog: pytest.LogCaptureFixture,
) -> None:
    agent, collector = peer
    before = len(collector.spans)
    exporter = OTLPSpanExporter(
        agent.endpoints[protocol], protocol=protocol, max_request_bytes=max_request_bytes
    )
    assert exporter.export_batch(batch(9, text="x" * 600_000)) == ExportOutcome(exported=9)
    exporter.shutdown()
    received = collector.wait_for_spans(before + 9)[before:]
    assert sorted(span.name for span in received) == [f"span {number}" for number in range(9)]
    assert not warnings(caplog)


def test_a_span_beyond_4_mib_costs_itself_alone_over_grpc(peer: tuple[Rotel, Collector]) -> None:
    exporter = OTLPSpanExporter(peer[0].endpoints["grpc"], protocol="grpc", max_request_bytes=0)
    assert exporter.export_batch(batch(1, text="x" * (5 << 20))) == ExportOutcome(too_large=1)
    exporter.shutdown()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_eight_threads_through_a_real_collector(protocol: str, peer: tuple[Rotel, Collector]) -> None:
    agent, collector = peer
    before = len(collector.spans)
    exporter = OTLPSpanExporter(agent.endpoints[protocol], protocol=protocol)
    processor = BatchSpanProcessor(exporter, max_queue_size=100_000)
    tracer = provider(processor).get_tracer("tests")
    threads = [threading.Thread(target=end_spans, args=(tracer, 500, f"thread {n}")) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert processor.force_flush() is True
    received = [span.name for span in collector.wait_for_spans(before + 4000)[before:]]
    assert sorted(received) == sorted(f"thread {n} {i}" for n in range(8) for i in range(500))
    processor.shutdown()

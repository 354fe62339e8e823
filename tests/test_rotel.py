"""A real collector between otlpfast and the official protobuf classes: rotel, in Rust, by HTTP both ways."""

from __future__ import annotations

import os
import socket
import subprocess
import sysconfig
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

from otlpfast import BatchSpanProcessor, OTLPSpanExporter, encode_spans

from .collector import PATIENCE, Collector
from .exporting import free_port
from .pipeline import account, end_spans, until
from .spans import Keep, official, provider, span_lists, stock_spans

rotel = pytest.importorskip("rotel")


class Rotel:
    """rotel-agent: takes OTLP over HTTP and gRPC, and forwards each request at once over HTTP."""

    def __init__(self, folder: Path, target: Collector) -> None:
        http, grpc = free_port(), free_port()
        self.endpoint = f"http://127.0.0.1:{http}/v1/traces"
        self.grpc_endpoint = f"http://127.0.0.1:{grpc}"
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
        until(lambda: self._listens(http), "rotel listens")

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


def forwarded(peer: tuple[Rotel, Collector], spans: list[ReadableSpan]) -> ExportTraceServiceRequest:
    """What comes out of rotel after a batch processor of ours has sent it the spans."""
    agent, collector = peer
    before = len(collector.requests)
    processor = BatchSpanProcessor(OTLPSpanExporter(agent.endpoint), max_export_batch_size=2048)
    for span in spans:
        processor.on_end(span)
    sampled = sum(span.context.trace_flags.sampled for span in spans)
    assert processor.force_flush() is True
    assert processor.stats() == account(sampled, exported=sampled)
    processor.shutdown()
    return collector.wait_for_request(before + 1).message


def every_field() -> list[ReadableSpan]:
    """Spans of the real SDK that fill nearly every field of the protocol."""
    keep = Keep()
    remote = SpanContext(2**128 - 1, 2**64 - 1, True, TraceFlags(3), TraceState([("a", "b"), ("c", "d=e")]))
    values: dict[str, Any] = {
        "text": "é東😀",
        "true": True,
        "false": False,
        "int": -(2**63),
        "float": 1e-300,
        "bytes": b"\0\xff",
        "list": ["a", "b"],
        "numbers": [1, 2**62],
        "none": None,
        "nested": {"list": [1, "x", {"deep": [None, b"\1"]}], "empty": {}},
        "empty": [],
        "": "no key",
    }
    for service in ("shop", "bank"):
        resource = Resource({"service.name": service, "list": [1, 2]}, f"https://{service}/schema")
        traced = provider(keep, resource=resource)
        for scope in ("wsgi", "sqlite"):
            tracer = traced.get_tracer(scope, "1.2", f"https://{scope}/schema", {"key": 1})
            for kind in SpanKind:
                span = tracer.start_span(
                    f"{kind.name} ë", kind=kind, attributes=values, links=[Link(remote, values), Link(remote)]
                )
                span.add_event("event", values, 1_700_000_000_123_456_789)
                span.add_event("")
                span.record_exception(ValueError("bad"))
                span.set_status(Status(StatusCode.ERROR, "it broke"))
                span.end()
            end_spans(tracer, 3, scope)
    return keep.spans


def test_every_field_comes_out_as_the_official_exporter_sends_it(peer: tuple[Rotel, Collector]) -> None:
    spans = every_field()
    assert forwarded(peer, spans) == official(spans)


def test_a_large_batch_comes_out_byte_for_byte(peer: tuple[Rotel, Collector]) -> None:
    spans = stock_spans(2000)
    assert forwarded(peer, spans) == official(spans)
    assert peer[1].requests[-1].body == encode_spans(spans)


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(spans=span_lists())
def test_whatever_the_official_encoder_can_encode(
    peer: tuple[Rotel, Collector], spans: list[ReadableSpan]
) -> None:
    sampled = [span for span in spans if span.context.trace_flags.sampled]
    if sampled:
        assert forwarded(peer, spans) == official(sampled)


def test_eight_threads_through_a_real_collector(peer: tuple[Rotel, Collector]) -> None:
    agent, collector = peer
    before = len(collector.spans)
    processor = BatchSpanProcessor(OTLPSpanExporter(agent.endpoint), max_queue_size=100_000)
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

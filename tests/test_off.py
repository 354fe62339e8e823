"""``OTLPFAST_DISABLED=true``: the same program, on the SDK's stock classes."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

import otlpfast
from otlpfast import _stock

from .collector import Collector
from .exporting import collector_fixture  # noqa: F401
from .pipeline import names
from .starting import NO_INSTRUMENTATION, TRACED, finished, python, run

OFF = {"OTLPFAST_DISABLED": "true"}

PROGRAM = """
import sys
import otlpfast
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider, export
from opentelemetry.sdk.trace.export import in_memory_span_exporter as memory
exporter = otlpfast.OTLPSpanExporter(compression="gzip", headers={"a": "b"}, max_request_bytes=1 << 20)
batch = otlpfast.BatchSpanProcessor(exporter, 100, on_full="block", spool_dir="/nowhere", max_queue_bytes=10)
simple = otlpfast.SimpleSpanProcessor(memory.InMemorySpanExporter())
provider = otlpfast.TracerProvider()
provider.add_span_processor(batch)
provider.get_tracer("app").start_span("a span").end()
assert otlpfast.TracerProvider is TracerProvider
assert isinstance(batch, export.BatchSpanProcessor) and isinstance(simple, export.SimpleSpanProcessor)
assert otlpfast.Span is sys.modules["opentelemetry.sdk.trace"].Span
assert batch.force_flush(5000) and batch.stats()["queued"] == 0
print(type(exporter._exporter).__module__, otlpfast.IMPLEMENTATION, "otlpfast._core" in sys.modules)
batch.shutdown(timeout_millis=1000)
simple.shutdown(timeout_millis=1000)
"""


def test_a_program_that_uses_all_arguments_runs_unchanged(collector: Collector) -> None:
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http")
    done = python(PROGRAM, collector, **OFF)
    assert done.stdout == "opentelemetry.exporter.otlp.proto.http.trace_exporter py False\n"
    assert done.stderr == ""
    request = collector.wait_for_request()
    assert names(request.spans) == ["a span"]
    assert request.headers["content-encoding"] == "gzip" and request.headers["a"] == "b"
    assert "otlpfast" not in request.headers["user-agent"]


def test_without_the_official_exporter_spans_still_arrive(collector: Collector) -> None:
    missing = "import sys; sys.modules['opentelemetry.exporter.otlp.proto.http.trace_exporter'] = None\n"
    done = python(missing + PROGRAM, collector, **OFF)
    assert done.stdout == "otlpfast.export.exporter py False\n"
    assert done.stderr.count("\n") == 1
    assert "OTLPFAST_DISABLED=true, but there is no official exporter" in done.stderr
    assert names(collector.wait_for_spans(1)) == ["a span"]


def test_configure_in_code(collector: Collector) -> None:
    code = "import logging, otlpfast; logging.basicConfig(level='INFO'); otlpfast.configure()\n"
    done = python(code + TRACED, collector, **OFF)
    assert done.stdout == "opentelemetry.sdk.trace\n"
    assert done.stderr.count("OTLPFAST_DISABLED=true: the SDK's stock classes are used") == 1
    assert names(collector.wait_for_spans(1)) == ["a span"]


@pytest.mark.parametrize("exporter", ["", "otlpfast", "otlp"])
def test_run(collector: Collector, exporter: str, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(TRACED)
    variables = {**OFF, **NO_INSTRUMENTATION, "OTEL_TRACES_EXPORTER": exporter}
    variables["OTEL_EXPORTER_OTLP_PROTOCOL"] = "http/protobuf"
    done = finished(run("app.py"), collector, cwd=tmp_path, **variables)
    assert done.stdout == "opentelemetry.sdk.trace\n", done.stderr
    assert done.stderr == "OTLPFAST_DISABLED=true: the SDK's stock classes are used in place of otlpfast's\n"
    assert names(collector.wait_for_spans(1)) == ["a span"]
    assert "otlpfast" not in collector.requests[0].headers["user-agent"]


def test_the_adapters_take_what_otlpfasts_classes_take() -> None:
    for name in ("BatchSpanProcessor", "SimpleSpanProcessor", "OTLPSpanExporter", "TracerProvider"):
        own = inspect.signature(getattr(otlpfast, name)).parameters
        stock = inspect.signature(getattr(_stock, name)).parameters
        anything = any(p.kind is p.VAR_KEYWORD for p in stock.values())
        assert anything or own.keys() <= stock.keys()
        assert [n for n in own if n in stock] == [n for n, p in stock.items() if n in own]


def test_grpc_takes_the_official_exporter_of_grpc() -> None:
    pytest.importorskip("opentelemetry.exporter.otlp.proto.grpc")
    code = (
        "import otlpfast\n"
        "exporter = otlpfast.OTLPSpanExporter('http://localhost:1', protocol='grpc', compression='none',\n"
        "    headers={'a': 'b'}, insecure=True, max_request_bytes=5)\n"
        "print(type(exporter._exporter).__module__)\n"
    )
    assert python(code, **OFF).stdout == "opentelemetry.exporter.otlp.proto.grpc.trace_exporter\n"

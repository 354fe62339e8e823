"""What the OTLP/HTTP exporter sends, over which connections, seen from a real socket."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans as official_encode_spans
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor, SpanExportResult

from otlpfast.batch import ExportOutcome, SpanBatch

from .collector import PATIENCE, Collector, Reply
from .exporting import (  # noqa: F401
    EXPORTED,
    FAILED,
    NEVER,
    SECRET,
    Certificates,
    Make,
    Pieces,
    batch,
    certificates_fixture,
    collector_fixture,
    free_port,
    make_fixture,
    one_warning,
    spans,
)

# --- what is sent


@pytest.mark.parametrize("compression", [None, "gzip", "deflate", "zstd", Compression.Gzip])
def test_a_batch_arrives_as_the_official_encoder_writes_it(
    collector: Collector, make: Make, compression: Any, caplog: pytest.LogCaptureFixture
) -> None:
    exporter = make(collector, compression=compression)
    assert exporter.export_batch(batch(text="x" * 500)) == EXPORTED
    request = collector.wait_for_request()
    official = official_encode_spans(spans(text="x" * 500)).resource_spans[0].scope_spans[0].spans
    assert [(s.name, s.span_id, s.attributes) for s in request.spans] == [
        (s.name, s.span_id, s.attributes) for s in official
    ]
    assert request.headers["content-encoding"] == (
        None if compression is None else getattr(compression, "value", compression)
    )
    assert (request.wire_bytes < len(request.body) // 2) == (compression is not None)
    assert not caplog.records


def test_the_request_is_plain_otlp_http(collector: Collector, make: Make) -> None:
    exporter = make(collector.base + "/custom/path?a=b", headers={"X-Tenant": "blue", "empty": ""})
    exporter.export_batch(batch())
    request = collector.wait_for_request()
    assert request.path == "/custom/path?a=b"
    assert request.headers["host"] == f"127.0.0.1:{collector.port}"
    assert request.headers["content-type"] == "application/x-protobuf"
    assert request.headers["user-agent"].startswith("OTel-OTLP-Exporter-Python/")
    assert request.headers["user-agent"].endswith(" (otlpfast)")
    assert request.headers["accept-encoding"] == "identity"
    assert request.headers["x-tenant"] == "blue"
    assert request.headers["empty"] == ""
    assert "authorization" not in request.headers
    assert request.headers["content-length"] == str(len(request.body))


def test_headers_may_replace_the_user_agent(collector: Collector, make: Make) -> None:
    make(collector, headers={"User-Agent": "mine"}).export_batch(batch())
    assert collector.wait_for_request().headers.get_all("user-agent") == ["mine"]


def test_netrc_is_not_read(
    collector: Collector, make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".netrc").write_text(f"machine 127.0.0.1 login a password {SECRET}\n")
    (tmp_path / ".netrc").chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    assert make(collector).export_batch(batch()) == EXPORTED
    assert "authorization" not in collector.wait_for_request().headers


def test_credentials_of_the_url_are_sent_as_basic(collector: Collector, make: Make) -> None:
    exporter = make(f"http://user:{SECRET}@127.0.0.1:{collector.port}/v1/traces")
    assert exporter.export_batch(batch()) == EXPORTED
    assert collector.wait_for_request().headers["authorization"] == "Basic dXNlcjpodW50ZXIyLXZlcnktc2VjcmV0"
    assert SECRET not in repr(exporter) + exporter._endpoint


@pytest.mark.parametrize("tls", [False, True])
def test_many_small_and_large_buffers_arrive_in_order_and_are_let_go(
    make: Make, certificates: Certificates, tls: bool
) -> None:
    chunks = [
        bytearray(os.urandom(size)) for size in [1, 0, 7] * 700 + [3_000_000, 5, 16384, 16383, 40_000, 2]
    ]
    with Collector(certificates.server() if tls else None) as collector:
        exporter = make(collector, certificate_file=certificates.ca, timeout=5)
        pieces = Pieces(tuple(memoryview(chunk).toreadonly() for chunk in chunks))
        assert exporter.export_batch(pieces) == EXPORTED  # type: ignore[arg-type]
        collector.script(Reply(hang_up=True))
        assert exporter.export_batch(pieces) == EXPORTED  # type: ignore[arg-type]
        bodies = [request.body for request in collector.requests]
        assert bodies == [b"".join(chunks)] * 3
        collector.close()
        assert exporter.export_batch(pieces, timeout=0.7) == FAILED  # type: ignore[arg-type]
    for view in pieces.buffers:
        view.release()
    for chunk in chunks:
        chunk.append(0)  # BufferError if a view of it were left


def test_the_parts_leave_in_one_packet(make: Make) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        exporter = make(f"http://127.0.0.1:{server.getsockname()[1]}/")
        outcome: list[ExportOutcome] = []
        pieces = Pieces((b"a", b"b", memoryview(b"c")))
        thread = threading.Thread(target=lambda: outcome.append(exporter.export_batch(pieces)))  # type: ignore[arg-type]
        thread.start()
        connection, _ = server.accept()
        with connection:
            first = connection.recv(65536)
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        thread.join(PATIENCE)
    assert first.endswith(b"content-length: 3\r\n\r\nabc")
    assert outcome == [EXPORTED]


def test_an_empty_batch_sends_nothing(collector: Collector, make: Make) -> None:
    exporter = make(collector)
    assert exporter.export_batch(SpanBatch([])) == ExportOutcome()
    assert exporter.export([]) is SpanExportResult.SUCCESS
    assert collector.connections_opened == 0


# --- under the SDK


@pytest.mark.parametrize("processor", [BatchSpanProcessor, SimpleSpanProcessor])
def test_it_works_under_the_sdk_s_own_processors(collector: Collector, make: Make, processor: Any) -> None:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(processor(make(collector)))
    tracer = provider.get_tracer("scope")
    for number in range(5):
        tracer.start_span(f"span {number}").end()
    assert provider.force_flush()
    provider.shutdown()
    assert sorted(span.name for span in collector.wait_for_spans(5)) == [f"span {n}" for n in range(5)]


def test_export_tells_success_from_failure(collector: Collector, make: Make) -> None:
    exporter = make(collector, timeout=0.7)  # too short for a retry
    collector.script(Reply(), Reply(503), Reply(400), Reply.partial_success(1), Reply.partial_success(3))
    success, failure = SpanExportResult.SUCCESS, SpanExportResult.FAILURE
    assert [exporter.export(spans()) for _ in range(5)] == [success, failure, failure, success, failure]


def test_export_of_something_that_is_no_span_does_not_raise(collector: Collector, make: Make) -> None:
    wrong: list[Any] = [[object()], [None, 7]]
    results = [make(collector).export(spans) for spans in wrong]
    assert all(isinstance(result, SpanExportResult) for result in results)


def test_export_of_what_is_no_sequence_fails_with_a_warning(
    collector: Collector, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    wrong: Any = iter(spans())
    assert make(collector).export(wrong) is SpanExportResult.FAILURE
    assert one_warning(caplog) == "could not encode 'list_iterator' as spans: TypeError"


# --- the connection


def test_one_connection_is_kept_and_used_again(collector: Collector, make: Make) -> None:
    exporter = make(collector)
    assert collector.connections_opened == 0  # made when it is needed
    for _ in range(5):
        assert exporter.export_batch(batch()) == EXPORTED
    assert len({request.connection for request in collector.requests}) == 1


def test_a_kept_connection_that_the_server_closed_is_replaced(
    collector: Collector, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    exporter = make(collector)
    collector.script(Reply(close_after=True))
    assert exporter.export_batch(batch()) == EXPORTED
    collector.wait_for_closed_connections(1)
    assert exporter.export_batch(batch()) == EXPORTED
    assert len({request.connection for request in collector.requests}) == len(collector.requests) == 2
    assert not caplog.records


def test_a_kept_connection_that_ends_under_the_request_is_replaced_once(
    collector: Collector, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    exporter = make(collector, timeout=0.7)  # too short for a retry
    collector.script(Reply(), Reply(hang_up=True), Reply(), Reply(hang_up=True), Reply(hang_up=True))
    assert exporter.export_batch(batch()) == EXPORTED
    assert exporter.export_batch(batch()) == EXPORTED
    assert len(collector.requests) == 3
    assert not caplog.records
    assert exporter.export_batch(batch()) == FAILED
    assert len(collector.requests) == 5
    assert "the connection was closed without an answer" in one_warning(caplog)


def test_a_new_connection_without_answer_is_not_tried_again_at_once(
    collector: Collector, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    collector.script(Reply(hang_up=True))
    exporter = make(collector, timeout=0.7)
    assert exporter.export_batch(batch()) == FAILED
    assert len(collector.requests) == 1
    assert "closed without an answer" in one_warning(caplog)
    assert exporter.export_batch(batch()) == EXPORTED


def test_an_answer_that_announces_the_end_is_believed(collector: Collector, make: Make) -> None:
    exporter = make(collector)
    collector.script(Reply(headers={"Connection": "close"}))
    for _ in range(2):
        assert exporter.export_batch(batch()) == EXPORTED
    assert collector.connections_opened == 2


def test_many_threads_share_the_exporter(collector: Collector, make: Make) -> None:
    exporter = make(collector)
    outcomes: list[ExportOutcome] = []
    threads = [
        threading.Thread(target=lambda: outcomes.extend(exporter.export_batch(batch()) for _ in range(10)))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert outcomes == [EXPORTED] * 80
    assert collector.connections_opened == 1


def test_a_thread_that_waits_for_another_s_export_keeps_its_own_deadline(
    collector: Collector, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    collector.script(Reply(delay=NEVER))
    exporter = make(collector)
    slow = threading.Thread(target=exporter.export_batch, args=(batch(),))
    slow.start()
    collector.wait_for_request()
    start = time.monotonic()
    assert exporter.export_batch(batch(), timeout=0.3) == FAILED
    assert time.monotonic() - start < 3
    assert "timed out after 0.3 s waiting for an earlier export" in one_warning(caplog)
    assert not exporter.force_flush(50)
    exporter.shutdown(0)
    slow.join(PATIENCE)
    assert not slow.is_alive()


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="needs POSIX signals")
def test_a_signal_handler_in_the_middle_of_an_export_can_export_too(collector: Collector, make: Make) -> None:
    exporter = make(collector)
    collector.script(Reply(delay=0.3))
    inner: list[ExportOutcome] = []

    def handler(*_: object) -> None:
        inner.append(exporter.export_batch(batch()))
        exporter.force_flush()
        exporter.shutdown()

    def interrupt() -> None:
        collector.wait_for_request()
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)

    previous = signal.signal(signal.SIGUSR1, handler)
    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        assert exporter.export_batch(batch()) == EXPORTED
    finally:
        thread.join(PATIENCE)
        signal.signal(signal.SIGUSR1, previous)
    assert inner == [EXPORTED]
    assert len({request.connection for request in collector.requests}) == 2
    collector.wait_for_closed_connections(2)  # the shutdown's, once the interrupted export is done

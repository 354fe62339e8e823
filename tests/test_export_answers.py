"""What an answer, or the lack of one, means for the spans, and what a user reads of it."""

from __future__ import annotations

import gzip
import http.client
import logging
import os
import random
import socket
import threading
import tracemalloc

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from otlpfast.batch import ExportOutcome

from .collector import PATIENCE, Collector, Reply
from .exporting import (  # noqa: F401
    EXPORTED,
    FAILED,
    REJECTED,
    SECRET,
    Make,
    Pieces,
    batch,
    collector_fixture,
    free_port,
    make_fixture,
    one_warning,
    warnings,
)

# --- answers


@pytest.mark.parametrize(
    ("status", "outcome"),
    [(200, EXPORTED), (202, EXPORTED), (204, EXPORTED)]
    + [(status, REJECTED) for status in (400, 401, 403, 404, 415, 422)]
    + [(status, FAILED) for status in (301, 302, 304, 307, 308, 408, 429, 500, 502, 503, 504, 999)],
)
def test_what_a_status_means_for_the_spans(
    collector: Collector, make: Make, caplog: pytest.LogCaptureFixture, status: int, outcome: ExportOutcome
) -> None:
    collector.script(then=Reply(status))
    exporter = make(collector, timeout=0.7)  # too short for a retry
    for _ in range(3):
        assert exporter.export_batch(batch()) == outcome
    assert len(collector.requests) == 3
    if outcome == EXPORTED:
        assert not caplog.records
    else:
        assert f"HTTP {status}" in one_warning(caplog)
        assert collector.endpoint in one_warning(caplog)


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (404, "HTTP 404 Not Found: is the path right?"),
        (401, "HTTP 401 Unauthorized: are the credentials in the headers right?"),
        (429, "HTTP 429 Too Many Requests: the collector limits the rate"),
        (503, "HTTP 503 Service Unavailable: the collector is overloaded"),
    ],
)
def test_a_warning_says_what_may_help(
    collector: Collector, make: Make, caplog: pytest.LogCaptureFixture, status: int, words: str
) -> None:
    collector.script(Reply(status))
    make(collector, timeout=0.7).export_batch(batch())
    assert words in one_warning(caplog)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed(
    collector: Collector, make: Make, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    with Collector() as elsewhere:
        target = f"http://u:{SECRET}@127.0.0.1:{elsewhere.port}/v1/traces?token={SECRET}"
        collector.script(Reply(status, headers={"Location": target}))
        exporter = make(collector, headers={"authorization": "Bearer abcdef"})
        assert exporter.export_batch(batch()) == FAILED
        assert elsewhere.connections_opened == 0
    text = one_warning(caplog)
    assert (
        f"redirects are not followed; it points to http://***@127.0.0.1:{elsewhere.port}/v1/traces?***"
        in text
    )
    assert SECRET not in text


def test_partial_success_is_counted_and_logged(
    collector: Collector, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    message = "bad\x1b[31m span\n" + "x" * 1000
    collector.script(
        Reply.partial_success(2, message), Reply.partial_success(3), Reply.partial_success(2**62)
    )
    exporter = make(collector)
    assert exporter.export_batch(batch()) == ExportOutcome(exported=1, rejected=2)
    text = one_warning(caplog)
    assert "rejected 2 of 3 spans: bad?[31m span?xxx" in text
    assert len(text) < 350
    assert exporter.export_batch(batch()) == REJECTED
    assert exporter.export_batch(batch()) == REJECTED
    assert len(warnings(caplog)) == 1


def test_partial_success_without_rejections_is_a_remark(
    collector: Collector, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    collector.script(Reply.partial_success(0, "old protocol"), Reply.partial_success(-5))
    exporter = make(collector)
    assert exporter.export_batch(batch()) == EXPORTED
    assert "took the spans with a remark: old protocol" in one_warning(caplog)
    assert exporter.export_batch(batch()) == EXPORTED


@pytest.mark.parametrize(
    "body",
    [
        b"ok",
        b"{}",
        b"\xff" * 100,
        b"\x0a",
        b"\x0a\x05\x08",
        b"\x0a\xff\xff\xff\xff\x0f",
        b"\x08" * 3,
        b"\x0b\x0c",
        b"\x0a\x02\x08\x80",
        b"\x80" * 20,
        b"\x08\x01" * 500_000,
        random.Random(7).randbytes(2000),
        b"\x0a\x03\x0a\x01x",
    ],
)
def test_a_garbage_body_does_not_undo_a_2xx(collector: Collector, make: Make, body: bytes) -> None:
    collector.script(Reply(body=body))
    assert make(collector).export_batch(batch()) == EXPORTED


@pytest.mark.parametrize("encoding", ["gzip", "br"])
def test_a_compressed_answer_is_read(collector: Collector, make: Make, encoding: str) -> None:
    body = gzip.compress(Reply.partial_success(1).body)
    collector.script(Reply(body=body, headers={"Content-Encoding": encoding}))
    assert make(collector).export_batch(batch()).rejected == (1 if encoding == "gzip" else 0)


def test_a_chunked_answer_is_read(collector: Collector, make: Make) -> None:
    body = Reply.partial_success(1).body
    raw = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    collector.script(Reply(raw=raw), Reply(raw=raw[:-9]))
    exporter = make(collector)
    assert exporter.export_batch(batch()) == ExportOutcome(exported=2, rejected=1)
    collector.wait_for_closed_connections(1)
    assert exporter.export_batch(batch()) == EXPORTED


def _bomb(kind: str) -> Reply:
    if kind == "plain":
        return Reply(raw=b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n" + bytes(6_000_000))
    if kind == "chunked":
        chunk = b"100000\r\n" + bytes(0x100000) + b"\r\n"
        return Reply(raw=b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + chunk * 6)
    if kind == "trailers":
        head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n"
        return Reply(raw=head + b"x-trailer: y\r\n" * 500_000)
    if kind == "gzip":
        return Reply(body=gzip.compress(bytes(200_000_000), 6), headers={"Content-Encoding": "gzip"})
    twice = gzip.compress(os.urandom(6_000_000), 1)
    return Reply(body=twice, headers={"Content-Encoding": "gzip"})


# Python's latest client counts interim answers and trailers itself, and gives up long before 4 MiB.
CLIENT_COUNTS = hasattr(http.client, "_MAXINTERIMRESPONSES")


@pytest.mark.parametrize("kind", ["plain", "chunked", "trailers", "gzip", "random gzip"])
def test_a_response_bomb_is_cut_off(
    collector: Collector, make: Make, caplog: pytest.LogCaptureFixture, kind: str
) -> None:

    collector.script(_bomb(kind))
    exporter = make(collector)
    told_in_time = kind == "trailers" and CLIENT_COUNTS  # the status has come, and nobody waits for the rest
    tracemalloc.start()
    try:
        assert exporter.export_batch(batch()) == (EXPORTED if told_in_time else REJECTED)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 40_000_000
    if not told_in_time:
        assert "answered with more than 4 MiB; 3 spans given up" in one_warning(caplog)
    assert exporter.export_batch(batch()) == EXPORTED


@pytest.mark.parametrize(
    "raw",
    [
        b"SSH-2.0-OpenSSH_9\r\n",
        b"\0\0\0\x04\0\0\0\0\0",
        b"HTTP/1.1 OK\r\n\r\n",
        b"x" * 100_000,
        b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 200 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + b"x" * 70_000,
    ],
)
def test_an_answer_that_is_not_http_says_so(
    collector: Collector, make: Make, caplog: pytest.LogCaptureFixture, raw: bytes
) -> None:
    collector.script(Reply(raw=raw))
    assert make(collector).export_batch(batch()) == FAILED
    assert "the answer is not HTTP/1.1" in one_warning(caplog)


def test_an_endless_run_of_interim_answers_is_cut_off(
    collector: Collector, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    collector.script(Reply(raw=b"HTTP/1.1 100 Continue\r\n\r\n" * 300_000))
    assert make(collector).export_batch(batch()) == FAILED
    told = "the answer is not HTTP/1.1" if CLIENT_COUNTS else "the head of the answer is too large"
    assert told in one_warning(caplog)


def test_a_refusal_before_the_whole_body_was_sent_is_heard(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def refuse() -> None:
            connection, _ = server.accept()
            with connection:  # closed with most of the body unread: the client is reset while it sends
                connection.recv(1000)
                connection.sendall(
                    b"HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
                )

        thread = threading.Thread(target=refuse, daemon=True)
        thread.start()
        exporter = make(f"http://127.0.0.1:{server.getsockname()[1]}/")
        outcome = exporter.export_batch(Pieces((bytes(20_000_000),), count=1))  # type: ignore[arg-type]
        thread.join(PATIENCE)
    assert outcome == ExportOutcome(too_large=1)
    assert "HTTP 413" in one_warning(caplog)


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({}, b"\x08\x03\x12\x15span 2 has no trace id"[:25]),
        ({"Content-Type": "text/plain; charset=utf-8"}, b"span 2 has no trace i\n"),
        ({"Content-Type": "application/json"}, b"span 2 has no trace i"),
    ],
)
def test_the_words_of_an_error_answer_are_shown(
    collector: Collector, make: Make, caplog: pytest.LogCaptureFixture, headers: dict[str, str], body: bytes
) -> None:
    collector.script(Reply(400, body=body, headers=headers))
    assert make(collector).export_batch(batch()) == REJECTED
    assert "HTTP 400 Bad Request (span 2 has no trace i)" in one_warning(caplog)


# --- failures in words


def test_a_refused_connection_says_so_and_names_the_endpoint(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    port = free_port()
    exporter = make(f"http://user:{SECRET}@127.0.0.1:{port}/v1/traces?key={SECRET}", timeout=0.7)
    assert exporter.export_batch(batch()) == FAILED
    assert one_warning(caplog) == (
        f"could not deliver 3 spans to http://***@127.0.0.1:{port}/v1/traces?***: "
        "connection refused (is the collector running and listening there?)"
    )


def test_port_4317_gets_a_hint(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    make("http://127.0.0.9:4317/v1/traces", timeout=1).export_batch(batch(1))
    assert "could not deliver 1 span to" in one_warning(caplog)
    assert "port 4317 is usually for OTLP/gRPC, OTLP/HTTP usually has 4318" in one_warning(caplog)


def test_a_kind_of_warning_comes_once_a_minute_with_the_number_held_back(
    collector: Collector, make: Make, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr("otlpfast._log.monotonic", lambda: now)
    exporter = make(collector, timeout=0.7)
    collector.script(then=Reply(503))
    for _ in range(10):
        exporter.export_batch(batch())
    assert len(warnings(caplog)) == 1
    collector.script(Reply(500))
    exporter.export_batch(batch())
    assert len(warnings(caplog)) == 2  # another kind
    now += 59.9
    exporter.export_batch(batch())
    assert len(warnings(caplog)) == 2
    now += 0.2
    exporter.export_batch(batch())
    assert len(warnings(caplog)) == 3
    assert warnings(caplog)[-1].endswith(" (10 more like this since the last warning)")


def test_a_log_handler_that_ends_spans_does_not_deadlock(make: Make) -> None:
    provider = TracerProvider(shutdown_on_exit=False)
    exporter = make(f"http://127.0.0.1:{free_port()}/", timeout=0.7)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("scope")
    records: list[str] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(record.getMessage())
            tracer.start_span("log").end()

    logger, handler = logging.getLogger("otlpfast.export"), Handler()
    logger.addHandler(handler)
    try:
        thread = threading.Thread(target=lambda: tracer.start_span("first").end(), daemon=True)
        thread.start()
        thread.join(PATIENCE)
        assert not thread.is_alive()
    finally:
        logger.removeHandler(handler)
    assert len(records) == 1


def test_secrets_never_reach_the_log_however_the_collector_answers(
    collector: Collector, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    url = f"http://user:{SECRET}@127.0.0.1:{collector.port}/v1/traces?api-key=query-{SECRET}"
    text = f"Bearer token-{SECRET} / token-{SECRET} / {SECRET} / query-{SECRET}"
    plain = {"Content-Type": "text/plain"}
    replies = [
        Reply(401, body=text.encode(), headers=plain),
        Reply(400, body=b"\x12\x7f" + text.encode().ljust(127)),
        Reply.partial_success(1, text),
        Reply.partial_success(0, text),
        Reply(302, headers={"Location": f"http://x/{SECRET}"}),
        Reply(raw=f"HTTP/1.1 599 {SECRET}\r\ncontent-length: 0\r\n\r\n".encode()),
        Reply(raw=f"{SECRET}\r\n\r\n".encode()),
        Reply(hang_up=True),
    ]
    collector.script(*replies)
    exporter = make(url, headers={"authorization": f"Bearer token-{SECRET}"}, timeout=0.7)
    for _ in replies:
        exporter.export_batch(batch())
    collector.close()
    exporter.export_batch(batch())
    exporter.shutdown()
    exporter.export_batch(batch())
    assert len(collector.requests) == len(replies)
    assert len(warnings(caplog)) == len(replies) + 2
    assert SECRET not in caplog.text + repr(exporter)

"""The live page: what it says of processors and spans, to real HTTP clients."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Iterator
from importlib.resources import files
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import otlpfast
from otlpfast import SimpleSpanProcessor, SpanPool, TracerProvider, _tap, web

from .collector import PATIENCE, Collector, Reply
from .exporting import collector_fixture, make_fixture  # noqa: F401
from .pages import ask, events, page_fixture, processor_at, trace_names  # noqa: F401
from .pipeline import Batching, account, batching_fixture, end_spans  # noqa: F401
from .spans import provider
from .starting import python

STATIC = files("otlpfast.web") / "static"


def test_the_page_and_all_that_it_is_made_of_are_served(page: web.Server) -> None:
    index = ask(page.url)
    assert (index.status, index.headers["content-type"]) == (200, "text/html; charset=utf-8")
    parts = re.findall(r'(?:src|href)="(/[^"]+)"', index.body.decode())
    scripts = [part for part in parts if part.endswith(".js")]
    for script in scripts:
        imported = re.findall(r'(?:from|import) "\.(/[a-z]+\.js)"', ask(page.url, script).body.decode())
        parts += [f"/static{name}" for name in imported]
    served = {part.removeprefix("/static/") for part in parts}
    assert served | {"index.html"} == {Path(str(entry)).name for entry in STATIC.iterdir()}
    for part in parts:
        answer = ask(page.url, part)
        assert (answer.status, answer.body) == (200, (STATIC / part.removeprefix("/static/")).read_bytes())


def test_nothing_comes_from_elsewhere_and_no_script_or_style_is_in_the_markup() -> None:
    for entry in STATIC.iterdir():
        text = entry.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?:|url\(|@import|innerHTML|eval\(", text), entry
    markup = (STATIC / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"\son\w+=|\sstyle=|<style|<script(?![^>]*\ssrc=)|javascript:", markup)


def test_the_list_of_endpoints_is_of_those_that_answer(page: web.Server) -> None:
    listed = ask(page.url, "/api").json["endpoints"]
    assert list(listed) == [
        "/api",
        "/api/stats",
        "/api/traces",
        "/api/traces/ID",
        "/api/operations",
        "/events",
    ]
    for path in ("/api", "/api/", "/api/stats", "/api/traces", "/api/operations"):
        assert ask(page.url, path).status == 200


@pytest.mark.parametrize("path", ["/nothing", "/static/../server.py", "/api/traces/" + 32 * "a", "/api/x/y"])
def test_what_is_not_there_is_404(page: web.Server, path: str) -> None:
    answer = ask(page.url, path)
    assert (answer.status, answer.headers["content-type"]) == (404, "text/plain; charset=utf-8")


def test_only_get_and_head_are_allowed(page: web.Server) -> None:
    for method in ("POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
        answer = ask(page.url, "/api/stats", method)
        assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")
    head = ask(page.url, "/api/stats", "HEAD")
    assert (head.status, head.body) == (200, b"") and int(head.headers["content-length"]) > 100
    assert ask(page.url, "/events", "HEAD").status == 200


def test_what_is_no_request_is_refused(page: web.Server) -> None:
    host, port = page.url.split("/")[2].split(":")
    with socket.create_connection((host, int(port)), PATIENCE) as sock:
        sock.sendall(b"\x16\x03\x01 <script>\r\n\r\n")
        answer = b"".join(iter(lambda: sock.recv(4096), b""))
    assert b"400: the request is not understood" in answer and b"<script>" not in answer


def test_the_account_queue_and_exports_of_a_processor(
    page: web.Server, batching: Batching, collector: Collector
) -> None:
    processor = batching(collector, max_export_batch_size=4, max_queue_size=64)
    source = provider(processor)
    collector.script(Reply(200), Reply(400))
    end_spans(source, 8)
    processor.force_flush()
    end_spans(source, 3)
    shown = processor_at(page.url, collector.endpoint)
    assert shown["account"] == processor.stats() == account(11, exported=4, rejected=4, queued=3)
    assert shown["name"].startswith("BatchSpanProcessor ")
    assert shown["destination"] == f"http/protobuf to {collector.endpoint}"
    queue = shown["queue"]
    assert (queue["spans"], queue["max_spans"], queue["closed"]) == (3, 64, False)
    assert 0 < queue["bytes"] < queue["max_bytes"] == 64 * 1024 * 1024
    exports = shown["exports"]
    assert (exports["count"], exports["failed"], exports["last"]) == (2, 0, 2)
    assert 0 < exports["p50_ms"] <= exports["p99_ms"]
    assert sum(bucket["count"] for bucket in exports["histogram"]) == 2
    assert shown["spool"] is None
    processor.shutdown()
    end_spans(source, 2)
    shown = processor_at(page.url, collector.endpoint)
    assert shown["account"]["dropped"] == {"shutdown": 2} and shown["queue"]["closed"]


def test_a_failed_export_and_its_drops_with_their_reason(
    page: web.Server, batching: Batching, collector: Collector
) -> None:
    processor = batching(collector)
    collector.script(then=Reply(401))
    end_spans(provider(processor), 2)
    processor.force_flush()
    shown = processor_at(page.url, collector.endpoint)
    assert shown["account"] == processor.stats()
    assert shown["account"]["rejected"] + sum(shown["account"]["dropped"].values()) == 2
    assert shown["exports"]["count"] == 1


def test_a_spool(page: web.Server, batching: Batching, collector: Collector, tmp_path: Path) -> None:
    processor = batching(collector, spool_dir=tmp_path / "spool", export_timeout_millis=300)
    collector.script(then=Reply(503))
    end_spans(provider(processor), 5)
    processor.force_flush()
    spool = processor_at(page.url, collector.endpoint)["spool"]
    assert (spool["directory"], spool["records"], spool["spans"]) == (str(tmp_path / "spool"), 1, 5)
    assert spool["bytes"] > 0
    assert trace_names(page.url)[0] == "span 4"


def test_a_simple_processor(page: web.Server, collector: Collector) -> None:
    processor = SimpleSpanProcessor(otlpfast.OTLPSpanExporter(collector.endpoint))
    end_spans(provider(processor), 2)
    shown = processor_at(page.url, collector.endpoint)
    assert (shown["account"], shown["queue"]) == (account(2, exported=2), None)
    assert shown["exports"]["count"] == 2
    assert trace_names(page.url) == ["span 1", "span 0"]
    processor.shutdown()


def test_spans_for_an_exporter_that_takes_them_as_they_are(page: web.Server, batching: Batching) -> None:
    exporter = InMemorySpanExporter()
    processor = batching(exporter)
    end_spans(provider(processor), 2)
    processor.force_flush()
    assert trace_names(page.url) == ["span 1", "span 0"]
    assert len(exporter.get_finished_spans()) == 2


def test_pools_and_process(page: web.Server) -> None:
    with SpanPool().wrap(TracerProvider().get_tracer("tests").start_span("a span")) as wrapper:
        wrapper.set_attribute("a", 1)
        stats = ask(page.url, "/api/stats").json
    names = [pool["name"] for pool in stats["pools"]]
    assert names[0] == "span buffers" and names[-2:] == ["SpanPool attributes", "SpanPool events"]
    pool = stats["pools"][-2]
    assert pool["efficiency"] == round(pool["hits"] / (pool["hits"] + pool["misses"]), 4)
    process = stats["process"]
    assert (process["otlpfast"], process["implementation"]) == (otlpfast.__version__, otlpfast.IMPLEMENTATION)


def await_traces(page: web.Server, stream: Iterator[tuple[str, Any]], expected: list[str]) -> None:
    """Reads on until the stream has told of these traces."""
    for name, _ in islice(stream, 200):
        if name == "traces" and trace_names(page.url) == expected:
            return
    raise AssertionError(f"{trace_names(page.url)} and not {expected}")


def test_events_come_while_spans_are_made(page: web.Server, batching: Batching, collector: Collector) -> None:
    processor = batching(collector)
    source = provider(processor)
    with events(page.url) as stream:
        assert next(stream)[0] == "stats"
        # Nobody flushes and the timer never fires: spans go out because somebody looks on.
        end_spans(source, 1)
        await_traces(page, stream, ["span 0"])
        end_spans(source, 1, "another")
        await_traces(page, stream, ["another 0", "span 0"])
        collector.wait_for_spans(2)


def test_a_history_of_rates_grows(page: web.Server, batching: Batching, collector: Collector) -> None:
    batching(collector)
    with events(page.url) as stream:
        for name, value in stream:
            if name == "stats":
                [shown] = [p for p in value["processors"] if p["destination"].endswith(collector.endpoint)]
                if len(shown["history"]) >= 2:
                    break
    assert all(rate >= 0 for rate in shown["history"])


def test_a_stream_ends_when_the_page_is_closed() -> None:
    page = web.serve()
    with events(page.url) as stream:
        next(stream)
        page.close()
        assert [name for name, _ in stream if name not in ("stats", "traces")] == []
    page.close()
    assert page.closed
    with pytest.raises(ConnectionRefusedError):
        ask(page.url)


def test_no_batch_is_looked_at_while_no_page_is_served(batching: Batching, collector: Collector) -> None:
    assert _tap._taps == ()
    with web.serve() as page:
        assert len(_tap._taps) == 1
        with web.serve() as another:
            processor = batching(collector)
            end_spans(provider(processor), 1)
            processor.force_flush()
            assert trace_names(page.url) == trace_names(another.url) == ["span 0"]
    assert _tap._taps == ()


def test_there_is_a_limit_of_connections(page: web.Server) -> None:
    host, port = page.url.split("/")[2].split(":")
    opened = [socket.create_connection((host, int(port)), PATIENCE) for _ in range(65)]
    try:
        assert opened[-1].recv(1) == b""  # closed
        opened[0].sendall(b"GET /api HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert opened[0].recv(12) == b"HTTP/1.1 200"
    finally:
        for sock in opened:
            sock.close()


def test_the_page_goes_on_where_a_processor_is_broken(
    page: web.Server, batching: Batching, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = threading.Semaphore(0)

    def broken() -> None:
        looked.release()
        raise RuntimeError("broken")

    processor = batching(collector)
    monkeypatch.setattr(processor, "stats", broken)
    assert looked.acquire(timeout=PATIENCE) and looked.acquire(timeout=PATIENCE)  # by the server's thread
    assert ask(page.url, "/api").status == 200


def test_importing_otlpfast_does_not_load_the_page() -> None:
    loaded = "[name for name in sys.modules if name.startswith(('otlpfast.web', 'http', 'socketserver'))]"
    assert python(f"import sys, otlpfast; print({loaded})").stdout == "[]\n"
    code = "import otlpfast\nwith otlpfast.web.serve() as page: print(page.url)"
    assert python(code).stdout.startswith("http://127.0.0.1:")


def test_the_page_of_a_process_that_is_switched_off_says_so() -> None:
    code = (
        "import json, otlpfast, urllib.request\n"
        "with otlpfast.web.serve() as page:\n"
        "    print(json.load(urllib.request.urlopen(page.url + 'api/stats'))['process']['implementation'])\n"
    )
    assert python(code, OTLPFAST_DISABLED="true").stdout == "off (OTLPFAST_DISABLED)\n"


def test_a_look_that_raises_costs_the_batch_nothing(
    collector: Collector, batching: Batching, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken:
        def take(self, batch: object) -> None:
            raise ZeroDivisionError("in a page")

    tap: Any = Broken()
    _tap.attach(tap)
    try:
        processor = batching(collector)
        end_spans(provider(processor), 3)
        assert processor.force_flush()
    finally:
        _tap.detach(tap)
    assert len(collector.wait_for_spans(3)) == 3
    assert caplog.messages == ["a look at a batch raised ZeroDivisionError: in a page"]

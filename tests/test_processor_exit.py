"""The end of the interpreter: nothing that ended is lost, and nothing crashes."""

from __future__ import annotations

import sys
import threading
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

from otlpfast import BatchSpanProcessor, OTLPSpanExporter

from .collector import Collector, Reply
from .exporting import collector_fixture, free_port  # noqa: F401
from .pipeline import NEVER_MILLIS, end_spans, names, ran, run


def provider(endpoint: str, **settings: Any) -> TracerProvider:
    """As an application makes one: it shuts down when the interpreter ends."""
    made = TracerProvider()
    made.add_span_processor(
        BatchSpanProcessor(OTLPSpanExporter(endpoint), schedule_delay_millis=NEVER_MILLIS, **settings)
    )
    return made


def ends_spans_and_ends(endpoint: str) -> None:
    trace.set_tracer_provider(provider(endpoint))
    end_spans(trace.get_tracer("tests"), 700)


def test_a_script_that_just_ends(collector: Collector) -> None:
    assert ran(ends_spans_and_ends, collector.endpoint) is None
    assert names(collector.spans) == [f"span {n}" for n in range(700)]


def fails(endpoint: str) -> None:
    end_spans(provider(endpoint), 3)
    raise RuntimeError("the application's own")


def test_a_script_that_fails(collector: Collector) -> None:
    finished = run(fails, collector.endpoint)
    assert finished.returncode == 1
    assert "the application's own" in finished.stderr
    assert len(collector.spans) == 3


def exits(endpoint: str) -> None:
    end_spans(provider(endpoint), 3)
    sys.exit(7)


def test_a_script_that_exits(collector: Collector) -> None:
    finished = run(exits, collector.endpoint)
    assert (finished.returncode, finished.stderr) == (7, "")
    assert len(collector.spans) == 3


class EndsSpansWhenItDies:
    """Module globals die after the provider was shut down."""

    def __init__(self, made: TracerProvider) -> None:
        self.tracer = made.get_tracer("tests")

    def __del__(self) -> None:
        end_spans(self.tracer, 3, "from a finaliser")


_kept: list[EndsSpansWhenItDies] = []


def leaves_a_finaliser(endpoint: str) -> None:
    made = provider(endpoint)
    _kept.append(EndsSpansWhenItDies(made))
    end_spans(made, 3)


def test_a_finaliser_at_exit_ends_spans(collector: Collector) -> None:
    finished = run(leaves_a_finaliser, collector.endpoint)
    assert finished.returncode == 0
    assert "Traceback" not in finished.stderr
    assert names(collector.spans) == [f"span {n}" for n in range(3)]


def leaves_daemon_threads(endpoint: str) -> None:
    made = provider(endpoint, max_queue_size=1_000_000)
    started = threading.Semaphore(0)

    def work(number: int) -> None:
        end_spans(made, 10, f"first {number}")
        started.release()
        while True:
            end_spans(made, 100, f"{number}")

    for number in range(4):
        threading.Thread(target=work, args=(number,), daemon=True).start()
    for _ in range(4):
        started.acquire()


@pytest.mark.parametrize("turn", range(4))
def test_daemon_threads_that_still_end_spans(collector: Collector, turn: int) -> None:
    finished = run(leaves_daemon_threads, collector.endpoint)
    assert finished.returncode == 0
    assert "Traceback" not in finished.stderr
    assert "Fatal" not in finished.stderr
    assert {f"first {n} {i}" for n in range(4) for i in range(10)} <= set(names(collector.spans))


def test_nobody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    """One warning, said before the end, that names the endpoint and the reason."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.7")  # for so long it tries again
    endpoint = f"http://127.0.0.1:{free_port()}/v1/traces"
    finished = run(ends_spans_and_ends, endpoint)
    assert finished.returncode == 0
    (line,) = finished.stderr.splitlines()
    assert endpoint in line
    assert "connection refused" in line


def ends_with_little_patience(endpoint: str) -> None:
    made = TracerProvider(shutdown_on_exit=False)
    processor = BatchSpanProcessor(OTLPSpanExporter(endpoint, timeout=3600), export_timeout_millis=3_600_000)
    made.add_span_processor(processor)
    end_spans(made, 3)
    processor.shutdown(200)


def test_a_collector_that_hangs_holds_nobody_up(collector: Collector) -> None:
    collector.script(then=Reply(delay=float("inf")))
    finished = run(ends_with_little_patience, collector.endpoint, patience=30)
    assert finished.returncode == 0
    assert "Traceback" not in finished.stderr

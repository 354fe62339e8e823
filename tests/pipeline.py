"""What the tests of the processors share: pipelines, exporters, the account, scenarios in other processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span as SpanMessage
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import Tracer

import otlpfast
from otlpfast import BatchSpanProcessor, ExportOutcome, SpanBatch
from otlpfast._account import Stats

from .collector import PATIENCE, Collector
from .exporting import Make
from .spans import decode

NEVER_MILLIS = 3_600_000  # a schedule delay that no test lives to see
SANITIZED = os.environ.get("OTLPFAST_SANITIZE") == "1"


@pytest.fixture(name="batching")
def batching_fixture(request: pytest.FixtureRequest, make: Make) -> Callable[..., BatchSpanProcessor]:
    """Batch processors, to a collector, an endpoint or an exporter, that are shut down after the test.

    Their timer never fires, unless the test says otherwise.
    """

    def new(target: Collector | str | SpanExporter, **settings: Any) -> BatchSpanProcessor:
        exporter = make(target) if isinstance(target, (str, Collector)) else target
        processor = BatchSpanProcessor(exporter, **{"schedule_delay_millis": NEVER_MILLIS, **settings})
        request.addfinalizer(lambda: processor.shutdown(0))
        return processor

    return new


Batching = Callable[..., BatchSpanProcessor]


def end_spans(source: TracerProvider | Tracer, count: int, name: str = "span") -> None:
    """Starts and ends spans that are called "span 0", "span 1" and so on."""
    tracer = source.get_tracer("tests") if isinstance(source, TracerProvider) else source
    for number in range(count):
        tracer.start_span(f"{name} {number}").end()


def names(spans: Sequence[SpanMessage]) -> list[str]:
    return [span.name for span in spans]


def spans_of(request: bytes) -> list[SpanMessage]:
    """All spans of a serialised request."""
    return [
        span
        for resource in decode(request).resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]


def account(
    ended: int, *, exported: int = 0, rejected: int = 0, queued: int = 0, spooled: int = 0, **dropped: int
) -> Stats:
    """What stats() should give; it has to balance."""
    assert ended == exported + rejected + queued + spooled + sum(dropped.values())
    return Stats(
        ended=ended, exported=exported, rejected=rejected, dropped=dropped, spooled=spooled, queued=queued
    )


def until(condition: Callable[[], bool], what: str, patience: float = PATIENCE) -> None:
    """Waits for what no event tells of; AssertionError where it does not come."""
    deadline, pause = time.monotonic() + patience, threading.Event()
    while not condition():
        assert time.monotonic() < deadline, f"not in {patience} s: {what}"
        pause.wait(0.002)


@contextmanager
def soon() -> Iterator[None]:
    """What waits for anything but its own deadline takes longer than this, by far."""
    start = time.monotonic()
    yield
    assert time.monotonic() - start < PATIENCE / 2


def in_threads(count: int, work: Callable[[int], None]) -> None:
    """Runs ``work(number)`` in so many threads at once and waits for all; what one raises is raised here."""
    barrier, errors = threading.Barrier(count), []

    def run(number: int) -> None:
        try:
            barrier.wait(PATIENCE)
            work(number)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(number,), daemon=True) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(2 * PATIENCE)
        assert not thread.is_alive(), "a thread hangs"
    if errors:
        raise errors[0]


starts_threads_at_exit = pytest.mark.skipif(
    sys.version_info[:3] in ((3, 12, 0), (3, 12, 1)),
    reason="CPython 3.12.0 and 3.12.1 start no thread while exit handlers run",
)


class Encoded(SpanExporter):
    """Takes encoded batches and keeps a copy; what they come to is up to ``answer``."""

    def __init__(self, answer: Callable[[SpanBatch], Any] | None = None) -> None:
        self.answer = answer or (lambda batch: ExportOutcome(exported=batch.count))
        self.batches: list[bytes] = []
        self.timeouts: list[float | None] = []
        self.shut = 0

    def export_batch(self, batch: SpanBatch, timeout: float | None = None) -> ExportOutcome:
        self.batches.append(bytes(batch))
        self.timeouts.append(timeout)
        outcome: ExportOutcome = self.answer(batch)
        return outcome

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        raise AssertionError("an exporter that has export_batch was given spans")

    def shutdown(self) -> None:
        self.shut += 1

    @property
    def spans(self) -> list[SpanMessage]:
        return [span for batch in list(self.batches) for span in spans_of(batch)]


class Held(Encoded):
    """Holds each batch until it is let go."""

    def __init__(self) -> None:
        super().__init__(self._hold)
        self.entered, self.let_go = threading.Event(), threading.Event()

    def _hold(self, batch: SpanBatch) -> ExportOutcome:
        self.entered.set()
        delivered = self.let_go.wait(PATIENCE)
        return ExportOutcome(exported=batch.count) if delivered else ExportOutcome(failed=batch.count)


class Finished(NamedTuple):
    """How a scenario ended: the value that it returned, and what the process left behind."""

    returncode: int
    value: Any
    stderr: str


_RUN = """
import faulthandler, importlib, json, sys
faulthandler.dump_traceback_later({patience}, exit=True)
scenario = getattr(importlib.import_module({module!r}), {name!r})
print(json.dumps(scenario(*json.loads(sys.argv[1]))), flush=True)
"""


def run(scenario: Callable[..., Any], *arguments: Any, patience: float = 60.0, **variables: str) -> Finished:
    """Calls a function of a test module in a process of its own, which then ends as any script does.

    A process that hangs shows on stderr where, and has a return code that is not 0.
    """
    paths = [str(Path(otlpfast.__file__).parents[1]), str(Path(__file__).parents[1])]
    inherited = os.environ.get("PYTHONPATH")
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(paths + ([inherited] if inherited else [])),
        "OTLPFAST_IMPL": otlpfast.IMPLEMENTATION,
        **variables,
    }
    code = _RUN.format(patience=patience, module=scenario.__module__, name=scenario.__name__)
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(arguments)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=patience + 30,
    )
    lines = done.stdout.splitlines()
    return Finished(done.returncode, json.loads(lines[-1]) if lines else None, done.stderr)


def ran(scenario: Callable[..., Any], *arguments: Any, **more: Any) -> Any:
    """What the scenario returned; it has to end well and to say nothing."""
    finished = run(scenario, *arguments, **more)
    assert (finished.returncode, finished.stderr) == (0, ""), f"{finished.returncode}\n{finished.stderr}"
    return finished.value

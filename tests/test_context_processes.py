"""Traces and baggage that go on in processes of multiprocessing and of celery, and arrive."""

from __future__ import annotations

import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import baggage
from opentelemetry.context import attach, detach
from opentelemetry.proto.trace.v1.trace_pb2 import Span as SpanMessage

from otlpfast import BatchSpanProcessor, OTLPSpanExporter, carry, carry_context

from .collector import Collector
from .exporting import collector_fixture  # noqa: F401
from .forks import die_in
from .pipeline import NEVER_MILLIS, run
from .starting import LINE, NO_INSTRUMENTATION, finished
from .starting import run as command
from .traced import native

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")

PATIENCE = 120  # seconds until a child that hangs is ended by its alarm
_kept: list[Any] = []


def begin(endpoint: str) -> None:
    """Makes the pipeline, unless this process was forked from one that has it."""
    die_in(PATIENCE)
    if not _kept:
        processor = BatchSpanProcessor(OTLPSpanExporter(endpoint), schedule_delay_millis=NEVER_MILLIS)
        _kept[:] = native(processor).get_tracer("tests"), processor


def work(name: str) -> None:
    """A span, with the baggage that it finds."""
    attributes = {"tenant": str(baggage.get_baggage("tenant"))}
    _kept[0].start_span(name, attributes=attributes).end()


def process(name: str, endpoint: str) -> None:
    begin(endpoint)
    work(name)


def carried_over(endpoint: str, method: str) -> int:
    """In a span: a process, a pool and an executor; then the pool once more, in another and in none."""
    import multiprocessing

    context: Any = multiprocessing.get_context(method)
    begin(endpoint)
    carry_context()
    token = attach(baggage.set_baggage("tenant", "blue green"))
    with _kept[0].start_as_current_span("first"):
        child = context.Process(target=process, args=("process", endpoint))
        child.start()
        child.join()
        pool = context.Pool(1, begin, (endpoint,))
        pool.map(work, ["map"])
        with ProcessPoolExecutor(1, context, begin, (endpoint,)) as executor:
            executor.submit(work, "submit").result(PATIENCE)
    with _kept[0].start_as_current_span("second"):
        pool.apply(work, ("apply",))
    detach(token)
    pool.apply(work, ("alone",))
    pool.close()
    pool.join()
    _kept[1].force_flush()
    return int(child.exitcode)


def trees(spans: list[SpanMessage]) -> dict[str, tuple[str, str]]:
    """Of each span that has the attribute: its parent, and the baggage. In the trace of the parent."""
    by_id = {span.span_id: span for span in spans}
    found = {}
    for span in spans:
        values = {attribute.key: attribute.value.string_value for attribute in span.attributes}
        if "tenant" in values:
            parent = by_id.get(span.parent_span_id)
            assert parent.trace_id == span.trace_id if parent else not span.parent_span_id
            found[span.name] = (parent.name if parent else "", values["tenant"])
    return found


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_traces_go_on_in_processes(collector: Collector, method: str) -> None:
    assert run(carried_over, collector.endpoint, method, patience=PATIENCE).value == 0
    assert trees(collector.spans) == {
        "process": ("first", "blue green"),
        "map": ("first", "blue green"),
        "submit": ("first", "blue green"),
        "apply": ("second", "blue green"),
        "alone": ("", "None"),
    }


def carried_by_hand(endpoint: str) -> int:
    import multiprocessing

    begin(endpoint)
    token = attach(baggage.set_baggage("tenant", "blue"))
    with _kept[0].start_as_current_span("first"):
        child = multiprocessing.get_context("spawn").Process(
            target=carry(process), args=("process", endpoint)
        )
    detach(token)
    child.start()
    child.join()
    _kept[1].force_flush()
    return int(child.exitcode or 0)


def test_a_process_with_a_function_that_is_carried(collector: Collector) -> None:
    assert run(carried_by_hand, collector.endpoint).value == 0
    assert trees(collector.spans) == {"process": ("first", "blue")}


PROGRAM = """\
import multiprocessing
from opentelemetry import baggage, context, trace
def work():
    attributes = {"tenant": baggage.get_baggage("tenant")}
    trace.get_tracer("app").start_span("there", attributes=attributes).end()
if __name__ == "__main__":
    context.attach(baggage.set_baggage("tenant", "blue"))
    with trace.get_tracer("app").start_as_current_span("here"):
        child = multiprocessing.get_context("spawn").Process(target=work)
        child.start()
        child.join()
"""


def test_a_program_that_knows_nothing_of_it(collector: Collector, tmp_path: Path) -> None:
    program = tmp_path / "app.py"
    program.write_text(PROGRAM)
    done = finished(command(str(program)), collector, OTLPFAST_CARRY_CONTEXT="true", **NO_INSTRUMENTATION)
    assert done.returncode == 0
    assert done.stderr.startswith(LINE) and done.stderr.count("\n") == 1, done.stderr
    assert trees(collector.wait_for_spans(2)) == {"there": ("here", "blue")}


def refuses(endpoint: str) -> list[str]:
    """What can't be pickled is refused as ever."""
    import multiprocessing

    begin(endpoint)
    found = []
    for patched in (False, True):
        if patched:
            carry_context()
        with _kept[0].start_as_current_span("first"), multiprocessing.get_context("fork").Pool(1) as pool:
            try:
                pool.apply(lambda: None)
            except Exception as error:
                found.append(type(error).__name__)
    return found


def test_what_can_not_be_pickled_is_refused_as_ever(collector: Collector) -> None:
    found = run(refuses, collector.endpoint).value
    assert len(found) == 2 and found[0] == found[1]

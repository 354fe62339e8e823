"""Tail sampling: which traces arrive, when it is decided on them, and what is counted."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace import TracerProvider as StockProvider
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased
from opentelemetry.trace import (
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    TraceFlags,
    Tracer,
    TraceState,
    set_span_in_context,
)

from otlpfast import BatchSpanProcessor, TracerProvider
from otlpfast.sampling import ConsistentProbabilitySampler, TailRule, TailSampler

from .exporting import make_fixture  # noqa: F401
from .pipeline import Batching, Encoded, account, batching_fixture, until  # noqa: F401
from .tail_samplers import ERROR, NOTHING, patient

SECOND = 1_000_000_000


class AsTheyAre(SpanExporter):
    """An exporter of others: it gets spans and no bytes."""

    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.spans.extend(spans)
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        pass


class Traced:
    """A provider with one processor that has a tail sampler, and what came out of it."""

    def __init__(self, provider: Any, processor: BatchSpanProcessor, exporter: Encoded | AsTheyAre) -> None:
        provider.add_span_processor(processor)
        self.provider, self.processor, self.exporter = provider, processor, exporter
        self.tracer: Tracer = provider.get_tracer("tests")

    def arrived(self) -> list[str]:
        """The names of all that was kept, without any decision that is not made yet."""
        waiting = self.processor._queue
        self.processor._worker.hurry()
        until(lambda: not waiting.waiting and not waiting.in_flight, "what was kept is exported")
        return sorted(span.name for span in self.exporter.spans)

    def trace(self, name: str, *children: str, error: bool = False, parent: Context | None = None) -> None:
        with self.tracer.start_as_current_span(name, parent) as root:
            for child in children:
                self.tracer.start_span(child).end()
            if error:
                root.set_status(ERROR)


NewTraced = Callable[..., Traced]


@pytest.fixture(name="traced", params=["own", "stock", "own, as they are"])
def traced_fixture(request: pytest.FixtureRequest, batching: Batching) -> NewTraced:
    """With either provider, and with an exporter that wants the spans as they are."""

    def new(sampler: TailSampler = NOTHING, head: Any = ALWAYS_ON, **settings: Any) -> Traced:
        kind: Any = StockProvider if request.param == "stock" else TracerProvider
        exporter = AsTheyAre() if request.param.endswith("as they are") else Encoded()
        processor = batching(exporter, tail_sampler=sampler, **settings)
        return Traced(kind(sampler=head, shutdown_on_exit=False), processor, exporter)

    return new


def remote(trace_id: int = 0xABC, state: TraceState | None = None) -> Context:
    parent = SpanContext(trace_id, 0xDEF, True, TraceFlags(1), state)
    return set_span_in_context(NonRecordingSpan(parent))


def end_late(span: Span, seconds: float) -> None:
    """Ends it as if it had taken so long."""
    span.end(span.start_time + int(seconds * SECOND))  # type: ignore[attr-defined]


def test_traces_with_an_error_are_kept_whole_and_the_others_are_counted(traced: NewTraced) -> None:
    it = traced()
    it.trace("good", "a", "b")
    it.trace("bad", "c", "d", error=True)
    with it.tracer.start_as_current_span("root of a bad one"):
        it.tracer.start_span("e").end()
        bad = it.tracer.start_span("f")
        bad.set_status(ERROR)
        bad.end()
        it.tracer.start_span("g").end()
    assert it.arrived() == ["bad", "c", "d", "e", "f", "g", "root of a bad one"]
    assert it.processor.stats() == account(10, exported=7, sampled_out=3)


def test_a_raised_exception_is_an_error(traced: NewTraced) -> None:
    it = traced()
    with pytest.raises(ZeroDivisionError), it.tracer.start_as_current_span("raises"):
        it.tracer.start_span("before").end()
        _ = 1 / 0
    assert it.arrived() == ["before", "raises"]


def test_errors_can_be_as_good_as_any(traced: NewTraced) -> None:
    it = traced(patient(errors=False))
    it.trace("bad", error=True)
    assert it.processor.stats() == account(1, sampled_out=1)


def test_traces_with_a_slow_root_are_kept(traced: NewTraced) -> None:
    it = traced(patient(slow_seconds=2))
    for seconds in (1.9, 2, 60):
        root = it.tracer.start_span(f"root of {seconds} s", Context())
        it.tracer.start_span(f"child of {seconds} s", set_span_in_context(root)).end()
        end_late(root, seconds)
    assert it.arrived() == ["child of 2 s", "child of 60 s", "root of 2 s", "root of 60 s"]


def test_a_slow_child_does_not_make_its_trace_slow(traced: NewTraced) -> None:
    it = traced(patient(slow_seconds=2))
    root = it.tracer.start_span("root", Context())
    end_late(it.tracer.start_span("child", set_span_in_context(root)), 5)
    end_late(root, 1)
    assert it.processor.stats() == account(2, sampled_out=2)


def test_a_span_with_a_remote_parent_is_a_root(traced: NewTraced) -> None:
    it = traced(patient(slow_seconds=2))
    server = it.tracer.start_span("server", remote())
    it.tracer.start_span("child", set_span_in_context(server)).end()
    assert it.processor.stats()["queued"] == 1
    end_late(server, 3)
    assert it.arrived() == ["child", "server"]


def test_the_end_of_a_background_task_is_waited_for(traced: NewTraced) -> None:
    it = traced()
    root = it.tracer.start_span("root")
    task = it.tracer.start_span("task", set_span_in_context(root))
    root.end()
    assert it.processor.stats() == account(1, queued=1)
    task.set_status(ERROR)
    task.end()
    assert it.arrived() == ["root", "task"]


def test_several_requests_of_one_trace_are_decided_on_together(traced: NewTraced) -> None:
    it = traced()
    one, other = (it.tracer.start_span(name, remote()) for name in ("one", "other"))
    one.end()
    other.set_status(ERROR)
    other.end()
    assert it.arrived() == ["one", "other"]


def test_what_comes_after_the_decision_follows_it(traced: NewTraced) -> None:
    it = traced()
    for name, error in (("good", False), ("bad", True)):
        root = it.tracer.start_span(name)
        if error:
            root.set_status(ERROR)
        root.end()
        it.tracer.start_span(f"after {name}", set_span_in_context(root)).end()
        it.tracer.start_span(f"long after {name}", set_span_in_context(root)).end()
    assert it.arrived() == ["after bad", "bad", "long after bad"]
    assert it.processor.stats() == account(6, exported=3, sampled_out=3)


def test_a_slow_request_after_the_decision_is_kept_with_what_follows(traced: NewTraced) -> None:
    it = traced(patient(slow_seconds=2))
    for name, seconds in (("fast", 1), ("slow", 3), ("fast again", 1)):
        end_late(it.tracer.start_span(name, remote()), seconds)
    assert it.arrived() == ["fast again", "slow"]


def test_an_error_after_the_decision_is_kept_with_what_follows(traced: NewTraced) -> None:
    it = traced()
    root = it.tracer.start_span("root")
    root.end()
    inside = set_span_in_context(root)
    it.tracer.start_span("before", inside).end()
    bad = it.tracer.start_span("bad", inside)
    bad.set_status(ERROR)
    bad.end()
    it.tracer.start_span("after", inside).end()
    assert it.arrived() == ["after", "bad"]
    assert it.processor.stats() == account(4, exported=2, sampled_out=2)


def test_decisions_are_remembered_on_as_many_traces_as_was_said(traced: NewTraced) -> None:
    it = traced(patient(remembered_traces=2))
    roots = []
    for number in range(3):
        roots.append(it.tracer.start_span(f"root {number}"))
        roots[-1].set_status(ERROR)
        roots[-1].end()
    for number in (2, 1, 0):
        it.tracer.start_span(f"late {number}", set_span_in_context(roots[number])).end()
    assert it.arrived() == ["late 1", "late 2", "root 0", "root 1", "root 2"]  # the first was forgotten


def test_a_trace_that_is_gone_on_with_is_not_forgotten(traced: NewTraced) -> None:
    it = traced(patient(remembered_traces=2))
    root = it.tracer.start_span("root")
    root.set_status(ERROR)
    root.end()
    for number in range(5):
        it.trace("another")
        it.tracer.start_span(f"late {number}", set_span_in_context(root)).end()
    assert it.arrived() == [*(f"late {number}" for number in range(5)), "root"]


def test_a_share_of_the_others_is_kept_by_the_id_of_the_trace(traced: NewTraced) -> None:
    it = traced(patient(ratio=0.25))
    below, above = 0xBFFF_FFFF_FFFF_FF, 0xC000_0000_0000_00
    for name, trace_id in (("below", below), ("above", above), ("high", 0xFF << 56 | below)):
        it.trace(name, f"child {name}", parent=remote(trace_id))
    assert it.arrived() == ["above", "child above"]


def test_randomness_that_came_with_a_request_decides(traced: NewTraced) -> None:
    it = traced(patient(ratio=0.25))
    states = {
        "high": "rv:c0000000000000",
        "low": "rv:bfffffffffffff",
        "of another": "th:8;xx:yy;rv:d0000000000000",
        "twice": "rv:c0000000000000;rv:00000000000000",
        "too short": "rv:c000000",
        "too long": "rv:c00000000000000",
        "capital": "rv:C0000000000000",
    }
    for number, (name, state) in enumerate(states.items(), 1):
        high = number << 64 | 0xC000_0000_0000_00
        it.trace(name, parent=remote(high, TraceState([("v", "1"), ("ot", state)])))
        it.trace(f"{name}, low", parent=remote(number << 96, TraceState([("ot", state)])))
    without_own = {"too short", "too long", "capital"}
    assert it.arrived() == sorted({*without_own, "high", "of another", "high, low", "of another, low"})


def test_the_share_is_that_of_the_consistent_head_sampler(traced: NewTraced) -> None:
    it = traced(patient(ratio=0.3))
    head = ConsistentProbabilitySampler(0.3)
    identifiers = [number * 0x9E3779B97F4A7C15 % 2**128 for number in range(1, 300)]
    for trace_id in identifiers:
        it.trace(f"{trace_id:x}", parent=remote(trace_id))
    expected = [f"{i:x}" for i in identifiers if head.should_sample(None, i, "").decision.is_sampled()]
    assert it.arrived() == sorted(expected)
    assert expected


def test_rules_keep_traces_and_leave_others_out(traced: NewTraced) -> None:
    rules = [
        TailRule(name="GET /health*", root=True, ratio=0),
        TailRule(name=re.compile("^SELECT .* FROM accounts"), kind=SpanKind.CLIENT),
        TailRule(attributes={"tenant": "gold", "count": 3}),
        TailRule(scope="my.scope"),
    ]
    it = traced(patient(rules=rules))
    other = it.provider.get_tracer("my.scope")
    with it.tracer.start_as_current_span("database"):
        it.tracer.start_span("SELECT * FROM accounts", kind=SpanKind.CLIENT).end()
    with it.tracer.start_as_current_span("same name, another kind"):
        it.tracer.start_span("SELECT * FROM accounts").end()
    with it.tracer.start_as_current_span("attributes") as span:
        span.set_attributes({"tenant": "gold", "count": 3})
    with it.tracer.start_as_current_span("other attributes") as span:
        span.set_attributes({"tenant": "gold", "count": 3.0})
    with it.tracer.start_as_current_span("scope"):
        other.start_span("of that scope").end()
    it.trace("GET /healthz", "SELECT * FROM accounts")
    with it.tracer.start_as_current_span("GET /healthy"):  # the first rule counts, not the first span
        other.start_span("of that scope, too").end()
    expected = ["SELECT * FROM accounts", "attributes", "database", "of that scope", "scope"]
    assert it.arrived() == expected


def test_an_error_counts_more_than_a_rule(traced: NewTraced) -> None:
    it = traced(patient(rules=[TailRule(name="GET /health", ratio=0)]))
    it.trace("GET /health")
    it.trace("GET /health", error=True)
    assert it.processor.stats()["dropped"] == {"sampled_out": 1}


def test_a_flush_decides_on_all_that_has_ended(traced: NewTraced) -> None:
    it = traced()
    roots = []
    for name, error in (("good", False), ("bad", True)):
        roots.append(it.tracer.start_span(name))
        child = it.tracer.start_span(f"child of {name}", set_span_in_context(roots[-1]))
        if error:
            child.set_status(ERROR)
        child.end()
    assert it.processor.stats() == account(2, queued=2)
    assert it.processor.force_flush()
    assert it.processor.stats() == account(2, exported=1, sampled_out=1)
    for root in roots:
        root.end()
    assert it.arrived() == ["bad", "child of bad"]


def test_a_root_that_has_been_slow_before_the_decision_counts_as_slow(traced: NewTraced) -> None:
    it = traced(patient(slow_seconds=3600))
    old, young = (it.tracer.start_span(name, Context()) for name in ("old", "young"))
    old.end()
    old = it.tracer.start_span("old", Context(), start_time=1)
    for root in (old, young):
        it.tracer.start_span(f"child of {root.name}", set_span_in_context(root)).end()  # type: ignore[attr-defined]
    it.processor.force_flush()
    assert it.arrived() == ["child of old"]


def test_a_trace_whose_root_never_ends_is_decided_on_in_time(traced: NewTraced) -> None:
    it = traced(patient(decision_seconds=0.01))
    roots = [it.tracer.start_span("root") for _ in range(2)]
    it.tracer.start_span("good", set_span_in_context(roots[0])).end()
    bad = it.tracer.start_span("bad", set_span_in_context(roots[1]))
    bad.set_status(ERROR)
    bad.end()
    until(lambda: not it.processor._queue.undecided, "decisions")
    assert it.arrived() == ["bad"]
    assert it.processor.stats() == account(2, exported=1, sampled_out=1)


def test_shutdown_decides_and_exports(traced: NewTraced) -> None:
    it = traced()
    root = it.tracer.start_span("root")
    child = it.tracer.start_span("child", set_span_in_context(root))
    child.set_status(ERROR)
    child.end()
    it.trace("good", "a")
    it.processor.shutdown()
    root.end()
    assert [span.name for span in it.exporter.spans] == ["child"]
    assert it.processor.stats() == account(4, exported=1, sampled_out=2, shutdown=1)


def test_head_sampling_comes_before(traced: NewTraced) -> None:
    it = traced(patient(ratio=1), head=ParentBased(ALWAYS_OFF))
    it.trace("never sampled", "a", error=True)
    assert it.processor.stats() == account(0)


def test_spans_that_are_hard_to_read_go_with_their_trace(traced: NewTraced) -> None:
    it = traced()
    for error in (False, True):
        with it.tracer.start_as_current_span("root") as root:
            odd: Any = it.tracer.start_span("odd")
            odd._start_time = 1.5
            odd.end()
            if error:
                root.set_status(ERROR)
    assert it.arrived() == ["odd", "root"]
    assert it.processor.stats() == account(4, exported=2, sampled_out=2)


def test_the_end_of_a_child_that_is_hard_to_read_is_not_the_end_of_its_trace(traced: NewTraced) -> None:
    it = traced()
    start: Any = 1.5e18  # as time.time() * 1e9 is
    with it.tracer.start_as_current_span("root") as root:
        it.tracer.start_span("before").end()
        it.tracer.start_span("odd", start_time=start).end()
        assert it.processor.stats() == account(2, queued=2)
        root.set_status(ERROR)
    assert it.arrived() == ["before", "odd", "root"]


def test_what_is_sampled_out_is_no_loss(traced: NewTraced, caplog: pytest.LogCaptureFixture) -> None:
    it = traced()
    it.trace("good")
    assert it.processor.force_flush()
    assert it.processor.force_flush()
    assert not caplog.records


def test_a_full_batch_is_exported_at_once(traced: NewTraced) -> None:
    it = traced(patient(ratio=1), max_export_batch_size=4, max_queue_size=8)
    for number in range(4):
        it.trace(f"root {number}")
    until(lambda: it.processor.stats()["exported"] == 4, "the batch")


def test_a_trace_that_is_larger_than_the_queue_comes_whole(traced: NewTraced) -> None:
    it = traced(max_export_batch_size=4, max_queue_size=8)
    it.trace("bad", *(f"child {number}" for number in range(50)), error=True)
    assert len(it.arrived()) == 51
    assert it.processor.stats() == account(51, exported=51)


def test_many_traces_that_wait_pass_through_a_small_queue_when_flushed(traced: NewTraced) -> None:
    it = traced(max_export_batch_size=4, max_queue_size=4)
    for number in range(100):
        root = it.tracer.start_span("root")
        child = it.tracer.start_span(f"child {number}", set_span_in_context(root))
        child.set_status(ERROR)
        child.end()
    assert it.processor.force_flush()
    assert it.processor.stats() == account(100, exported=100)


class OneTrace(IdGenerator):
    """All spans have the same trace id, as after an accident."""

    def __init__(self) -> None:
        self.spans = 0

    def generate_trace_id(self) -> int:
        return 0xABC

    def generate_span_id(self) -> int:
        self.spans += 1
        return self.spans


def test_traces_with_one_id_are_one_trace(batching: Batching) -> None:
    exporter = Encoded()
    provider = TracerProvider(id_generator=OneTrace(), sampler=ALWAYS_ON, shutdown_on_exit=False)
    it = Traced(provider, batching(exporter, tail_sampler=NOTHING), exporter)
    it.trace("bad", "a", error=True)
    it.trace("another", "b")
    assert it.arrived() == ["a", "another", "b", "bad"]


def test_spans_come_as_they_would_without_a_tail_sampler(batching: Batching) -> None:
    plain, sampled = Encoded(), Encoded()
    provider = TracerProvider(sampler=ALWAYS_ON, shutdown_on_exit=False)
    processors = [batching(plain), batching(sampled, tail_sampler=patient(ratio=1))]
    for processor in processors:
        provider.add_span_processor(processor)
    for scope in ("one", "two", "one"):
        tracer = provider.get_tracer(scope)
        with tracer.start_as_current_span("root", attributes={"text": "é" * 300}) as root:
            root.add_event("event", {"a": 1})
            tracer.start_span("child", kind=SpanKind.CLIENT, attributes={"n": [1, 2]}).end()
            provider.get_tracer("three").start_span("other scope").end()
    for processor in processors:
        assert processor.force_flush()
    assert len(plain.batches) == 1
    assert plain.batches == sampled.batches

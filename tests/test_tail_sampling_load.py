"""Tail sampling under load: no error is lost, the memory stays in its cap, and the account balances."""

from __future__ import annotations

import gc
import os
import random
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.context import Context
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import Status, set_span_in_context

import otlpfast
from otlpfast import BatchSpanProcessor, ExportOutcome, OTLPSpanExporter, TracerProvider
from otlpfast.sampling import TailRule

from .collector import PATIENCE, Collector
from .exporting import collector_fixture, make_fixture  # noqa: F401
from .forks import in_child
from .pipeline import (
    NEVER_MILLIS,
    Batching,
    Encoded,
    Held,
    account,
    batching_fixture,  # noqa: F401
    in_threads,
    names,
    ran,
    until,
)
from .tail_samplers import ERROR, NOTHING, patient

THREADS, TRACES = 6, 150


def own_provider(processor: BatchSpanProcessor) -> TracerProvider:
    made = TracerProvider(sampler=ALWAYS_ON, shutdown_on_exit=False)
    made.add_span_processor(processor)
    return made


def balanced(processor: BatchSpanProcessor) -> None:
    stats = processor.stats()
    lost = sum(stats["dropped"].values())
    assert stats["ended"] == stats["exported"] + stats["rejected"] + lost + stats["spooled"] + stats["queued"]


class Application:
    """Threads that have traces of different sizes open at once; one in five has an error somewhere."""

    def __init__(self, processor: BatchSpanProcessor) -> None:
        self.tracer = own_provider(processor).get_tracer("tests")
        self.queue = processor._queue
        self.whole: Counter[str] = Counter()  # of traces with an error, how many spans there are
        self.most = 0

    def run(self, number: int) -> None:
        chance = random.Random(number)
        open_roots: list[tuple[str, Any, int]] = []
        for trace in range(TRACES):
            name = f"{number}.{trace}"
            size, bad = chance.randrange(1, 8), chance.random() < 0.2
            open_roots.append((name, self.tracer.start_span(name), size))
            for child in range(size):
                span = self.tracer.start_span(name, set_span_in_context(open_roots[-1][1]))
                span.set_attribute("text", "x" * chance.randrange(300))
                if bad and child == size // 2:
                    span.set_status(ERROR)
                span.end()
            if bad:
                self.whole[name] = size + 1
            self.most = max(self.most, self.queue.undecided_bytes)
            if len(open_roots) > 10:
                open_roots.pop(chance.randrange(10))[1].end()
        for _, root, _ in open_roots:
            root.end()


def test_every_trace_with_an_error_comes_whole(batching: Batching) -> None:
    exporter = Encoded()
    processor = batching(exporter, tail_sampler=NOTHING, max_queue_size=100_000)
    application = Application(processor)
    in_threads(THREADS, application.run)
    assert processor.force_flush()
    assert Counter(names(exporter.spans)) == application.whole
    kept = application.whole.total()
    stats = processor.stats()
    assert stats == account(stats["ended"], exported=kept, sampled_out=stats["ended"] - kept)
    assert processor._queue.undecided_bytes == 0


def test_with_too_little_memory_every_error_comes_and_the_cap_holds(batching: Batching) -> None:
    exporter = Encoded()
    cap = 8 * 1024
    tail = patient(max_bytes=cap)
    processor = batching(exporter, tail_sampler=tail, max_queue_size=100_000)
    application = Application(processor)
    in_threads(THREADS, application.run)
    assert processor.force_flush()
    bad = {span.name for span in exporter.spans if span.status.code == 2}
    assert bad == set(application.whole)
    early = processor._queue.verdicts
    assert early is not None and early.get("early") > 0
    # Each thread may have just put a span there, for which others have yet to go.
    assert cap / 2 < application.most <= cap + THREADS * 2048
    balanced(processor)


def test_errors_alone_can_fill_the_queue_as_any_spans(batching: Batching) -> None:
    exporter = Held()
    processor = batching(
        exporter, tail_sampler=NOTHING, max_queue_size=8, max_export_batch_size=4, on_full="drop_newest"
    )
    tracer = own_provider(processor).get_tracer("tests")
    for number in range(30):
        with tracer.start_as_current_span(f"root {number}") as root:
            tracer.start_span(f"child {number}").end()
            root.set_status(ERROR)
    assert exporter.entered.wait(PATIENCE)
    stats = processor.stats()
    assert stats["dropped"]["queue_full"] == 60 - stats["queued"]
    exporter.let_go.set()
    assert not processor.force_flush()
    assert all(count == 2 for count in Counter(n.split()[1] for n in names(exporter.spans)).values())
    balanced(processor)


@pytest.mark.parametrize("on_full", ["drop_oldest", "block"])
def test_what_a_full_queue_does_is_done_for_whole_traces(batching: Batching, on_full: str) -> None:
    exporter = Encoded()
    processor = batching(
        exporter,
        tail_sampler=NOTHING,
        max_queue_size=8,
        max_export_batch_size=4,
        on_full=on_full,
        block_timeout_millis=60_000,
    )
    tracer = own_provider(processor).get_tracer("tests")

    def work(number: int) -> None:
        for trace in range(50):
            with tracer.start_as_current_span(f"{number}.{trace}") as root:
                tracer.start_span("child").end()
                root.set_status(ERROR)

    in_threads(4, work)
    processor.force_flush()
    stats = processor.stats()
    assert stats["exported"] + stats["dropped"].get("queue_full", 0) == 400
    if on_full == "block":
        assert stats == account(400, exported=400)


def test_full_batches_go_to_the_collector_as_ever(collector: Collector, batching: Batching) -> None:
    processor = batching(
        collector, tail_sampler=patient(ratio=0.5), max_export_batch_size=8, max_queue_size=100_000
    )
    tracer = own_provider(processor).get_tracer("tests")

    def work(number: int) -> None:
        for trace in range(50):
            with tracer.start_as_current_span(f"{number}.{trace}") as root:
                tracer.start_span("child").end()
                if trace % 2:
                    root.set_status(ERROR)

    in_threads(4, work)
    assert processor.force_flush()
    sent = Counter(names(collector.spans))
    assert {f"{number}.{trace}" for number in range(4) for trace in range(1, 50, 2)} <= set(sent)
    assert sent.pop("child") == len(sent)
    assert processor.stats()["exported"] == 2 * len(sent)
    balanced(processor)


def test_a_decision_is_due_also_while_full_batches_are_sent(collector: Collector, batching: Batching) -> None:
    tail = patient(decision_seconds=0.05)
    processor = batching(collector, tail_sampler=tail, max_export_batch_size=2, max_queue_size=100_000)
    tracer = own_provider(processor).get_tracer("tests")
    for _ in range(2):
        tracer.start_span("full", Context()).end()
        with tracer.start_as_current_span("full") as bad:
            tracer.start_span("full").end()
            bad.set_status(ERROR)
    collector.wait_for_request(2)
    root = tracer.start_span("root")
    for error in (ERROR, Status()):
        child = tracer.start_span("child", set_span_in_context(root))
        child.set_status(error)
        child.end()
    until(lambda: not processor._queue.undecided, "the decision")
    root.end()
    assert processor.force_flush()
    assert Counter(names(collector.spans)) == {"full": 4, "child": 2, "root": 1}


def test_a_trace_that_is_larger_than_all_the_memory_is_counted_as_too_large(batching: Batching) -> None:
    processor = batching(Encoded(), tail_sampler=NOTHING, max_queue_bytes=4096)
    tracer = own_provider(processor).get_tracer("tests")
    with tracer.start_as_current_span("root") as root:
        for _ in range(3):
            tracer.start_span("child", attributes={"text": "x" * 2000}).end()
        root.set_status(ERROR)
    assert processor.stats() == account(4, too_large=4)


def test_a_forked_child_has_none_of_its_parents_traces(collector: Collector, batching: Batching) -> None:
    processor = batching(collector, tail_sampler=NOTHING)
    tracer = own_provider(processor).get_tracer("tests")

    def child() -> list[Any]:
        before = processor.stats()
        inside.set_status(ERROR)
        inside.end()
        with tracer.start_as_current_span("of the child") as own:
            tracer.start_span("good child").end()
            own.set_status(ERROR)
        tracer.start_span("good", Context()).end()
        flushed = processor.force_flush()
        return [before, flushed, processor.stats()]

    with tracer.start_as_current_span("root") as root:
        tracer.start_span("before the fork").end()
        inside = tracer.start_span("across the fork")
        before, flushed, after = in_child(child)
        inside.end()
        root.set_status(ERROR)
    assert (before, flushed) == (account(0), True)
    assert after == account(4, exported=3, sampled_out=1)
    assert processor.force_flush()
    assert processor.stats() == account(3, exported=3)
    sent = Counter(names(collector.spans))
    theirs = {"across the fork": 2, "of the child": 1, "good child": 1}
    assert sent == {**theirs, "root": 1, "before the fork": 1}


def exits_with_open_traces(endpoint: str) -> None:
    processor = BatchSpanProcessor(
        OTLPSpanExporter(endpoint), schedule_delay_millis=NEVER_MILLIS, tail_sampler=NOTHING
    )
    provider = TracerProvider(sampler=ALWAYS_ON)
    provider.add_span_processor(processor)
    tracer = provider.get_tracer("tests")
    for error in (False, True):
        root = tracer.start_span("root")
        child = tracer.start_span(f"error {error}", set_span_in_context(root))
        if error:
            child.set_status(ERROR)
        child.end()


def test_what_is_undecided_at_exit_is_decided_on_and_sent(collector: Collector) -> None:
    ran(exits_with_open_traces, collector.endpoint)
    assert names(collector.spans) == ["error True"]


@pytest.mark.skipif(os.name != "posix", reason="a spool needs a POSIX system")
def test_kept_traces_go_to_the_spool_while_the_collector_is_away(batching: Batching, tmp_path: Path) -> None:
    exporter = Encoded(lambda batch: ExportOutcome(failed=batch.count))
    processor = batching(
        exporter,
        tail_sampler=NOTHING,
        spool_dir=tmp_path / "spool",
        max_export_batch_size=4,
        max_queue_size=4,
    )
    tracer = own_provider(processor).get_tracer("tests")
    for number in range(20):
        with tracer.start_as_current_span("root") as root:
            tracer.start_span("child").end()
            if number % 2:
                root.set_status(ERROR)
    open_root = tracer.start_span("open")
    for _ in range(10):
        child = tracer.start_span("child", set_span_in_context(open_root))
        child.set_status(ERROR)
        child.end()
    processor.shutdown()
    assert processor.stats() == account(50, spooled=30, sampled_out=20)


def test_a_finaliser_that_ends_spans_comes_in_anywhere(batching: Batching) -> None:
    exporter = Encoded()
    processor = batching(exporter, tail_sampler=NOTHING, max_export_batch_size=4, max_queue_size=100_000)
    tracer = own_provider(processor).get_tracer("tests")

    class Bomb:
        def __init__(self, number: int) -> None:
            self.number, self.itself = number, self

        def __del__(self) -> None:
            span = tracer.start_span("in a finaliser", Context())
            tracer.start_span("child", set_span_in_context(span, Context())).end()
            if self.number % 2:
                span.set_status(ERROR)
            span.end()

    threshold = gc.get_threshold()
    gc.set_threshold(5)
    try:
        for number in range(300):
            Bomb(number)
            scope = own_provider(processor).get_tracer(f"scope {number}")
            with scope.start_as_current_span("root") as root:
                scope.start_span("child").end()
                if number % 3 == 0:
                    root.set_status(ERROR)
    finally:
        gc.set_threshold(*threshold)
    gc.collect()
    assert processor.force_flush()
    assert Counter(names(exporter.spans))["in a finaliser"] == 150
    assert processor.stats() == account(1200, exported=2 * (150 + 100), sampled_out=2 * (150 + 200))


def test_rules_that_are_asked_in_many_threads_lose_nothing(batching: Batching) -> None:
    exporter = Encoded()
    tail = patient(rules=[TailRule(attributes={"n": 3})])
    processor = batching(exporter, tail_sampler=tail, max_queue_size=100_000)
    tracer = own_provider(processor).get_tracer("tests")
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)

    def work(number: int) -> None:
        for trace in range(100):
            with tracer.start_as_current_span("root"):
                tracer.start_span("child", attributes={"n": trace % 5}).end()

    try:
        in_threads(THREADS, work)
    finally:
        sys.setswitchinterval(interval)
    assert processor.force_flush()
    assert Counter(names(exporter.spans)) == {"root": THREADS * 20, "child": THREADS * 20}


def test_one_trace_in_many_threads_is_kept_or_left_out_as_one(batching: Batching) -> None:
    exporter = Encoded()
    processor = batching(exporter, tail_sampler=NOTHING, max_queue_size=100_000)
    tracer = own_provider(processor).get_tracer("tests")
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    barrier = threading.Barrier(THREADS)
    roots = [tracer.start_span(f"root {number}") for number in range(100)]

    def work(number: int) -> None:
        barrier.wait(30)
        for n, root in enumerate(roots):
            children = [tracer.start_span(f"{n}", set_span_in_context(root)) for _ in range(3)]
            if n % 2 and number == 0:
                children[1].set_status(ERROR)
            for child in children:
                child.end()
        barrier.wait(30)
        for root in roots[number::THREADS]:
            root.end()

    try:
        in_threads(THREADS, work)
    finally:
        sys.setswitchinterval(interval)
    assert processor.force_flush()
    expected = Counter({f"{n}": 3 * THREADS for n in range(1, 100, 2)})
    expected.update(f"root {n}" for n in range(1, 100, 2))
    assert Counter(names(exporter.spans)) == expected
    assert processor.stats()["queued"] == 0


@pytest.mark.skipif(otlpfast.IMPLEMENTATION != "c", reason="what the compiled core promises")
def test_a_span_that_waits_takes_little_more_than_its_bytes(batching: Batching) -> None:
    exporter = Encoded()
    processor = batching(exporter, tail_sampler=patient(ratio=1), max_queue_size=100_000)
    tracer = own_provider(processor).get_tracer("tests")
    root = tracer.start_span("root")
    for number in range(1000):
        span = tracer.start_span("child", set_span_in_context(root))
        span.set_attributes({f"attribute.{n}": f"value {number}" for n in range(10)})
        span.end()
    waits = processor._queue.undecided_bytes
    root.end()
    assert processor.force_flush()
    assert waits < 1.6 * sum(map(len, exporter.batches))

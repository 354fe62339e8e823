"""Tail sampling where something comes in between: while a span is looked up, measured or waits for room."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanContext, Status, TraceFlags

import otlpfast
from otlpfast._impl import SpanQueue
from otlpfast._worker import Worker
from otlpfast.sampling import TailSampler

from .exporting import make_fixture  # noqa: F401
from .pipeline import NEVER_MILLIS, Batching, Encoded, account, batching_fixture  # noqa: F401
from .tail_samplers import ERROR, patient

ROOT = 1


class Watched(Resource):
    """Calls a function once, when somebody looks it up."""

    then: Callable[[], object] | None = None

    def __hash__(self) -> int:
        then, self.then = self.then, None
        if then is not None:
            then()
        return super().__hash__()


def queue(tail: TailSampler | None = None, max_spans: int = 100) -> SpanQueue:
    return SpanQueue(max_spans, 1_000_000, 50, None, tail)


def ended(
    number: int, resource: Resource, trace_id: int = 5, status: Status = ERROR, **more: Any
) -> ReadableSpan:
    parent = None if number == ROOT else SpanContext(trace_id, ROOT, False, TraceFlags(1))
    context = SpanContext(trace_id, number, False, TraceFlags(1))
    return ReadableSpan(
        "a",
        context=context,
        parent=parent,
        resource=resource,
        status=status,
        start_time=1,
        end_time=2,
        **more,
    )


def dropped(waiting: SpanQueue) -> dict[str, int]:
    counts = waiting.counters.snapshot()
    return {name: count for name, count in counts.items() if count and name != "ended"}


@pytest.mark.parametrize("tail", [None, patient()])
def test_a_span_on_its_way_into_the_first_batch_is_not_lost_to_who_takes_it(tail: TailSampler | None) -> None:
    waiting = queue(tail)
    resource = Watched({"tail": tail is not None})
    taken: list[Any] = []
    resource.then = lambda: taken.append(waiting.take())
    waiting.put(ended(ROOT, resource))
    assert (taken, waiting.waiting) == ([None], 1)
    last = waiting.take()
    assert last is not None
    assert (last[1], waiting.waiting) == (1, 0)


def test_a_trace_on_its_way_when_all_is_discarded_is_accounted_for() -> None:
    waiting = queue(patient())
    resource = Watched({"a": 1})
    for number in (2, 3, 4):
        waiting.put(ended(number, resource))

    def shut_down() -> None:
        waiting.close()
        waiting.discard("shutdown")

    resource.then = shut_down
    waiting.put(ended(ROOT, resource))
    if not waiting.closed:  # plain Python has looked it up before
        shut_down()
    assert (waiting.waiting, waiting.undecided) == (0, 0)
    assert dropped(waiting) == {"shutdown": 4}


@pytest.mark.parametrize(("error", "raised"), [(KeyboardInterrupt, True), (RuntimeError, False)])
def test_a_trace_whose_wait_for_room_is_cut_short_is_accounted_for(
    error: type[BaseException], raised: bool
) -> None:
    waiting = queue(patient(), max_spans=2)
    resource = Resource({})

    def cut_short(size: int) -> bool:
        assert waiting.moving == 1
        raise error

    waiting.relief = cut_short
    for number in (2, 3, ROOT):
        waiting.put(ended(number, resource))
    assert (waiting.waiting, dropped(waiting)) == (3, {})
    for number in (2, 3):
        waiting.put(ended(number, resource, 6))
    with pytest.raises(error) if raised else contextlib.nullcontext():
        waiting.put(ended(ROOT, resource, 6))
    assert dropped(waiting) == {"encode_error": 3}
    assert (waiting.waiting, waiting.undecided, waiting.undecided_bytes, waiting.moving) == (3, 0, 0, 0)


def test_a_flush_does_not_answer_for_a_trace_that_waits_for_room_in_its_own_thread(
    batching: Batching,
) -> None:
    exporter = Encoded()
    processor = batching(exporter, tail_sampler=patient(), max_queue_bytes=8192)
    resource = Resource({"text": "x"})
    flushes = []

    def flush(size: int) -> bool:
        flushes.append(processor.force_flush())
        return True

    processor._queue.relief = flush
    for trace_id in (5, 6):
        for number in (2, ROOT):
            processor.on_end(ended(number, resource, trace_id, attributes={"text": "x" * 3000}))
    assert flushes == [False]
    assert processor.stats() == account(4, exported=2, queued=2)
    assert processor.force_flush()
    assert processor.stats() == account(4, exported=4)


def test_what_waits_is_told_in_seconds_from_now() -> None:
    waiting = queue(patient(decision_seconds=3600))
    assert 0 < waiting.next_decision() <= 3600
    waiting.put(ended(2, Resource({})))
    assert 0 < waiting.next_decision() <= 3600
    assert not waiting.decide()
    assert not waiting.decide(3600)
    assert waiting.undecided == 1
    assert not waiting.decide(0)
    assert (waiting.undecided, waiting.waiting) == (0, 1)
    assert queue().next_decision() == math.inf


def test_traces_are_decided_on_a_batch_at_a_time_whatever_waits_already() -> None:
    waiting = queue(patient())
    resource = Resource({})
    for trace_id in range(1, 200):
        waiting.put(ended(2, resource, trace_id))
    left = []
    for _ in range(3):
        assert waiting.decide(0)
        left.append(waiting.undecided)
    assert left == [149, 99, 99]  # no more fit in
    assert waiting.waiting == 100


def test_a_span_that_waits_as_it_is_counts_as_what_it_takes() -> None:
    encoded, kept = queue(patient()), queue(patient())
    span = ended(2, Resource({}))
    encoded.put(span)
    kept.put(span, True)
    assert kept.undecided_bytes > encoded.undecided_bytes + 2000
    for waiting in (encoded, kept):
        waiting.decide(0)
        assert (waiting.waiting, waiting.undecided_bytes) == (1, 0)


class AlwaysDue:
    """What a worker looks at of a queue with traces that fall due as fast as they are decided on."""

    closed, waiting, rounds = False, 0, 0

    def decide(self) -> bool:
        self.rounds += 1
        return self.rounds < 100

    def interrupt(self) -> None:
        pass


@pytest.mark.parametrize(("told", "rounds"), [(False, 100), (True, 1)])
def test_decisions_that_are_always_due_let_messages_come_in(told: bool, rounds: int) -> None:
    due: Any = AlwaysDue()
    nobody: Any = None
    worker = Worker(due, nobody, NEVER_MILLIS, NEVER_MILLIS)
    if told:
        worker._tell(True)
    worker._decide()
    assert due.rounds == rounds


@pytest.mark.skipif(
    otlpfast.IMPLEMENTATION != "py", reason="the compiled core looks at the oldest trace alone"
)
def test_traces_are_listed_once_for_all_that_it_is_decided_on() -> None:
    class Listed(dict[int, Any]):
        times = 0

        def items(self) -> Any:
            self.times += 1
            return super().items()

    waiting: Any = queue(patient(), max_spans=1000)
    listed = waiting._tail._traces = Listed()
    for trace_id in range(1, 501):
        waiting.put(ended(2, Resource({}), trace_id, Status()))
    assert not waiting.decide(0)
    assert (listed.times, waiting.undecided) == (1, 0)

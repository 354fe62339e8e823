"""Tail sampling where something comes in between: while a span is looked up, measured or waits for room."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanContext, Status, TraceFlags

from otlpfast._impl import SpanQueue
from otlpfast.sampling import TailSampler

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


def ended(number: int, resource: Resource, trace_id: int = 5, status: Status = ERROR) -> ReadableSpan:
    parent = None if number == ROOT else SpanContext(trace_id, ROOT, False, TraceFlags(1))
    context = SpanContext(trace_id, number, False, TraceFlags(1))
    return ReadableSpan(
        "a", context=context, parent=parent, resource=resource, status=status, start_time=1, end_time=2
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

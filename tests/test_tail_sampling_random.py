"""Tail sampling by chance: spans in any order, odd ones among them, flushes, bounds that are too small."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest
from opentelemetry.context import Context
from opentelemetry.sdk.trace import TracerProvider as StockProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, TraceState, set_span_in_context

from otlpfast import BatchSpanProcessor, TracerProvider
from otlpfast.sampling import TailRule

from .exporting import make_fixture  # noqa: F401
from .pipeline import NEVER_MILLIS, Batching, Encoded, batching_fixture  # noqa: F401
from .tail_samplers import ERROR, patient
from .test_tail_sampling import AsTheyAre

OPERATIONS = 1000
RULES = [TailRule(name="kept*", ratio=0.5), TailRule(attributes={"n": 3})]


class Chance:
    """An application that does anything; what it has ended, and what had an error."""

    def __init__(self, chance: random.Random, processor: BatchSpanProcessor) -> None:
        self.chance, self.processor = chance, processor
        kind: Any = chance.choice([TracerProvider, StockProvider])
        provider = kind(sampler=ALWAYS_ON, shutdown_on_exit=False)
        provider.add_span_processor(processor)
        self.tracers = [provider.get_tracer(f"scope {number}") for number in range(3)]
        self.open: list[Any] = []
        self.ended = 0
        self.bad: set[int] = set()

    def step(self) -> None:
        what = self.chance.random()
        if what < 0.5 or not self.open:
            self.start()
        elif what < 0.99:
            self.end(self.open.pop(self.chance.randrange(len(self.open))))
        else:
            self.processor.force_flush()
        if len(self.open) > 40:
            self.open.pop(0)  # never ends

    def start(self) -> None:
        attributes = {"n": self.chance.randrange(5), "text": "x" * self.chance.choice([0, 10, 3000])}
        tracer, name = self.chance.choice(self.tracers), self.chance.choice(["kept", "a", "b"])
        span: Any = tracer.start_span(name, self.parent(), attributes=attributes)
        if self.chance.random() < 0.05:
            span._start_time = 1.5
        self.open.append(span)

    def parent(self) -> Context:
        which = self.chance.random()
        if self.open and which < 0.6:
            return set_span_in_context(self.chance.choice(self.open), Context())
        if which < 0.8:
            return Context()
        state = TraceState([("ot", f"rv:{self.chance.getrandbits(56):014x}")])
        trace_id, is_remote = self.chance.randrange(1, 30), self.chance.random() < 0.7
        above = SpanContext(trace_id, 5, is_remote, TraceFlags(1), self.chance.choice([None, state]))
        return set_span_in_context(NonRecordingSpan(above), Context())

    def end(self, span: Any) -> None:
        if self.chance.random() < 0.1:
            span.set_status(ERROR)
            self.bad.add(span.get_span_context().span_id)
        span.end()
        self.ended += 1


def arrived(exporter: Encoded | AsTheyAre) -> Counter[int]:
    if isinstance(exporter, Encoded):
        return Counter(int.from_bytes(span.span_id, "big") for span in exporter.spans)
    return Counter(span.context.span_id for span in exporter.spans if span.context)


@pytest.mark.parametrize("seed", range(8))
def test_no_error_is_lost_and_every_span_is_accounted_for_once(batching: Batching, seed: int) -> None:
    chance = random.Random(seed)
    exporter = chance.choice([Encoded, AsTheyAre])()
    sampler = patient(
        ratio=chance.choice([0, 0.3]),
        rules=chance.choice([(), RULES]),
        max_bytes=chance.choice([100, 3000, 1 << 20]),
        remembered_traces=chance.choice([1, 5, 100]),
        decision_seconds=chance.choice([0.002, 3600]),
    )
    processor = batching(
        exporter,
        tail_sampler=sampler,
        max_queue_size=chance.choice([8, 100_000]),
        max_export_batch_size=chance.choice([2, 8]),
        schedule_delay_millis=chance.choice([5, NEVER_MILLIS]),
    )
    application = Chance(chance, processor)
    for _ in range(OPERATIONS):
        application.step()
    processor.force_flush()
    stats, came = processor.stats(), arrived(exporter)
    assert (stats["ended"], stats["queued"]) == (application.ended, 0)
    assert stats["ended"] == stats["exported"] + sum(stats["dropped"].values())
    assert set(stats["dropped"]) <= {"sampled_out", "queue_full"}
    assert came.total() == len(came) == stats["exported"]
    if "queue_full" not in stats["dropped"]:
        assert application.bad <= set(came)

"""Too many spans, too large ones, too many attributes; and a clock that is set back."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import Any

from otlpfast import IMPLEMENTATION
from tests.collector import Collector, Reply
from tests.faults import Outcome, Pipeline, fault
from tests.faults.network import FOREVER
from tests.faults.traced import Traced

MIB = 1 << 20
BURST = 100_000 if IMPLEMENTATION == "c" else 20_000  # plain Python takes 20 seconds for the larger one


def resident() -> int:
    """The bytes of this process that are in memory; 0 where the system does not tell."""
    file = Path("/proc/self/statm")
    return int(file.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if file.exists() else 0


# --- 30


def ends_a_burst(traced: Traced, endpoint: str, own: dict[str, Any]) -> Any:
    traced.to(endpoint, own=own)
    begun = time.monotonic()
    traced.end_spans(BURST)
    took = time.monotonic() - begun
    flushed = traced.flush()
    traced.settle()
    return {"flushed": flushed, "took": took, "stats": traced.stats()}


def _burst(pipeline: Pipeline, own: dict[str, Any]) -> tuple[Outcome, int, Any]:
    outcome = Outcome()
    with Collector() as collector:
        ended = pipeline.run(ends_a_burst, collector.endpoint, own, limit=90)
        delivered = len(collector.accepted)
    if outcome.ended_well(ended):
        outcome.delivery(delivered, BURST, all_of_them=False)
        outcome.say(f"made in {ended.value['took']:.1f} s")
        outcome.promise(len(ended.logged) <= 3, f"the log is not flooded: {len(ended.logged)} lines")
    return outcome, delivered, ended.value


@fault("30", "burst of 100,000 spans, default settings", "lossless, or the loss is counted")
def burst(pipeline: Pipeline) -> Outcome:
    outcome, delivered, value = _burst(pipeline, {})
    if value:
        outcome.account(value["stats"], exported=delivered, queue_full=BURST - delivered)
    return outcome


@fault("30b", 'the same with `on_full="block"`', "lossless: whoever ends a span waits for room")
def burst_that_waits(pipeline: Pipeline) -> Outcome:
    return _lossless_burst(pipeline, {"on_full": "block", "block_timeout_millis": 20_000})


@fault("30c", "the same with a `spool_dir`", "lossless: what finds no room goes to the disk")
def burst_to_the_disk(pipeline: Pipeline) -> Outcome:
    with tempfile.TemporaryDirectory() as spool:
        return _lossless_burst(pipeline, {"spool_dir": spool})


def _lossless_burst(pipeline: Pipeline, own: dict[str, Any]) -> Outcome:
    outcome, delivered, value = _burst(pipeline, own)
    outcome.promise(delivered == BURST, "all are delivered")
    if pipeline.side == "SDK":
        outcome.say("it has no such setting")
    if value:
        outcome.account(value["stats"], exported=BURST)
    return outcome


# --- 33


def has_its_clock_set_back(traced: Traced, endpoint: str, timeout: float) -> Any:
    """The system's clock belongs to the system: what is replaced is how this process reads it."""
    traced.to(endpoint, exporter={"timeout": timeout})
    traced.end_spans(10)
    true, begun = time.time, time.monotonic()
    # During the first wait for another attempt.
    time.time = lambda: true() - (3600 if time.monotonic() > begun + 0.4 else 0)  # type: ignore[assignment]
    flushed = traced.flush()
    return {"flushed": flushed, "took": time.monotonic() - begun, "stats": traced.stats()}


@fault("33", "the wall clock is set back 1 h", "deadlines hold: they go by the monotonic clock")
def clock_set_back(pipeline: Pipeline) -> Outcome:
    outcome, timeout = Outcome(), 3
    limit = pipeline.lasting(30, 60)
    with Collector() as collector:
        collector.script(then=Reply(503))
        ended = pipeline.run(has_its_clock_set_back, collector.endpoint, timeout, limit=limit)
    if outcome.ended_well(ended):
        outcome.say(f"a time-out of {timeout} s took {ended.value['took']:.1f} s", **ended.value)
        outcome.promise(ended.value["took"] < 5 * timeout, "the export ends at its deadline")
    else:
        outcome.say(f"a time-out of {timeout} s was not over after {limit:g} s")
    return outcome


# --- 34


def sets_many_attributes(traced: Traced, endpoint: str) -> Any:
    tracer = traced.to(endpoint)
    begun = time.monotonic()
    with tracer.start_as_current_span("many") as span:
        for number in range(200_000):
            span.set_attribute(f"key {number}", number)
    took = time.monotonic() - begun
    flushed = traced.flush()
    return {"flushed": flushed, "took": took, "stats": traced.stats()}


@fault("34", "200,000 attributes on one span", "128 are kept, the rest counted; a log that is not flooded")
def many_attributes(pipeline: Pipeline) -> Outcome:
    outcome = Outcome()
    with Collector() as collector:
        ended = pipeline.run(sets_many_attributes, collector.endpoint, limit=90)
        (span,) = collector.accepted or [None]
    if outcome.ended_well(ended):
        outcome.say(f"{ended.value['took']:.2f} s, {len(ended.log):,} bytes of log", logged=len(ended.log))
        outcome.promise(len(ended.log) < 10_000, "the log is not flooded")
        outcome.promise(span is not None, "the span is delivered")
        if span is not None:
            outcome.promise(len(span.attributes) == 128, "128 attributes are kept")
            outcome.promise(span.dropped_attributes_count == 200_000 - 128, "the others are counted")
    return outcome


# --- 35


def makes_large_spans(traced: Traced, endpoint: str, count: int, cap: int) -> Any:
    traced.to(endpoint, exporter={"timeout": 60}, own={"max_queue_bytes": cap}, max_export_batch_size=10)
    traced.leaves_at_once = True  # an exit would wait for the collector
    before = resident()
    for number in range(count):
        traced.end_spans(1, f"large {number}", text=f"{number:08}" * (MIB // 8))
    return {"grown": resident() - before, "stats": traced.stats()}


@fault("35", "300 spans of 1 MiB while the collector hangs", "memory has a cap in bytes; the loss is counted")
def large_spans(pipeline: Pipeline) -> Outcome:
    outcome, cap = Outcome(), 16 * MIB
    with Collector() as collector:
        collector.script(then=Reply(delay=FOREVER))
        ended = pipeline.run(makes_large_spans, collector.endpoint, 300, cap)
    if outcome.ended_well(ended):
        grown = ended.value["grown"]
        outcome.say(f"memory grew {grown // MIB} MiB", **ended.value)
        if pipeline.side == "otlpfast":
            dropped = ended.value["stats"]["dropped"].get("queue_full", 0)
            outcome.say(f"max_queue_bytes is {cap // MIB} MiB, {dropped} spans dropped")
        outcome.promise(grown < 100 * MIB, "memory does not grow with what waits")
        outcome.account(ended.value["stats"], exported=0)
    return outcome

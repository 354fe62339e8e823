"""Which request burned the CPU: the labels of a CPU profile, against what each request used by the clock."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider as StockProvider
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.trace import Span, Tracer

import otlpfast
from otlpfast.profiling import Profile
from otlpfast.profiling._native import sampler
from otlpfast.profiling.cpu import start_cpu

if sampler is None or not sampler.can_sample_cpu():
    pytest.skip("labels are read where signals can sample", allow_module_level=True)

PROVIDERS: dict[str, Callable[..., Any]] = {"otlpfast": otlpfast.TracerProvider, "SDK": StockProvider}
REQUESTS = {"a": 40, "b": 80, "c": 120}
"""Milliseconds that each uses at a time: many times what lies between two samples, so that few of them are
enough for shares that are exact."""
ROUNDS = 6

Shares = dict[str, float]


@pytest.fixture(name="tracer", params=PROVIDERS)
def tracer_fixture(request: pytest.FixtureRequest) -> Iterator[Tracer]:
    """A tracer of otlpfast, and one of the SDK."""
    provider = PROVIDERS[request.param]()
    yield provider.get_tracer("labels")
    provider.shutdown()


class Truth:
    """What each trace used of the CPU, by the clock of its thread, and which request it was of."""

    def __init__(self) -> None:
        self.nanos: Counter[str] = Counter()
        self.requests: dict[str, str] = {}
        self._lock = threading.Lock()

    def burn(self, name: str, span: Span, millis: int) -> None:
        """Uses that much CPU time for a request."""
        start = now = time.thread_time_ns()
        while now < start + millis * 1_000_000:
            hashlib.sha256(b"x" * 100).digest()
            now = time.thread_time_ns()
        with self._lock:
            trace_id = f"{span.get_span_context().trace_id:032x}"
            self.nanos[trace_id] += now - start
            self.requests[trace_id] = name

    def shares(self, nanos: Counter[str]) -> Shares:
        """Of each request, where each trace has so many nanoseconds; "" is what is of none."""
        found = dict.fromkeys(self.requests.values(), 0.0)
        for trace_id, spent in nanos.items():
            name = self.requests[trace_id] if trace_id else ""
            found[name] = found.get(name, 0.0) + spent / nanos.total()
        return found


def labelled(profile: Profile, key: str) -> Counter[str]:
    """Nanoseconds by the text of a label; samples without it under ""."""
    found: Counter[str] = Counter()
    for sample in profile.samples:
        found[str(dict(sample.labels).get(key, ""))] += sample.values[1]
    return found


def assert_true(record: Callable[[Truth], Profile]) -> None:
    """Shares of CPU time are within five points of what they were.

    Where threads hardly get to run, a sample may come late and be the next request's: then it takes more of
    them, and none are thrown away, until such errors even out. Those to one side never do.
    """
    truth, seen = Truth(), Counter[str]()
    for _ in range(10):
        seen += labelled(record(truth), "trace_id")
        expected, found = truth.shares(truth.nanos), truth.shares(seen)
        if all(abs(found[name] - share) < 0.05 for name, share in expected.items()):
            return
    pytest.fail(f"samples say {found}, clocks {expected}")


def test_shares_of_interleaving_tasks_are_those_of_their_requests(tracer: Tracer) -> None:
    async def serve(truth: Truth, name: str, millis: int) -> None:
        with tracer.start_as_current_span(f"GET /{name}") as outer:
            for number in range(ROUNDS):
                with tracer.start_as_current_span(f"step {number}") as span:
                    truth.burn(name, span, millis // 2)
                await asyncio.sleep(0)
                truth.burn(name, outer, millis // 2)

    async def main(truth: Truth) -> None:
        served = (asyncio.create_task(serve(truth, *item), name=item[0]) for item in REQUESTS.items())
        await asyncio.gather(*served)

    def record(truth: Truth) -> Profile:
        recording = start_cpu(frequency=250)
        asyncio.run(main(truth))
        profile = recording.stop()
        for sample in profile.samples:
            labels = dict(sample.labels)
            if str(labels.get("span_name")).startswith("GET /") and "task" in labels:
                assert labels["span_name"] == f"GET /{labels['task']}"
        return profile

    assert_true(record)


def test_shares_of_threads_are_those_of_their_requests(tracer: Tracer) -> None:
    def record(truth: Truth) -> Profile:
        def serve(name: str) -> None:
            with tracer.start_as_current_span(f"GET /{name}") as span:
                truth.burn(name, span, REQUESTS[name])

        recording = start_cpu(frequency=250)
        with ThreadPoolExecutor(3) as pool:
            list(pool.map(serve, list(REQUESTS) * ROUNDS))
        return recording.stop()

    assert_true(record)


def test_time_outside_spans_has_no_span() -> None:
    truth = Truth()
    recording = start_cpu(frequency=250)
    truth.burn("", trace.INVALID_SPAN, 200)
    seen = labelled(recording.stop(), "trace_id")
    assert seen[""] == seen.total() > 0


def test_labels_can_be_left_out(tracer: Tracer) -> None:
    recording = start_cpu(frequency=1000, labels=False)
    with tracer.start_as_current_span("unseen") as span:
        Truth().burn("", span, 200)
    samples = recording.stop().samples
    assert samples
    assert {key for sample in samples for key, _ in sample.labels} <= {"thread"}


# --- spans at a high rate: what is seen of one belongs together


class Told(IdGenerator):
    """Ids that tell the number of the span, and of the root of its trace."""

    def __init__(self) -> None:
        self.numbers = threading.local()

    def generate_span_id(self) -> int:
        return span_id(self.numbers.own)

    def generate_trace_id(self) -> int:
        return trace_id(self.numbers.own)


def span_id(number: int) -> int:
    return (number * 0x9E3779B97F4A7C15 + 1) % 2**64 or 1


def trace_id(number: int) -> int:
    return span_id(number) << 64 | number


def make_spans(tracer: Tracer, told: Told, numbers: Iterator[int], until: float) -> None:
    while time.monotonic() < until:
        root = told.numbers.own = next(numbers)
        with tracer.start_as_current_span(f"{root} {root}"):
            hashlib.sha256(b"x" * 4096).digest()  # lets go of the GIL
            child = told.numbers.own = next(numbers)
            with tracer.start_as_current_span(f"{root} {child}") as span:
                sum(range(50))
                span.update_name(f"{root} {child} é")
                sum(range(50))


async def make_tasks(tracer: Tracer, told: Told, numbers: Iterator[int], until: float) -> None:
    async def one() -> None:
        root = told.numbers.own = next(numbers)
        with tracer.start_as_current_span(f"{root} {root} task"):
            task = asyncio.current_task()
            assert task is not None
            task.set_name(f"{root}")
            await asyncio.sleep(0)
            sum(range(100))

    while time.monotonic() < until:
        await asyncio.gather(*(one() for _ in range(5)))


def test_what_is_seen_of_a_span_belongs_together() -> None:
    told, numbers, until = Told(), itertools.count(1), time.monotonic() + 3
    tracers = [make(id_generator=told).get_tracer("labels") for make in PROVIDERS.values()]
    recording = start_cpu(frequency=2000)
    with ThreadPoolExecutor(6) as pool:
        for tracer in tracers:
            pool.submit(make_spans, tracer, told, numbers, until)
            pool.submit(make_spans, tracer, told, numbers, until)
            pool.submit(asyncio.run, make_tasks(tracer, told, numbers, until))
    seen = 0
    for sample in recording.stop().samples:
        labels = dict(sample.labels)
        if "trace_id" not in labels or "span_name" not in labels:
            continue
        seen += 1
        root, own, *rest = str(labels["span_name"]).split()
        assert labels["trace_id"] == f"{trace_id(int(root)):032x}"
        assert labels["span_id"] == f"{span_id(int(own)):016x}"
        if rest == ["task"] and "task" in labels and not str(labels["task"]).startswith("Task-"):
            assert labels["task"] == root
        elif rest != ["task"]:
            assert "task" not in labels
    assert seen > 10

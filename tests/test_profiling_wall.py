"""The wall profile: where threads spend their time, and on whose behalf."""

from __future__ import annotations

import asyncio
import hashlib
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider as StockTracerProvider
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, Tracer, use_span

import otlpfast
from otlpfast.profiling import ProfilerBusyError, RuntimeStatistics, Sample, start_cpu, start_wall, wall
from otlpfast.profiling._labels import SPAN_KEY, ThreadNames, context_variable
from otlpfast.profiling._native import sampler

from .collector import PATIENCE
from .pipeline import until
from .walls import functions, held, recorded

native = pytest.mark.skipif(sampler is None, reason="without the compiled sampler only tasks have spans")


def in_a_thread(work: Callable[[], object]) -> None:
    """Whoever looks does not see itself."""
    thread = threading.Thread(target=work)
    thread.start()
    thread.join(PATIENCE)


def adds(add: Callable[[int], bool], nanos: int) -> None:
    while not add(nanos):
        pass


def engine(labels: bool) -> Any:
    return wall._NativeEngine(labels) if sampler is not None else wall._PlainEngine(labels)


def looked(under_test: Any, *times: int) -> dict[str, tuple[int, int]]:
    """What was counted, by thread, after looks that stand for these times."""
    in_a_thread(lambda: [adds(under_test.add, nanos) for nanos in times])
    found: dict[str, tuple[int, int]] = {}
    for _, work, count, nanos in under_test.results():
        label = under_test.names[work.thread]
        before = found.get(label, (0, 0))
        found[label] = before[0] + count, before[1] + nanos
    return found


class Clocked:
    """Threads that wait in functions that know how long they ran."""

    def __init__(self) -> None:
        self.nanos: Counter[str] = Counter()
        self.late = 0.0
        """By how much the machine held one of them up, in seconds."""
        self._locked = threading.Lock()
        self._locked.acquire()
        self._queue = threading.Condition()

    def _clock(self, work: Callable[[float], object], seconds: float) -> None:
        start = time.monotonic_ns()
        work(seconds)
        took = time.monotonic_ns() - start
        self.nanos[work.__name__] += took
        self.late = max(self.late, took / 1e9 - seconds)

    def sleeps(self, seconds: float) -> None:
        time.sleep(seconds)

    def waits_for_a_lock(self, seconds: float) -> None:
        self._locked.acquire(timeout=seconds)

    def waits_for_a_condition(self, seconds: float) -> None:
        with self._queue:
            self._queue.wait(seconds)

    def waits_for_a_thread(self, seconds: float) -> None:
        threading.main_thread().join(seconds)

    def rests(self) -> None:
        for _ in range(3):
            self._clock(self.sleeps, 0.07)
            self._clock(self.waits_for_a_lock, 0.03)

    def listens(self) -> None:
        for _ in range(4):
            self._clock(self.waits_for_a_condition, 0.05)
            self._clock(self.waits_for_a_thread, 0.02)

    def run(self) -> Counter[str]:
        """What a wall profile of both says."""
        seen: Counter[str] = Counter()
        recording = start_wall(400)
        threads = [threading.Thread(target=work) for work in (self.rests, self.listens)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for sample in recording.stop().samples:
            for name in self.nanos.keys() & set(functions(sample)):
                seen[name] += sample.values[1]
        return seen


PAIRS = ("sleeps", "waits_for_a_lock"), ("waits_for_a_condition", "waits_for_a_thread")


def shares(times: Counter[str]) -> list[float]:
    """Of the first of each pair."""
    return [times[pair[0]] / max(sum(times[name] for name in pair), 1) for pair in PAIRS]


def test_shares_of_time_are_those_of_the_clock() -> None:
    """A round in which the machine held everyone up says who came first after that, and is left out."""
    seen, truth, rounds = Counter[str](), Counter[str](), 0
    deadline = time.monotonic() + 2 * PATIENCE
    while rounds < 8 or shares(seen) != pytest.approx(shares(truth), abs=0.05):
        if time.monotonic() > deadline:
            assert rounds < 8, (shares(seen), shares(truth))
            pytest.skip("this machine is too busy")
        clocked = Clocked()
        found = clocked.run()
        if clocked.late < 0.02:
            seen, truth, rounds = seen + found, truth + clocked.nanos, rounds + 1


def test_computing_without_the_gil_is_seen_where_it_is() -> None:
    done = threading.Event()

    def computes() -> None:
        while not done.is_set():
            hashlib.pbkdf2_hmac("sha256", b"a", b"b", 50_000)

    thread = threading.Thread(target=computes)
    thread.start()
    try:
        assert functions(recorded(lambda sample: "computes" in functions(sample)))[0] == "computes"
    finally:
        done.set()
        thread.join(PATIENCE)


def test_what_a_profile_says_of_itself() -> None:
    before = time.time_ns()
    start = time.monotonic_ns()
    recording = start_wall(200)
    threading.Event().wait(0.05)
    profile = recording.stop()
    assert profile.kind == "wall"
    assert profile.value_types == (("samples", "count"), ("wall", "nanoseconds"))
    assert (profile.default_type, profile.period_type) == ("wall", ("wall", "nanoseconds"))
    assert profile.period == 5_000_000
    assert before <= profile.time_unix_nano <= time.time_ns()
    assert 50_000_000 <= profile.duration_nanos <= time.monotonic_ns() - start
    assert any("holds the GIL is seen where it lets go" in comment for comment in profile.comments)


def test_a_late_look_stands_for_as_much_more_time() -> None:
    under_test = engine(labels=True)
    with held(lambda rest: rest(), "early", "late"):
        looked(under_test, 10)
        with held(lambda rest: rest(), "new"):
            looked(under_test, 70)
        looked(under_test, 20)
        under_test.prolong(5)
        found = looked(under_test)
    assert found["early"] == found["late"] == (3, 105)
    assert found["new"] == (1, 45)


def test_equal_stacks_with_equal_labels_are_one_sample() -> None:
    recording = start_wall(1_000)
    threading.Event().wait(0.2)
    keys = [(sample.stack, sample.labels) for sample in recording.stop().samples]
    assert len(keys) == len(set(keys))
    assert all(labels == tuple(sorted(labels)) for _, labels in keys)


def test_there_is_one_wall_profile_at_a_time() -> None:
    recording = start_wall()
    with pytest.raises(ProfilerBusyError, match=r"^wall profiling already in use$"):
        start_wall()
    recording.stop()
    start_wall().stop()


def test_stopping_again_gives_the_same_whoever_does_it() -> None:
    recording, found = start_wall(), []
    threads = [threading.Thread(target=lambda: found.append(recording.stop())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert [profile is recording.stop() for profile in found] == [True] * 4


@pytest.mark.parametrize("frequency", [0, -1, 1_001, float("nan")])
def test_a_frequency_that_is_not_allowed(frequency: float) -> None:
    with pytest.raises(ValueError, match="above 0, and at most 1000 a second"):
        start_wall(frequency)
    start_wall().stop()


def test_the_sampler_is_not_among_the_threads() -> None:
    with held(lambda rest: rest(), "other"):
        recording = start_wall(500)
        threading.Event().wait(0.1)
        names = {name for sample in recording.stop().samples for name in functions(sample)}
    assert "_sample" not in names


def test_threads_of_one_name_are_told_apart() -> None:
    found: set[object] = set()

    def is_new(sample: Sample) -> bool:
        label = dict(sample.labels).get("thread")
        if "rest" in functions(sample) and label is not None:
            found.add(label)
        return len(found) == 3

    with held(lambda rest: rest(), "worker", "worker", "worker"):
        recorded(is_new)
    assert found == {"worker", "worker (2)", "worker (3)"}


def test_the_label_of_a_thread_that_ended_is_given_to_the_next() -> None:
    names = ThreadNames()
    here = threading.get_ident()
    first, second = names.of(1, here), names.of(2, here)
    assert [names[first], names[second]] == ["MainThread", "MainThread (2)"]
    names.forget(1)
    assert names.of(3, here) == first
    assert names.of(2, here) == second


def test_a_thread_that_gets_another_name() -> None:
    under_test = engine(labels=True)
    with held(lambda rest: rest(), "before") as [thread]:
        looked(under_test, 1)
        thread.name = "after"
        found = looked(under_test, *[1] * 200)  # each look asks one thread again
    assert found["before"][0] > 0 and found["after"][0] > 0


def test_without_labels_equal_stacks_are_one_sample() -> None:
    with held(lambda rest: rest(), "one", "two"):
        sample = recorded(lambda sample: "rest" in functions(sample), labels=False)
    assert sample.labels == ()


def tracers() -> list[Any]:
    return [
        pytest.param(otlpfast.TracerProvider().get_tracer("a"), id="otlpfast"),
        pytest.param(StockTracerProvider().get_tracer("a"), id="stock"),
    ]


def ids(context: SpanContext) -> dict[str, str]:
    return {"trace_id": f"{context.trace_id:032x}", "span_id": f"{context.span_id:016x}"}


@native
@pytest.mark.parametrize("tracer", tracers())
def test_a_thread_is_seen_with_the_span_that_is_current_there(tracer: Tracer) -> None:
    contexts: list[SpanContext] = []

    def work(rest: Callable[[], None]) -> None:
        with tracer.start_as_current_span("outer"), tracer.start_as_current_span("first name") as span:
            span.update_name("inner")
            contexts.append(span.get_span_context())
            rest()

    with held(work, "traced"):
        sample = recorded(lambda sample: "rest" in functions(sample))
    assert dict(sample.labels) == {**ids(contexts[0]), "span_name": "inner", "thread": "traced"}


@native
def test_a_span_of_another_process_has_no_name() -> None:
    context = SpanContext(7 << 96 | 1, 9, is_remote=True, trace_flags=TraceFlags(1))

    def work(rest: Callable[[], None]) -> None:
        with use_span(NonRecordingSpan(context)):
            rest()

    with held(work, "remote"):
        sample = recorded(lambda sample: "rest" in functions(sample))
    assert dict(sample.labels) == {**ids(context), "thread": "remote"}


@native
def test_a_span_that_raises_whatever_it_is_asked() -> None:
    class Broken(NonRecordingSpan):
        def __getattribute__(self, name: str) -> Any:
            raise RuntimeError(name)

    broken = object.__new__(Broken)

    def work(rest: Callable[[], None]) -> None:
        with use_span(broken, record_exception=False, set_status_on_exception=False):
            rest()

    with held(work, "broken"):
        sample = recorded(lambda sample: "rest" in functions(sample))
    assert dict(sample.labels) == {"thread": "broken"}


@contextmanager
def loop_in_a_thread(main: Callable[[], Any]) -> Iterator[None]:
    thread = threading.Thread(target=lambda: asyncio.run(main()), name="loop")
    thread.start()
    try:
        yield
    finally:
        thread.join(PATIENCE)
        assert not thread.is_alive()


@pytest.mark.parametrize("tracer", tracers())
def test_asyncio_tasks_are_seen_with_their_own_names_and_spans(tracer: Tracer) -> None:
    truth: dict[object, dict[str, str]] = {}
    done = threading.Event()

    def handling() -> None:
        time.sleep(0.002)

    async def request(number: int) -> None:
        with tracer.start_as_current_span(f"request {number}") as span:
            labels = {**ids(span.get_span_context()), "span_name": f"request {number}"}
            truth[f"task {number}"] = {**labels, "task": f"task {number}", "thread": "loop"}
            while not done.is_set():
                handling()
                await asyncio.sleep(0)

    async def main() -> None:
        await asyncio.gather(*(asyncio.create_task(request(n), name=f"task {n}") for n in range(3)))

    found: set[object] = set()

    def has_all(sample: Sample) -> bool:
        if "handling" in functions(sample):
            labels = dict(sample.labels)
            assert labels == truth[labels["task"]]
            found.add(labels["task"])
        return len(found) == 3

    with loop_in_a_thread(main):
        try:
            recorded(has_all)
        finally:
            done.set()


def test_a_loop_that_waits_runs_no_task() -> None:
    done = threading.Event()

    async def main() -> None:
        while not done.is_set():
            await asyncio.sleep(0.05)

    with loop_in_a_thread(main):
        try:
            sample = recorded(lambda sample: functions(sample)[0] in ("select", "poll"))
        finally:
            done.set()
    assert dict(sample.labels) == {"thread": "loop"}


@native
def test_what_has_no_room_is_counted() -> None:
    assert sampler is not None
    tracer, names = otlpfast.TracerProvider().get_tracer("a"), ThreadNames()

    def look(counter: Any) -> None:
        for _ in range(40):
            with tracer.start_as_current_span("one of many"):
                in_a_thread(lambda: adds(counter.add, 1))

    with held(lambda rest: rest(), "first", "second"):
        look(few_works := sampler.WallCounter(names, context_variable(), SPAN_KEY, True, 32))
        look(few_counts := sampler.WallCounter(names, context_variable(), SPAN_KEY, True, 1))
    assert few_works.unlabelled > 0
    works = [few_works.work(number) for _, number, _, _ in few_works.counted()]
    assert len(works) <= 32
    assert {names[work[0]] for work in works} >= {"MainThread", "first", "second"}
    assert any(work[1] for work in works)
    assert few_counts.lost > 0
    assert len(few_counts.counted()) == 1


@native
def test_nothing_is_kept_when_a_profile_is_gone() -> None:
    tracer, name, task = otlpfast.TracerProvider().get_tracer("a"), "".join("name"), "".join("task")
    code = Clocked.rests.__code__
    done = threading.Event()

    async def main() -> None:
        with tracer.start_as_current_span(name):
            while not done.is_set():
                time.sleep(0.001)
                await asyncio.sleep(0)

    async def outer() -> None:
        await asyncio.create_task(main(), name=task)

    def counts() -> list[int]:
        return [sys.getrefcount(item) for item in (name, task, code)]

    with loop_in_a_thread(outer):
        try:
            before = recorded(lambda sample: ("task", "task") in sample.labels) and counts()
            for _ in range(5):
                recorded(lambda sample: ("span_name", "name") in sample.labels)
            until(lambda: counts() == before, "references are given back")
        finally:
            done.set()


def test_threads_that_take_profiles_are_left_out() -> None:
    with RuntimeStatistics():
        cpu = start_cpu()
        try:
            profile = start_wall().stop()  # at the least, one look
        finally:
            cpu.stop()
    assert profile.samples
    named = {value for sample in profile.samples for key, value in sample.labels if key == "thread"}
    assert "MainThread" in named and "otlpfast-runtime-statistics" not in named
    outermost = {sample.stack[-1].filename for sample in profile.samples}
    assert not any("_cpu_" in filename for filename in outermost)

"""The compiled sampler by itself: what it refuses, has no room for, or does not know."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from opentelemetry.trace import NonRecordingSpan, SpanContext, use_span

from otlpfast.profiling import _landmarks, start_cpu
from otlpfast.profiling._cpu_gil import BIAS
from otlpfast.profiling._labels import SPAN_KEY, ThreadNames, context_variable
from otlpfast.profiling._native import sampler

from .pipeline import until
from .walls import held

if sampler is None:
    pytest.skip("the sampler is native", allow_module_level=True)

samples_cpu = pytest.mark.skipif(not sampler.can_sample_cpu(), reason="no timers of threads here")
NEVER = 10**12  # nanoseconds: no timer gets there


def counter(**given: int) -> Any:
    return sampler.WallCounter(ThreadNames(), context_variable(), SPAN_KEY, **given)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: sampler.StackTable(0), "most=0: from 1 to 16777216"),
        (lambda: sampler.StackTable(most=2**24 + 1), "most=16777217: from 1 to 16777216"),
        (lambda: sampler.LabelTable(0), "most=0: from 1 to 16777216"),
        (lambda: sampler.HeapSampler(0), "sample_bytes=0: from 1 to 1099511627776"),
        (lambda: sampler.CpuSampler(0, ThreadNames()), "period=0: from 1 ns to 1000 s"),
        (
            lambda: sampler.learn_spans(None, None, None, None, [None] * 5),
            "5 kinds of native spans: at most 4",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_a_number_that_stands_for_nothing() -> None:
    with pytest.raises(IndexError, match="no labels have number 1"):
        sampler.LabelTable().labels(1)
    with pytest.raises(IndexError, match="no work has number 1"):
        counter().work(1)


# --- labels


def current(number: int) -> Any:
    return use_span(NonRecordingSpan(SpanContext(number, number, is_remote=True)))


@pytest.fixture(name="_learnt")
def learnt_fixture() -> Iterator[None]:
    _landmarks.learn()
    yield
    _landmarks.learn()


@pytest.mark.usefixtures("_learnt")
def test_a_table_has_each_set_of_labels_once_until_it_is_full() -> None:
    table = sampler.LabelTable(most=32)  # of which some meet in a slot
    assert (table.add_current(), table.labels(0)) == (0, [])
    for number in (*range(1, 33), *range(1, 33)):
        with current(number):
            assert table.add_current() == number
    with current(33):
        assert table.add_current() == 0
    assert len(table) == 32
    assert table.labels(7) == [("span_id", f"{7:016x}"), ("trace_id", f"{7:032x}")]


@pytest.mark.usefixtures("_learnt")
def test_tasks_of_an_asyncio_that_is_not_known_are_not_found() -> None:
    async def labels() -> dict[str, str]:
        found: dict[str, str] = sampler.current_labels()
        return found

    async def named() -> dict[str, str]:
        return await asyncio.create_task(labels(), name="a task")

    async def with_others_marks() -> None:
        task = asyncio.current_task()
        for unknown in ((task, "not its name", {}, asyncio.get_running_loop()), (None, "", {}, None)):
            sampler.learn_tasks(*unknown)
            assert await named() == {}

    assert asyncio.run(named()) == {"task": "a task"}
    asyncio.run(with_others_marks())


@pytest.mark.parametrize(
    ("trace_id", "span_id", "seen"),
    [
        (7 << 64, 9, (7 << 64, 9)),
        (0, 9, (0, 0)),
        (7, 0, (0, 0)),
        (-7, 9, (0, 0)),
        (1 << 128, 9, (0, 0)),
        ("7", 9, (0, 0)),
        (7, None, (0, 0)),
    ],
)
def test_ids_of_a_span_whose_context_is_of_a_class_of_its_own(
    trace_id: object, span_id: object, seen: tuple[int, int]
) -> None:
    class Foreign(NonRecordingSpan):
        def get_span_context(self) -> Any:
            return SimpleNamespace(trace_id=trace_id, span_id=span_id)

    span = Foreign(SpanContext(1, 1, is_remote=True))
    del span._context

    def work(rest: Callable[[], None]) -> None:
        with use_span(span):
            rest()

    looked = counter()
    with held(work, "foreign"):
        until(lambda: bool(looked.add(1)), "it was looked at")
    works = [looked.work(number)[1:3] for _, number, *_ in looked.counted()]
    assert seen in works
    assert {ids for ids in works if ids != (0, 0)} == {ids for ids in [seen] if ids != (0, 0)}


# --- CPU time


@contextmanager
def sampling() -> Iterator[Any]:
    """Without a sample but for those that tick() takes."""
    running = sampler.CpuSampler(NEVER, ThreadNames(), labels=False)
    running.start()
    try:
        yield running
    finally:
        assert running.stop() and running.stop()


def ticks(running: Any) -> int:
    return sum(count for _, _, _, count in running.samples())


@samples_cpu
def test_one_sampler_runs_at_a_time_and_whoever_wants_can_end_it() -> None:
    other = sampler.CpuSampler(NEVER, ThreadNames())
    with sampling() as running:
        with pytest.raises(RuntimeError, match="a CpuSampler is running"):
            other.start()
        with pytest.raises(RuntimeError, match="this thread is not watched"):
            other.tick()
        assert other.look() and other.stop()
        running.tick(3)
        sampler.stop_cpu()
        with pytest.raises(RuntimeError, match="this thread is not watched"):
            running.tick()
    assert ticks(running) == 3
    sampler.stop_cpu()


@samples_cpu
def test_samples_that_nobody_takes_are_counted_as_lost() -> None:
    with sampling() as running:
        for _ in range(10_000):
            running.tick()
            running.tick()  # from another place: the same one again would need no room
    lost = sum(count for frames, _, _, count in running.samples() if frames == "<lost>")
    assert ticks(running) == 20_000
    assert 0 < lost < 20_000


@samples_cpu
def test_without_a_timer_for_this_thread_there_is_no_sampler_but_a_profile() -> None:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_SIGPENDING)
    resource.setrlimit(resource.RLIMIT_SIGPENDING, (0, hard))
    try:
        refused = sampler.CpuSampler(NEVER, ThreadNames())
        with pytest.raises(OSError, match="no timers of the threads' CPU clocks can be had"):
            refused.start()
        with pytest.raises(RuntimeError, match="this thread is not watched"):
            refused.tick()
        profile = start_cpu().stop()
    finally:
        resource.setrlimit(resource.RLIMIT_SIGPENDING, (soft, hard))
    assert set(BIAS) <= set(profile.comments)


@samples_cpu
def test_a_thread_whose_name_raises_is_sampled_without_one() -> None:
    class Nameless(threading.Thread):
        name = property(lambda self: 1 // 0, lambda self, name: None)  # type: ignore[assignment]

        def run(self) -> None:
            done.append(ticking.tick())

    done: list[None] = []
    names = ThreadNames()
    ticking = sampler.CpuSampler(NEVER, names, labels=False)
    ticking.start()
    hook = threading.Thread._bootstrap_inner  # type: ignore[attr-defined]
    threading.Thread._bootstrap_inner = sampler.ThreadHook(hook)  # type: ignore[attr-defined]
    try:
        thread = Nameless()
        thread.start()
        thread.join()
    finally:
        threading.Thread._bootstrap_inner = hook  # type: ignore[attr-defined]
        ticking.stop()
    assert done == [None]
    assert [names[number] for _, number, _, _ in ticking.samples()] == ["(unnamed)"]

"""Asyncio tasks and what they await, read from another thread and from their own."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import pytest

from otlpfast import profiling
from otlpfast.profiling import Profile, Sample
from otlpfast.profiling._native import sampler

from .collector import PATIENCE
from .pipeline import until
from .walls import functions

Job = Callable[[], Coroutine[Any, Any, object]]

needs_uvloop = pytest.mark.skipif(find_spec("uvloop") is None, reason="uvloop is not installed")


@contextmanager
def tasks_of(
    *jobs: Job, new_loop: Callable[[], Any] = asyncio.new_event_loop, task: Any = asyncio.Task
) -> Iterator[None]:
    """Tasks named after their coroutines, in a loop of another thread, that got as far as they get."""
    started, loop = threading.Event(), new_loop()
    loop.set_task_factory(lambda loop, coroutine, **kept: task(coroutine, loop=loop, **kept))

    async def main() -> None:
        made = [loop.create_task(job()) for job in jobs]
        for number, (job, one) in enumerate(zip(jobs, made, strict=True)):
            one.set_name(f"{job.__name__} {number}")
        for _ in range(10):
            await asyncio.sleep(0)
        loop.call_later(0.001, started.set)  # not in between: in the next round nothing is ready
        await ended.wait()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for one in left:
            one.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    ended = asyncio.Event()
    thread = threading.Thread(target=lambda: loop.run_until_complete(main()), name="loop")
    thread.start()
    try:
        assert started.wait(PATIENCE)
        yield
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join(PATIENCE)
        loop.close()


def of(name: str, profile: Profile) -> Sample:
    [sample] = [sample for sample in profile.samples if sample.labels == (("task", name),)]
    return sample


async def leaf() -> None:
    await asyncio.sleep(PATIENCE)


async def numbers() -> AsyncIterator[int]:
    yield 1
    await leaf()
    yield 2


async def of_coroutines() -> None:
    await leaf()


async def of_an_async_generator() -> None:
    async for _ in numbers():
        pass


async def of_an_async_generator_asked_by_hand() -> None:
    generator = numbers()
    await generator.__anext__()
    await generator.asend(None)


async def of_a_task() -> None:
    await asyncio.create_task(leaf())


async def of_gather() -> None:
    await asyncio.gather(*(leaf() for _ in range(5)))


async def of_shield() -> None:
    await asyncio.shield(asyncio.create_task(leaf()))


async def of_wait_for() -> None:
    await asyncio.wait_for(leaf(), PATIENCE)


async def of_wait() -> None:
    await asyncio.wait([asyncio.create_task(leaf()) for _ in range(3)])


async def of_an_awaitable_object() -> None:
    class Awaitable:
        def __await__(self) -> Any:
            return leaf().__await__()

    await Awaitable()


JOBS: list[Job] = [
    of_coroutines,
    of_an_async_generator,
    of_an_async_generator_asked_by_hand,
    of_a_task,
    of_gather,
    of_shield,
    of_wait_for,
    of_wait,
    of_an_awaitable_object,
]
KINDS = {"C": asyncio.Task, "plain": asyncio.tasks._PyTask}  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", KINDS)
def test_the_stack_of_a_task_is_what_it_awaits(kind: str) -> None:
    jobs = JOBS
    if kind == "plain" and sys.version_info >= (3, 14):  # whose timeouts don't know plain tasks
        jobs = [job for job in JOBS if job is not of_wait_for]
    with tasks_of(*jobs, task=KINDS[kind]):
        profile = profiling.tasks()
    for job in jobs:
        names = functions(of(f"{job.__name__} *", profile))
        assert names[-1] == job.__name__
        assert names.index("sleep") < names.index("leaf"), names
        if "generator" in job.__name__:
            assert names.index("leaf") < names.index("numbers")


async def in_two_ways() -> None:
    async def otherwise() -> None:
        await asyncio.Event().wait()

    await asyncio.gather(leaf(), otherwise())


async def in_a_circle() -> None:
    this = asyncio.current_task()
    assert this is not None

    async def other() -> None:
        await asyncio.wait([this])  # as it is, such a circle can be cancelled

    await asyncio.create_task(other())


async def in_a_group() -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(leaf())


def test_a_task_that_waits_for_several_that_do_not_do_the_same() -> None:
    with tasks_of(in_two_ways):
        assert functions(of("in_two_ways *", profiling.tasks())) == ["in_two_ways"]


def test_tasks_that_wait_for_each_other() -> None:
    with tasks_of(in_a_circle):
        assert functions(of("in_a_circle *", profiling.tasks()))[-1] == "in_a_circle"


@pytest.mark.skipif(sys.version_info < (3, 11), reason="TaskGroup came with CPython 3.11")
def test_a_task_group() -> None:
    with tasks_of(in_a_group):
        names = functions(of("in_a_group *", profiling.tasks()))
    assert names[:2] == ["sleep", "leaf"] and names[-1] == "in_a_group"


def test_a_hundred_equal_tasks_are_one_sample() -> None:
    with tasks_of(*[of_coroutines] * 100):
        profile = profiling.tasks()
    sample = of("of_coroutines *", profile)
    assert sample.values == (100,)
    assert profile.kind == profile.default_type == "tasks"
    assert profile.value_types == (("tasks", "count"),)


def test_a_task_that_asks_for_its_own_stack() -> None:
    def asks() -> Profile:
        return profiling.tasks()

    async def main() -> Profile:
        return asks()

    async def outer() -> Profile:
        return await main()

    [sample] = asyncio.run(outer()).samples
    names = functions(sample)
    assert names == ["asks", "main", "outer"]


def test_a_task_that_runs_is_seen_in_its_functions() -> None:
    entered, go = threading.Event(), threading.Event()

    def blocks() -> None:
        entered.set()
        go.wait(PATIENCE)

    async def runs() -> None:
        await inner()

    async def inner() -> None:
        blocks()

    thread = threading.Thread(target=lambda: asyncio.run(runs()))
    thread.start()
    try:
        assert entered.wait(PATIENCE)
        [sample] = profiling.tasks().samples
        dump = profiling.dump()
    finally:
        go.set()
        thread.join(PATIENCE)
    names = functions(sample)
    assert names.index("wait") < names.index("blocks")
    assert names[-3:] == ["blocks", "inner", "runs"]
    assert "[running, thread " in dump


def test_a_dump_says_what_each_task_waits_for_and_where() -> None:
    async def of_one_with_a_name() -> None:
        await asyncio.create_task(leaf(), name="the one")

    with tasks_of(of_one_with_a_name, of_coroutines):
        paragraphs = profiling.dump().split("\n\n")
    heads = {text.splitlines()[0] for text in paragraphs}
    assert 'task "of_one_with_a_name 0" [waiting for Task \'the one\', thread "loop"]:' in heads
    assert 'task "of_coroutines 1" [waiting for Future, thread "loop"]:' in heads
    [stack] = [text.splitlines()[1:] for text in paragraphs if text.startswith('task "of_coroutines')]
    place = stack.index("leaf")
    assert stack[place + 1] == f"\t{__file__}:{leaf.__code__.co_firstlineno + 1}"


def test_leaks_of_tasks() -> None:
    with tasks_of(of_coroutines):
        before = profiling.tasks()
    with tasks_of(*[of_coroutines] * 4):
        after = profiling.tasks()
    found = profiling.leaks(before, after)
    assert [(leak.before, leak.after, leak.growth) for leak in found] == [(1, 4, 3)]
    assert str(found[0]).startswith("+3 tasks (1 before, 4 after)\n")


def test_a_loop_that_does_not_run_has_no_tasks() -> None:
    loop = asyncio.new_event_loop()
    task = loop.create_task(leaf())
    try:
        assert profiling.tasks().samples == ()
    finally:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            loop.run_until_complete(task)
        loop.close()


@needs_uvloop
@pytest.mark.skipif(
    sampler is None and sys.version_info >= (3, 14), reason="without frames of its own it can't be found"
)
def test_loops_of_uvloop() -> None:
    import uvloop

    with tasks_of(of_coroutines, of_gather, of_an_async_generator, new_loop=uvloop.new_event_loop):
        profile = profiling.tasks()
    for job in of_coroutines, of_gather, of_an_async_generator:
        assert functions(of(f"{job.__name__} *", profile))[:2] == ["sleep", "leaf"]


def test_reading_tasks_while_they_come_and_go() -> None:
    done = threading.Event()

    async def brief() -> None:
        await asyncio.sleep(0)

    async def main() -> None:
        while not done.is_set():
            await asyncio.gather(*(brief() for _ in range(20)))

    threads = [threading.Thread(target=lambda: asyncio.run(main())) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        seen = 0

        def has_looked_often() -> bool:
            nonlocal seen
            seen += any(sample.stack for sample in profiling.tasks().samples)
            return seen >= 100

        until(has_looked_often, "a hundred profiles with tasks in them")
    finally:
        done.set()
        for thread in threads:
            thread.join(PATIENCE)

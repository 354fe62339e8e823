"""Waits of asyncio in the block profile: one loop, whose order is known."""

from __future__ import annotations

import asyncio
import inspect
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from otlpfast.profiling import Sample, tasks
from otlpfast.profiling.contention import block, start_contention

from .contending import at, profiled_fixture, those  # noqa: F401

pytestmark = pytest.mark.usefixtures("profiled")


async def wait_for_a_lock() -> None:
    lock = asyncio.Lock()
    async with lock:
        waiting = asyncio.create_task(take(lock), name="waiter")
        await asyncio.sleep(0.02)
    await waiting


async def wait_for_a_semaphore() -> None:
    semaphore = asyncio.BoundedSemaphore()
    async with semaphore:
        waiting = asyncio.create_task(take(semaphore), name="waiter")
        await asyncio.sleep(0.02)
    await waiting


async def take(lock: Any) -> None:
    async with lock:
        pass


async def wait_for_an_event() -> None:
    event = asyncio.Event()

    async def wait() -> None:
        assert await event.wait()

    waiting = asyncio.create_task(wait(), name="waiter")
    await asyncio.sleep(0.02)
    event.set()
    await waiting


async def wait_for_a_condition() -> None:
    condition = asyncio.Condition()

    async def wait() -> None:
        async with condition:
            assert await condition.wait()

    waiting = asyncio.create_task(wait(), name="waiter")
    await asyncio.sleep(0.02)
    async with condition:
        condition.notify()
    await waiting


async def wait_for_an_item() -> None:
    items: asyncio.Queue[int] = asyncio.Queue()

    async def wait() -> None:
        assert await items.get() == 7

    waiting = asyncio.create_task(wait(), name="waiter")
    await asyncio.sleep(0.02)
    items.put_nowait(7)
    await waiting


async def wait_for_room() -> None:
    items: asyncio.Queue[int] = asyncio.Queue(1)
    items.put_nowait(1)

    async def wait() -> None:
        await items.put(2)

    waiting = asyncio.create_task(wait(), name="waiter")
    await asyncio.sleep(0.02)
    assert items.get_nowait() == 1
    await waiting


async def wait_until_all_is_done() -> None:
    items: asyncio.Queue[int] = asyncio.Queue()
    items.put_nowait(1)

    async def wait() -> None:
        await items.join()

    waiting = asyncio.create_task(wait(), name="waiter")
    await asyncio.sleep(0.02)
    items.task_done()
    await waiting


async def wait_for_several() -> None:
    async def wait() -> None:
        assert await asyncio.gather(asyncio.sleep(0.02, "a"), asyncio.sleep(0, "b")) == ["a", "b"]

    await asyncio.create_task(wait(), name="waiter")


async def wait_for_the_first() -> None:
    async def wait() -> None:
        done, _ = await asyncio.wait([asyncio.create_task(asyncio.sleep(0.02, "a"))])
        assert [task.result() for task in done] == ["a"]

    await asyncio.create_task(wait(), name="waiter")


def sample_of(scenario: Callable[[], Awaitable[None]], caller: str) -> Sample:
    began = time.monotonic_ns()
    asyncio.run(scenario())  # type: ignore[arg-type]
    took = time.monotonic_ns() - began
    (sample,) = [sample for sample in those(block(), caller) if ("task", "waiter") in sample.labels]
    assert sample.values[0] == 1
    assert 0 < sample.values[1] < took
    return sample


@pytest.mark.parametrize(
    ("scenario", "method", "caller"),
    [
        (wait_for_a_lock, "acquire", "take"),
        (wait_for_a_semaphore, "acquire", "take"),
        (wait_for_an_event, "wait", "wait"),
        (wait_for_a_condition, "wait", "wait"),
        (wait_for_an_item, "get", "wait"),
        (wait_for_room, "put", "wait"),
        (wait_until_all_is_done, "join", "wait"),
        (wait_for_several, "gather", "wait"),
        (wait_for_the_first, "_wait", "wait"),
    ],
)
def test_a_wait_is_counted_once_at_the_task_that_waits(
    scenario: Callable[[], Awaitable[None]], method: str, caller: str
) -> None:
    sample = sample_of(scenario, caller)
    assert sample.stack[0].function.rpartition(".")[2] == method
    assert "asyncio" in sample.stack[0].filename
    assert __file__ in [frame.filename for frame in sample.stack[1:3]]


@pytest.mark.skipif(sys.version_info < (3, 11), reason="a TaskGroup is of CPython 3.11")
def test_a_task_group_waits_for_its_tasks() -> None:
    async def wait() -> None:
        async with asyncio.TaskGroup() as group:  # type: ignore[attr-defined, unused-ignore]
            group.create_task(asyncio.sleep(0.02))

    async def scenario() -> None:
        await asyncio.create_task(wait(), name="waiter")

    assert sample_of(scenario, "wait").stack[0].function == "TaskGroup.__aexit__"


def test_the_delay_is_what_the_task_measured() -> None:
    truths: list[int] = []

    async def wait_and_measure(lock: asyncio.Lock) -> None:
        began = time.monotonic_ns()
        await lock.acquire()
        truths.append(time.monotonic_ns() - began)

    async def scenario() -> None:
        lock = asyncio.Lock()
        await lock.acquire()
        waiting = asyncio.create_task(wait_and_measure(lock))
        await asyncio.sleep(0.3)
        lock.release()
        await waiting

    asyncio.run(scenario())
    (sample,) = those(block(), "wait_and_measure")
    assert 0.5 * truths[0] < sample.values[1] <= truths[0]


def test_what_need_not_wait_is_not_counted() -> None:
    async def scenario() -> None:
        lock, items, event = asyncio.Lock(), asyncio.Queue[int](), asyncio.Event()
        event.set()
        for number in range(100):
            async with lock:
                await items.put(number)
                assert await items.get() == number
                assert await event.wait()

    asyncio.run(scenario())
    assert not those(block(), "scenario")


def test_a_task_of_a_method_alone_is_at_that_method() -> None:
    async def scenario() -> None:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(asyncio.Queue[int]().get(), 0.02)

    asyncio.run(scenario())
    assert at(block(), "get")


def test_errors_and_cancellation_pass_through() -> None:
    async def swallow(lock: asyncio.Lock) -> str:
        try:
            await lock.acquire()
        except asyncio.CancelledError:
            await lock.acquire()  # asked to go, it waits once more
            return "stubborn"
        return "acquired"

    async def scenario() -> None:
        lock = asyncio.Lock()
        await lock.acquire()
        gentle, stubborn = asyncio.create_task(take(lock)), asyncio.create_task(swallow(lock))
        await asyncio.sleep(0)
        gentle.cancel()
        stubborn.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gentle
        lock.release()
        assert await stubborn == "stubborn"
        with pytest.raises(ZeroDivisionError):
            await asyncio.gather(asyncio.sleep(0.01), fail())
        with pytest.raises(RuntimeError, match="cannot wait on un-acquired lock"):
            await asyncio.Condition().wait()

    async def fail() -> None:
        await asyncio.sleep(0)
        raise ZeroDivisionError

    asyncio.run(scenario())
    assert len(those(block(), "swallow")) >= 1


def test_a_cancelled_wait_for_a_condition_takes_the_lock_again() -> None:
    """In between, the method that was thrown into yields once more."""

    async def scenario() -> list[str]:
        condition, said = asyncio.Condition(), []

        async def wait() -> None:
            async with condition:
                try:
                    await condition.wait()
                finally:
                    said.append("locked" if condition.locked() else "free")

        waiting = asyncio.create_task(wait())
        await asyncio.sleep(0)
        async with condition:
            waiting.cancel()
            await asyncio.sleep(0.01)
            assert said == []
        with pytest.raises(asyncio.CancelledError):
            await waiting
        return said

    assert asyncio.run(scenario()) == ["locked"]


def test_loops_that_end_while_tasks_wait_count_nothing_and_say_nothing() -> None:
    async def wait() -> None:
        await asyncio.Event().wait()

    async def scenario() -> None:
        tasks.append(asyncio.create_task(wait()))
        await asyncio.sleep(0)

    tasks: list[asyncio.Task[None]] = []
    loop = asyncio.new_event_loop()
    loop.run_until_complete(scenario())
    loop.close()
    tasks[0].get_coro().close()  # type: ignore[union-attr]
    tasks[0]._log_destroy_pending = False  # type: ignore[attr-defined]
    assert not those(
        block(), "test_loops_that_end_while_tasks_wait_count_nothing_and_say_nothing.<locals>.wait"
    )


def test_methods_stay_coroutine_functions_and_outlive_the_end() -> None:
    for method in (asyncio.Lock.acquire, asyncio.Queue.get, asyncio.Event.wait, asyncio.Condition.wait):
        assert inspect.iscoroutinefunction(method)

    async def scenario() -> None:
        condition = asyncio.Condition()  # keeps the methods of its lock
        handle.stop()
        async with condition:
            assert condition.locked()

    handle = start_contention()
    asyncio.run(scenario())


def test_a_task_that_waits_is_shown_where_it_waits() -> None:
    async def taker(items: asyncio.Queue[int]) -> None:
        await items.get()

    async def main() -> list[str]:
        waiting = asyncio.create_task(taker(asyncio.Queue()), name="taker")
        while not waiting._fut_waiter:  # type: ignore[attr-defined]
            await asyncio.sleep(0)
        stacks = [sample.stack for sample in tasks().samples]
        waiting.cancel()
        return [frame.function.rpartition(".")[2] for stack in stacks for frame in stack]

    with start_contention():
        found = asyncio.run(main())
    assert "get" in found and "taker" in found
    assert not {"_resumed", "_measured", "wait"} & set(found)

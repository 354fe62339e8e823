"""Threads and tasks on otlpfast's provider: no span is lost or comes twice, every parent is right."""

from __future__ import annotations

import asyncio
import contextvars
import queue
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span as SpanMessage
from opentelemetry.sdk.trace import SpanLimits
from opentelemetry.trace import Tracer, get_current_span, set_span_in_context

from otlpfast import IMPLEMENTATION

from .pipeline import SANITIZED, Encoded, account, in_threads
from .traced import current, native, roomy

THREADS = 8
FAST = IMPLEMENTATION == "c" and not SANITIZED
TURNS = 20_000 if FAST else 2500  # of 5 spans each, in each thread


@pytest.fixture(name="exporter")
def exporter_fixture() -> Encoded:
    return Encoded()


def check_families(spans: Sequence[SpanMessage], roots: int) -> None:
    """Ids are unique, the parent of "3.a.b" is "3.a", "3" has none, and a family has one trace."""
    named = {span.name: span for span in spans}
    assert len(named) == len(spans)
    assert len({span.span_id for span in spans}) == len(spans)
    assert len({span.trace_id for span in spans}) == roots
    for name, span in named.items():
        above = name.rpartition(".")[0]
        parent = named[above] if above else None
        assert span.parent_span_id == (parent.span_id if parent else b"")
        assert parent is None or span.trace_id == parent.trace_id
        assert [(pair.key, pair.value.string_value) for pair in span.attributes] == [("name", name)]


# --- threads


def family(tracer: Tracer, name: str) -> Any:
    """Five spans, the last of which has not ended: one that another thread may end."""
    with tracer.start_as_current_span(name) as root:
        root.set_attribute("name", name)
        with tracer.start_as_current_span(f"{name}.a", attributes={"name": f"{name}.a"}):
            tracer.start_span(f"{name}.a.b", attributes={"name": f"{name}.a.b"}).end()
        with tracer.start_span(f"{name}.c") as span:
            span.set_attributes({"name": f"{name}.c"})
    return tracer.start_span(f"{name}.d", set_span_in_context(root), attributes={"name": f"{name}.d"})


def test_spans_of_many_threads_are_all_accounted_for_with_the_right_parents(exporter: Encoded) -> None:
    processor = roomy(exporter, max_export_batch_size=4096)
    tracer = native(processor).get_tracer("tests")
    handed: list[queue.SimpleQueue[Any]] = [queue.SimpleQueue() for _ in range(THREADS)]

    def work(number: int) -> None:
        for turn in range(TURNS):
            handed[number].put(family(tracer, f"{number}:{turn}"))
            handed[(number + 1) % THREADS].get().end()

    in_threads(THREADS, work)
    ended = THREADS * TURNS * 5
    assert processor.force_flush(60_000)
    assert processor.stats() == account(ended, exported=ended)
    processor.shutdown()
    spans = exporter.spans
    assert len(spans) == ended
    check_families(spans, THREADS * TURNS)


def test_threads_that_fill_one_span_lose_nothing(exporter: Encoded) -> None:
    limits = SpanLimits(*[SpanLimits.UNSET] * 8)
    processor = roomy(exporter)
    tracer = native(processor, span_limits=limits).get_tracer("tests")
    turns = 2000 if IMPLEMENTATION == "c" else 300
    span = tracer.start_span("shared")

    def work(number: int) -> None:
        for turn in range(turns):
            span.set_attribute(f"{number}.{turn}", turn)
            span.set_attribute("common", number)
            span.add_event(f"{number}.{turn}", {"turn": turn})
            if turn % 100 == 0:
                assert len(dict(span.attributes)) > turn  # type: ignore[attr-defined]

    in_threads(THREADS, work)
    span.end()
    assert processor.force_flush()
    (message,) = exporter.spans
    expected = {f"{number}.{turn}": turn for number in range(THREADS) for turn in range(turns)}
    attributes = {pair.key: pair.value.int_value for pair in message.attributes}
    assert len(message.attributes) == len(attributes)
    assert attributes.pop("common") in range(THREADS)
    assert attributes == expected
    events = {event.name: event.attributes[0].value.int_value for event in message.events}
    assert len(message.events) == len(events)
    assert events == expected
    processor.shutdown()


def test_a_span_that_many_threads_end_ends_once(exporter: Encoded, caplog: pytest.LogCaptureFixture) -> None:
    processor = roomy(exporter)
    tracer = native(processor).get_tracer("tests")
    spans = [tracer.start_span(f"span {number}") for number in range(300)]

    def work(number: int) -> None:
        for span in spans:
            span.add_event(f"event {number}")
            span.end()

    in_threads(THREADS, work)
    assert processor.force_flush()
    assert processor.stats() == account(300, exported=300)
    assert sorted(span.name for span in exporter.spans) == sorted(f"span {number}" for number in range(300))
    too_late = [record.getMessage() for record in caplog.records]
    assert too_late.count("Calling end() on an ended span.") == 300 * (THREADS - 1)
    processor.shutdown()


def test_a_thread_begins_without_a_current_span_and_leaves_none(exporter: Encoded) -> None:
    processor = roomy(exporter)
    tracer = native(processor).get_tracer("tests")
    seen: list[int] = []

    def work(number: int) -> None:
        before = current()
        with tracer.start_as_current_span(f"thread {number}"):
            pass
        seen.extend((before, current()))

    with tracer.start_as_current_span("main") as main:
        in_threads(4, work)
        assert current() == main.get_span_context().span_id
    assert seen == [0] * 8
    assert processor.force_flush()
    assert [span.name for span in exporter.spans if span.parent_span_id] == []
    processor.shutdown()


def test_threads_that_ask_for_tracers_at_once_get_one_a_scope() -> None:
    provider = native()
    found: list[tuple[str, int]] = []
    kept: list[Any] = []

    def work(_: int) -> None:
        for number in range(200):
            tracer = provider.get_tracer(f"scope {number}")
            kept.append(tracer)
            found.append((f"scope {number}", id(tracer)))

    in_threads(THREADS, work)
    assert len(set(found)) == 200


# --- asyncio


async def chatter(tracer: Tracer, name: str, depth: int) -> None:
    """Spans in spans, each of them current again after each await."""
    with tracer.start_as_current_span(name, attributes={"name": name}) as span:
        own = span.get_span_context().span_id
        await asyncio.sleep(0)
        assert current() == own
        if depth:
            await chatter(tracer, f"{name}.a", depth - 1)
            assert current() == own
            await asyncio.gather(*[chatter(tracer, f"{name}.{side}", depth - 1) for side in "bc"])
        await asyncio.sleep(0)
        assert current() == own


async def many_tasks(tracer: Tracer, count: int) -> None:
    with tracer.start_as_current_span("0", attributes={"name": "0"}):
        tasks = [asyncio.create_task(chatter(tracer, f"0.{number}", number % 3)) for number in range(count)]
    assert current() == 0
    await asyncio.gather(*tasks)
    assert current() == 0


def test_10_000_tasks_have_the_right_parents(exporter: Encoded) -> None:
    processor = roomy(exporter)
    count = 10_000
    asyncio.run(many_tasks(native(processor).get_tracer("tests"), count))
    assert processor.force_flush(60_000)
    spans = exporter.spans
    assert len(spans) == 1 + sum((1, 4, 13)[number % 3] for number in range(count))
    assert processor.stats() == account(len(spans), exported=len(spans))
    check_families(spans, 1)
    processor.shutdown()


async def crossings(tracer: Tracer) -> dict[str, int]:
    """What is current where a coroutine's work goes to a thread, and in what it calls later."""
    loop, seen = asyncio.get_running_loop(), {}
    with tracer.start_as_current_span("task") as span:
        seen["own"] = span.get_span_context().span_id
        seen["to_thread"] = await asyncio.to_thread(current)
        with ThreadPoolExecutor(1) as pool:
            seen["executor"] = await loop.run_in_executor(pool, current)
        called: asyncio.Future[int] = loop.create_future()
        loop.call_soon(lambda: called.set_result(current()))
        seen["call_soon"] = await called
    return seen


def test_a_thread_of_a_task_sees_its_span_where_the_context_is_copied() -> None:
    seen = asyncio.run(crossings(native().get_tracer("tests")))
    assert seen == {
        "own": seen["own"],
        "to_thread": seen["own"],
        "executor": 0,
        "call_soon": seen["own"],
    }


def test_decorated_coroutines_of_many_tasks_have_spans_of_their_own(exporter: Encoded) -> None:
    processor = roomy(exporter)
    tracer = native(processor).get_tracer("tests")

    @tracer.start_as_current_span("outer")
    async def outer() -> int:
        own = current()
        await inner(own)
        assert current() == own
        return own

    @tracer.start_as_current_span("inner")
    async def inner(above: int) -> None:
        own = current()
        assert own not in (0, above)
        await asyncio.sleep(0)
        assert current() == own

    async def main() -> list[int]:
        return await asyncio.gather(*[outer() for _ in range(500)])

    owners = asyncio.run(main())
    assert processor.force_flush()
    spans = exporter.spans
    assert len(spans) == 1000
    outers = {int.from_bytes(span.span_id, "big") for span in spans if span.name == "outer"}
    assert outers == set(owners)
    parents = [int.from_bytes(span.parent_span_id, "big") for span in spans if span.name == "inner"]
    assert sorted(parents) == sorted(owners)
    processor.shutdown()


def test_a_cancelled_task_ends_its_spans_without_an_error(exporter: Encoded) -> None:
    processor = roomy(exporter)
    tracer = native(processor).get_tracer("tests")

    async def waits(started: asyncio.Event) -> None:
        with tracer.start_as_current_span("waits"), tracer.start_as_current_span("deeper"):
            started.set()
            await asyncio.Event().wait()

    async def main() -> None:
        started = asyncio.Event()
        task = asyncio.create_task(waits(started))
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert processor.force_flush()
    found = [(span.name, span.status.code, len(span.events)) for span in exporter.spans]
    assert found == [("deeper", 0, 0), ("waits", 0, 0)]
    processor.shutdown()


# --- contexts


def test_what_is_current_in_a_copied_context_stays_there(exporter: Encoded) -> None:
    processor = roomy(exporter)
    tracer = native(processor).get_tracer("tests")
    with tracer.start_as_current_span("outer") as outer:
        copied = contextvars.copy_context()
        manager = copied.run(tracer.start_as_current_span, "inner")
        inner = copied.run(manager.__enter__)
        assert current() == outer.get_span_context().span_id
        assert copied.run(get_current_span) is inner
        copied.run(lambda: tracer.start_span("innermost").end())
        copied.run(manager.__exit__, None, None, None)
        assert copied.run(get_current_span) is outer
    assert copied.run(get_current_span) is outer  # long ended, and still current there
    assert current() == 0
    assert processor.force_flush()
    named = {span.name: span for span in exporter.spans}
    assert named["innermost"].parent_span_id == named["inner"].span_id
    assert named["inner"].parent_span_id == named["outer"].span_id
    processor.shutdown()


def test_two_contexts_that_take_turns_keep_their_spans_apart(exporter: Encoded) -> None:
    processor = roomy(exporter)
    tracer = native(processor).get_tracer("tests")

    def steps(name: str) -> Iterator[None]:
        for number in range(100):
            with tracer.start_as_current_span(f"{name}{number}", attributes={"name": f"{name}{number}"}):
                yield
                below = f"{name}{number}.b"
                tracer.start_span(below, attributes={"name": below}).end()
                yield

    pairs = [(contextvars.copy_context(), steps(name)) for name in "xyz"]
    for _ in range(200):
        for context, generator in pairs:
            context.run(next, generator)
    for context, generator in pairs:
        assert context.run(next, generator, None) is None
    assert processor.force_flush()
    spans = exporter.spans
    assert len(spans) == 600
    check_families(spans, 300)
    processor.shutdown()

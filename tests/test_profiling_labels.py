"""What names the request that a thread works for, read from its memory as a signal handler reads it."""

from __future__ import annotations

import asyncio
import contextvars
import ctypes
import gc
import threading
import warnings
from asyncio import tasks
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import opentelemetry.context
import pytest
from opentelemetry import baggage, trace
from opentelemetry.sdk.trace import TracerProvider as StockProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, Tracer, use_span

import otlpfast
from otlpfast.profiling import _landmarks
from otlpfast.profiling._native import sampler

if sampler is None:
    pytest.skip("only the compiled sampler reads the memory of threads", allow_module_level=True)

PROVIDERS: dict[str, Callable[[], Any]] = {"otlpfast": otlpfast.TracerProvider, "SDK": StockProvider}


@pytest.fixture(autouse=True)
def _landmarks_learnt() -> None:
    _landmarks.learn()


@pytest.fixture(name="tracer", params=PROVIDERS)
def tracer_fixture(request: pytest.FixtureRequest) -> Iterator[Tracer]:
    """A tracer of otlpfast, and one of the SDK."""
    provider = PROVIDERS[request.param]()
    yield provider.get_tracer("labels")
    provider.shutdown()


def current_labels() -> dict[str, str]:
    assert sampler is not None
    labels: dict[str, str] = sampler.current_labels()
    return labels


def of(span: trace.Span, name: str = "", task: str = "") -> dict[str, str]:
    """What the labels of work under a span have to be."""
    context = span.get_span_context()
    named = {"span_name": name, "task": task}
    ids = {"trace_id": f"{context.trace_id:032x}", "span_id": f"{context.span_id:016x}"}
    return ids | {key: text for key, text in named.items() if text}


def test_where_no_span_is_there_are_no_labels() -> None:
    assert current_labels() == {}


def test_a_current_span_gives_its_ids_and_its_name(tracer: Tracer) -> None:
    with tracer.start_as_current_span("GET /orders/{id}") as span:
        assert current_labels() == of(span, "GET /orders/{id}")
    assert current_labels() == {}


def test_the_innermost_span_is_the_current_one(tracer: Tracer) -> None:
    for _ in range(3):
        with tracer.start_as_current_span("outer") as outer:
            for number in range(3):
                with tracer.start_as_current_span(f"inner {number}") as inner:
                    assert current_labels() == of(inner, f"inner {number}")
                assert current_labels() == of(outer, "outer")


def test_a_span_that_was_started_but_is_not_current_gives_none(tracer: Tracer) -> None:
    span = tracer.start_span("started")
    assert current_labels() == {}
    with use_span(span):
        assert current_labels() == of(span, "started")


def test_a_span_that_ends_while_it_is_current_still_names_the_work(tracer: Tracer) -> None:
    with tracer.start_as_current_span("ended", end_on_exit=False) as span:
        span.end()
        assert current_labels() == of(span, "ended")


def test_a_new_name_is_seen(tracer: Tracer) -> None:
    with tracer.start_as_current_span("before") as span:
        assert current_labels()["span_name"] == "before"
        for number in range(100):
            span.update_name(f"after {number}")
            assert current_labels() == of(span, f"after {number}")


class Name(str):
    """A str of somebody's own."""


NAMES = {
    "": "",
    "a": "a",
    "Größe": "Größe",
    "Ωmega ☃": "Ωmega ☃",
    "clef 𝄞": "clef 𝄞",
    "half \ud800 a pair": "half \ufffd a pair",
    "x" * 116: "x" * 116,
    Name("of a class"): "of a class",
    Name("Größe eines Namens"): "Größe eines Namens",
}


@pytest.mark.parametrize("name", NAMES)
def test_names_are_read_whatever_they_are_made_of(tracer: Tracer, name: str) -> None:
    with tracer.start_as_current_span(name) as span:
        assert current_labels() == of(span, NAMES[name])


@pytest.mark.parametrize("letter", "aé☃𝄞")
def test_a_long_name_is_cut_between_two_characters_which_shows(tracer: Tracer, letter: str) -> None:
    for length in (*range(20, 140), 100_000):
        with tracer.start_as_current_span(letter * length):
            seen = current_labels()["span_name"]
            assert seen == letter * length or (
                seen.endswith("…") and letter * length == seen[:-1] + letter * (length - len(seen) + 1)
            )
            assert 110 < len(seen.encode()) < 128 or seen == letter * length


def test_a_parent_in_another_process_gives_its_ids() -> None:
    for trace_id, span_id in ((1, 1), (0xABC, 0x1F), ((1 << 128) - 1, (1 << 64) - 1), (1 << 127, 1 << 63)):
        parent = NonRecordingSpan(SpanContext(trace_id, span_id, True, TraceFlags(1)))
        with use_span(parent):
            assert current_labels() == of(parent)


def test_an_invalid_span_gives_none() -> None:
    with use_span(trace.INVALID_SPAN):
        assert current_labels() == {}
    with use_span(NonRecordingSpan(SpanContext(1 << 130, 1, False))):
        assert current_labels() == {}


@pytest.mark.parametrize("provider", PROVIDERS.values(), ids=PROVIDERS)
def test_a_span_that_is_not_sampled_gives_its_ids(provider: Callable[..., Any]) -> None:
    tracer = provider(sampler=ALWAYS_OFF).get_tracer("labels")
    with tracer.start_as_current_span("unsampled") as span:
        assert current_labels() == of(span)


class Odd(trace.Span):
    """A span that keeps its context where nobody knows."""

    def __init__(self) -> None:
        self.kept = SpanContext(1, 2, False)

    def get_span_context(self) -> SpanContext:
        return self.kept

    def _ignore(self, *_: Any, **__: Any) -> None:
        pass

    end = set_attributes = set_attribute = add_event = update_name = set_status = record_exception = _ignore

    def is_recording(self) -> bool:
        return False


def test_a_span_that_cannot_be_read_gives_none(tracer: Tracer) -> None:
    with use_span(Odd()):
        assert current_labels() == {}
    with tracer.start_as_current_span("odd") as span:
        span._context = "somebody's own"  # type: ignore[attr-defined]
        assert current_labels() == {}
        with tracer.start_as_current_span("below", context=opentelemetry.context.Context()) as below:
            assert current_labels() == of(below, "below")


def test_more_attributes_of_a_span_are_no_hindrance(tracer: Tracer) -> None:
    """They make CPython keep them in another way."""
    with tracer.start_as_current_span("grown") as span:
        for number in range(60):
            setattr(span, f"extra_{number}", number)
            assert current_labels() == of(span, "grown")


def test_a_look_into_the_dict_of_a_span_is_no_hindrance(tracer: Tracer) -> None:
    with tracer.start_as_current_span("looked into") as span:
        kept = vars(span)
        assert current_labels() == of(span, "looked into")
        kept["more"] = 1
        assert current_labels() == of(span, "looked into")


def test_other_values_of_the_context_are_no_hindrance(tracer: Tracer) -> None:
    context = opentelemetry.context.get_current()
    for number in range(100):
        context = baggage.set_baggage(f"key {number}", number, context)
        context = opentelemetry.context.set_value(opentelemetry.context.create_key("x"), number, context)
        token = opentelemetry.context.attach(context)
        with tracer.start_as_current_span("among others") as span:
            assert current_labels() == of(span, "among others")
        opentelemetry.context.detach(token)


def test_other_context_variables_are_no_hindrance(tracer: Tracer) -> None:
    def fill() -> None:
        kept = []
        for number in range(3000):
            kept.append(contextvars.ContextVar[int](f"variable {number}"))
            kept[-1].set(number)
            if number % 50 and number > 100:
                continue
            with tracer.start_as_current_span(f"after {number}") as span:
                assert current_labels() == of(span, f"after {number}")
        assert current_labels() == {}

    contextvars.Context().run(fill)


def with_the_hash_of(variable: contextvars.ContextVar[Any]) -> contextvars.ContextVar[int]:
    """Another variable that collides with it; its hash is the last field of one."""
    other = contextvars.ContextVar[int]("colliding")
    field = id(other) + contextvars.ContextVar.__basicsize__ - ctypes.sizeof(ctypes.c_ssize_t)
    ctypes.c_ssize_t.from_address(field).value = hash(variable)
    assert hash(other) == hash(variable)
    return other


def test_variables_with_the_same_hash_are_told_apart(tracer: Tracer) -> None:
    runtime: Any = opentelemetry.context._RUNTIME_CONTEXT

    def collide() -> None:
        for number in range(5):
            with_the_hash_of(runtime._current_context).set(number)
            assert current_labels() == {}
        with tracer.start_as_current_span("collides") as span:
            assert current_labels() == of(span, "collides")

    contextvars.Context().run(collide)


def test_each_thread_has_its_own(tracer: Tracer) -> None:
    together = threading.Barrier(8)

    def work(number: int) -> bool:
        name = f"of thread {number}"
        with tracer.start_as_current_span(name) as span:
            for _ in range(100):
                together.wait(30)
                if current_labels() != of(span, name):
                    return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(8)))


def test_another_runtime_context_gives_no_span(tracer: Tracer, monkeypatch: pytest.MonkeyPatch) -> None:
    class Other:
        def get_current(self) -> opentelemetry.context.Context:
            return opentelemetry.context.Context()

    with tracer.start_as_current_span("kept elsewhere"), monkeypatch.context() as patch:
        patch.setattr(opentelemetry.context, "_RUNTIME_CONTEXT", Other())
        _landmarks.learn()
        assert current_labels() == {}


# --- tasks


async def interleaved(tracer: Tracer, name: str) -> None:
    with tracer.start_as_current_span(f"outer of {name}") as outer:
        for number in range(20):
            assert current_labels() == of(outer, f"outer of {name}", name)
            with tracer.start_as_current_span(f"inner of {name} {number}") as inner:
                await asyncio.sleep(0)
                assert current_labels() == of(inner, f"inner of {name} {number}", name)
            await asyncio.sleep(0)


async def interleave(tracer: Tracer) -> None:
    together = [asyncio.create_task(interleaved(tracer, f"täsk {i}"), name=f"täsk {i}") for i in range(20)]
    await asyncio.gather(*together)


def test_each_asyncio_task_has_its_own(tracer: Tracer) -> None:
    asyncio.run(interleave(tracer))
    assert current_labels() == {}


def test_event_loops_of_several_threads_are_told_apart(tracer: Tracer) -> None:
    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(asyncio.run, interleave(tracer)) for _ in range(4)]:
            done.result(60)


def test_a_task_that_nobody_named_has_asyncios_name() -> None:
    async def work() -> tuple[dict[str, str], str]:
        seen = current_labels()  # before anybody asks for the name
        task = asyncio.current_task()
        assert task is not None
        return seen, task.get_name()

    async def main() -> list[tuple[dict[str, str], str]]:
        return await asyncio.gather(*(work() for _ in range(20)))

    for seen, name in asyncio.run(main()):
        assert seen == {"task": name}


def test_the_task_of_a_thread_that_has_much_else_of_its_own() -> None:
    own = [threading.local() for _ in range(1000)]
    for each in own:
        each.value = 1  # before CPython 3.13 they are where the running loop is

    async def work() -> dict[str, str]:
        return current_labels()

    async def main() -> dict[str, str]:
        return await asyncio.create_task(work(), name="a task")

    assert asyncio.run(main()) == {"task": "a task"}


def test_what_the_loop_calls_back_is_no_task() -> None:
    async def main() -> dict[str, str]:
        loop = asyncio.get_running_loop()
        seen: asyncio.Future[dict[str, str]] = loop.create_future()
        loop.call_soon(lambda: seen.set_result(current_labels()))
        return await seen

    assert asyncio.run(main()) == {}


class OwnTask(asyncio.Task[Any]):
    """A task of somebody's own class."""


@pytest.mark.parametrize("kind", [OwnTask, tasks._PyTask], ids=["subclass", "in Python"])  # type: ignore[attr-defined]
def test_other_classes_of_tasks_have_their_names(tracer: Tracer, kind: Any) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_task_factory(lambda loop, work, **options: kind(work, loop=loop, **options))
        await interleave(tracer)

    asyncio.run(main())


def test_tasks_are_found_when_the_landmarks_were_learnt_in_a_running_loop(tracer: Tracer) -> None:
    async def main() -> None:
        _landmarks.learn()
        await interleave(tracer)

    asyncio.run(main())


def test_learning_leaves_nothing_behind() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(3):
            _landmarks.learn()
        gc.collect()
    assert asyncio._get_running_loop() is None
    assert asyncio.run(all_tasks()) == 1


async def all_tasks() -> int:
    return len(asyncio.all_tasks())

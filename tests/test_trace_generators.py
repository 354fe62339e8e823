"""Generators that hold a span's block open and are closed elsewhere: what happens is what the SDK does."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import threading
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from typing import Any

import pytest
from opentelemetry.sdk import trace as sdk
from opentelemetry.trace import Tracer, use_span

from otlpfast import TracerProvider

from .spans import Keep
from .traced import Records, current, native


def holds(tracer: Tracer, name: str) -> Generator[int, None, None]:
    with tracer.start_as_current_span(name) as span:
        yield span.get_span_context().span_id
        yield current()


def closed_here(tracer: Tracer) -> list[Any]:
    generator = holds(tracer, "generator")
    inside = next(generator) == current()
    generator.close()
    return [inside, current()]


def closed_inside_another_span(tracer: Tracer) -> list[Any]:
    generator = holds(tracer, "generator")
    next(generator)
    with tracer.start_as_current_span("later") as later:
        generator.close()
        inside = current() == later.get_span_context().span_id, current()
    return [*inside, current() != 0]


def closed_in_another_thread(tracer: Tracer) -> list[Any]:
    generator = holds(tracer, "generator")
    own = next(generator)
    thread = threading.Thread(target=generator.close)
    thread.start()
    thread.join()
    return [current() == own]


def advanced_in_another_thread(tracer: Tracer) -> list[Any]:
    generator = holds(tracer, "generator")
    own = next(generator)
    seen: list[Any] = []
    thread = threading.Thread(target=lambda: seen.extend(generator))
    thread.start()
    thread.join()
    return [seen == [0], current() == own]


def closed_in_another_context(tracer: Tracer) -> list[Any]:
    generator = holds(tracer, "generator")
    own = next(generator)
    contextvars.copy_context().run(generator.close)
    return [current() == own]


def opened_in_another_context(tracer: Tracer) -> list[Any]:
    generator = holds(tracer, "generator")
    contextvars.copy_context().run(next, generator)
    before = current()
    generator.close()
    return [before, current()]


def collected_with_its_cycle(tracer: Tracer) -> list[Any]:
    def cyclic() -> Iterator[Any]:
        with tracer.start_as_current_span("generator"):
            yield own
            raise AssertionError

    own: Any = cyclic()
    next(own)
    inside = current() != 0
    own = None
    gc.collect()
    return [inside, current()]


def collected_in_another_thread(tracer: Tracer) -> list[Any]:
    kept = [holds(tracer, "generator")]
    own = next(kept[0])
    thread = threading.Thread(target=kept.clear)
    thread.start()
    thread.join()
    return [current() == own]


def closed_out_of_order(tracer: Tracer) -> list[Any]:
    first, second = holds(tracer, "first"), holds(tracer, "second")
    outer, inner = next(first), next(second)
    first.close()
    after_first = current()
    second.close()
    return [after_first == 0, current() == outer, inner != outer]


def failed_in_another_context(tracer: Tracer) -> list[Any]:
    generator: Any = holds(tracer, "generator")
    next(generator)
    try:
        contextvars.copy_context().run(generator.throw, KeyError("key"))
    except KeyError as error:
        return [repr(error), str(error.__context__)]
    return []


def used_in_another_context(tracer: Tracer) -> list[Any]:
    def borrows(span: Any) -> Generator[None, None, None]:
        with use_span(span, end_on_exit=True):
            yield

    generator = borrows(tracer.start_span("generator"))
    contextvars.copy_context().run(next, generator)
    generator.close()
    return [current()]


def entered_by_hand_and_left_in_another_thread(tracer: Tracer) -> list[Any]:
    manager = tracer.start_as_current_span("manager")
    span = manager.__enter__()
    outcome: list[Any] = []
    thread = threading.Thread(target=lambda: outcome.append(manager.__exit__(None, None, None)))
    thread.start()
    thread.join()
    return [span.is_recording(), current() == span.get_span_context().span_id, [not each for each in outcome]]


def abandoned_async_generator(tracer: Tracer) -> list[Any]:
    async def counts() -> AsyncIterator[int]:
        with tracer.start_as_current_span("generator"):
            for number in range(10):
                yield number

    async def main() -> list[Any]:
        async for _ in counts():
            break
        gc.collect()
        for _ in range(5):
            await asyncio.sleep(0)
        return [current() != 0]

    return asyncio.run(main())


def async_generator_closed_by_another_task(tracer: Tracer) -> list[Any]:
    async def counts() -> AsyncIterator[int]:
        with tracer.start_as_current_span("generator"):
            yield current()

    async def main() -> list[Any]:
        generator: Any = counts()
        own = await generator.__anext__()
        await asyncio.create_task(generator.aclose())
        return [current() == own]

    return asyncio.run(main())


def async_generator_left_to_the_loop(tracer: Tracer) -> list[Any]:
    kept: list[Any] = []

    async def counts() -> AsyncIterator[int]:
        with tracer.start_as_current_span("generator"):
            yield current()

    async def main() -> None:
        kept.append(counts())
        await kept[0].__anext__()

    asyncio.run(main())  # closes it when it shuts down
    return [current()]


SCENARIOS = [
    closed_here,
    closed_inside_another_span,
    closed_in_another_thread,
    advanced_in_another_thread,
    closed_in_another_context,
    opened_in_another_context,
    collected_with_its_cycle,
    collected_in_another_thread,
    closed_out_of_order,
    failed_in_another_context,
    used_in_another_context,
    entered_by_hand_and_left_in_another_thread,
    abandoned_async_generator,
    async_generator_closed_by_another_task,
    async_generator_left_to_the_loop,
]


def outcome(scenario: Callable[[Tracer], list[Any]], kind: type[sdk.TracerProvider]) -> tuple[Any, ...]:
    """What it found, what was logged, and how the spans ended."""
    keep = Keep()
    tracer = native(keep, kind=kind).get_tracer("tests")
    with Records() as records:
        found = contextvars.Context().run(scenario, tracer)  # may leave a span current
    spans = [(span.name, span.status.status_code, [e.name for e in span.events]) for span in keep.spans]
    return found, records.found, spans


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_a_generator_that_is_closed_elsewhere_ends_its_span_as_with_the_sdk(
    scenario: Callable[[Tracer], list[Any]],
) -> None:
    """But without the SDK's noise, as nothing was wrong; the API's own use_span() is not otlpfast's."""
    found, logged, spans = outcome(scenario, TracerProvider)
    sdk_found, sdk_logged, sdk_spans = outcome(scenario, sdk.TracerProvider)
    assert (found, spans) == (sdk_found, sdk_spans)
    assert logged == (sdk_logged if scenario is used_in_another_context else [])
    assert len(spans) > 0

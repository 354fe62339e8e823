"""Arguments, samplers and processors that touch the current span while they are read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.sdk.trace.id_generator import IdGenerator, RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, Sampler, SamplingResult
from opentelemetry.trace import Link, StatusCode

from otlpfast import IMPLEMENTATION, SpanBatch

from .pipeline import SANITIZED, ran
from .touching import ELSEWHERE, Pipeline, Touch, operations, plain, turn

SCALE = 1 if SANITIZED or IMPLEMENTATION == "py" else 3
ENDS = pytest.mark.parametrize("ends", [False, True])


# --- values, mappings and other arguments that run code when they are read


class Said:
    """Text only when it is asked for."""

    def __init__(self, touch: Touch) -> None:
        self.touch = touch

    def __str__(self) -> str:
        self.touch()
        return "said"


class Words(Sequence[Any]):
    def __init__(self, touch: Touch) -> None:
        self.touch = touch

    def __len__(self) -> int:
        self.touch()
        return 2

    def __getitem__(self, index: Any) -> Any:
        self.touch()
        return ["a", Said(self.touch)][index]

    def __iter__(self) -> Iterator[Any]:
        self.touch()
        yield "a"
        self.touch()
        yield Said(self.touch)


class Pairs(Mapping[str, Any]):
    def __init__(self, touch: Touch) -> None:
        self.touch = touch

    def __len__(self) -> int:
        self.touch()
        return 2

    def __iter__(self) -> Iterator[str]:
        self.touch()
        yield "pair a"
        self.touch()
        yield "pair b"

    def __getitem__(self, key: str) -> Any:
        self.touch()
        return Said(self.touch)

    def __bool__(self) -> bool:
        self.touch()
        return True


class Key(str):
    touch: Any

    def __hash__(self) -> int:
        type(self).touch()
        return str.__hash__(self)

    def __eq__(self, other: object) -> bool:
        type(self).touch()
        return str.__eq__(self, other)

    def __len__(self) -> int:
        type(self).touch()
        return str.__len__(self)

    def __getitem__(self, index: Any) -> str:
        type(self).touch()
        return str.__getitem__(self, index)

    def __str__(self) -> str:
        type(self).touch()
        return str.__str__(self)


class Error(Exception):
    touch: Any

    def __str__(self) -> str:
        type(self).touch()
        return "error"


class Links:
    """No list, but it can be gone through."""

    def __init__(self, touch: Touch) -> None:
        self.touch = touch

    def __bool__(self) -> bool:
        self.touch()
        return True

    def __iter__(self) -> Iterator[Link]:
        self.touch()
        yield Link(ELSEWHERE, Pairs(self.touch))


def talked(ends: bool) -> dict[str, int]:
    line = Pipeline(ends)
    Key.touch = Error.touch = touch = line.touch
    touch.deepest = 1 if IMPLEMENTATION == "py" else 2
    touch.armed = True

    def values() -> dict[str, Any]:
        return {Key("key"): Key("value"), "said": Said(touch), "words": Words(touch), "pairs": Pairs(touch)}

    def further(span: Any) -> None:
        span.set_attributes(Pairs(touch))
        span.add_event("event", Pairs(touch))
        span.add_link(ELSEWHERE, Pairs(touch))
        span.record_exception(Error("message"), Pairs(touch))
        span.update_name(Key("operation"))
        span.set_status(StatusCode.ERROR, Key("description"))
        span.set_attributes({Key(f"{number}"): Key("value") for number in range(20)})
        line.tracer.start_span(Key("child"), attributes=Pairs(touch), links=Links(touch)).end()  # type: ignore[arg-type]
        with pytest.raises(Error), line.tracer.start_as_current_span("child"):
            raise Error("message")
        with pytest.raises(Error), line.tracer.start_span("child"):
            raise Error("message")

    does = operations(line.tracer, values)
    does["further"] = further
    turn(line.tracer, does)
    return line.check(100)


@ENDS
def test_arguments_that_touch_the_current_span_when_they_are_read(ends: bool) -> None:
    ran(talked, ends)


# --- samplers, id generators and processors


class Sampling(Sampler):
    """Foreign; touches the current span, which is the parent of the one it decides on."""

    touch: Any = staticmethod(lambda: None)

    def should_sample(self, *arguments: Any, **more: Any) -> SamplingResult:
        self.touch()
        return ALWAYS_ON.should_sample(*arguments, **more)

    def get_description(self) -> str:
        return "touches"


class Numbering(IdGenerator):
    touch: Any = staticmethod(lambda: None)

    def __init__(self) -> None:
        self.source = RandomIdGenerator()

    def generate_span_id(self) -> int:
        self.touch()
        return self.source.generate_span_id()

    def generate_trace_id(self) -> int:
        self.touch()
        return self.source.generate_trace_id()

    def is_trace_id_random(self) -> bool:
        self.touch()
        return True


class Processing(SpanProcessor):
    """Foreign; also changes the very span that starts or ends, as far as it lets itself be changed."""

    touch: Any = staticmethod(lambda: None)
    ends = False

    def on_start(self, span: Any, parent_context: Any = None) -> None:
        self.touch()
        span.set_attribute("on_start", Said(self.touch))
        span.add_event("event", {"a": 1})
        if self.ends and span.name == "child":
            span.end()

    def _on_ending(self, span: Any) -> None:
        self.touch()
        span.set_attribute("ending", 1)
        span.end()

    def on_end(self, span: ReadableSpan) -> None:
        self.touch()
        attributes: Any = span._attributes
        with attributes._lock:
            attributes._dict["on_end"] = "x"
            attributes._dict.pop("text", None)
        span._name += ""


def decided(ends: bool, late: bool) -> dict[str, int]:
    sampler, ids, processor = Sampling(), Numbering(), Processing()
    line = Pipeline(ends, *[] if late else [processor], sampler=sampler, id_generator=ids)
    if late:
        line.provider.add_span_processor(processor)
    sampler.touch = ids.touch = processor.touch = line.touch
    processor.ends = ends
    line.touch.armed = True
    does = operations(line.tracer, plain)
    for _ in range(2 * SCALE):
        turn(line.tracer, does)
    return line.check(100 * SCALE)


@pytest.mark.parametrize("late", [False, True])
@ENDS
def test_samplers_id_generators_and_processors_that_touch_the_current_span(ends: bool, late: bool) -> None:
    ran(decided, ends, late)


def exported_while_touching() -> dict[str, int]:
    line = Pipeline()
    takes = line.exporter.answer

    def answer(batch: SpanBatch) -> Any:
        line.touch()
        return takes(batch)

    line.exporter.answer = answer
    line.touch.armed = True
    does = operations(line.tracer, plain)
    for _ in range(20):
        turn(line.tracer, does)
        assert line.processor.force_flush()
    return line.check(20)


def test_an_exporter_that_makes_spans() -> None:
    ran(exported_while_touching)

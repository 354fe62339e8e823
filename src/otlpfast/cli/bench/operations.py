"""What calls of the API cost the thread that makes them: the SDK's and otlpfast's, by turns."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from .tracers import Traced, traced

SIDES = ("SDK", "otlpfast")
TIMES = 500  # calls a round: their spans fit into the queue
_PER_SPAN = 10  # calls of one kind on a span

_ATTRIBUTES = (
    ("http.request.method", "GET"),
    ("http.route", "/items/{number}"),
    ("http.response.status_code", 200),
    ("app.cache.hit", True),
    ("app.seconds", 0.25),
)
_OF_EVENT: dict[str, Any] = {"app.rows": 17, "app.table": "items"}


def _start_and_end(tracer: Any) -> None:
    for _ in range(TIMES):
        tracer.start_span("span").end()


def _with(tracer: Any) -> None:
    for _ in range(TIMES):
        with tracer.start_as_current_span("span"):
            pass


def _usual(tracer: Any) -> None:
    for _ in range(TIMES):
        with tracer.start_as_current_span("GET /items/{number}") as span:
            for key, value in _ATTRIBUTES:
                span.set_attribute(key, value)
            span.add_event("loaded", _OF_EVENT)


def _set_attribute(spans: list[Any]) -> None:
    for span in spans:
        for key in ("app.0", "app.1", "app.2", "app.3", "app.4", "app.5", "app.6", "app.7", "app.8", "app.9"):
            span.set_attribute(key, "value")


def _add_event(spans: list[Any]) -> None:
    for span in spans:
        for _ in range(_PER_SPAN):
            span.add_event("loaded", _OF_EVENT)


@dataclass
class Operation:
    """An operation, what does it TIMES times, and the least seconds that one took, by side.

    ``on_spans``: the work gets fresh spans, which end outside of what is measured, and not a tracer.
    """

    name: str
    work: Callable[[Any], None]
    on_spans: bool = False
    options: dict[str, Any] = field(default_factory=dict)
    least: dict[str, float] = field(default_factory=dict)

    def round(self, side: str, of: Traced) -> None:
        """Does and times it once."""
        spans = [of.tracer.start_span("span") for _ in range(TIMES // _PER_SPAN)] if self.on_spans else []
        given = spans if self.on_spans else of.tracer
        before = time.thread_time()
        self.work(given)
        took = (time.thread_time() - before) / TIMES
        for span in spans:
            span.end()
        of.drain()
        self.least[side] = min(took, self.least.get(side, took))


def operations() -> list[Operation]:
    """What is measured."""
    return [
        Operation("start_span + end", _start_and_end),
        Operation("with start_as_current_span", _with),
        Operation("the same, sampled out", _with, options={"sampler": ALWAYS_OFF}),
        Operation("set_attribute, str", _set_attribute, on_spans=True),
        Operation("add_event, 2 attributes", _add_event, on_spans=True),
        Operation("with, 5 attributes, 1 event", _usual),
    ]


def measure(seconds: float) -> Iterator[list[Operation]]:
    """Measures for about so long, three rounds at least; gives the operations after each round."""
    todo = operations()
    with_tracers = [(one, side, traced(side, **one.options)) for one in todo for side in SIDES]
    end = time.monotonic() + seconds
    rounds = 0
    while rounds < 3 or time.monotonic() < end:
        for one, side, of in with_tracers:
            one.round(side, of)
        rounds += 1
        yield todo
    for _, _, of in with_tracers:
        of.processor.shutdown()

"""Collects what a piece of code has to say of a span, and says it in one go."""

from __future__ import annotations

from collections.abc import Mapping
from time import time_ns
from types import TracebackType
from typing import Any, TypedDict

from opentelemetry.metrics import Meter, Observation
from opentelemetry.trace import Span

from ._impl import AttributePool, EventPool, PaddedCounters


class SpanPoolStats(TypedDict):
    """What ``SpanPool.stats()`` gives: wrappers made, flushes, the share of arrays out of the pools, the pools' counts."""

    wrappers: int
    flushes: int
    efficiency: float
    attribute_pool: dict[str, int]
    event_pool: dict[str, int]


class SpanWrapper:
    """Collects attributes and events for a span in pooled memory. Made by ``SpanPool.wrap()``; use it in a ``with`` or ``flush()`` it.

    Values are copied when they are given: str, bool, int, float and bytes are kept as they are, sequences and mappings become tuples
    and dicts, one-dimensional numeric buffers (NumPy arrays, ``array.array``) tuples of numbers, other objects text.
    """

    __slots__ = ("_attributes", "_events", "_pool", "span")

    def __init__(self, pool: SpanPool, span: Span) -> None:
        self.span = span
        self._pool = pool
        self._attributes = pool._attributes.acquire()
        self._events: Any = None

    def set_attribute(self, key: str, value: Any) -> None:
        """Collects one attribute; the last of a key counts. TypeError for a key that is no str, ValueError once it was closed."""
        self._attributes.append(key, value)

    def set_attributes(self, attributes: Mapping[str, Any]) -> None:
        """Collects several attributes."""
        for key, value in attributes.items():
            self._attributes.append(key, value)

    def add_event(
        self, name: str, attributes: Mapping[str, Any] | None = None, timestamp: int | None = None
    ) -> None:
        """Collects an event. Its time is now, unless ``timestamp`` (nanoseconds since the epoch) says otherwise."""
        if self._events is None:
            self._events = self._pool._events.acquire()
        self._events.append(name, attributes, time_ns() if timestamp is None else timestamp)

    def flush(self) -> None:
        """Gives the span what was collected, in one ``set_attributes`` call and one ``add_event`` call an event.

        The wrapper is empty afterwards and can go on collecting. Does nothing where nothing was collected.
        """
        attributes, events = self._attributes, self._events
        if not len(attributes) and events is None:
            return
        self._attributes, self._events = self._pool._attributes.acquire(), None
        with attributes:
            if len(attributes):
                self.span.set_attributes({key: _tuples(value) for key, value in attributes.items()})
        if events is not None:
            with events:
                for name, event_attributes, timestamp in events.items():
                    self.span.add_event(name, _tuples(event_attributes), timestamp)
        self._pool._counters.add("flushes")

    def close(self) -> None:
        """Flushes, and gives the memory back."""
        self.flush()
        self._attributes.release()

    def __enter__(self) -> SpanWrapper:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _tuples(value: Any) -> Any:
    """The value with views of numbers as tuples, which is what a span takes."""
    if isinstance(value, memoryview):
        return tuple(value.tolist())
    if isinstance(value, dict):
        return {key: _tuples(item) for key, item in value.items()}
    return value


class SpanPool:
    """Makes span wrappers on recycled memory.

    Args:
        meter: where ``otlpfast.pool.wrappers``, ``otlpfast.pool.flushes`` and ``otlpfast.pool.efficiency`` are published, if given.
        attributes: how many attributes a fresh wrapper has room for; one that grew past 4 times as many is not recycled.
        max_size: how many idle arrays of each kind are kept.
    """

    def __init__(self, meter: Meter | None = None, *, attributes: int = 16, max_size: int = 256) -> None:
        self._attributes = AttributePool(attributes, max_size)
        self._events = EventPool(4, max_size)
        self._counters = PaddedCounters(("wrappers", "flushes"))
        if meter is not None:
            self._publish(meter)

    def wrap(self, span: Span) -> SpanWrapper:
        """A wrapper for any OpenTelemetry span."""
        self._counters.add("wrappers")
        return SpanWrapper(self, span)

    def stats(self) -> SpanPoolStats:
        """Counts since the pool was made. ``efficiency`` is hits / (hits + misses) of both pools; 0.0 before the first wrapper."""
        attribute_pool, event_pool = self._attributes.stats(), self._events.stats()
        hits = attribute_pool["hits"] + event_pool["hits"]
        taken = hits + attribute_pool["misses"] + event_pool["misses"]
        return SpanPoolStats(
            wrappers=self._counters.get("wrappers"),
            flushes=self._counters.get("flushes"),
            efficiency=hits / taken if taken else 0.0,
            attribute_pool=attribute_pool,
            event_pool=event_pool,
        )

    def _publish(self, meter: Meter) -> None:
        def read(name: str) -> Any:
            return lambda _: [Observation(self.stats()[name])]  # type: ignore[literal-required]

        meter.create_observable_counter(
            "otlpfast.pool.wrappers", [read("wrappers")], "{wrapper}", "Span wrappers made."
        )
        meter.create_observable_counter(
            "otlpfast.pool.flushes", [read("flushes")], "{flush}", "Wrappers flushed to their spans."
        )
        meter.create_observable_gauge(
            "otlpfast.pool.efficiency", [read("efficiency")], "1", "Share of arrays taken out of the pools."
        )

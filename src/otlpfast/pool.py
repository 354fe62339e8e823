"""Collects what a piece of code has to say of a span, and says it in one go."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Iterable, Mapping
from time import time_ns
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypedDict

from opentelemetry.metrics import CallbackOptions, Meter, Observation
from opentelemetry.trace import Span

from ._checks import MAX_CAPACITY, whole_number
from ._impl import AttributePool, EventPool, PaddedCounters
from ._instruments import POOL_METRICS, Metric, pool_observation

if TYPE_CHECKING:
    from ._pure import AttributeArray


class SpanPoolStats(TypedDict):
    """What ``SpanPool.stats()`` gives: wrappers made, flushes, share of recycled arrays, pools' counts."""

    wrappers: int
    flushes: int
    efficiency: float
    attribute_pool: dict[str, int]
    event_pool: dict[str, int]


class SpanWrapper:
    """Collects attributes and events for a span in pooled memory.

    Made by ``SpanPool.wrap()``; use it in a ``with`` or ``flush()`` it.

    Values are copied when they are given: str, bool, int, float and bytes are kept as they are, sequences and
    mappings become tuples and dicts, one-dimensional numeric buffers (NumPy arrays, ``array.array``) tuples
    of numbers, other objects text.
    """

    __slots__ = ("_attributes", "_events", "_pool", "span")

    def __init__(self, pool: SpanPool, span: Span) -> None:
        if not callable(getattr(span, "set_attributes", None)):
            raise TypeError(f"span={span!r}: an opentelemetry.trace.Span is allowed")
        self.span = span
        self._pool = pool
        self._attributes = pool._attributes.acquire()
        self._events: Any = None

    def set_attribute(self, key: str, value: Any) -> None:
        """Collects one attribute; the last of a key counts.

        TypeError for a key that is no str, ValueError once it was closed.
        """
        self._attributes.append(key, value)

    def set_attributes(self, attributes: Mapping[str, Any]) -> None:
        """Collects several attributes; TypeError for what is no mapping."""
        if not isinstance(attributes, Mapping):
            raise TypeError(f"attributes={attributes!r}: a mapping is allowed")
        for key, value in attributes.items():
            self._attributes.append(key, value)

    def add_event(
        self, name: str, attributes: Mapping[str, Any] | None = None, timestamp: int | None = None
    ) -> None:
        """Collects an event.

        Its time is now, unless ``timestamp`` (nanoseconds since the epoch) says otherwise. TypeError for
        attributes that are no mapping, ValueError once it was closed.
        """
        if self._events is None:
            if not self._attributes.capacity:
                raise ValueError("this SpanWrapper was closed")
            self._events = self._pool._events.acquire()
        self._events.append(name, attributes, time_ns() if timestamp is None else timestamp)

    def flush(self) -> None:
        """Gives the span what was collected.

        One ``set_attributes`` call for all attributes, one ``add_event`` call for each event. The wrapper is
        empty afterwards and can go on collecting. Does nothing where nothing was collected.
        """
        if not len(self._attributes) and self._events is None:
            return
        # What is set while this runs, by a signal handler say, is collected for the next time.
        fresh = self._pool._attributes.acquire()
        attributes, self._attributes = self._attributes, fresh
        self._deliver(attributes)

    def close(self) -> None:
        """Flushes, and gives the memory back. May be called again."""
        if self._attributes.capacity:
            self._deliver(self._attributes)

    def _deliver(self, attributes: AttributeArray) -> None:
        events, self._events = self._events, None
        collected = dict(attributes.items())
        attributes.release()
        if not collected and events is None:
            return
        if collected:
            self.span.set_attributes(collected)
        if events is not None:
            with events:
                for name, event_attributes, timestamp in events.items():
                    self.span.add_event(name, event_attributes, timestamp)
        self._pool._counters.add("flushes")

    def __enter__(self) -> SpanWrapper:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class SpanPool:
    """Makes span wrappers on recycled memory.

    Args:
        meter: where ``otlpfast.pool.*`` metrics are published, if given: wrappers, flushes and efficiency,
            and the counts of the two pools of arrays. The meter does not keep the pool alive.
        attributes: how many attributes a fresh wrapper has room for; one that grew past 4 times as many is
            not recycled.
        max_size: how many idle arrays of each kind are kept.
    """

    def __init__(self, meter: Meter | None = None, *, attributes: int = 16, max_size: int = 256) -> None:
        self._attributes = AttributePool(whole_number("attributes", attributes, 1, MAX_CAPACITY), max_size)
        self._events = EventPool(max_size=max_size)
        self._start_counting()
        _pools.add(self)
        if meter is not None:
            self._publish(meter)

    def _start_counting(self) -> None:
        self._counters = PaddedCounters(("wrappers", "flushes"))

    def wrap(self, span: Span) -> SpanWrapper:
        """A wrapper for any OpenTelemetry span; TypeError for what is none."""
        wrapper = SpanWrapper(self, span)
        self._counters.add("wrappers")
        return wrapper

    def stats(self) -> SpanPoolStats:
        """Counts since the pool was made, in this process.

        ``efficiency`` is hits / (hits + misses) of both pools; 0.0 before the first wrapper.
        """
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
        if not callable(getattr(meter, "create_observable_counter", None)):
            raise TypeError(f"meter={meter!r}: an opentelemetry.metrics.Meter is allowed")
        alive = weakref.ref(self)

        def read(name: str) -> Callable[[CallbackOptions], Iterable[Observation]]:
            def callback(_: CallbackOptions) -> Iterable[Observation]:
                pool = alive()
                return () if pool is None else [Observation(pool.stats()[name])]  # type: ignore[literal-required]

            return callback

        meter.create_observable_counter(
            "otlpfast.pool.wrappers", [read("wrappers")], "{wrapper}", "Span wrappers made."
        )
        meter.create_observable_counter(
            "otlpfast.pool.flushes", [read("flushes")], "{flush}", "Wrappers flushed to their spans."
        )
        meter.create_observable_gauge(
            "otlpfast.pool.efficiency", [read("efficiency")], "1", "Share of arrays taken out of the pools."
        )

        def read_both(metric: Metric) -> Callable[[CallbackOptions], Iterable[Observation]]:
            def callback(_: CallbackOptions) -> Iterable[Observation]:
                pool = alive()
                if pool is None:
                    return ()
                pools = (("attributes", pool._attributes), ("events", pool._events))
                return [pool_observation(metric, each.stats(), name) for name, each in pools]

            return callback

        for metric in POOL_METRICS:
            metric.register(meter, read_both(metric))


_pools: weakref.WeakSet[SpanPool] = weakref.WeakSet()


def _start_counting_anew() -> None:
    # In a forked child; the arrays' pools see to themselves.
    for pool in _pools:
        pool._start_counting()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_counting_anew)


def pool_stats() -> list[tuple[str, dict[str, int]]]:
    """The hits and misses of all SpanPools together, by what is pooled; empty where there is no SpanPool."""
    pools = list(_pools)
    kinds = {"SpanPool attributes": "_attributes", "SpanPool events": "_events"}
    return [
        (
            name,
            {what: sum(getattr(pool, kind).stats()[what] for pool in pools) for what in ("hits", "misses")},
        )
        for name, kind in kinds.items()
        if pools
    ]

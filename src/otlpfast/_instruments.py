"""The instruments of otlpfast's own metrics, each registered once with a meter provider for all components.

The SDK takes the callbacks of an instrument's first registration and of no other; and its Prometheus exporter
mixes labels up where two scopes have an instrument in common and not all attributes.
"""

from __future__ import annotations

import itertools
import os
import weakref
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Generic, NamedTuple, TypeVar

from opentelemetry import metrics
from opentelemetry.metrics import CallbackOptions, Histogram, Meter, MeterProvider, Observation

Attributes = Mapping[str, str | int]
Readings = Mapping[str, Callable[[Any], Iterable[Observation]]]
"""For each metric that a component has, how to read it; the component is the argument."""

_VARIABLE = "OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED"
_COUNTER, _UP_DOWN, _GAUGE = (f"create_observable_{kind}" for kind in ("counter", "up_down_counter", "gauge"))


class Metric(NamedTuple):
    """An instrument that is observed when it is collected."""

    name: str
    create: str  # the meter's method
    unit: str
    description: str

    def register(self, meter: Meter, observe: Callable[[CallbackOptions], Iterable[Observation]]) -> None:
        """Makes the instrument."""
        getattr(meter, self.create)(self.name, [observe], self.unit, self.description)


POOL_METRICS = (
    Metric("otlpfast.pool.hits", _COUNTER, "{block}", "Blocks that were taken out of a pool."),
    Metric("otlpfast.pool.misses", _COUNTER, "{block}", "Blocks that a pool did not have."),
    Metric("otlpfast.pool.recycled", _COUNTER, "{block}", "Blocks that a pool took back."),
    Metric("otlpfast.pool.oversized", _COUNTER, "{block}", "Blocks that had grown too large to be kept."),
    Metric("otlpfast.pool.discarded", _COUNTER, "{block}", "Blocks that a full pool did not take back."),
    Metric("otlpfast.pool.idle", _UP_DOWN, "{block}", "Blocks that wait in a pool."),
)
# Descriptions are not the SDK's: its Prometheus exporter would take both metrics for one.
_METRICS = (
    Metric("otel.sdk.span.started", _COUNTER, "{span}", "Spans that were started."),
    Metric("otel.sdk.span.live", _UP_DOWN, "{span}", "Recording spans that have not ended."),
    Metric("otel.sdk.processor.span.processed", _COUNTER, "{span}", "Spans that a processor is done with."),
    Metric("otel.sdk.processor.span.queue.size", _UP_DOWN, "{span}", "Spans in a processor's queue."),
    Metric("otel.sdk.processor.span.queue.capacity", _UP_DOWN, "{span}", "Spans that a queue can hold."),
    Metric("otlpfast.processor.queue.usage", _UP_DOWN, "By", "Encoded spans in a processor's queue."),
    Metric("otlpfast.processor.queue.capacity", _UP_DOWN, "By", "Encoded spans that a queue can hold."),
    Metric("otel.sdk.exporter.span.exported", _COUNTER, "{span}", "Spans whose export has ended."),
    Metric("otel.sdk.exporter.span.inflight", _UP_DOWN, "{span}", "Spans whose export is under way."),
    Metric("otlpfast.spool.usage", _UP_DOWN, "By", "Files of the spool."),
    Metric("otlpfast.spool.capacity", _UP_DOWN, "By", "Files that the spool may have."),
    Metric("otlpfast.spool.spans", _UP_DOWN, "{span}", "Spans that wait in the spool."),
    Metric("otlpfast.spool.oldest.age", _GAUGE, "s", "Age of the oldest spans in the spool."),
    Metric("otlpfast.spool.written", _COUNTER, "{span}", "Spans that went to the spool."),
    Metric("otlpfast.spool.replayed", _COUNTER, "{span}", "Spans of the spool that the collector took."),
    Metric("otlpfast.spool.dropped", _COUNTER, "{span}", "Spans that the spool lost, or did not take."),
    Metric("otlpfast.tail_sampling.traces", _COUNTER, "{trace}", "Traces that a tail sampler decided on."),
    Metric("otlpfast.tail_sampling.early", _COUNTER, "{trace}", "Traces decided on before their end."),
    Metric("otlpfast.tail_sampling.sampled_out", _COUNTER, "{span}", "Spans of traces that were not kept."),
    Metric("otlpfast.tail_sampling.spans", _UP_DOWN, "{span}", "Spans that wait for the decision."),
    Metric("otlpfast.tail_sampling.usage", _UP_DOWN, "By", "Memory of traces that wait for the decision."),
    Metric("otlpfast.tail_sampling.capacity", _UP_DOWN, "By", "Memory that traces may take which wait."),
    *POOL_METRICS,
    Metric("otlpfast.span_metrics.series", _UP_DOWN, "{series}", "Series that a span metrics processor has."),
    Metric("otlpfast.span_metrics.dropped", _COUNTER, "{span}", "Spans that came too fast to be measured."),
)

# The specification's default boundaries are for milliseconds; an export takes from 1 ms to its time-out.
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


_Made = TypeVar("_Made")


class PerProvider(Generic[_Made]):
    """What is made once for each meter provider, as an instrument is registered once.

    Args:
        make: makes it.

    Attributes:
        early: that which was made before there was a global provider, with what stands for it; None without.
    """

    def __init__(self, make: Callable[[MeterProvider], _Made]) -> None:
        self._make = make
        self._known: weakref.WeakKeyDictionary[MeterProvider, _Made] = weakref.WeakKeyDictionary()
        self.early: _Made | None = None

    def of(self, meter_provider: MeterProvider | None) -> _Made:
        """That of a meter provider, by default of the global one."""
        provider = meter_provider or metrics.get_meter_provider()
        if provider in self._known:
            return self._known[provider]
        is_global = provider is metrics.get_meter_provider()
        if is_global and self.early is not None:  # it is with that provider since it was set
            return self.early
        made = self._known[provider] = self._make(provider)
        if is_global and type(provider).__module__.startswith("opentelemetry.metrics."):
            self.early = made
        return made


class Instruments:
    """All of one meter. Components register what can be read of them; none is kept alive.

    Attributes:
        operation_duration: the histogram ``otel.sdk.exporter.operation.duration``.
    """

    def __init__(self, provider: MeterProvider) -> None:
        meter = provider.get_meter("otlpfast")
        self._provider = weakref.ref(provider)
        self._numbers = itertools.count()
        self._components: dict[int, tuple[weakref.ref[Any], Readings]] = {}
        for metric in _METRICS:
            metric.register(meter, self._observer(metric.name))
        self.operation_duration: Histogram = meter.create_histogram(
            "otel.sdk.exporter.operation.duration",
            "s",
            "How long exports take, retries included.",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )

    def add(self, component: object, readings: Readings) -> None:
        """Observes a component as long as it lives."""
        number = next(self._numbers)
        # Nothing here takes a lock: a finaliser or a signal handler may come any moment.
        components = self._components
        alive = weakref.ref(component, lambda _: components.pop(number, None))
        components[number] = (alive, readings)

    def add_once(self, component: object, readings: Readings) -> None:
        """The same, unless it is observed already."""
        if all(alive() is not component for alive, _ in list(self._components.values())):
            self.add(component, readings)

    def _observed(self) -> Iterator[tuple[object, Readings]]:
        found = list(self._components.values())
        # A provider that became the global one after it had these instruments takes no others of their names.
        early = _instruments.early
        if early and early is not self and metrics.get_meter_provider() is self._provider():
            found += early._components.values()
        for alive, readings in found:
            component = alive()
            if component is not None:
                yield component, readings

    def _observer(self, name: str) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def observe(_: CallbackOptions) -> Iterable[Observation]:
            found: list[Observation] = []
            components = {id(component): (component, readings) for component, readings in self._observed()}
            for component, readings in components.values():
                if name in readings:
                    found.extend(readings[name](component))
            return found

        return observe


_instruments = PerProvider(Instruments)
_numbers: defaultdict[str, itertools.count[int]] = defaultdict(itertools.count)


def instruments(meter_provider: MeterProvider | None) -> Instruments:
    """Those of a meter provider, by default of the global one."""
    return _instruments.of(meter_provider)


def is_enabled() -> bool:
    """Whether the user wants metrics of the SDK itself."""
    return os.environ.get(_VARIABLE, "").strip().lower() == "true"


def component(kind: str) -> dict[str, str | int]:
    """The attributes of a new component: its type and a name of its own (conventions: otel.component.*)."""
    return {"otel.component.type": kind, "otel.component.name": f"{kind}/{next(_numbers[kind])}"}


def pool_observation(metric: Metric, stats: Mapping[str, int], pool: str) -> Observation:
    """One metric of a pool, from its ``stats()``."""
    return Observation(stats[metric.name.rpartition(".")[2]], {"otlpfast.pool.name": pool})

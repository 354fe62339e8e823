"""Runtime statistics as OpenTelemetry metrics (semantic conventions: runtime/cpython-metrics.md and
system/process-metrics.md; what has no name there is ``otlpfast.*``)."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from opentelemetry.metrics import CallbackOptions, Histogram, MeterProvider, Observation

from .._instruments import Metric, PerProvider
from ._readings import RuntimeSnapshot

_COUNTER, _UP_DOWN, _GAUGE = (f"create_observable_{kind}" for kind in ("counter", "up_down_counter", "gauge"))
# The specification's default boundaries are for milliseconds; a pause takes microseconds to seconds.
_SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


class Source(Protocol):
    """Whose metrics these are."""

    @property
    def latest(self) -> RuntimeSnapshot | None:
        """The last reading."""
        ...

    def active_alerts(self) -> dict[str, tuple[bool, int]]:
        """Of each alert whether it is on, and how often it has begun."""
        ...


Read = Callable[[RuntimeSnapshot], Iterable[Observation]]


def _one(value: Callable[[RuntimeSnapshot], float | None]) -> Read:
    def read(snapshot: RuntimeSnapshot) -> Iterator[Observation]:
        number = value(snapshot)
        if number is not None:
            yield Observation(number)

    return read


def _split(attribute: str, **values: Callable[[RuntimeSnapshot], float | None]) -> Read:
    def read(snapshot: RuntimeSnapshot) -> Iterator[Observation]:
        for name, value in values.items():
            number = value(snapshot)
            if number is not None:
                yield Observation(number, {attribute: name})

    return read


def _generations(field: str) -> Read:
    def read(snapshot: RuntimeSnapshot) -> Iterator[Observation]:
        for number, generation in enumerate(snapshot.generations):
            yield Observation(getattr(generation, field), {"cpython.gc.generation": number})

    return read


_METRICS: tuple[tuple[Metric, Read], ...] = (
    (
        Metric("process.cpu.time", _COUNTER, "s", "CPU time of the process."),
        _split("cpu.mode", user=lambda s: s.usage.cpu_user, system=lambda s: s.usage.cpu_system),
    ),
    (
        Metric("process.cpu.utilization", _GAUGE, "1", "CPU time by real time and available CPUs."),
        _one(lambda s: s.cpu_utilization),
    ),
    (
        Metric("process.memory.usage", _UP_DOWN, "By", "Physical memory in use."),
        _one(lambda s: s.usage.memory_usage),
    ),
    (
        Metric("process.memory.virtual", _UP_DOWN, "By", "Virtual memory."),
        _one(lambda s: s.usage.memory_virtual),
    ),
    (
        Metric("process.thread.count", _UP_DOWN, "{thread}", "Threads of the process."),
        _one(lambda s: s.usage.threads),
    ),
    (
        Metric("process.unix.file_descriptor.count", _UP_DOWN, "{file_descriptor}", "Open file descriptors."),
        _one(lambda s: s.usage.file_descriptors),
    ),
    (
        Metric("process.context_switches", _COUNTER, "{context_switch}", "Context switches of the process."),
        _split(
            "process.context_switch.type",
            voluntary=lambda s: s.usage.context_switches_voluntary,
            involuntary=lambda s: s.usage.context_switches_involuntary,
        ),
    ),
    (
        Metric("process.paging.faults", _COUNTER, "{fault}", "Page faults of the process."),
        _split(
            "system.paging.fault.type",
            major=lambda s: s.usage.faults_major,
            minor=lambda s: s.usage.faults_minor,
        ),
    ),
    (Metric("process.uptime", _GAUGE, "s", "Age of the process."), _one(lambda s: s.uptime)),
    (
        Metric("cpython.gc.collections", _COUNTER, "{collection}", "Garbage collections."),
        _generations("collections"),
    ),
    (
        Metric("cpython.gc.collected_objects", _COUNTER, "{object}", "Objects collected."),
        _generations("collected"),
    ),
    (
        Metric("cpython.gc.uncollectable_objects", _COUNTER, "{object}", "Objects found uncollectable."),
        _generations("uncollectable"),
    ),
    (
        Metric("otlpfast.heap.blocks", _UP_DOWN, "{block}", "Blocks that Python's allocator has given out."),
        _one(lambda s: s.allocated_blocks),
    ),
    (
        Metric("otlpfast.thread.count", _UP_DOWN, "{thread}", "Threads that Python knows."),
        _one(lambda s: s.python_threads),
    ),
    (
        Metric("otlpfast.asyncio.tasks", _UP_DOWN, "{task}", "Tasks of the watched loops that are not done."),
        _one(lambda s: s.tasks if s.loops else None),
    ),
)


class RuntimeInstruments:
    """All of one meter provider; they show the source that was set last, and don't keep it alive.

    Attributes:
        gc_pause, loop_lag: histograms, in seconds, for the thread that reads; nobody else may record.
    """

    def __init__(self, provider: MeterProvider) -> None:
        meter = provider.get_meter("otlpfast.profiling")
        self._source: Callable[[], Source | None] = lambda: None
        for metric, read in _METRICS:
            metric.register(meter, self._observer(read))
        active = Metric("otlpfast.alert.active", _UP_DOWN, "{alert}", "1 while the threshold is exceeded.")
        active.register(meter, lambda _: self._alerts(0))
        begun = Metric("otlpfast.alert.raised", _COUNTER, "{alert}", "How often a threshold was exceeded.")
        begun.register(meter, lambda _: self._alerts(1))
        self.gc_pause: Histogram = meter.create_histogram(
            "otlpfast.gc.pause",
            "s",
            "How long garbage collections took.",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )
        self.loop_lag: Histogram = meter.create_histogram(
            "otlpfast.asyncio.loop.lag",
            "s",
            "How long callbacks waited for their event loop.",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )

    def show(self, source: Source) -> None:
        """From now on, as long as it lives."""
        self._source = weakref.ref(source)

    def hide(self, source: Source) -> None:
        """No more, if it is this one that is shown."""
        if self._source() is source:
            self._source = lambda: None

    def _observer(self, read: Read) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def observe(_: CallbackOptions) -> list[Observation]:
            source = self._source()
            snapshot = source.latest if source is not None else None
            return list(read(snapshot)) if snapshot is not None else []

        return observe

    def _alerts(self, which: int) -> list[Observation]:
        source = self._source()
        found = source.active_alerts() if source is not None else {}
        return [
            Observation(int(state[which]), {"otlpfast.alert.name": name}) for name, state in found.items()
        ]


runtime_instruments = PerProvider(RuntimeInstruments).of
"""Those of a meter provider, by default of the global one."""

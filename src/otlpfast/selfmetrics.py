"""A processor's account as OpenTelemetry metrics (semantic conventions: otel/sdk-metrics.md).

Opt-in by ``OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED=true``, as in the SDK. The instruments are observed when
they are collected: a span pays nothing for them.
"""

from __future__ import annotations

import itertools
import os
import weakref
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Protocol

from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation, get_meter_provider

from ._account import Stats

_VARIABLE = "OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED"
_numbers: defaultdict[str, itertools.count[int]] = defaultdict(itertools.count)


class _Processor(Protocol):
    def stats(self) -> Stats: ...


def publish(
    processor: _Processor, component_type: str, capacity: int | None, meter_provider: MeterProvider | None
) -> None:
    """Registers ``otel.sdk.processor.span.processed``; with a capacity, the queue's two as well."""
    if os.environ.get(_VARIABLE, "").strip().lower() != "true":
        return
    component = {
        "otel.component.type": component_type,
        "otel.component.name": f"{component_type}/{next(_numbers[component_type])}",
    }
    # A meter of its own: the SDK takes the callbacks of an instrument's first registration and of no other.
    meter = (meter_provider or get_meter_provider()).get_meter("otlpfast", attributes=component)
    alive = weakref.ref(processor)

    def observe(
        read: Callable[[Stats], Iterable[Observation]],
    ) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def callback(_: CallbackOptions) -> Iterable[Observation]:
            observed = alive()
            return () if observed is None else read(observed.stats())

        return callback

    def processed(stats: Stats) -> Iterable[Observation]:
        dropped = stats["dropped"]
        yield Observation(stats["ended"] - stats["queued"] - sum(dropped.values()), component)
        for reason, count in dropped.items():
            error = "already_shutdown" if reason == "shutdown" else reason
            yield Observation(count, {**component, "error.type": error})

    meter.create_observable_counter(
        "otel.sdk.processor.span.processed",
        [observe(processed)],
        unit="{span}",
        description="The number of spans for which the processing has finished, either successful or failed.",
    )
    if capacity is None:
        return
    meter.create_observable_up_down_counter(
        "otel.sdk.processor.span.queue.size",
        [observe(lambda stats: [Observation(stats["queued"], component)])],
        unit="{span}",
        description="The number of spans in the queue of a given instance of an SDK span processor.",
    )
    meter.create_observable_up_down_counter(
        "otel.sdk.processor.span.queue.capacity",
        [observe(lambda _: [Observation(capacity, component)])],
        unit="{span}",
        description="The maximum number of spans the queue of a given instance of an SDK span processor"
        " can hold.",
    )

"""A processor's account as OpenTelemetry metrics (semantic conventions: otel/sdk-metrics.md).

Opt-in by ``OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED=true``, as in the SDK. The instruments are observed when
they are collected: a span pays nothing for them. docs/metrics.md lists them all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Protocol

from opentelemetry.metrics import MeterProvider, Observation

from ._account import LOSSES, VERDICTS, Stats
from ._impl import POOLS, SpanQueue
from ._instruments import (
    POOL_METRICS,
    Attributes,
    Instruments,
    Metric,
    Readings,
    component,
    instruments,
    is_enabled,
    pool_observation,
)

if TYPE_CHECKING:
    from ._delivery import Delivery
    from ._spooling import Spooling
    from ._tail_sampling import TailSampler


class _Processor(Protocol):
    def stats(self) -> Stats: ...


class _QueueingProcessor(_Processor, Protocol):
    _queue: SpanQueue
    _delivery: Delivery
    tail_sampler: TailSampler | None


def publish(processor: _Processor, component_type: str, meter_provider: MeterProvider | None) -> None:
    """Publishes what a processor without a queue has to tell: ``otel.sdk.processor.span.processed``."""
    if is_enabled():
        who = component(component_type)
        _instruments(meter_provider).add(processor, {"otel.sdk.processor.span.processed": _processed(who)})


def publish_queue(
    processor: _QueueingProcessor, component_type: str, meter_provider: MeterProvider | None
) -> None:
    """The same of one with a queue, and perhaps a spool."""
    if is_enabled():
        who = component(component_type)
        readings = {
            "otel.sdk.processor.span.processed": _processed(who),
            **_of_queue(who),
            **_of_spool(who),
            **_of_tail_sampler(who),
        }
        _instruments(meter_provider).add(processor, readings)


def _processed(who: Attributes) -> Callable[[_Processor], Iterable[Observation]]:
    def read(processor: _Processor) -> Iterable[Observation]:
        stats = processor.stats()
        dropped = stats["dropped"]
        # What was sampled out is as good as done with: the user wanted it to go.
        lost = sum(dropped.get(reason, 0) for reason in LOSSES)
        yield Observation(stats["ended"] - stats["queued"] - lost, who)
        # All reasons from the start: a rate needs a first value.
        for reason in LOSSES:
            error = "already_shutdown" if reason == "shutdown" else reason
            yield Observation(dropped.get(reason, 0), {**who, "error.type": error})

    return read


def _of_queue(who: Attributes) -> Readings:
    return {
        "otel.sdk.processor.span.queue.size": lambda p: [
            Observation(p._queue.waiting + p._queue.in_flight, who)
        ],
        "otel.sdk.processor.span.queue.capacity": lambda p: [Observation(p._queue.max_spans, who)],
        "otlpfast.processor.queue.usage": lambda p: [Observation(p._queue.nbytes, who)],
        "otlpfast.processor.queue.capacity": lambda p: [Observation(p._queue.max_bytes, who)],
    }


def _of_tail_sampler(who: Attributes) -> Readings:
    def of(
        read: Callable[[SpanQueue, TailSampler], Iterable[Observation]],
    ) -> Callable[[_QueueingProcessor], list[Observation]]:
        def read_all(processor: _QueueingProcessor) -> list[Observation]:
            sampler = processor.tail_sampler
            return [] if sampler is None else list(read(processor._queue, sampler))

        return read_all

    def traces(queue: SpanQueue, _: TailSampler) -> Iterable[Observation]:
        for verdict, number in _verdicts(queue).items():
            if verdict != "early":
                yield Observation(number, {**who, "otlpfast.tail_sampling.verdict": verdict})

    return {
        "otlpfast.tail_sampling.traces": of(traces),
        "otlpfast.tail_sampling.early": of(lambda q, _: [Observation(_verdicts(q)["early"], who)]),
        "otlpfast.tail_sampling.sampled_out": of(
            lambda q, _: [Observation(q.counters.get("sampled_out"), who)]
        ),
        "otlpfast.tail_sampling.spans": of(lambda q, _: [Observation(q.undecided, who)]),
        "otlpfast.tail_sampling.usage": of(lambda q, _: [Observation(q.undecided_bytes, who)]),
        "otlpfast.tail_sampling.capacity": of(lambda _, sampler: [Observation(sampler.max_bytes, who)]),
    }


def _verdicts(queue: SpanQueue) -> dict[str, int]:
    counters = queue.verdicts
    return dict.fromkeys(VERDICTS, 0) if counters is None else counters.snapshot()


def _of_spool(who: Attributes) -> Readings:
    def of(
        read: Callable[[Spooling], Iterable[Observation]],
    ) -> Callable[[_QueueingProcessor], list[Observation]]:
        def read_all(processor: _QueueingProcessor) -> list[Observation]:
            spooling = processor._delivery.spooling
            return [] if spooling is None else list(read(spooling))

        return read_all

    def dropped(spooling: Spooling) -> Iterable[Observation]:
        for reason in spooling.LOSSES:
            yield Observation(spooling.counts.get(reason), {**who, "error.type": reason})

    return {
        "otlpfast.spool.usage": of(lambda s: [Observation(s.spool.on_disk, who)]),
        "otlpfast.spool.capacity": of(lambda s: [Observation(s.spool.max_bytes, who)]),
        "otlpfast.spool.spans": of(lambda s: [Observation(s.spool.spans, who)]),
        "otlpfast.spool.oldest.age": of(lambda s: [Observation(s.spool.oldest_age(), who)]),
        "otlpfast.spool.written": of(lambda s: [Observation(s.counts.get("written"), who)]),
        "otlpfast.spool.replayed": of(lambda s: [Observation(s.counts.get("replayed"), who)]),
        "otlpfast.spool.dropped": of(dropped),
    }


class _Buffers:
    """The memory of encoded spans, which all processors of the process share."""


_buffers = _Buffers()


def _of_buffers(metric: Metric) -> Callable[[_Buffers], Iterable[Observation]]:
    return lambda _: [pool_observation(metric, POOLS["span buffers"].stats(), "buffers")]


def _instruments(meter_provider: MeterProvider | None) -> Instruments:
    found = instruments(meter_provider)
    found.add_once(_buffers, {metric.name: _of_buffers(metric) for metric in POOL_METRICS})
    return found

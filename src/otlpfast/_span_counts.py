"""How many spans were started and are live, as metrics (semantic conventions: otel/sdk-metrics.md).

In place of the SDK's own, whose instruments take a span tens of microseconds, and locks that a signal handler
or a finaliser that starts a span may find taken by its own thread.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Iterable
from functools import partial

from opentelemetry.metrics import MeterProvider, Observation
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.trace import SpanContext

from ._impl import PaddedCounters
from ._instruments import Instruments, instruments

_ORIGINS = ("none", "local", "remote")
_RESULTS = tuple(decision.name for decision in Decision)
_STARTED = tuple(f"{origin} {result}" for result in _RESULTS for origin in _ORIGINS)
_RECORDING = (Decision.RECORD_ONLY, Decision.RECORD_AND_SAMPLE)
_FIRST = {id(decision): 3 * place for place, decision in enumerate(Decision)}  # of its three in _STARTED
_DROPPED = _FIRST[id(Decision.DROP)]


def _nothing() -> None:
    pass


class SpanCounts:
    """What a tracer asks at the start of each span: the SDK's ``TracerMetricsT``."""

    def __init__(self) -> None:
        self.start_anew()
        _all.add(self)

    def start_anew(self) -> None:
        """In a forked child as well, in which none of the parent's spans is live."""
        self._counters = PaddedCounters((*_STARTED, *_RESULTS))
        self._ends: dict[int, Callable[[], None]] = {
            id(decision): partial(self._counters.add, decision.name) for decision in _RECORDING
        }

    def start_span(
        self, parent_span_context: SpanContext | None, sampling_decision: Decision
    ) -> Callable[[], None]:
        """Counts a span that starts; what to call when it ends."""
        origin = 0 if parent_span_context is None else 2 if parent_span_context.is_remote else 1
        # What a sampler says that is no decision counts as a drop, as with the SDK.
        self._counters.add(_STARTED[_FIRST.get(id(sampling_decision), _DROPPED) + origin])
        return self._ends.get(id(sampling_decision), _nothing)

    def started(self) -> Iterable[Observation]:
        """How many, by the parent's origin and the sampler's decision."""
        counts = self._counters.snapshot()
        for name in _STARTED:
            origin, result = name.split()
            if counts[name]:
                attributes = {"otel.span.parent.origin": origin, "otel.span.sampling_result": result}
                yield Observation(counts[name], attributes)

    def live(self) -> Iterable[Observation]:
        """How many have not ended, by the sampler's decision."""
        counts = self._counters.snapshot()
        for decision in _RECORDING:
            started = sum(counts[f"{origin} {decision.name}"] for origin in _ORIGINS)
            if started:
                yield Observation(
                    started - counts[decision.name], {"otel.span.sampling_result": decision.name}
                )


_all: weakref.WeakSet[SpanCounts] = weakref.WeakSet()
_by_instruments: weakref.WeakKeyDictionary[Instruments, SpanCounts] = weakref.WeakKeyDictionary()


def span_counts(meter_provider: MeterProvider | None) -> SpanCounts:
    """Those of a meter provider, for all tracer providers: the conventions tell these not apart."""
    shared = instruments(meter_provider)
    found = _by_instruments.get(shared) or _by_instruments.setdefault(shared, SpanCounts())
    shared.add_once(
        found, {"otel.sdk.span.started": SpanCounts.started, "otel.sdk.span.live": SpanCounts.live}
    )
    return found


def _start_anew() -> None:
    for counts in _all:
        counts.start_anew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_anew)

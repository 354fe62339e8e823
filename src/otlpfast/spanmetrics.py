"""Rate, errors and durations of spans as metrics, named as those of the Collector's spanmetrics connector."""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from opentelemetry import metrics
from opentelemetry.metrics import MeterProvider, Observation
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.trace import SpanKind, StatusCode

from ._arguments import redactor
from ._checks import check_meter_provider, whole_number
from ._instruments import component, instruments
from ._log import RateLimitedLog
from ._recording import Recorder, Series
from ._redacted import redacted_pairs

if TYPE_CHECKING:
    from .redaction import RedactionRules

_logger = logging.getLogger(__name__)

_OWN = ("service.name", "span.name", "span.kind", "status.code")
_NANOSECONDS = {"s": 1e9, "ms": 1e6}
_BUCKETS = (0.002, 0.004, 0.006, 0.008, 0.01, 0.05, 0.1, 0.2, 0.4, 0.8, 1, 1.4, 2, 5, 10, 15)  # in seconds
_KINDS = {id(kind): f"SPAN_KIND_{kind.name}" for kind in SpanKind}
_CODES = {id(code): f"STATUS_CODE_{code.name}" for code in StatusCode}
_OVERFLOW = Series({"otel.metric.overflow": True}, None)
_SIMPLE = frozenset((str, bool, int, float))
_FLUSH_MILLIS = 30_000


class SpanMetricsProcessor(SpanProcessor):
    """Counts spans and measures how long they take, for each span name, kind and status.

    Gives ``traces.span.metrics.calls``, a counter, and ``traces.span.metrics.duration``, a histogram, with
    the attributes ``service.name``, ``span.name``, ``span.kind`` (``SPAN_KIND_SERVER``, ...) and
    ``status.code`` (``STATUS_CODE_ERROR``, ...), as the connector of the Collector does. All spans that are
    recorded count, sampled or not. Durations have the ids of sampled spans as exemplars.

    Works with any tracer provider. A thread of its own does the recording, in at most a second and before a
    collection, so that a span waits for no lock of the metrics SDK.

    Args:
        meter_provider: where the metrics go; by default the global one.
        namespace: what the names begin with; "" for nothing.
        unit: of durations, "s" or "ms".
        buckets: boundaries of the histogram, in that unit; by default 2 ms to 15 s, as in the connector.
        dimensions: names of further attributes, which are looked for in the span, then in its resource; a
            mapping gives those that are found in neither a value (None: left out).
        exclude_dimensions: which of the four attributes are left out.
        max_series: how many sets of attributes are told apart. Spans beyond that count for one with the only
            attribute ``otel.metric.overflow=true`` (specification: metrics/sdk.md, "Cardinality limits").
        redaction: what is hidden in these attributes; by default the rules of ``OTLPFAST_REDACTION``.

    Raises:
        TypeError, ValueError: an argument of the wrong kind or out of range.
    """

    _only_reads = True  # see _processors.py

    def __init__(
        self,
        meter_provider: MeterProvider | None = None,
        *,
        namespace: str = "traces.span.metrics",
        unit: str = "s",
        buckets: Sequence[float] | None = None,
        dimensions: Sequence[str] | Mapping[str, str | None] = (),
        exclude_dimensions: Sequence[str] = (),
        max_series: int = 1000,
        redaction: RedactionRules | None = None,
    ) -> None:
        check_meter_provider(meter_provider)
        if unit not in _NANOSECONDS:
            raise ValueError(f"unit={unit!r}: 's' or 'ms' is allowed")
        if not isinstance(namespace, str):
            raise TypeError(f"namespace={namespace!r}: a string is allowed")
        self._divisor = _NANOSECONDS[unit]
        self._max_series = whole_number("max_series", max_series, 1, 1_000_000)
        self._dimensions = _dimensions(dimensions)
        self._excluded = _names("exclude_dimensions", exclude_dimensions)
        self._redactor = redactor(redaction)
        self._series: dict[tuple[object, ...], Series] = {}
        self._closed = False
        self._log = RateLimitedLog(_logger)
        prefix = f"{namespace}." if namespace else ""
        meter = (meter_provider or metrics.get_meter_provider()).get_meter("otlpfast")
        self._recorder = Recorder(
            meter.create_counter(f"{prefix}calls", description="Spans that ended."),
            meter.create_histogram(
                f"{prefix}duration",
                unit,
                "How long spans took.",
                explicit_bucket_boundaries_advisory=_boundaries(buckets, 1e9 / self._divisor),
            ),
        )
        who = component("span_metrics_processor")

        def series(processor: SpanMetricsProcessor) -> Iterable[Observation]:
            processor._recorder.before_collection()  # so that the histogram has what has ended
            yield Observation(len(processor._series), who)

        def dropped(processor: SpanMetricsProcessor) -> Iterable[Observation]:
            yield Observation(processor._recorder.dropped, who)

        instruments(meter_provider).add(
            self, {"otlpfast.span_metrics.series": series, "otlpfast.span_metrics.dropped": dropped}
        )

    def on_end(self, span: ReadableSpan) -> None:
        """Measures the span. Never raises or blocks."""
        if self._closed:
            return
        try:
            start, end = span.start_time, span.end_time
            duration = (end - start) / self._divisor if start is not None and end is not None else 0.0
            self._recorder.put(self._series_of(span), duration if duration > 0 else 0.0, span.context)
        except Exception as error:
            self._log.warning("raised", "a span was not measured: %s: %s", type(error).__name__, error)

    def _series_of(self, span: ReadableSpan) -> Series:
        # By identity where hashing is slow: enumerations are Python code, a resource is written out as JSON.
        key: tuple[object, ...] = (span.name, id(span.kind), id(span.status.status_code), id(span.resource))
        if self._dimensions:
            key += tuple(self._values_of(span))
        found = self._series.get(key)
        if found is not None:
            return found
        attributes = self._attributes_of(span)
        if self._redactor is not None:  # what differs only in what is hidden is one series
            key = (id(span.resource), *((name, type(value), value) for name, value in attributes.items()))
            if (found := self._series.get(key)) is not None:
                return found
        if len(self._series) >= self._max_series:
            return _OVERFLOW
        return self._series.setdefault(key, Series(attributes, span.resource))

    def _values_of(self, span: ReadableSpan) -> Iterable[object]:
        attributes, resource = span.attributes or {}, span.resource.attributes
        for name, default in self._dimensions:
            value = attributes.get(name)
            if value is None:
                value = resource.get(name, default)
            yield value if value is None or type(value) is str else (type(value), _plain(value))

    def _attributes_of(self, span: ReadableSpan) -> dict[str, Any]:
        own = (
            span.resource.attributes.get("service.name"),
            span.name,
            _KINDS.get(id(span.kind)),
            _CODES.get(id(span.status.status_code)),
        )
        attributes = {
            name: _plain(value)
            for name, value in zip(_OWN, own, strict=True)
            if value is not None and name not in self._excluded
        }
        wanted = {
            name: _plain(value[1] if isinstance(value, tuple) else value)
            for (name, _), value in zip(self._dimensions, self._values_of(span), strict=True)
            if value is not None
        }
        if self._redactor is not None:  # a list of what may stay is for attributes of spans
            attributes = redacted_pairs(attributes, self._redactor)
            wanted = redacted_pairs(wanted, self._redactor, self._redactor.otherwise)
        return attributes | wanted

    def force_flush(self, timeout_millis: float | None = _FLUSH_MILLIS) -> bool:
        """Has all spans that have ended recorded; whether that took no longer than allowed."""
        return self._recorder.flush(_seconds(timeout_millis))

    def shutdown(self, timeout_millis: float | None = _FLUSH_MILLIS) -> None:
        """The same, and spans that end later are not measured. May be called again."""
        if not self._closed:
            self._closed = True
            self._recorder.stop(_seconds(timeout_millis))


def _seconds(timeout_millis: float | None) -> float:
    return max(_FLUSH_MILLIS if timeout_millis is None else timeout_millis, 0) / 1e3


def _plain(value: object) -> Any:
    """An attribute value that every exporter of metrics can take: valid Unicode, and nothing nested."""
    if type(value) not in _SIMPLE:
        value = str(value)
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value


def _names(argument: str, names: Iterable[str]) -> tuple[str, ...]:
    found = () if isinstance(names, str) else tuple(names)
    if isinstance(names, str) or not all(isinstance(name, str) for name in found):
        raise TypeError(f"{argument}={names!r}: a sequence of strings is allowed")
    return found


def _dimensions(given: Sequence[str] | Mapping[str, str | None]) -> tuple[tuple[str, str | None], ...]:
    names = _names("dimensions", given)
    if taken := set(names) & set(_OWN):
        raise ValueError(f"dimensions={given!r}: {sorted(taken)} are there already")
    return tuple((name, given[name] if isinstance(given, Mapping) else None) for name in dict.fromkeys(names))


def _boundaries(given: Sequence[float] | None, scale: float) -> list[float]:
    if given is None:
        return [bound * scale for bound in _BUCKETS]
    bounds = [float(bound) for bound in given]
    rising = all(low < high for low, high in itertools.pairwise(bounds))
    if not rising or not all(map(math.isfinite, bounds)):
        raise ValueError(f"buckets={given!r}: rising numbers are allowed")
    return bounds

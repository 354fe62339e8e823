"""Alerts: thresholds of runtime statistics, and who is told when one is exceeded."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from opentelemetry import trace
from opentelemetry.context import Context

from .._log import RateLimitedLog, warn
from ._readings import RuntimeSnapshot

_logger = logging.getLogger("otlpfast.profiling.alerts")

Reading = Callable[[RuntimeSnapshot], "float | None"]


@dataclass(frozen=True)
class Threshold:
    """What a reading should not exceed.

    Args:
        name: of the alert.
        read: the value of a snapshot; None where there is none, which changes nothing.
        above: the alert begins when the value has been above it for ``readings`` readings in a row.
        below: it ends when the value has been below it for as many; 90 % of ``above`` if None. Between the
            two it stays as it is.
        readings: 1 or more; the statistics read once a second.
        unit: of the value, for those who are told.
    """

    name: str
    read: Reading
    above: float
    below: float | None = None
    readings: int = 3
    unit: str = ""

    def __post_init__(self) -> None:
        if self.readings < 1:
            raise ValueError(f"readings={self.readings} of {self.name}: 1 or more")
        if self.below is not None and self.below > self.above:
            raise ValueError(f"below={self.below} of {self.name} is above {self.above}, where it begins")

    @property
    def end(self) -> float:
        """Below which the alert ends."""
        return self.above * 0.9 if self.below is None else self.below


@dataclass(frozen=True)
class Alert:
    """A threshold that is exceeded, or no longer is."""

    name: str
    active: bool
    value: float
    threshold: float
    """Above or below which the value is."""
    unit: str
    snapshot: RuntimeSnapshot

    def __str__(self) -> str:
        how = "above" if self.active else "again below"
        return f"{self.name} is {_shown(self.value)} {self.unit}, {how} {_shown(self.threshold)}"


def _shown(number: float) -> str:
    return f"{number:,.0f}" if abs(number) >= 1000 else f"{number:.4g}"


class _State:
    def __init__(self) -> None:
        self.active = False
        self.raised = 0
        self.streak = 0  # readings in a row that speak for the other state


class Alerts:
    """Compares each reading of ``RuntimeStatistics(alerts=...)`` with thresholds.

    When one begins to be exceeded, and when that ends, there is a line in the log
    ``otlpfast.profiling.alerts``, a span ``otlpfast.alert`` with an event ``otlpfast.alert.raised`` or
    ``otlpfast.alert.cleared``, a call of ``on_alert``, and the metrics ``otlpfast.alert.active`` and
    ``otlpfast.alert.raised`` change.

    Args:
        threads_and_tasks: as many threads and asyncio tasks; None for no such alert, here and below.
        memory: resident bytes (needs psutil: ``otlpfast[profiling]``).
        gc_rate: garbage collections a second.
        latency_p99: seconds that 99 of 100 requests take at most, over 10 s: spans of kind server or consumer
            and those without a parent, which an otlpfast processor exports.
        more: further thresholds.
        on_alert: called in the thread that reads; what it raises is logged.
        tracer_provider: of the spans; by default the global one.

    Raises:
        ValueError: two thresholds have the same name.
    """

    def __init__(
        self,
        *,
        threads_and_tasks: int | None = 10_000,
        memory: int | None = 1 << 30,
        gc_rate: float | None = 200.0,
        latency_p99: float | None = 0.1,
        more: Iterable[Threshold] = (),
        on_alert: Callable[[Alert], object] | None = None,
        tracer_provider: trace.TracerProvider | None = None,
    ) -> None:
        built_in: tuple[tuple[str, Reading, float | None, str], ...] = (
            ("threads_and_tasks", lambda s: s.threads_and_tasks, threads_and_tasks, "threads and tasks"),
            ("memory", lambda s: s.usage.memory_usage, memory, "bytes"),
            ("gc_rate", lambda s: s.gc_rate, gc_rate, "collections/s"),
            ("latency_p99", lambda s: s.latency_p99, latency_p99, "s"),
        )
        wanted = [Threshold(n, read, above, unit=u) for n, read, above, u in built_in if above is not None]
        self.thresholds = (*wanted, *more)
        self._states = {threshold.name: _State() for threshold in self.thresholds}
        if len(self._states) != len(self.thresholds):
            raise ValueError(
                "two thresholds have the same name: " + ", ".join(t.name for t in self.thresholds)
            )
        self.needs_latency = latency_p99 is not None
        self._on_alert = on_alert
        self._provider = tracer_provider
        self._log = RateLimitedLog(_logger)

    def active(self) -> tuple[str, ...]:
        """Names of the thresholds that are exceeded."""
        return tuple(name for name, state in self._states.items() if state.active)

    def states(self) -> dict[str, tuple[bool, int]]:
        """Of each threshold whether it is exceeded, and how often that has begun."""
        return {name: (state.active, state.raised) for name, state in self._states.items()}

    def check(self, snapshot: RuntimeSnapshot) -> tuple[Alert, ...]:
        """Takes note of a reading, tells whom there is to tell, returns what has changed. Never raises."""
        changed = [alert for threshold in self.thresholds if (alert := self._step(threshold, snapshot))]
        for alert in changed:
            self._tell(alert)
        return tuple(changed)

    def _step(self, threshold: Threshold, snapshot: RuntimeSnapshot) -> Alert | None:
        state = self._states[threshold.name]
        try:
            value = threshold.read(snapshot)
            if value is None:
                return None
            is_other = bool(value < threshold.end if state.active else value > threshold.above)
        except Exception as error:
            text = "alert %s can't be read: %s: %s"
            self._log.warning(threshold.name, text, threshold.name, type(error).__name__, error)
            return None
        state.streak = state.streak + 1 if is_other else 0
        if state.streak < threshold.readings:
            return None
        state.active, state.streak = not state.active, 0
        state.raised += state.active
        limit = threshold.above if state.active else threshold.end
        return Alert(threshold.name, state.active, value, limit, threshold.unit, snapshot)

    def _tell(self, alert: Alert) -> None:
        if alert.active:
            warn(_logger, "%s", alert)
        else:
            _logger.info("%s", alert)
        try:
            self._leave_span(alert)
            if self._on_alert is not None:
                self._on_alert(alert)
        except Exception as error:
            text = "whoever is told of the alert %s raised %s: %s"
            self._log.warning("raised", text, alert.name, type(error).__name__, error)

    def _leave_span(self, alert: Alert) -> None:
        tracer = trace.get_tracer("otlpfast.profiling", tracer_provider=self._provider)
        span = tracer.start_span("otlpfast.alert", Context())
        attributes: dict[str, str | float] = {
            "otlpfast.alert.name": alert.name,
            "otlpfast.alert.value": alert.value,
            "otlpfast.alert.threshold": alert.threshold,
        }
        span.set_attributes(attributes)
        span.add_event("otlpfast.alert.raised" if alert.active else "otlpfast.alert.cleared", attributes)
        span.end()

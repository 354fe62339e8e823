"""Threads that make spans at a steady rate and say how long each took them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from opentelemetry.trace import Tracer

from .histogram import Histogram

_SHORTEST_SLEEP = 0.0005  # seconds: spans that are due in less go together
_LONGEST_SLEEP = 0.1  # after which a thread sees that it is to stop
_AT_ONCE = 100  # spans between two looks at the clock for the end

_VALUES: tuple[Any, ...] = ("GET /items/{number}", 200, True, 0.25, "shop.example.com")


def attributes(count: int) -> dict[str, Any]:
    """So many attributes of the usual types."""
    return {f"app.attribute.{number}": _VALUES[number % len(_VALUES)] for number in range(count)}


def operation(tracer: Tracer, attribute_count: int, event_count: int) -> Callable[[], None]:
    """What is measured: a span made current, its attributes one by one, its events, its end."""
    given: Mapping[str, Any] = attributes(attribute_count)
    of_event: Mapping[str, Any] = {"app.rows": 17, "app.table": "items"}

    def span() -> None:
        with tracer.start_as_current_span("load") as current:
            for key, value in given.items():
                current.set_attribute(key, value)
            for _ in range(event_count):
                current.add_event("loaded", of_event)

    return span


def cost_of_pacing(rate: float, threads: int, seconds: float, burst: int = 1) -> float:
    """CPU seconds of this process that such a load takes for each span, without the span."""
    paced = Paced(lambda: None, rate, threads, seconds, burst)
    before = time.process_time()
    paced.start()
    paced.join()
    return (time.process_time() - before) / max(paced.count, 1)


class Paced:
    """Calls ``work`` from so many threads, together ``rate`` times a second (0: as often as they can).

    A thread makes ``burst`` calls in one go; the larger that is, the less the pacing costs.

    A thread that comes late catches up: the rate is kept as long as there is processor time for it.
    """

    def __init__(
        self, work: Callable[[], None], rate: float, threads: int, seconds: float, burst: int = 1
    ) -> None:
        self._work = work
        self._interval = threads * burst / rate * 1e9 if rate else 0.0  # ns between two bursts of a thread
        self._burst = burst
        self._seconds = seconds
        self._stopped = False
        self._histograms = [Histogram() for _ in range(threads)]
        self._threads = [
            threading.Thread(target=self._run, args=(number,), name=f"load-{number}", daemon=True)
            for number in range(threads)
        ]

    def start(self) -> None:
        self.begun = time.perf_counter_ns()
        self._end = self.begun + int(self._seconds * 1e9)
        for thread in self._threads:
            thread.start()

    @property
    def running(self) -> bool:
        return any(thread.is_alive() for thread in self._threads)

    @property
    def count(self) -> int:
        """Spans so far."""
        return sum(histogram.count for histogram in self._histograms)

    @property
    def elapsed(self) -> float:
        """Seconds so far, at most those that were wanted."""
        return min((time.perf_counter_ns() - self.begun) / 1e9, self._seconds)

    @property
    def remaining(self) -> float:
        """Seconds that are left."""
        return self._seconds - self.elapsed

    def join(self) -> None:
        """Waits until the threads are done."""
        for thread in self._threads:
            thread.join()

    def stop(self) -> Histogram:
        """Ends the threads; what all of them measured."""
        self._stopped = True
        together = Histogram()
        self.join()
        for histogram in self._histograms:
            together.add(histogram)
        return together

    def _run(self, number: int) -> None:
        work, clock, record = self._work, time.perf_counter_ns, self._histograms[number].record
        # Threads take turns within an interval: together they are as steady as each alone.
        first = self.begun + self._interval * number / len(self._threads)
        done = 0
        # However late it starts, the first thread makes its first burst.
        while not self._stopped and ((now := clock()) < self._end or not (number or done)):
            due = _AT_ONCE
            if self._interval:
                due = (int((now - first) / self._interval) + 1) * self._burst - done
            if due <= 0 or now < first:
                wait = (first + done // self._burst * self._interval - now) / 1e9
                left = max((self._end - now) / 1e9, 0.0)
                time.sleep(min(max(wait, _SHORTEST_SLEEP), _LONGEST_SLEEP, left))
                continue
            for _ in range(min(due, _AT_ONCE)):
                started = clock()
                work()
                record(clock() - started)
            done += min(due, _AT_ONCE)

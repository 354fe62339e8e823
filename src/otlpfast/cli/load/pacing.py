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


class Paced:
    """Calls ``work`` from so many threads, together ``rate`` times a second (0: as often as they can).

    A thread that comes late catches up: the rate is kept as long as there is processor time for it.
    """

    def __init__(self, work: Callable[[], None], rate: float, threads: int, seconds: float) -> None:
        self._work = work
        self._interval = threads / rate * 1e9 if rate else 0.0  # ns between two spans of a thread
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

    def stop(self) -> Histogram:
        """Ends the threads; what all of them measured."""
        self._stopped = True
        together = Histogram()
        for thread, histogram in zip(self._threads, self._histograms, strict=True):
            thread.join()
            together.add(histogram)
        return together

    def _run(self, number: int) -> None:
        work, clock, record = self._work, time.perf_counter_ns, self._histograms[number].record
        # Threads take turns within an interval: together they are as steady as each alone.
        first = self.begun + self._interval * number / len(self._threads)
        done = 0
        while not self._stopped and (now := clock()) < self._end:
            due = int((now - first) / self._interval) + 1 - done if self._interval else _AT_ONCE
            if due <= 0 or now < first:
                wait = (first + done * self._interval - now) / 1e9
                left = (self._end - now) / 1e9
                time.sleep(min(max(wait, _SHORTEST_SLEEP), _LONGEST_SLEEP, left))
                continue
            for _ in range(min(due, _AT_ONCE)):
                started = clock()
                work()
                record(clock() - started)
            done += min(due, _AT_ONCE)

"""RuntimeStatistics: what the interpreter and the process are doing, read once a second.

As metrics under the names of the semantic conventions, by ``snapshot()``, and against thresholds.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
import time
import weakref
from contextlib import suppress
from types import TracebackType

from opentelemetry.metrics import MeterProvider

from .._log import RateLimitedLog
from .._threads import start_outside
from ._lag import LoopLags
from ._latency import Latencies
from ._pauses import GCPauses
from ._readings import ProcessReader, RuntimeSnapshot, available_cpus, generations
from ._runtime_metrics import runtime_instruments
from .alerts import Alerts

_logger = logging.getLogger("otlpfast.profiling")


class RuntimeStatistics:
    """Reads the runtime once an interval, from ``start()`` to ``stop()``; a context manager.

    In a forked child it goes on, with a thread of its own. docs/profiling.md lists the metrics.

    Args:
        interval: seconds between two readings, 0.05 or more.
        alerts: thresholds to compare each reading with; none by default.
        meter_provider: of the metrics; by default the global one.

    Raises:
        ValueError: the interval is too short.
    """

    def __init__(
        self,
        *,
        interval: float = 1.0,
        alerts: Alerts | None = None,
        meter_provider: MeterProvider | None = None,
    ) -> None:
        if not interval >= 0.05:
            raise ValueError(f"interval={interval}: 0.05 seconds or more")
        self.interval = interval
        self.alerts = alerts
        self.latest: RuntimeSnapshot | None = None
        """The last reading."""
        self._provider = meter_provider
        self._process = ProcessReader()
        self._pauses = GCPauses()
        self._lags = LoopLags()
        self._latencies = Latencies() if alerts is not None and alerts.needs_latency else None
        self._log = RateLimitedLog(_logger)
        self._reading = threading.RLock()  # a signal handler or a finaliser may ask in between
        self._stopping: threading.Event | None = None  # None while it does not run
        _all.add(self)

    def start(self) -> RuntimeStatistics:
        """Begins to read; what runs already goes on. A loop that runs in this thread is watched."""
        if self._stopping is None:
            self._pauses.start()
            if self._latencies is not None:
                self._latencies.start()
            runtime_instruments(self._provider).show(self)
            self._start_thread()
        with suppress(RuntimeError):  # no loop here
            self.watch_loop(asyncio.get_running_loop())
        return self

    def stop(self) -> None:
        """Reads no more, and takes everything back; what does not run stays so."""
        stopping, self._stopping = self._stopping, None
        if stopping is None:
            return
        stopping.set()
        self._pauses.stop()
        if self._latencies is not None:
            self._latencies.stop()
        runtime_instruments(self._provider).hide(self)

    def __enter__(self) -> RuntimeStatistics:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def watch_loop(self, loop: asyncio.AbstractEventLoop) -> None:
        """Measures the lag of this loop and counts its tasks, until it is closed."""
        self._lags.watch(loop)

    def active_alerts(self) -> dict[str, tuple[bool, int]]:
        """Of each alert whether it is on, and how often it has begun."""
        return {} if self.alerts is None else self.alerts.states()

    def snapshot(self) -> RuntimeSnapshot:
        """A reading now; metrics and alerts have those of the interval."""
        with self._reading:
            return self._read([], [])

    def _start_thread(self) -> None:
        self._stopping = stopping = threading.Event()
        thread = threading.Thread(
            target=self._run, args=(stopping,), name="otlpfast-runtime-statistics", daemon=True
        )
        start_outside(thread)

    def _run(self, stopping: threading.Event) -> None:
        self._lags.probe()
        self._step()
        while not stopping.wait(self.interval):
            self._step()

    def _step(self) -> None:
        try:
            with self._reading:
                pauses, lags = self._pauses.take(), self._lags.take()
                snapshot = self._read([pause for _, pause in pauses], lags)
            self.latest = snapshot
            instruments = runtime_instruments(self._provider)
            for generation, pause in pauses:
                instruments.gc_pause.record(pause, {"cpython.gc.generation": generation})
            for lag in lags:
                instruments.loop_lag.record(lag)
            self._lags.probe()
            if self.alerts is not None:
                self.alerts.check(snapshot)
        except Exception as error:
            self._log.warning("raised", "no runtime statistics: %s: %s", type(error).__name__, error)

    def _read(self, pauses: list[float], lags: list[float]) -> RuntimeSnapshot:
        before, usage, collected = self.latest, self._process.read(), generations()
        now = time.time_ns()
        lag = max([*lags, self._lags.longest_waiting()])
        loops = self._lags.loops()
        utilization = rate = None
        if before is not None and now > before.time_unix_nano:
            elapsed = (now - before.time_unix_nano) / 1e9
            spent = usage.cpu_user + usage.cpu_system - before.usage.cpu_user - before.usage.cpu_system
            utilization = max(spent, 0.0) / elapsed / available_cpus()
            counts = [sum(g.collections for g in found) for found in (before.generations, collected)]
            rate = (counts[1] - counts[0]) / elapsed
        return RuntimeSnapshot(
            time_unix_nano=now,
            uptime=now / 1e9 - self._process.begun,
            usage=usage,
            generations=collected,
            python_threads=threading.active_count(),
            allocated_blocks=sys.getallocatedblocks(),
            cpu_utilization=utilization,
            gc_rate=rate,
            gc_pauses=self._pauses.count,
            gc_pause_total=self._pauses.total,
            gc_pause_max=max(pauses, default=0.0),
            loops=len(loops),
            tasks=sum(map(_tasks, loops)),
            loop_lag_max=lag if loops else None,
            latency_p99=self._latencies.p99() if self._latencies is not None else None,
        )

    def _in_child(self) -> None:
        self._reading = threading.RLock()
        self._lags = LoopLags()  # the loops are the parent's
        self.latest = None
        if self._stopping is not None:
            with suppress(RuntimeError):  # no more threads
                self._start_thread()


def _tasks(loop: asyncio.AbstractEventLoop) -> int:
    try:
        return len(asyncio.all_tasks(loop))
    except RuntimeError:  # made and done while they were counted, too often
        return 0


_all: weakref.WeakSet[RuntimeStatistics] = weakref.WeakSet()


def _in_child() -> None:
    for statistics in list(_all):
        statistics._in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)

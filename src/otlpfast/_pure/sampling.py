"""What samplers are made of. Tracers here ask every sampler itself."""

from __future__ import annotations

import os
import threading
import time

NATIVE_SAMPLERS: dict[type, str] = {}


class RateLimiter:
    """Allows so many a second, in the long run, and a burst after a quiet time; see ``_core.RateLimiter``."""

    def __init__(self, rate: float, burst: float = 1.0) -> None:
        if not rate > 0 or not burst >= 1:
            raise ValueError(f"rate={rate}, burst={burst}: more than 0, and at least 1")
        self._interval = 1e9 / rate
        self._tolerance = (burst - 1) * self._interval
        self._due = 0.0
        self._process = os.getpid()
        self._lock = threading.RLock()  # re-entrant: a signal handler or a finaliser may start a span

    def allow(self, now: int | None = None) -> bool:
        """Whether one more is allowed now, in nanoseconds of a monotonic clock; then it counts."""
        if self._process != os.getpid():  # a thread that this child has not may have held it
            self._process, self._lock = os.getpid(), threading.RLock()
        with self._lock:
            now = time.monotonic_ns() if now is None else now
            due = max(self._due, now)
            if due - now > self._tolerance:
                return False
            self._due = due + self._interval
            return True

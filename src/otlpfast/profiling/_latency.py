"""How long requests take, by the spans that go by."""

from __future__ import annotations

import struct
import time
from collections import deque

from .. import _tap
from ..batch import SpanBatch
from ..web.decode import glimpses
from ..web.recent import quantile

_WINDOW = 10.0  # seconds
_MOST_BYTES = 256 * 1024  # of batches between two readings: what comes faster is not looked at
_MOST_REQUESTS = 10_000
_ENTRY_KINDS = (2, 5)  # server, consumer
_OWN = "otlpfast."  # spans of profiles and alerts


class Latencies:
    """Durations of requests: spans of kind server or consumer, and those without a parent.

    Threads that export spans leave copies of batches; who reads decodes them.
    """

    def __init__(self) -> None:
        self._batches: deque[bytes] = deque()
        self._nbytes = 0
        self._requests: deque[tuple[float, float]] = deque(maxlen=_MOST_REQUESTS)

    def start(self) -> None:
        """From the next batch on."""
        _tap.attach(self)

    def stop(self) -> None:
        """No more."""
        _tap.detach(self)

    def take(self, batch: SpanBatch) -> None:
        """Keeps a copy, unless there is enough to be read."""
        if self._nbytes + batch.nbytes <= _MOST_BYTES:
            self._nbytes += batch.nbytes
            self._batches.append(bytes(batch))

    def p99(self) -> float | None:
        """Seconds, of the requests whose spans went by in the last 10 s; None without one."""
        now = time.monotonic()
        for _ in range(len(self._batches)):
            self._read(self._batches.popleft(), now)
        self._nbytes = 0
        while self._requests and self._requests[0][0] < now - _WINDOW:
            self._requests.popleft()
        durations = sorted(duration for _, duration in self._requests)
        return float(quantile(durations, 0.99)) if durations else None

    def _read(self, data: bytes, now: float) -> None:
        try:
            for span in glimpses(data):
                is_entry = span.kind in _ENTRY_KINDS or not span.parent_id
                if is_entry and not span.name.startswith(_OWN):
                    self._requests.append((now, (span.end - span.start) / 1e9))
        except (ValueError, IndexError, struct.error):
            pass  # an exporter of somebody's has changed it

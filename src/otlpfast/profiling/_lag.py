"""How late asyncio's event loops come to what waits for them."""

from __future__ import annotations

import asyncio
from collections import deque
from time import perf_counter

_MOST = 64  # lags that wait to be read


class _Probe:
    """One callback at a time that waits for its turn in a loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._sent: float | None = None
        self._lags: deque[float] = deque(maxlen=_MOST)

    def send(self) -> bool:
        """False where the loop is closed."""
        if self._sent is None:
            self._sent = perf_counter()
            try:
                self.loop.call_soon_threadsafe(self._answer)
            except RuntimeError:
                return False
        return True

    def _answer(self) -> None:
        if self._sent is not None:
            self._lags.append(perf_counter() - self._sent)
        self._sent = None

    def take(self) -> list[float]:
        """Seconds of the callbacks that have had their turn."""
        lags = []
        for _ in range(len(self._lags)):
            lags.append(self._lags.popleft())
        return lags

    def waiting(self) -> float:
        """Seconds for which the present callback has waited."""
        sent = self._sent
        return perf_counter() - sent if sent is not None and self.loop.is_running() else 0.0


class LoopLags:
    """Probes the loops that it watches, each once for every ``probe()``."""

    def __init__(self) -> None:
        self._probes: dict[int, _Probe] = {}

    def watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """From the next probe on, until it is closed."""
        self._probes.setdefault(id(loop), _Probe(loop))

    def probe(self) -> None:
        """Sends the next callbacks; a loop that has not had the last one gets none."""
        for number, probe in list(self._probes.items()):
            if probe.loop.is_closed() or not probe.send():
                self._probes.pop(number, None)

    def take(self) -> list[float]:
        """Seconds that callbacks have waited since the last call."""
        return [lag for probe in list(self._probes.values()) for lag in probe.take()]

    def longest_waiting(self) -> float:
        """Seconds that the callback has waited which waits longest; 0 where none does."""
        return max((probe.waiting() for probe in list(self._probes.values())), default=0.0)

    def loops(self) -> list[asyncio.AbstractEventLoop]:
        """Those that are watched."""
        return [probe.loop for probe in list(self._probes.values())]

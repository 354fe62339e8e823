"""How long the garbage collector holds everybody up."""

from __future__ import annotations

import gc
from collections import deque
from time import perf_counter
from typing import Any

_MOST = 4096  # pauses that wait to be read: at 200 a second, 20 s


class GCPauses:
    """Measures collections from ``start()`` to ``stop()``.

    The collector calls back inside whatever code made the last object, which may hold any lock: there, pauses
    are only noted.
    """

    def __init__(self) -> None:
        self.count = 0
        self.total = 0.0
        """Seconds."""
        self._begun = 0.0
        self._noted: deque[tuple[int, float]] = deque(maxlen=_MOST)

    def start(self) -> None:
        """From now on."""
        if self._note not in gc.callbacks:
            gc.callbacks.append(self._note)

    def stop(self) -> None:
        """No more."""
        if self._note in gc.callbacks:
            gc.callbacks.remove(self._note)

    def take(self) -> list[tuple[int, float]]:
        """Generation and seconds of the collections since the last call."""
        noted = []
        for _ in range(len(self._noted)):
            noted.append(self._noted.popleft())
        return noted

    def _note(self, phase: str, info: dict[str, Any]) -> None:
        # Collections neither nest nor overlap: there is one at a time in an interpreter.
        if phase == "start":
            self._begun = perf_counter()
        elif self._begun:
            pause = perf_counter() - self._begun
            self.count += 1
            self.total += pause
            self._noted.append((info["generation"], pause))

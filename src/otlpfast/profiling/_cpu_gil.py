"""The CPU profile where there is no native sampler: a thread that takes the GIL and looks at the others."""

from __future__ import annotations

import gc
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from types import FrameType
from typing import Any

from .._threads import start_outside
from .profile import Frame, Label, Stack

MOST_FRAMES = 512
BIAS = (
    "biased: taken by a thread that needs the GIL, so that only places are seen where the application lets go of "
    "it; the CPU time of a thread is exact, its stacks are not"
)


class GilEngine:
    """Gives the CPU time that a thread has used since the last look to the stack that it is found on."""

    def __init__(self, frequency: float) -> None:
        self._seconds = 1 / frequency
        self._counts: dict[tuple[Stack, str], list[int]] = {}
        self._clocks: dict[int, int] = {}
        self._is_over = _original("threading", "Event")()
        self._done = _original("threading", "Event")()
        self._own = 0
        self._look()
        _start(self._run)

    def end(self) -> None:
        """No more samples. A second call does nothing."""
        self._is_over.set()
        self._done.wait()

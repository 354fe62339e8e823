"""What the page shows of the process while nobody profiles it."""

from __future__ import annotations

import gc
import os
import platform
import sys
import time
from typing import Any

from ...web.masking import is_secret, masked
from .._native import sampler
from . import engines
from .kinds import counts

_PART = 50  # of the time may be spent on looking, while somebody looks again and again: one part in so many
_LEAST = 0.5  # seconds between two looks


class Status:
    """Looks at the process; not at once again where that took long: stacks of 100,000 tasks, say."""

    def __init__(self) -> None:
        self._seen: dict[str, Any] = {}
        self._due = 0.0
        self._pid = 0

    def read(self) -> dict[str, Any]:
        """Counts of what each profile would show, and figures of the process; None: not known."""
        begun = time.monotonic()
        if begun >= self._due or self._pid != os.getpid():
            self._seen, self._pid = _look(), os.getpid()
            self._due = begun + max(_LEAST, _PART * (time.monotonic() - begun))
        return self._seen


def _look() -> dict[str, Any]:
    running = engines.heap.find()
    # Without the sampler each block is counted, and to look goes through all objects: not unasked.
    heap = None if running is None or sampler is None else running.snapshot()
    return {
        "pid": os.getpid(),
        "program": " ".join(command_line())[:300],
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "cpu_seconds": round(time.process_time(), 2),
        "rss_bytes": _rss(),
        "heap_bytes": None if heap is None else heap.total("inuse_space"),
        "gc_collections": [generation["collections"] for generation in gc.get_stats()],
        "counts": counts(heap),
    }


def command_line() -> list[str]:
    """The words that the process was started with, but for what looks like a secret."""
    words: list[str] = []
    is_value = False
    for word in sys.orig_argv:
        name, equals, _ = word.partition("=")
        if is_value or (equals and name.startswith("-") and is_secret(name)):
            words.append("***" if is_value else f"{name}=***")
            is_value = False
        else:
            words.append(masked(word))
            is_value = word.startswith("--") and not equals and is_secret(word)
    return words


def _rss() -> int | None:
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, AttributeError, IndexError):
        return None

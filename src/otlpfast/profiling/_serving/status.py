"""What the page shows of the process while nobody profiles it."""

from __future__ import annotations

import gc
import os
import platform
import sys
import time
from typing import Any

from ...web.masking import is_secret, masked
from . import engines
from .kinds import counts

_BEGUN = time.monotonic()


def status() -> dict[str, Any]:
    """Counts of what each profile would show, and figures of the process; None where they are not known."""
    generations = gc.get_stats()
    return {
        "pid": os.getpid(),
        "program": " ".join(command_line())[:300],
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "cpu_seconds": round(time.process_time(), 2),
        "served_seconds": round(time.monotonic() - _BEGUN),
        "rss_bytes": _rss(),
        "heap_bytes": _heap(),
        "gc_collections": [generation["collections"] for generation in generations],
        "counts": counts(),
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


def _heap() -> int | None:
    running = engines.heap.find()
    return None if running is None else running.snapshot().total("inuse_space")

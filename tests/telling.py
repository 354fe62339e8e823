"""Telling an exception by otlpfast and by the standard library."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from typing import Any

from otlpfast import _stacktrace
from otlpfast._stacktrace import format_exception

KEEPS_FRAMES = _stacktrace._ORIGINALS is not None
"""False where a package replaced what makes the text: on Python 3.10 pytest comes with one that does."""


def forget() -> None:
    _stacktrace._frames.clear()
    _stacktrace._due.clear()


def expected(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))


def same(error: BaseException, times: int = 3) -> str:
    """The text, asserted to be the standard library's each time."""
    for _ in range(times):
        assert format_exception(error) == expected(error)
    return format_exception(error)


def formatted_frames(work: Callable[[], object]) -> int:
    """How many frames the standard library looked at in ``work``, whatever asked it to."""
    made = 0

    def note(frame: Any, event: str, _: object) -> None:
        nonlocal made
        if event == "call" and frame.f_code is traceback.FrameSummary.__init__.__code__:
            made += 1

    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
    return made

"""Warnings that can't flood a log."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from time import monotonic

from ._shown import is_redacting, shown

_here = threading.local()


def log_aside(threads: list[threading.Thread]) -> None:
    """From now on, what the present thread has to log is logged by threads of their own, which the list gets.

    An export thread must not wait for the lock of a log handler: whoever holds it may be in a flush, waiting
    for the export thread.
    """
    _here.threads = threads


def warn(logger: logging.Logger, message: str, *args: object) -> None:
    """Logs a warning; never raises."""
    threads: list[threading.Thread] | None = getattr(_here, "threads", None)
    if threads is not None:
        thread = threading.Thread(
            target=_warn, args=(logger, message, args), name="otlpfast-log", daemon=True
        )
        with contextlib.suppress(RuntimeError):  # the interpreter is on its way out
            thread.start()
            threads[:] = [*filter(threading.Thread.is_alive, threads), thread]
            return
    _warn(logger, message, args)


def _warn(logger: logging.Logger, message: str, args: tuple[object, ...]) -> None:
    # A handler that raises is its own trouble, not that of whoever ends a span.
    with contextlib.suppress(Exception):
        if is_redacting():
            message, args = "%s", (shown(message % args if args else message),)
        logger.warning(message, *args)


class RateLimitedLog:
    """Logs each kind of message at most once per interval, and says how many were held back meanwhile.

    Args:
        logger: where the messages go.
        interval: seconds of the monotonic clock between two messages of a kind.
    """

    def __init__(self, logger: logging.Logger, interval: float = 60.0) -> None:
        self._logger = logger
        self._interval = interval
        self._start()

    def _start(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.RLock()  # re-entrant: a signal handler may have something to log too
        self._kinds: dict[str, tuple[float, int]] = {}

    def holds_back(self, kind: str) -> bool:
        """Whether a message of that kind would not be logged now, for which it then counts as held back.

        For those that come by the thousand. It takes no lock: at worst one is counted twice, or not.
        """
        due, held_back = self._kinds.get(kind, (0.0, 0))
        if monotonic() >= due:
            return False
        self._kinds[kind] = due, held_back + 1
        return True

    def warning(self, kind: str, message: str, *args: object, interval: float | None = None) -> None:
        """Logs ``message % args`` unless the kind was logged within the interval, which can be another here.

        Nothing is held while a handler runs.
        """
        now = monotonic()
        if self._pid != os.getpid():
            self._start()  # a lock that another thread held when this process was forked stays shut for ever
        with self._lock:
            due, held_back = self._kinds.get(kind, (now, 0))
            if now < due:
                self._kinds[kind] = (due, held_back + 1)
                return
            self._kinds[kind] = (now + (self._interval if interval is None else interval), 0)
        if held_back:
            message += f" ({held_back} more like this since the last warning)"
        warn(self._logger, message, *args)

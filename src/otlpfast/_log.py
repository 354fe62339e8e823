"""Warnings that can't flood a log."""

from __future__ import annotations

import logging
import threading
import time


class RateLimitedLog:
    """Logs each kind of message at most once per interval, and says how many were held back meanwhile.

    Args:
        logger: where the messages go.
        interval: seconds of the monotonic clock between two messages of a kind.
    """

    def __init__(self, logger: logging.Logger, interval: float = 60.0) -> None:
        self._logger = logger
        self._interval = interval
        self._lock = threading.RLock()
        self._kinds: dict[str, tuple[float, int]] = {}

    def warning(self, kind: str, message: str, *args: object) -> None:
        """Logs ``message % args`` unless the kind was logged within the interval.

        Nothing is held while a handler runs.
        """
        now = time.monotonic()
        with self._lock:
            due, held_back = self._kinds.get(kind, (now, 0))
            if now < due:
                self._kinds[kind] = (due, held_back + 1)
                return
            self._kinds[kind] = (now + self._interval, 0)
        if held_back:
            message += f" (and {held_back} times more since the last message)"
        self._logger.warning(message, *args)

"""The SDK's warning of an attribute too many, which comes once for each: held back to one a minute."""

from __future__ import annotations

import logging
from time import monotonic


class _OnceInAWhile(logging.Filter):
    """Lets the first warning pass, and the next after an interval, which says how many were held back.

    It takes no lock: it is asked in the middle of anything. At worst a warning is told or counted twice.
    """

    def __init__(self, interval: float) -> None:
        super().__init__()
        self.interval = interval  # seconds
        self._due, self._held_back = 0.0, 0

    def holds_back(self) -> bool:
        """Whether a warning that comes now would not pass; counts it if so."""
        if monotonic() >= self._due:
            return False
        self._held_back += 1
        return True

    def filter(self, record: logging.LogRecord) -> bool:
        if not isinstance(record.msg, str) or not record.msg.startswith("Attributes dict is full."):
            return True
        if self.holds_back():
            return False
        held_back, self._held_back = self._held_back, 0
        self._due = monotonic() + self.interval
        if held_back:
            record.msg += f" ({held_back} more like this since the last warning)"
        return True


warnings_of_full_attributes = _OnceInAWhile(60.0)


def hold_back() -> None:
    """From now on, in this process. The SDK's own spans, which log the same, are spared the same."""
    logging.getLogger("opentelemetry.attributes").addFilter(warnings_of_full_attributes)

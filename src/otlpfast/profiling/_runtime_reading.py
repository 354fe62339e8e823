"""Runtime statistics over a time, for a full profile."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from ._pauses import GCPauses
from .runtime import RuntimeStatistics


class RuntimeReading:
    """From its making to ``end()``; gives no metrics."""

    def __init__(self) -> None:
        self._statistics = RuntimeStatistics()
        self._pauses = GCPauses()
        self._before = self._statistics.snapshot()
        self._pauses.start()

    def end(self) -> dict[str, Any]:
        """What there was at the beginning and the end, and the pauses of the collector in between."""
        self._pauses.stop()
        after = self._statistics.snapshot()
        pauses = [pause for _, pause in self._pauses.take()]
        return {
            "before": asdict(self._before),
            "after": asdict(after),
            "gc": {
                "pauses": self._pauses.count,
                "pause_seconds": self._pauses.total,
                "longest_pause_seconds": max(pauses, default=0.0),
            },
        }

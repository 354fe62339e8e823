"""Tail samplers for tests, that do not care for how fast the machine is."""

from __future__ import annotations

from typing import Any

from opentelemetry.trace import Status, StatusCode

from otlpfast.sampling import TailSampler

ERROR = Status(StatusCode.ERROR)


def patient(**settings: Any) -> TailSampler:
    """One that of itself keeps errors alone, and waits for the end of traces as long as a test may take."""
    return TailSampler(**{"slow_seconds": None, "ratio": 0, "decision_seconds": 3600, **settings})


NOTHING = patient()

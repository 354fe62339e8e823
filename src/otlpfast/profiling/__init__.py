"""Profiles of a running process: what ``net/http/pprof`` gives Go. Nothing runs until it is asked for."""

from __future__ import annotations

from ._readings import RuntimeSnapshot
from .alerts import Alert, Alerts, Threshold
from .profile import Frame, Profile, Sample, ValueType
from .recording import ProfilerBusyError, Recording
from .runtime import RuntimeStatistics

__all__ = [
    "Alert",
    "Alerts",
    "Frame",
    "Profile",
    "ProfilerBusyError",
    "Recording",
    "RuntimeSnapshot",
    "RuntimeStatistics",
    "Sample",
    "Threshold",
    "ValueType",
]

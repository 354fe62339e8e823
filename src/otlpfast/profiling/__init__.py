"""Profiles of a running process: what ``net/http/pprof`` gives Go. Nothing runs until it is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._readings import RuntimeSnapshot
    from .alerts import Alert, Alerts, Threshold
    from .heap import HeapRecording, heap_profile, start_heap
    from .profile import Frame, Profile, Sample, ValueType
    from .recording import ProfilerBusyError, Recording
    from .runtime import RuntimeStatistics

__all__ = [
    "Alert",
    "Alerts",
    "Frame",
    "HeapRecording",
    "Profile",
    "ProfilerBusyError",
    "Recording",
    "RuntimeSnapshot",
    "RuntimeStatistics",
    "Sample",
    "Threshold",
    "ValueType",
    "heap_profile",
    "start_heap",
]

# Where each name is loaded from when it is first used: a profile of threads takes no metrics, and so on.
_HOMES = {
    "_readings": ("RuntimeSnapshot",),
    "alerts": ("Alert", "Alerts", "Threshold"),
    "heap": ("HeapRecording", "heap_profile", "start_heap"),
    "profile": ("Frame", "Profile", "Sample", "ValueType"),
    "recording": ("ProfilerBusyError", "Recording"),
    "runtime": ("RuntimeStatistics",),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}


def _load(name: str) -> object:
    if name in _HOMES:
        return __import__(f"{__name__}.{name}", fromlist=["__name__"])
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(_load(_HOME[name]), name)
    globals()[name] = value
    return value


if not TYPE_CHECKING:
    __getattr__ = _load  # by another name, lest type checkers believe that every name is there


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

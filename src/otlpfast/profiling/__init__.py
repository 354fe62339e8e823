"""Profiles of a running process: what ``net/http/pprof`` gives Go. Nothing runs until it is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._leaks import Leak, leaks
    from ._readings import RuntimeSnapshot
    from ._top import Top, TopRow
    from .alerts import Alert, Alerts, Threshold
    from .cpu import start_cpu
    from .profile import Frame, Label, Profile, Sample, Stack, ValueType
    from .recording import ProfilerBusyError, Recording
    from .runtime import RuntimeStatistics
    from .stacks import Leak, dump, leaks, tasks, text, threads
    from .wall import start_wall

__all__ = [
    "Alert",
    "Alerts",
    "Frame",
    "Label",
    "Leak",
    "Profile",
    "ProfilerBusyError",
    "Recording",
    "RuntimeSnapshot",
    "RuntimeStatistics",
    "Sample",
    "Stack",
    "Threshold",
    "Top",
    "TopRow",
    "ValueType",
    "dump",
    "leaks",
    "start_cpu",
    "start_wall",
    "tasks",
    "text",
    "threads",
]

# Where each name is loaded from when it is first used: a profile of threads takes no metrics, and so on.
_HOMES = {
    "_leaks": ("Leak", "leaks"),
    "_readings": ("RuntimeSnapshot",),
    "_top": ("Top", "TopRow"),
    "alerts": ("Alert", "Alerts", "Threshold"),
    "cpu": ("start_cpu",),
    "profile": ("Frame", "Label", "Profile", "Sample", "Stack", "ValueType"),
    "recording": ("ProfilerBusyError", "Recording"),
    "runtime": ("RuntimeStatistics",),
    "stacks": ("Leak", "dump", "leaks", "tasks", "text", "threads"),
    "wall": ("start_wall",),
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

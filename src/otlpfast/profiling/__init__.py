"""Profiles of a running process: what ``net/http/pprof`` gives Go. Nothing runs until it is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._leaks import Leak, leaks
    from ._readings import RuntimeSnapshot
    from .alerts import Alert, Alerts, Threshold
    from .apps import pprof_asgi_app, pprof_wsgi_app
    from .config import ProfileConfig
    from .contention import Contention, block, mutex, start_contention
    from .cpu import start_cpu
    from .decorating import CallProfiles, profiled
    from .full import FullProfile
    from .heap import HeapRecording, heap_profile, start_heap
    from .http import PprofServer, disable_pprof_http, enable_pprof_http
    from .periodic import PeriodicProfiles
    from .profile import Frame, Label, Profile, Sample, Stack, ValueType
    from .profiler import Profiler
    from .recording import ProfilerBusyError, Recording
    from .runtime import RuntimeStatistics
    from .stacks import dump, tasks, text, threads
    from .wall import start_wall

__all__ = [
    "Alert",
    "Alerts",
    "CallProfiles",
    "Contention",
    "Frame",
    "FullProfile",
    "HeapRecording",
    "Label",
    "Leak",
    "PeriodicProfiles",
    "PprofServer",
    "Profile",
    "ProfileConfig",
    "Profiler",
    "ProfilerBusyError",
    "Recording",
    "RuntimeSnapshot",
    "RuntimeStatistics",
    "Sample",
    "Stack",
    "Threshold",
    "ValueType",
    "block",
    "disable_pprof_http",
    "dump",
    "enable_pprof_http",
    "heap_profile",
    "leaks",
    "mutex",
    "pprof_asgi_app",
    "pprof_wsgi_app",
    "profiled",
    "start_contention",
    "start_cpu",
    "start_heap",
    "start_wall",
    "tasks",
    "text",
    "threads",
]

# Where each name is loaded from when it is first used: a profile of threads takes no metrics, and so on.
_HOMES = {
    "_leaks": ("Leak", "leaks"),
    "_readings": ("RuntimeSnapshot",),
    "alerts": ("Alert", "Alerts", "Threshold"),
    "apps": ("pprof_asgi_app", "pprof_wsgi_app"),
    "config": ("ProfileConfig",),
    "contention": ("Contention", "block", "mutex", "start_contention"),
    "cpu": ("start_cpu",),
    "decorating": ("CallProfiles", "profiled"),
    "full": ("FullProfile",),
    "heap": ("HeapRecording", "heap_profile", "start_heap"),
    "http": ("PprofServer", "disable_pprof_http", "enable_pprof_http"),
    "periodic": ("PeriodicProfiles",),
    "profile": ("Frame", "Label", "Profile", "Sample", "Stack", "ValueType"),
    "profiler": ("Profiler",),
    "recording": ("ProfilerBusyError", "Recording"),
    "runtime": ("RuntimeStatistics",),
    "stacks": ("dump", "tasks", "text", "threads"),
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

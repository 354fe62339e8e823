"""Profiles of a running process: what ``net/http/pprof`` gives Go. Nothing runs until it is asked for."""

from __future__ import annotations

from .cpu import start_cpu
from .profile import Frame, Profile, Sample, ValueType
from .recording import ProfilerBusyError, Recording
from .stacks import Leak, dump, leaks, tasks, text, threads
from .wall import start_wall

__all__ = [
    "Frame",
    "Leak",
    "Profile",
    "ProfilerBusyError",
    "Recording",
    "Sample",
    "ValueType",
    "dump",
    "leaks",
    "start_cpu",
    "start_wall",
    "tasks",
    "text",
    "threads",
]

"""Profiles of a running process: what ``net/http/pprof`` gives Go. Nothing runs until it is asked for."""

from __future__ import annotations

from .profile import Frame, Profile, Sample, ValueType
from .recording import ProfilerBusyError, Recording

__all__ = ["Frame", "Profile", "ProfilerBusyError", "Recording", "Sample", "ValueType"]

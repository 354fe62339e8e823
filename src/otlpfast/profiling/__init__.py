"""Profiles of a running process: what ``net/http/pprof`` gives Go. Nothing runs until it is asked for."""

from __future__ import annotations

from .profile import Frame, Label, Profile, Sample, Stack, ValueType
from .recording import ProfilerBusyError, Recording

__all__ = ["Frame", "Label", "Profile", "ProfilerBusyError", "Recording", "Sample", "Stack", "ValueType"]

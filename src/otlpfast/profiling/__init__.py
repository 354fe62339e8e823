"""Profiles of a running process: what ``net/http/pprof`` gives Go. Nothing runs until it is asked for."""

from __future__ import annotations

from .profile import Frame, Profile, Sample, ValueType

__all__ = ["Frame", "Profile", "Sample", "ValueType"]

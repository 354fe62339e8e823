"""Profiles in the file format of speedscope: https://www.speedscope.app/file-format-schema.json."""

from __future__ import annotations

import json
from typing import Any

from .._version import __version__
from ._stacks import per_frame
from .profile import Frame, Profile

SCHEMA = "https://www.speedscope.app/file-format-schema.json"
_UNITS = ("nanoseconds", "microseconds", "milliseconds", "seconds", "bytes")


def speedscope(profile: Profile) -> str:
    """See ``Profile.to_speedscope``."""
    numbers: dict[Frame, int] = {}
    of_frame = per_frame(profile.samples, lambda frame: numbers.setdefault(frame, len(numbers)))
    stacks = [[of_frame[id(frame)] for frame in reversed(sample.stack)] for sample in profile.samples]
    name = f"{profile.kind} profile"
    views: list[dict[str, Any]] = []
    active = 0
    for index, (kind, unit) in enumerate(profile.value_types):
        if index == profile.value_index():
            active = len(views)
        values = [sample.values[index] for sample in profile.samples]
        views.append(_view(kind, unit, stacks, values))
        if any(value < 0 for value in values):  # which a weight can't be: a view of its own
            views.append(_view(f"{kind}, less than before", unit, stacks, [-value for value in values]))
            views[-2]["name"] = f"{kind}, more than before"
    made = {
        "$schema": SCHEMA,
        "shared": {"frames": [_frame(frame) for frame in numbers]},
        "profiles": views,
        "name": f"{name}: {'; '.join(profile.comments)}" if profile.comments else name,
        "activeProfileIndex": active,
        "exporter": f"otlpfast@{__version__}",
    }
    return json.dumps(made, separators=(",", ":"))


def _frame(frame: Frame) -> dict[str, str | int]:
    made: dict[str, str | int] = {"name": frame.name}
    if frame.filename:
        made["file"] = frame.filename
    if frame.line:
        made["line"] = frame.line
    return made


def _view(name: str, unit: str, stacks: list[list[int]], values: list[int]) -> dict[str, Any]:
    shown = [(stack, value) for stack, value in zip(stacks, values, strict=True) if value > 0]
    return {
        "type": "sampled",
        "name": name,
        "unit": unit if unit in _UNITS else "none",
        "startValue": 0,
        "endValue": sum(value for _, value in shown),
        "samples": [stack for stack, _ in shown],
        "weights": [value for _, value in shown],
    }

"""Collapsed stacks: a line for each stack, the outermost function first."""

from __future__ import annotations

import re

from ._stacks import per_frame
from .profile import Frame, Profile

_SEPARATORS = re.compile(r"[;\s\x00-\x1f\x7f]+")


def folded(profile: Profile, value: str | None) -> str:
    """See ``Profile.to_folded``."""
    index = profile.value_index(value)
    names = per_frame(profile.samples, _name)
    sums: dict[str, int] = {}
    for sample in profile.samples:
        line = ";".join([names[id(frame)] for frame in reversed(sample.stack)])
        sums[line] = sums.get(line, 0) + sample.values[index]
    return "".join(f"{line} {number}\n" for line, number in sorted(sums.items()) if number)


def _name(frame: Frame) -> str:
    return _SEPARATORS.sub(" ", frame.name).strip() or "?"

"""ProfileConfig: how profiles are taken, and where those of a running service are kept."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from dataclasses import dataclass

from .._checks import whole_number

KINDS = ("cpu", "wall", "heap", "threads", "tasks", "block", "mutex")
"""All there are, in the order in which they are shown."""

_MAX_SECONDS = 86_400.0


@dataclass(frozen=True, kw_only=True)
class ProfileConfig:
    """How a Profiler takes profiles; the defaults are for production.

    Raises:
        TypeError, ValueError: a value of the wrong kind or out of range; the message names it.
    """

    kinds: tuple[str, ...] = ("cpu",)
    """What ``start()`` and a ``with`` block profile: of ``cpu``, ``wall``, ``heap``, ``threads``, ``tasks``,
    ``block`` and ``mutex``."""
    frequency: int = 100
    """Samples a second of each thread, of CPU and wall profiles: 1 to 1000."""
    labels: bool = True
    """Whether samples carry the trace, span, thread and task that they were taken in."""
    heap_sample_bytes: int = 512 * 1024
    """One allocation in so many bytes is sampled, on average."""
    block_rate: int | None = None
    """Nanoseconds of waiting for each of which, on average, one wait is counted; 1 counts all. None: the rate
    that is in force, or 10 µs."""
    mutex_fraction: int | None = None
    """One wait for a lock in so many is counted. None: the fraction that is in force, or all."""
    max_seconds: float = 600.0
    """The longest that a profile may be asked to take."""
    directory: str | None = None
    """Where periodic profiles and those of decorated functions are kept; None: those of functions nowhere."""
    max_bytes: int = 64 * 1024 * 1024
    """Of all profiles in the directory; the oldest are deleted to make room."""
    max_files: int = 500
    """Profiles in the directory."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "kinds", checked_kinds(self.kinds))
        if not isinstance(self.labels, bool):
            raise TypeError(f"labels={self.labels!r}: True or False is allowed")
        whole_number("frequency", self.frequency, 1, 1000)
        whole_number("heap_sample_bytes", self.heap_sample_bytes, 1, 1 << 40)
        for name in ("block_rate", "mutex_fraction"):
            if getattr(self, name) is not None:
                whole_number(name, getattr(self, name), 1, 1 << 60)
        whole_number("max_bytes", self.max_bytes, 4096, 1 << 50)
        whole_number("max_files", self.max_files, 1, 1_000_000)
        object.__setattr__(self, "max_seconds", checked_seconds("max_seconds", self.max_seconds))
        if self.directory is not None:
            object.__setattr__(self, "directory", checked_directory(self.directory))


def checked_kinds(kinds: Iterable[str]) -> tuple[str, ...]:
    """The kinds, each once, in their order; TypeError or ValueError for what is none."""
    given = (kinds,) if isinstance(kinds, str) else tuple(kinds)
    for kind in given:
        if kind not in KINDS:
            raise ValueError(f"kinds={given!r}: of {', '.join(KINDS)} are allowed")
    if not given:
        raise ValueError(f"kinds={given!r}: at least one of {', '.join(KINDS)} is needed")
    return tuple(kind for kind in KINDS if kind in given)


def checked_seconds(name: str, value: object, most: float = _MAX_SECONDS) -> float:
    """The value as a float above 0; TypeError or ValueError otherwise."""
    allowed = f"a number of seconds above 0, at most {most:g}, is allowed"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name}={value!r}: {allowed}")
    if not math.isfinite(value) or not 0 < value <= most:
        raise ValueError(f"{name}={value!r}: {allowed}")
    return float(value)


def checked_directory(value: object) -> str:
    """An absolute path; TypeError for what is none."""
    if not isinstance(value, (str, os.PathLike)) or not isinstance(os.fspath(value), str):
        raise TypeError(f"directory={value!r}: a path is allowed")
    return os.path.abspath(os.path.expanduser(value))

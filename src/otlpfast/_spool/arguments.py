"""What a spool says of a wrong argument."""

from __future__ import annotations

import os


def absolute(directory: str | os.PathLike[str]) -> str:
    """Absolute: it stays the same when the working directory changes."""
    path = os.fspath(directory) if isinstance(directory, (str, os.PathLike)) else None
    if not isinstance(path, str):
        raise TypeError(f"directory={directory!r}: a path as str or os.PathLike is allowed")
    if not path or "\0" in path:
        raise ValueError(f"directory={path!r}: a path that is not empty is allowed")
    return os.path.abspath(path)


def seconds(name: str, value: float) -> float:
    allowed = "a positive number of seconds is allowed"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name}={value!r}: {allowed}")
    if not value > 0:
        raise ValueError(f"{name}={value!r}: {allowed}")
    return float(value)

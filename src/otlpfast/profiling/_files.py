"""Profiles as files: the suffix says the format."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from .profile import Profile

_TABLE_ROWS = 50


def _table(profile: Profile) -> bytes:
    return _text("\n".join(f"{profile.top(_TABLE_ROWS, by=by)}\n" for by in ("flat", "cum")))


def _text(text: str) -> bytes:
    return text.encode("utf-8", "replace")


FORMATS: dict[str, Callable[[Profile], bytes]] = {
    ".pb.gz": Profile.to_pprof,
    ".pprof": Profile.to_pprof,
    ".speedscope.json": lambda profile: _text(profile.to_speedscope()),
    ".svg": lambda profile: _text(profile.to_svg()),
    ".folded": lambda profile: _text(profile.to_folded()),
    ".txt": _table,
}
"""What ``save`` makes of each suffix."""


def save(profile: Profile, path: Path) -> Path:
    """See ``Profile.save``."""
    for suffix, encode in FORMATS.items():
        if path.name.endswith(suffix):
            path.write_bytes(encode(profile))
            return path
    raise ValueError(f"{path}: a profile can be saved as {', '.join('*' + suffix for suffix in FORMATS)}")


def load(path: Path) -> Profile:
    """See ``Profile.load``."""
    data = path.read_bytes()
    try:
        return Profile.from_pprof(data)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None

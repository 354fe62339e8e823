"""FullProfile: all kinds of profiles over the same seconds, in one archive with a summary to read first."""

from __future__ import annotations

import io
import json
import os
import platform
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .._version import __version__
from . import stacks
from ._directory import write_private
from ._native import sampler
from ._run import Run
from ._runtime_reading import RuntimeReading
from .config import KINDS, ProfileConfig
from .profile import Profile

_MOST_LEAKS = 20  # in a text that somebody is to read


@dataclass(frozen=True)
class FullProfile:
    """What ``Profiler.run_full_profile()`` found."""

    id: str
    """As in the span's ``otlpfast.profile.id`` and the comments of each profile."""
    time_unix_nano: int
    """When it began."""
    seconds: float
    """How long it took."""
    profiles: Mapping[str, Profile]
    """By kind."""
    missing: Mapping[str, str]
    """Why there is no profile of a kind, for those that could not be taken."""
    stacks: str
    """Threads and tasks at the end, as text."""
    leaks: str
    """Threads and tasks that have become more meanwhile, by equal stack, as text; empty where none have."""
    runtime: Mapping[str, Any]
    """Runtime statistics at the beginning and at the end, and what the garbage collector did in between."""
    about: Mapping[str, str] = field(default_factory=dict)
    """Of the process: its pid, program and versions."""

    @property
    def summary(self) -> str:
        """What a reader needs first: what was taken, the top of each, growth, and how to open the files."""
        from ._summary import summary

        return summary(self)

    def files(self) -> dict[str, bytes]:
        """What is in the archive: names and contents."""
        files = {"summary.txt": self.summary.encode("utf-8", "replace")}
        for kind in KINDS:
            if kind in self.profiles:
                files[f"{kind}.pb.gz"] = self.profiles[kind].to_pprof()
        if self.stacks:
            files["stacks.txt"] = self.stacks.encode("utf-8", "replace")
        if self.runtime:
            files["runtime.json"] = json.dumps(self.runtime, indent=2).encode()
        return files

    def to_bytes(self) -> bytes:
        """The archive: a ZIP file."""
        buffer = io.BytesIO()
        moment = time.gmtime(self.time_unix_nano // 10**9)[:6]
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in self.files().items():
                entry = zipfile.ZipInfo(name, max(moment, (1980, 1, 1, 0, 0, 0)))
                entry.external_attr = 0o600 << 16
                stored = name.endswith(".gz")
                entry.compress_type = zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED
                archive.writestr(entry, content)
        return buffer.getvalue()

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Writes the archive, readable by this user alone, and gives its path.

        Raises:
            ValueError: the suffix is not .zip.
            OSError: it can't be written.
        """
        target = Path(path)
        if target.suffix != ".zip":
            raise ValueError(f"path={str(path)!r}: a full profile is a .zip file")
        unfinished = target.with_name(f".{target.name}.{os.getpid()}-{self.id}.tmp")
        try:
            write_private(str(unfinished), self.to_bytes())
            unfinished.replace(target)
        finally:
            unfinished.unlink(missing_ok=True)
        return target


class FullRun:
    """A full profile that is being taken; ``stop()`` gives it, a second time the same again.

    Args:
        config: how.
        seconds: how long it is meant to take, for the span; None: until somebody stops it.
    """

    def __init__(self, config: ProfileConfig, seconds: float | None = None) -> None:
        self._time, self._start = time.time_ns(), time.monotonic()
        self._lock = threading.RLock()
        self._done: FullProfile | None = None
        self._reading = RuntimeReading()
        self._before = _population()
        try:
            self._run = Run(KINDS, config, seconds, tolerant=True)
        except BaseException:
            self._reading.end()
            raise

    def stop(self) -> FullProfile:
        """Ends it."""
        with self._lock:
            if self._done is None:
                self._done = self._stop()
            return self._done

    def _stop(self) -> FullProfile:
        try:
            profiles = self._run.stop()
        finally:
            runtime = self._reading.end()
        return FullProfile(
            id=self._run.id,
            time_unix_nano=self._time,
            seconds=time.monotonic() - self._start,
            profiles=profiles,
            missing=dict(self._run.missing),
            stacks=_or_why(stacks.dump),
            leaks=_or_why(lambda: _growth(self._before, profiles)),
            runtime=runtime,
            about=_about(),
        )


def _population() -> dict[str, Profile]:
    """Threads and tasks as they are now; without those that can't be had."""
    found = {}
    for kind, take in (("threads", stacks.threads), ("tasks", stacks.tasks)):
        with suppress(Exception):
            found[kind] = take()
    return found


def _growth(before: Mapping[str, Profile], after: Mapping[str, Profile]) -> str:
    grown = [leak for kind in before if kind in after for leak in stacks.leaks(before[kind], after[kind])]
    return "".join(f"{leak}\n" for leak in grown[:_MOST_LEAKS])


def _or_why(make: Callable[[], str]) -> str:
    """A text that a full profile would rather miss than fail for."""
    try:
        return make()
    except Exception as error:
        return f"not to be had: {type(error).__name__}: {error}\n"


def _about() -> dict[str, str]:
    program = getattr(sys.modules.get("__main__"), "__file__", None) or (sys.argv[:1] or [""])[0]
    return {
        "process": str(os.getpid()),
        "program": str(program),
        "host": platform.node(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": platform.platform(),
        "otlpfast": f"{__version__} ({'native' if sampler is not None else 'plain Python'} sampler)",
    }

"""Profiles that a service takes of itself again and again, so that there is one of when it was slow."""

from __future__ import annotations

import atexit
import logging
import os
import random
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from .._log import RateLimitedLog
from .._threads import are_real, start_outside
from ._directory import ProfileDirectory
from ._native import sampler
from ._run import Run, load
from ._sampling import HeapHold
from .config import ProfileConfig, checked_directory, checked_kinds, checked_seconds

_logger = logging.getLogger(__name__)

_JITTER = 0.1  # of the time between two: processes that began together do not stay together
_PATIENCE = 0.5  # seconds in which a profile that is under way at the end of the process can be stopped
_random = random.Random()  # the application's own may be seeded


class PeriodicProfiles:
    """What ``Profiler.start_periodic()`` has begun, until ``close()`` or the end of the process.

    Attributes:
        saved: profiles that this process has written.
        failed: profiles that were not taken or not written; the log says why, each reason once in a while.
    """

    def __init__(
        self,
        config: ProfileConfig,
        directory: str | None,
        every: float,
        seconds: float,
        kinds: Iterable[str] | None = None,
    ) -> None:
        path = checked_directory(directory) if directory is not None else config.directory
        if path is None:
            raise ValueError("directory=None: a path is needed, here or in the ProfileConfig")
        self._config = config
        self._kinds = checked_kinds(_default_kinds() if kinds is None else kinds)
        self._every = checked_seconds("every", every)
        self._seconds = checked_seconds("seconds", seconds, min(config.max_seconds, self._every))
        self._directory = ProfileDirectory(path, config.max_bytes, config.max_files)
        self._closed = False
        load(self._kinds)
        _follow_forks()
        _living.add(self)
        self._begin()

    def _begin(self) -> None:
        self.saved = 0
        self.failed = 0
        self._log = RateLimitedLog(_logger, interval=3600.0)
        self._end = threading.Event()
        self._thread = threading.Thread(
            target=self._loop, args=(self._end,), name="otlpfast-profiles", daemon=True
        )
        start_outside(self._thread)

    @property
    def directory(self) -> str:
        """Where the profiles are."""
        return self._directory.path

    def close(self) -> None:
        """Ends it; the profile that is under way is not kept. May be called again."""
        self._closed = True
        _living.discard(self)
        self._end.set()
        if self._thread is not threading.current_thread():
            self._thread.join()

    def __enter__(self) -> PeriodicProfiles:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _loop(self, end: threading.Event) -> None:
        with self._heap_on():
            while not end.is_set():
                begun = time.monotonic()
                self._profile(end)
                pause = self._every * _random.uniform(1 - _JITTER, 1 + _JITTER)
                end.wait(max(begun + pause - time.monotonic(), 0))

    @contextmanager
    def _heap_on(self) -> Iterator[None]:
        """Also between two profiles: what is in use was mostly allocated then."""
        hold = None
        if "heap" in self._kinds:
            try:
                hold = HeapHold(self._config)
            except Exception as error:
                self._log.warning("heap", "no periodic heap profiles: %s", error)
        try:
            yield
        finally:
            if hold is not None:
                hold.release()

    def _profile(self, end: threading.Event) -> None:
        try:
            run = Run(self._kinds, self._config, self._seconds, tolerant=True, cumulative=True)
            end.wait(self._seconds)
            profiles = run.stop()
        except Exception as error:
            self.failed += len(self._kinds)
            self._log.warning("run", "no periodic profile: %s: %s", type(error).__name__, error)
            return
        if end.is_set():
            return
        for kind, reason in run.missing.items():
            self.failed += 1
            self._log.warning(kind, "no periodic %s profile: %s", kind, reason)
        for kind, profile in profiles.items():
            try:
                self._directory.add(kind, profile.to_pprof(), profile.time_unix_nano)
                self.saved += 1
            except Exception as error:
                self.failed += 1
                text = "a periodic %s profile can't be kept in %r: %s"
                self._log.warning("keep", text, kind, self._directory.path, error)

    def _in_child(self) -> None:
        # gevent's threads begin only when its hub does, which a fork has broken.
        if not self._closed and are_real():
            try:
                self._begin()
            except RuntimeError:  # the process is on its way out
                _living.discard(self)


def _default_kinds() -> tuple[str, ...]:
    # Without the native sampler each block is counted, which is too slow to be always on.
    return ("cpu",) if sampler is None else ("cpu", "heap")


_living: set[PeriodicProfiles] = set()  # also those that nobody keeps: they go on all the same
_is_hooked = False


def _in_child() -> None:
    for periodic in list(_living):
        periodic._in_child()


def _follow_forks() -> None:
    global _is_hooked
    if not _is_hooked and hasattr(os, "register_at_fork"):
        _is_hooked = True
        os.register_at_fork(after_in_child=_in_child)


def _at_exit() -> None:
    for periodic in list(_living):
        periodic._end.set()
    deadline = time.monotonic() + _PATIENCE
    for periodic in list(_living):
        periodic._thread.join(max(deadline - time.monotonic(), 0))


atexit.register(_at_exit)

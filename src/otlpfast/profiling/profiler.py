"""Profiler: takes profiles of this process, for so many seconds, around a block of code, or all at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from ._run import Run
from .config import ProfileConfig, checked_kinds, checked_seconds
from .profile import Profile

if TYPE_CHECKING:
    from ._sampling import HeapHold
    from .full import FullProfile
    from .periodic import PeriodicProfiles

_SECONDS = 30.0  # as Go has it
_NAP = 0.5  # seconds: a signal that comes just before a sleep begins does not end that


class Profiler:
    """Takes profiles of this process. Making one starts nothing.

    ::

        Profiler().cpu(10).save("cpu.pb.gz")     # what the process does in the next 10 s
        with Profiler() as profiler:             # what it does meanwhile
            work()
        print(profiler.profile.top(10))

    Methods with seconds wait so long in the calling thread; under asyncio call them by
    ``asyncio.to_thread``. An exception that comes in between, such as KeyboardInterrupt, ends the profile and
    goes on. Each run is a span ``otlpfast.profile``; its id is in the comments of the profile.

    Args:
        config: how profiles are taken; the defaults of ProfileConfig without.
    """

    def __init__(self, config: ProfileConfig | None = None) -> None:
        if config is not None and not isinstance(config, ProfileConfig):
            raise TypeError(f"config={config!r}: a ProfileConfig or None is allowed")
        self._config = config if config is not None else ProfileConfig()
        self._lock = threading.RLock()  # a signal handler may stop it, too
        self._run: Run | None = None
        self._heap: HeapHold | None = None
        self._profiles: dict[str, Profile] = {}

    @property
    def config(self) -> ProfileConfig:
        """How profiles are taken."""
        return self._config

    def cpu(self, seconds: float = _SECONDS) -> Profile:
        """Where CPU time goes in the next seconds.

        Raises:
            ProfilerBusyError: a CPU profile is under way in this process.
            TypeError, ValueError: seconds of the wrong kind, or more than the configuration allows.
        """
        return self._take("cpu", seconds)

    def wall(self, seconds: float = _SECONDS) -> Profile:
        """Where threads spend their time in the next seconds, waiting included; raises as ``cpu()`` does."""
        return self._take("wall", seconds)

    def heap(self, seconds: float | None = None, gc: bool = False) -> Profile:
        """Which code has allocated memory, and what of it is in use.

        What was allocated before sampling began is not in it. The first call without seconds begins it,
        unless it is on, and it stays on until ``close()``: the profiles of later calls have all since then.

        Args:
            seconds: only what is allocated in the next seconds; by default all since sampling began.
            gc: collect garbage first.
        """
        if seconds is not None:
            return self._take("heap", seconds, gc=gc)
        with self._lock:
            if self._heap is None:
                from ._sampling import HeapHold

                self._heap = HeapHold(self._config)
        return self._snapshot("heap", gc=gc)

    def close(self) -> None:
        """Ends what ``start()`` and ``heap()`` have begun. The profiler can still be used."""
        self.stop()
        with self._lock:
            hold, self._heap = self._heap, None
        if hold is not None:
            hold.release()

    def threads(self) -> Profile:
        """What each thread is doing now; equal stacks are one sample, counted."""
        return self._snapshot("threads")

    def tasks(self) -> Profile:
        """What each asyncio task awaits now; equal stacks are one sample, counted."""
        return self._snapshot("tasks")

    def block(self, seconds: float = _SECONDS) -> Profile:
        """Where threads and tasks wait for conditions, queues, events and each other in the next seconds."""
        return self._take("block", seconds)

    def mutex(self, seconds: float = _SECONDS) -> Profile:
        """Where locks are waited for in the next seconds."""
        return self._take("mutex", seconds)

    def run_full_profile(self, seconds: float = _SECONDS) -> FullProfile:
        """All kinds over the same seconds, runtime statistics and a summary, as one archive.

        A kind that can't be taken, such as a CPU profile while there is one, is missing there, with the
        reason. Raises TypeError and ValueError as ``cpu()`` does.
        """
        from .full import FullRun

        length = self._checked(seconds)
        run = FullRun(self._config, length)
        try:
            wait(length)
        finally:
            full = run.stop()
        return full

    def start(self, *kinds: str) -> None:
        """Begins profiles, by default of the kinds of the configuration, until ``stop()``.

        Raises:
            ProfilerBusyError: such a profile is under way, of this profiler or another.
            ValueError: a kind that there is not.
        """
        from .recording import ProfilerBusyError

        wanted = checked_kinds(kinds) if kinds else self._config.kinds
        with self._lock:
            if self._run is not None:
                raise ProfilerBusyError("this profiler is under way: stop() it first, or take another")
            self._run = Run(wanted, self._config)

    def stop(self) -> dict[str, Profile]:
        """Ends what ``start()`` began and gives the profiles by kind; once more, the same again."""
        with self._lock:
            run, self._run = self._run, None
            if run is not None:
                self._profiles = run.stop()
            return self._profiles

    @property
    def running(self) -> bool:
        """Whether ``start()`` has begun something that ``stop()`` has not ended."""
        return self._run is not None

    @property
    def profiles(self) -> dict[str, Profile]:
        """What the last ``stop()``, or the end of the last ``with`` block, has given, by kind."""
        return self._profiles

    @property
    def profile(self) -> Profile:
        """The first of ``profiles``. RuntimeError where there is none yet."""
        for profile in self._profiles.values():
            return profile
        raise RuntimeError("there is no profile yet: it is there after stop(), or after the with block")

    def __enter__(self) -> Profiler:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start_periodic(
        self,
        directory: str | None = None,
        every: float = 600.0,
        seconds: float = 10.0,
        kinds: Iterable[str] | None = None,
    ) -> PeriodicProfiles:
        """Takes profiles again and again, in a thread of its own, and keeps the newest in a directory.

        Files are named ``otlpfast-TIME-PID-KIND-….pb.gz``; ``max_bytes`` and ``max_files`` of the
        configuration hold for all in the directory, of all processes that use it. Forked children take their
        own. It ends with ``close()`` or the process.

        Args:
            directory: made where it is missing; by default that of the configuration.
            every: seconds from one beginning to the next, give or take a tenth.
            seconds: for which each profile is taken.
            kinds: which profiles; by default ``cpu`` and, where the native sampler is there, ``heap``.

        Raises:
            TypeError, ValueError: an argument of the wrong kind or out of range, or no directory.
            OSError: the directory can't be made or written.
        """
        from .periodic import PeriodicProfiles

        return PeriodicProfiles(self._config, directory, every, seconds, kinds)

    def _checked(self, seconds: object) -> float:
        return checked_seconds("seconds", seconds, self._config.max_seconds)

    def _take(self, kind: str, seconds: object, gc: bool = False) -> Profile:
        length = self._checked(seconds)
        run = Run((kind,), self._config, length, gc=gc)
        try:
            wait(length)
        finally:
            profiles = run.stop()
        return profiles[kind]

    def _snapshot(self, kind: str, gc: bool = False) -> Profile:
        return Run((kind,), self._config, cumulative=True, gc=gc).stop()[kind]


def wait(seconds: float) -> None:
    """Waits, where a signal handler may end it by an exception."""
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        time.sleep(min(left, _NAP))

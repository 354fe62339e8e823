"""One run of a profiler: profiles of one or several kinds, taken over the same time, under one span."""

from __future__ import annotations

import importlib
import secrets
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import replace

from opentelemetry import trace

from .config import ProfileConfig
from .profile import Profile
from .recording import ProfilerBusyError, Recording

SPAN = "otlpfast.profile"
ID, KINDS, SECONDS, MISSING = (f"{SPAN}.{name}" for name in ("id", "kinds", "seconds", "missing"))
TRACE = "trace_id"
"""Of the span, in the comments of profiles."""


class _Snapshot:
    """A profile of one moment: the end of the run."""

    def __init__(self, take: Callable[[], Profile]) -> None:
        self._take = take
        self._taken: Profile | None = None

    def stop(self) -> Profile:
        if self._taken is None:
            self._taken = self._take()
        return self._taken


_HOMES = {"block": "contention", "mutex": "contention", "threads": "stacks", "tasks": "stacks"}


def load(kinds: Iterable[str]) -> None:
    """Loads the engines, which otherwise is done when they are first used.

    Their fork hooks run in the order in which they were loaded: whoever begins profiles in one comes later.
    """
    for kind in kinds:
        importlib.import_module(f"{__package__}.{_HOMES.get(kind, kind)}")


def _begin(kind: str, config: ProfileConfig, *, cumulative: bool, gc: bool) -> Recording:
    if kind == "cpu":
        from .cpu import start_cpu

        return start_cpu(config.frequency, config.labels)
    if kind == "wall":
        from .wall import start_wall

        return start_wall(config.frequency, config.labels)
    if kind == "heap":
        from ._sampling import HeapSpell

        return HeapSpell(config, cumulative=cumulative, gc=gc)
    if kind in ("block", "mutex"):
        from ._sampling import ContentionSpell

        return ContentionSpell(kind, config)
    from . import stacks

    return _Snapshot(stacks.threads if kind == "threads" else stacks.tasks)


class Run:
    """Profiles that are being taken.

    Attributes:
        id: of this run, 16 hex digits: in the span's attributes, and in the comments of each profile.
        missing: why there is no profile of a kind, where that is allowed.

    Args:
        kinds: each at most once.
        config: how.
        seconds: how long it is meant to take, for the span; None: until somebody stops it.
        tolerant: a kind that can't be taken is missing; otherwise all are stopped and the error is raised.
        cumulative: a heap profile is of all that was seen since sampling began.
        gc: garbage is collected before a heap profile.
    """

    def __init__(
        self,
        kinds: Iterable[str],
        config: ProfileConfig,
        seconds: float | None = None,
        *,
        tolerant: bool = False,
        cumulative: bool = False,
        gc: bool = False,
    ) -> None:
        self.id = secrets.token_hex(8)
        self.missing: dict[str, str] = {}
        self._tolerant = tolerant
        self._lock = threading.RLock()  # a signal handler may stop it, too
        self._profiles: dict[str, Profile] | None = None
        self._recordings: dict[str, Recording] = {}
        kinds = tuple(kinds)
        attributes: dict[str, str | float | tuple[str, ...]] = {ID: self.id, KINDS: kinds}
        if seconds is not None:
            attributes[SECONDS] = seconds
        # Not made the current one: what the application does meanwhile is no part of it.
        tracer, begun = trace.get_tracer("otlpfast.profiling"), time.time_ns()
        self._span: trace.Span = trace.INVALID_SPAN
        try:
            for kind in reversed(kinds):  # cpu last, so as not to see the others begin
                try:
                    self._recordings[kind] = _begin(kind, config, cumulative=cumulative, gc=gc)
                except Exception as error:
                    if not tolerant:
                        raise
                    self.missing[kind] = str(error) or type(error).__name__
        except BaseException as error:
            if not isinstance(error, ProfilerBusyError):  # nothing is wrong: there is one
                self._span = tracer.start_span(SPAN, attributes=attributes, start_time=begun)
            self._abandon(error)
            raise
        self._span = tracer.start_span(SPAN, attributes=attributes, start_time=begun)

    def stop(self) -> dict[str, Profile]:
        """Ends all of them, and gives what was found by kind; a second call gives the same again."""
        with self._lock:
            if self._profiles is None:
                self._profiles = self._stop()
            return self._profiles

    def _stop(self) -> dict[str, Profile]:
        profiles: dict[str, Profile] = {}
        try:
            for kind in reversed(self._recordings):
                try:
                    profiles[kind] = self._named(self._recordings[kind].stop())
                except Exception as error:
                    if not self._tolerant:
                        raise
                    self.missing[kind] = str(error) or type(error).__name__
        except BaseException as error:
            self._abandon(error)
            raise
        if self.missing:
            self._span.set_attribute(MISSING, tuple(self.missing))
        self._span.end()
        return profiles

    def _named(self, profile: Profile) -> Profile:
        comments = [f"{ID}={self.id}"]
        context = self._span.get_span_context()
        if context.is_valid:
            comments.append(f"{TRACE}={context.trace_id:032x}")
        return replace(profile, comments=(*profile.comments, *comments))

    def _abandon(self, error: BaseException) -> None:
        for recording in self._recordings.values():
            try:
                recording.stop()
            except Exception as another:  # the first error is the one that is raised
                self._span.record_exception(another)
        self._span.record_exception(error)
        self._span.set_status(trace.Status(trace.StatusCode.ERROR, str(error)[:200]))
        self._span.end()

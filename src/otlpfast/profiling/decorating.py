"""``@profiled``: a profile of each call of a function."""

from __future__ import annotations

import functools
import inspect
import logging
import time
from collections.abc import AsyncGenerator, Callable, Generator
from typing import Any, TypeVar, overload

from .._decorator import decorated
from .._log import RateLimitedLog
from ._directory import ProfileDirectory
from ._run import Run
from .config import ProfileConfig, checked_kinds, checked_seconds
from .profile import Profile
from .recording import ProfilerBusyError

_logger = logging.getLogger(__name__)

_Function = TypeVar("_Function", bound=Callable[..., Any])


class CallProfiles:
    """The profiles of one function's calls: the attribute ``profiles`` of what ``@profiled`` gives.

    Attributes:
        last: of the last call that was profiled; None before.
        taken: calls that were profiled.
        passed: calls that ran without, because such a profile was under way, or it was not yet time.
        failed: profiles that were not taken or not kept for another reason, which the log has.
    """

    def __init__(self, kind: str, config: ProfileConfig, every: float) -> None:
        self.last: Profile | None = None
        self.taken = 0
        self.passed = 0
        self.failed = 0
        self._kind = kind
        self._config = config
        self._every = every
        self._due = 0.0
        self._directory: ProfileDirectory | None = None
        self._log = RateLimitedLog(_logger, interval=3600.0)

    def _begin(self) -> Run | None:
        now = time.monotonic()
        if now < self._due:
            self.passed += 1
            return None
        try:
            run = Run((self._kind,), self._config)
        except ProfilerBusyError:
            self.passed += 1
            return None
        except Exception as error:
            self._fail("no %s profile of a call: %s: %s", self._kind, type(error).__name__, error)
            return None
        self._due = now + self._every
        return run

    def _end(self, run: Run) -> None:
        try:
            profile = run.stop()[self._kind]
        except Exception as error:
            self._fail("no %s profile of a call: %s: %s", self._kind, type(error).__name__, error)
            return
        self.last = profile
        self.taken += 1
        if self._config.directory is not None:
            try:
                self._keep(self._config.directory, profile)
            except Exception as error:
                text = "a %s profile of a call can't be kept in %r: %s"
                self._fail(text, self._kind, self._config.directory, error)

    def _keep(self, path: str, profile: Profile) -> None:
        if self._directory is None:
            self._directory = ProfileDirectory(path, self._config.max_bytes, self._config.max_files)
        self._directory.add(profile.kind, profile.to_pprof(), profile.time_unix_nano)

    def _fail(self, text: str, *arguments: object) -> None:
        self.failed += 1
        self._log.warning(text, text, *arguments)


class _Call:
    """One call."""

    def __init__(self, profiles: CallProfiles) -> None:
        self._profiles = profiles

    def __enter__(self) -> None:
        self._run = self._profiles._begin()

    def __exit__(self, *_: object) -> None:
        if self._run is not None:
            self._profiles._end(self._run)


@overload
def profiled(function: _Function, /) -> _Function: ...
@overload
def profiled(
    *, kind: str = "cpu", config: ProfileConfig | None = None, every: float = 0.0
) -> Callable[[_Function], _Function]: ...
def profiled(
    function: Any = None, /, *, kind: str = "cpu", config: ProfileConfig | None = None, every: float = 0.0
) -> Any:
    """Profiles the process during each call of a function, coroutine function, generator or async generator.

    ::

        @profiled(kind="wall", config=ProfileConfig(directory="/var/tmp/profiles"), every=60)
        async def handle(request): ...

        handle.profiles.last.top(10)

    The function has an attribute ``profiles``, a CallProfiles. Where the configuration has a directory, each
    profile is kept there. Nothing of this raises into a call: where a profile can't be taken, it just runs.
    Other threads and tasks are in the profile, too: what their labels are for.

    Args:
        kind: of the profile.
        config: how profiles are taken and kept.
        every: seconds after a profile in which calls are not profiled.

    Raises:
        TypeError, ValueError: an argument of the wrong kind, or one that is not allowed.
    """
    [kind] = checked_kinds((kind,))
    if config is not None and not isinstance(config, ProfileConfig):
        raise TypeError(f"config={config!r}: a ProfileConfig or None is allowed")
    config = config or ProfileConfig()
    pause = checked_seconds("every", every) if every != 0 else 0.0

    def decorate(function: Any) -> Any:
        if not callable(function):
            raise TypeError(f"function={function!r}: a function is allowed")
        profiles = CallProfiles(kind, config, pause)
        wrapper = _wrap(functools.partial(_Call, profiles), function)
        wrapper.profiles = profiles
        return wrapper

    return decorate if function is None else decorate(function)


def _wrap(make: Callable[[], _Call], function: Callable[..., Any]) -> Any:
    if inspect.isgeneratorfunction(function):

        @functools.wraps(function)
        def in_generator(*args: Any, **options: Any) -> Generator[Any, Any, Any]:
            with make():
                return (yield from function(*args, **options))

        return in_generator
    if inspect.isasyncgenfunction(function):

        @functools.wraps(function)
        async def in_async_generator(*args: Any, **options: Any) -> AsyncGenerator[Any, Any]:
            with make():
                inner = function(*args, **options)
                step = inner.asend(None)
                while True:
                    try:
                        item = await step
                    except StopAsyncIteration:
                        return
                    try:
                        sent = yield item
                    except GeneratorExit:
                        await inner.aclose()
                        raise
                    except BaseException as error:
                        step = inner.athrow(error)
                    else:
                        step = inner.asend(sent)

        return in_async_generator
    return decorated(make, function)

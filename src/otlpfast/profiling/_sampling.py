"""Engines that count as long as anybody wants them to, as one run sees them: from its start to its end."""

from __future__ import annotations

from collections.abc import Callable

from ._serving.engines import heap as shared_heap
from ._serving.kinds import changes
from .config import ProfileConfig
from .heap import heap_recording
from .profile import Profile


class HeapHold:
    """The heap is sampled until ``release()``, whoever else wants that or has begun it."""

    def __init__(self, config: ProfileConfig) -> None:
        self.recording, self._leave = shared_heap.want(sample_bytes=config.heap_sample_bytes)
        self._is_held = True

    def release(self) -> None:
        """Once is enough."""
        held, self._is_held = self._is_held, False
        if held:
            self._leave()


class HeapSpell:
    """A heap profile of one run.

    Args:
        cumulative: of all that was seen since sampling began, be that before.
        gc: garbage is collected first.
    """

    def __init__(self, config: ProfileConfig, *, cumulative: bool, gc: bool) -> None:
        was_on = heap_recording() is not None
        self._hold = HeapHold(config)
        self._gc = gc
        self._done: Profile | None = None
        try:
            self._before = self._hold.recording.snapshot() if was_on and not cumulative else None
        except BaseException:
            self._hold.release()
            raise

    def stop(self) -> Profile:
        """Ends it; a second call gives the same again."""
        if self._done is None:
            after = self._hold.recording.snapshot(gc=self._gc)
            self._done = after if self._before is None else changes(self._before, after)
            self._hold.release()
        return self._done


class ContentionSpell:
    """A block or mutex profile of one run."""

    def __init__(self, kind: str, config: ProfileConfig) -> None:
        from . import contention

        block, mutex = config.block_rate, config.mutex_fraction
        # It may be on for the other kind alone.
        if kind == "block" and block is None and not contention.is_on(kind):
            block = contention.BLOCK_RATE
        elif kind == "mutex" and mutex is None and not contention.is_on(kind):
            mutex = contention.MUTEX_FRACTION
        self._take: Callable[[], Profile] = contention.block if kind == "block" else contention.mutex
        self._contention = contention.start_contention(block, mutex)
        self._done: Profile | None = None
        try:
            self._before = self._take()
        except BaseException:
            self._contention.stop()
            raise

    def stop(self) -> Profile:
        """Ends it; a second call gives the same again."""
        if self._done is None:
            self._done = changes(self._before, self._take())
            self._contention.stop()
        return self._done

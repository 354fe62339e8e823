"""Heap profiles by the native sampler; the mechanism stands in ``_sampler/heap.h``."""

from __future__ import annotations

import atexit
import time
from types import ModuleType

from .heap import VALUE_TYPES
from .profile import Frame, Profile, Sample, Stack, ValueType

NO_FRAMES: Stack = (Frame("(no Python function)", "", 0),)
NO_ROOM: Stack = (Frame("(no room for more stacks)", "", 0),)

SCOPE = "Python's own allocators (mem and obj): neither data of numpy nor malloc() of extensions"
UNHOOKED = (
    "another tool, such as tracemalloc.stop(), took the hook out: what was freed then may be in use here"
)


class SampledEngine:
    """Samples until it ends; goes on in a forked child, whose memory is a copy."""

    def __init__(self, native: ModuleType, sample_bytes: int) -> None:
        self._reseed = native.reseed_heap
        self._sample_bytes = sample_bytes
        self._sampler = native.HeapSampler(sample_bytes)
        self._stacks: dict[int, Stack] = {0: NO_ROOM}
        # The interpreter allocates on its way out, when frames are no more what they were.
        atexit.register(self._sampler.stop)
        self._sampler.start()

    def profile(self) -> Profile:
        rows = self._sampler.rows()
        now = time.time_ns()
        merged: dict[Stack, list[int]] = {}
        for number, *values in rows:
            stack = self._stack(number)
            total = merged.get(stack)
            merged[stack] = values if total is None else [a + b for a, b in zip(total, values, strict=True)]
        return Profile(
            kind="heap",
            value_types=VALUE_TYPES,
            samples=tuple(Sample(stack, tuple(values)) for stack, values in merged.items()),
            time_unix_nano=now,
            default_type="inuse_space",
            period_type=ValueType("space", "bytes"),
            period=self._sample_bytes,
            comments=self._comments(),
        )

    def _stack(self, number: int) -> Stack:
        # Kept, since snapshots come again and again; the number and the code behind it stay.
        stack = self._stacks.get(number)
        if stack is None:
            frames = self._sampler.frames(number)
            stack = tuple(Frame.of(code, line) for code, line in frames) or NO_FRAMES
            self._stacks[number] = stack
        return stack

    def _comments(self) -> tuple[str, ...]:
        comments = [f"estimates: one sample in {self._sample_bytes} bytes, on average", SCOPE]
        if self._sampler.lost:
            comments.append(f"{self._sampler.lost} samples are missing in inuse: there was no room for them")
        if self._sampler.was_unhooked:
            comments.append(UNHOOKED)
        return tuple(comments)

    def end(self) -> Profile:
        self._sampler.stop()
        atexit.unregister(self._sampler.stop)
        return self.profile()

    def begin_child(self) -> bool:
        self._reseed()
        return True

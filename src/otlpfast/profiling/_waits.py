"""What threads and tasks waited for, added up by stack and labels."""

from __future__ import annotations

import _thread
import os
import random
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from types import CodeType
from typing import Any

from opentelemetry import trace

from .._shown import shown
from . import _locks, _table
from ._native import sampler
from .profile import Frame, Label, Profile, Sample, Stack, ValueType

MOST_STACKS = 1 << 14
MOST_SAMPLES = 1 << 14
"""As many differ by their labels; those that come later have no labels."""

VALUE_TYPES = ValueType("contentions", "count"), ValueType("delay", "nanoseconds")

StackTable: Callable[[int], Any] = _table.StackTable if sampler is None else sampler.StackTable
_chance = random.Random().random  # a generator of its own: those of the application go on undisturbed
OWN_FILES = {sys._getframe().f_code.co_filename, _locks.RLock.locked.__code__.co_filename}
"""Of the code that stands between what waits and ``Waits``: no stack shows it."""

_COMMENTS = {
    "block": (
        "Waits in Condition (so Event, Barrier, queue.Queue, futures), SimpleQueue, Thread.join and asyncio.",
        "Each is at the stack that waited, and appears once it is over.",
        "Waits shorter than the period are sampled in proportion to their length, and weighted.",
    ),
    "mutex": (
        "Waits for Lock, RLock and Semaphore. Each is at the stack that waited, and appears once it is over.",
        "The label holder is the place that released the lock after it was held the longest meanwhile.",
        "Locks made before it began, or by a name imported before (from threading import Lock), are missing.",
    ),
}


# What is asked of objects that are not ours: what a signal handler raises meanwhile has to get through.
_ODD = AttributeError, TypeError, ValueError


def _thread_name(ident: int) -> str:
    # Not current_thread(), which makes up a thread where it knows of none.
    try:
        return str(threading._active[ident].name)  # type: ignore[attr-defined]
    except (KeyError, *_ODD):
        return ""


def _task_name() -> str:
    try:
        return str(sys.modules["asyncio"].current_task().get_name())
    except (RuntimeError, *_ODD):  # no loop runs
        return ""


def _span() -> tuple[int, int, str]:
    try:
        span = trace.get_current_span()
        context = span.get_span_context()
        if context.is_valid:
            return int(context.trace_id), int(context.span_id), str(getattr(span, "name", ""))
    except _ODD:
        pass
    return 0, 0, ""


# What waits that are counted together have in common: kind, number of the stack, leaf, holder (the id of a
# code, and a line), names of thread and task, trace_id, span_id, name of the span. A plain tuple, because it
# is made while a lock is held that others wait for.
_Key = tuple[str, int, "Frame | None", "tuple[int, int] | None", str, str, int, int, str]


class Waits:
    """Adds up what it is told; a snapshot of that is a Profile.

    Being told never waits for what others may hold for long; a wait that comes up meanwhile in the same
    thread, in a signal handler or a finaliser, is not counted.

    Args:
        block_rate: of waits that take so many nanoseconds together, one is counted on average; of those that
            are longer, each. 0 counts none.
        mutex_fraction: one of so many waits for a lock is counted; 0 counts none.
    """

    def __init__(self, block_rate: int, mutex_fraction: int) -> None:
        self.block_rate, self.mutex_fraction = block_rate, mutex_fraction
        self._last = block_rate, mutex_fraction  # which were in force at the end
        self._ended: int | None = None
        self.forget()

    def forget(self) -> None:
        """Begins anew, as in a child whose parent's waits are none of its own."""
        # Re-entrant, because a signal handler may take a snapshot while the thread adds something.
        self._changing = _thread.RLock()
        self._busy: set[int] = set()  # threads that are being counted
        self._table = StackTable(MOST_STACKS)
        self._totals: dict[_Key, list[float]] = {}
        self._late: deque[tuple[_Key, float, int]] = deque(maxlen=MOST_SAMPLES)  # to be added to the totals
        self._holders: dict[int, CodeType] = {}
        self._began_unix_nano, self._began = time.time_ns(), time.monotonic_ns()
        if self._ended is not None:
            self._ended = self._began
        self._process = os.getpid()

    def end(self) -> None:
        """From now on nothing is counted; what was stays."""
        self._last = self.block_rate, self.mutex_fraction
        self.block_rate = self.mutex_fraction = 0
        self._ended = time.monotonic_ns()

    def blocked(self, waited: int, leaf: Frame, in_task: bool = False) -> None:
        """A wait of so many nanoseconds, in what the frame stands for, is over."""
        rate = self.block_rate
        if waited >= rate > 0:
            self._add("block", 1, waited, leaf, None, in_task)
        elif rate and _chance() * rate < waited:
            self._add("block", rate / waited, rate, leaf, None, in_task)

    def kept_out(self, waited: int, leaf: Frame) -> None:
        """The same for a semaphore."""
        one_in = self.mutex_fraction
        if one_in == 1 or (one_in and _chance() * one_in < 1):
            self._add("mutex", one_in, waited * one_in, leaf, None, False)

    def locked_out(self, waited: int, code: CodeType | None, line: int) -> None:
        """What a Lock or RLock tells of a wait that was chosen, and from where it was last released."""
        if one_in := self.mutex_fraction:
            holder = None if code is None else (code, line)
            self._add("mutex", one_in, waited * one_in, None, holder, False)

    def _add(
        self,
        kind: str,
        count: float,
        delay: int,
        leaf: Frame | None,
        holder: tuple[CodeType, int] | None,
        in_task: bool,
    ) -> None:
        thread = _thread.get_ident()
        if thread in self._busy:
            return
        try:
            self._busy.add(thread)
            if self._process != os.getpid():
                self.forget()  # no hook of fork ran
            place = None
            if holder is not None:
                place = id(holder[0]), holder[1]
                self._holders.setdefault(place[0], holder[0])
            stack = self._table.add_current()
            task = _task_name() if in_task else ""
            key: _Key = (kind, stack, leaf, place, _thread_name(thread), task, *_span())
            self._late.append((key, count, delay))
            # Not waited for: whoever has it may be in a finaliser that waits for a lock of ours.
            changing = self._changing
            if changing.acquire(blocking=False):
                try:
                    self._take_in()
                finally:
                    changing.release()
        finally:
            self._busy.discard(thread)

    def _take_in(self) -> None:
        while True:
            try:
                key, count, delay = self._late.popleft()
            except IndexError:
                return
            if key not in self._totals and len(self._totals) >= MOST_SAMPLES:
                key = (*key[:3], None, "", "", 0, 0, "")
            total = self._totals.setdefault(key, [0, 0])
            total[0] += count
            total[1] += delay

    def profile(self, kind: str) -> Profile:
        """All of a kind that was counted since the beginning."""
        ended = self._ended or time.monotonic_ns()
        period, of = self._period(kind)
        return Profile(
            kind,
            VALUE_TYPES,
            self._samples(kind),
            self._began_unix_nano,
            ended - self._began,
            default_type="delay",
            period_type=of,
            period=period,
            comments=_COMMENTS[kind],
        )

    def _samples(self, kind: str) -> tuple[Sample, ...]:
        totals = self._copied(kind)
        stacks: dict[tuple[int, Frame | None], Stack | None] = {}
        sums: dict[tuple[Stack, tuple[Label, ...]], list[float]] = {}
        for key, count, delay in totals:
            place = key[1], key[2]
            if place not in stacks:
                stacks[place] = self._stack(*place)
            stack = stacks[place]
            if stack is not None:
                # Several numbers may stand for one stack: a line can have several instructions that wait.
                both = sums.setdefault((stack, self._labels(key)), [0, 0])
                both[0] += count
                both[1] += delay
        return tuple(
            Sample(stack, (max(round(count), 1), round(delay)), labels)
            for (stack, labels), (count, delay) in sums.items()
        )

    def _copied(self, kind: str) -> list[tuple[_Key, float, float]]:
        thread = _thread.get_ident()
        is_busy = thread in self._busy
        try:
            self._busy.add(
                thread
            )  # the lock is re-entrant: a signal handler may not change what is looked through
            with self._changing:
                if not is_busy:  # or whoever was interrupted is looking through it
                    self._take_in()
                return [(key, *total) for key, total in self._totals.items() if key[0] == kind]  # type: ignore[misc]
        finally:
            if not is_busy:
                self._busy.discard(thread)

    def _period(self, kind: str) -> tuple[int, ValueType]:
        rates = (self.block_rate, self.mutex_fraction) if self._ended is None else self._last
        if kind == "block":
            return rates[0], ValueType("delay", "nanoseconds")
        return rates[1], ValueType("contentions", "count")

    def _stack(self, number: int, leaf: Frame | None) -> Stack | None:
        """None where a wait was a part of another one, which was counted as well."""
        frames = list(self._table.frames(number))
        while frames and frames[0][0].co_filename in OWN_FILES:
            del frames[0]
        if any(code.co_filename in OWN_FILES for code, _ in frames):
            return None
        known = tuple(Frame.of(code, line) for code, line in frames)
        return known if leaf is None else (leaf, *known)

    def _labels(self, key: _Key) -> tuple[Label, ...]:
        _, _, _, holder, thread, task, trace_id, span_id, span_name = key
        labels: list[Label] = []
        if holder is not None:
            code, line = self._holders[holder[0]], holder[1]
            name = getattr(code, "co_qualname", code.co_name)
            labels.append(("holder", f"{name} ({os.path.basename(code.co_filename)}:{line})"))
        if span_id:
            labels.append(("span_id", f"{span_id:016x}"))
            if span_name:
                labels.append(("span_name", shown(span_name)))
        if task:
            labels.append(("task", task))
        if thread:
            labels.append(("thread", thread))
        if span_id:
            labels.append(("trace_id", f"{trace_id:032x}"))
        return tuple(labels)

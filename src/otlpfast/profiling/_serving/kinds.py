"""The profiles that can be asked for, and how each is taken."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from ..profile import Label, Profile, Sample, Stack, ValueType
from ..recording import ProfilerBusyError
from . import engines
from .parameters import Parameters
from .request import Refused

Wait = Callable[[float], bool]
"""Lets so many seconds pass; False as soon as nobody wants the profile any more."""

DEFAULT_SECONDS = 30.0


class Kind(NamedTuple):
    """A profile that can be asked for."""

    name: str
    text: str
    take: Callable[[Parameters, Wait], Profile]
    takes_time: bool = False
    """Whether it is of a time, whatever is said; others are of this moment, or of what changes in a time."""


def take(kind: Kind, parameters: Parameters, wait: Wait) -> Profile:
    """A profile; one that is no more waited for ends early. Refused where it can't be had."""
    if parameters.seconds is not None and not kind.takes_time and parameters.debug:
        raise Refused(400, "seconds and debug params are incompatible")
    profile = kind.take(parameters, wait)
    return profile if parameters.trace_id is None else profile.focus(trace_id=parameters.trace_id)


# --- of a time


def _recorded(kind: str, name: str, parameters: Parameters, wait: Wait) -> Profile:
    """A run, which is a span as others are."""
    from .._run import Run
    from ..config import ProfileConfig

    seconds = parameters.seconds or DEFAULT_SECONDS
    try:
        run = Run((kind,), ProfileConfig(), seconds)
    except ProfilerBusyError as error:
        raise _could_not(name, error) from None
    try:
        # Who has ended its half of the connection may still read: it gets what there is, as from Go.
        wait(seconds)
    finally:
        profiles = run.stop()
    return profiles[kind]


# --- of this moment


def _moment(snapshot: Callable[[], Profile], parameters: Parameters, wait: Wait) -> Profile:
    """A snapshot, or with ``seconds`` what became more and less meanwhile."""
    if parameters.seconds is None:
        return snapshot()
    before = snapshot()
    wait(parameters.seconds)
    return changes(before, snapshot())


def changes(before: Profile, after: Profile) -> Profile:
    """What became more, and with a minus what became less; what stayed as it was is not in it."""
    totals: dict[tuple[Stack, tuple[Label, ...]], list[int]] = {}
    for profile, sign in ((after, 1), (before, -1)):
        for stack, values, labels in profile.samples:
            row = totals.setdefault((stack, labels), [0] * len(values))
            for index, value in enumerate(values):
                row[index] += sign * value
    return replace(
        after,
        samples=tuple(
            Sample(stack, tuple(row), labels) for (stack, labels), row in totals.items() if any(row)
        ),
        time_unix_nano=before.time_unix_nano,
        duration_nanos=after.time_unix_nano - before.time_unix_nano,
    )


def _threads() -> Profile:
    from ..stacks import threads

    return threads()


def _tasks() -> Profile:
    from ..stacks import tasks

    return tasks()


def _both() -> Profile:
    """Threads and tasks, which are to Python what goroutines are to Go."""
    threads, tasks = _threads(), _tasks()
    return replace(
        threads,
        kind="goroutine",
        value_types=(ValueType("goroutine", "count"),),
        default_type="goroutine",
        samples=threads.samples + tasks.samples,
        comments=tuple(dict.fromkeys((*threads.comments, *tasks.comments))),
    )


def _origins() -> Profile:
    """Threads by what they run: the stacks that they were started from are gone."""
    profile = _threads()
    counts: Counter[Sample] = Counter()
    for sample in profile.samples:
        counts[Sample(_own(sample), (0,))] += sample.values[0]
    return replace(
        profile,
        kind="threadcreate",
        samples=tuple(Sample(stack, (count,)) for (stack, _, _), count in counts.items()),
    )


def _own(sample: Sample) -> Stack:
    """The outermost function, but for those of the threading module that begin every thread."""
    own = [frame for frame in sample.stack if not frame.filename.endswith("threading.py")]
    return tuple((own or list(sample.stack))[-1:])


# --- of what an engine has counted


def _off(what: str, switch: str) -> Refused:
    return Refused(
        412,
        f"{what}: nothing runs until asked. Ask for ?seconds=10, which has it run for so long, or keep it on "
        f"with enable_pprof_http({switch})",
    )


def _heap(parameters: Parameters, wait: Wait) -> Profile:
    if parameters.seconds is None:
        if (running := engines.heap.find()) is None:
            raise _off("The heap is not sampled", "heap=True")
        return running.snapshot(gc=parameters.gc)
    try:
        recording, leave = engines.heap.want()
    except ProfilerBusyError as error:
        raise _could_not("heap", error) from None
    try:
        return _moment(lambda: recording.snapshot(gc=parameters.gc), parameters, wait)
    finally:
        leave()


def _allocs(parameters: Parameters, wait: Wait) -> Profile:
    return replace(_heap(parameters, wait), default_type="alloc_space")


def _block(parameters: Parameters, wait: Wait) -> Profile:
    from ..contention import block

    return _contention("block", "block_rate=10_000", block, parameters, wait)


def _mutex(parameters: Parameters, wait: Wait) -> Profile:
    from ..contention import mutex

    return _contention("mutex", "mutex_fraction=1", mutex, parameters, wait)


def _contention(
    name: str, switch: str, snapshot: Callable[[], Profile], parameters: Parameters, wait: Wait
) -> Profile:
    from ..contention import is_on

    if parameters.seconds is None:
        if not is_on(name):
            raise _off(f"The {name} profile is off", switch)
        return snapshot()
    with ExitStack() as on:
        try:
            on.enter_context(engines.contention(name))
        except RuntimeError as error:  # where gevent has locks of its own
            raise _could_not(name, error) from None
        return _moment(snapshot, parameters, wait)


def _could_not(name: str, error: Exception) -> Refused:
    return Refused(500, f"Could not enable {name} profiling: {error}")


KINDS = {
    kind.name: kind
    for kind in (
        Kind(
            "profile", "CPU time by the code that uses it", partial(_recorded, "cpu", "CPU"), takes_time=True
        ),
        Kind(
            "wall",
            "The time of threads by where they are, waiting included",
            partial(_recorded, "wall", "wall"),
            takes_time=True,
        ),
        Kind("heap", "What is in use by the code that has allocated it", _heap),
        Kind("allocs", "All that was allocated, also what is freed, by code", _allocs),
        Kind("goroutine", "Threads and asyncio tasks by where they are", partial(_moment, _both)),
        Kind("threads", "Threads by where they are", partial(_moment, _threads)),
        Kind("tasks", "Asyncio tasks by what they await", partial(_moment, _tasks)),
        Kind("threadcreate", "Threads by what they were started to run", partial(_moment, _origins)),
        Kind("block", "Waits for events, queues, conditions, threads and tasks, by code", _block),
        Kind("mutex", "Waits for locks, by code", _mutex),
    )
}
"""By name, in the order in which they are shown."""

DUMPED = ("goroutine", "threads", "tasks")
"""Those of which ``debug=2`` is a full dump; of others it is as ``debug=1``."""


def dump() -> str:
    """All threads and tasks with their stacks, as text."""
    from ..stacks import dump

    return dump()


def counts(heap: Profile | None) -> dict[str, int | None]:
    """How much each would show now: threads, tasks, places; None before it is taken, or where it is off."""
    from .. import contention

    threads, tasks = _threads().total(), _tasks().total()
    found: dict[str, int | None] = dict.fromkeys(KINDS)
    found |= {"threads": threads, "threadcreate": threads, "tasks": tasks, "goroutine": threads + tasks}
    if heap is not None:
        found["heap"] = found["allocs"] = len(heap.samples)
    if contention.is_on("block"):
        found["block"] = len(contention.block().samples)
    if contention.is_on("mutex"):
        found["mutex"] = len(contention.mutex().samples)
    return found

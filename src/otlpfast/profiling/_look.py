"""One look at what all threads are doing, natively or in plain Python."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from types import CodeType, FrameType
from typing import Any, NamedTuple

from .._threads import real
from ._frames import Lines, current_frames, places_of, walk
from ._native import sampler
from .profile import Stack

MOST_STACKS = 1 << 14
TRIES = 200
HERE = __file__.rpartition("_look")[0]


class Seen(NamedTuple):
    """What a thread was doing."""

    ident: int
    stack: Stack
    codes: tuple[CodeType, ...]
    """Of the frames of the stack."""
    loop: Any = None
    """The asyncio loop that runs there, as far as that can be known."""
    task: Any = None
    """The task that runs there."""


def look() -> list[Seen]:
    """All threads that run Python code. The caller's is shown without what it does in this package."""
    seen = _look_natively() if sampler is not None else _look_plainly()
    here = real("get_ident")()
    return [_without_this(entry) if entry.ident == here else entry for entry in seen]


def _look_natively() -> list[Seen]:
    assert sampler is not None
    table = sampler.StackTable(MOST_STACKS)
    for _ in range(TRIES):
        found = sampler.look(table)
        if found is not None:
            break
        time.sleep(0.001)  # a thread is about to start or to end
    else:
        raise RuntimeError("the list of threads was in use all the time: try again")
    lines = Lines()
    stacks = {number: table.frames(number) for number in {entry[1] for entry in found}}
    return [
        Seen(
            ident,
            tuple(lines.frame(code, line) for code, line in stacks[number]),
            tuple(code for code, _ in stacks[number]),
            loop,
            task,
        )
        for ident, number, loop, task in found
    ]


def _look_plainly() -> list[Seen]:
    frames = current_frames()
    lines, running = Lines(), tasks_by_frame(frames)
    seen = []
    for ident, frame in frames.items():
        places, task = places_of(frame), task_in(frame, running)
        loop = task.get_loop() if task is not None else next(loops_in(frame), None)
        seen.append(Seen(ident, lines.stack(places), tuple(code for code, _ in places), loop, task))
    return seen


def task_in(frame: FrameType, running: Mapping[FrameType, Any]) -> Any:
    """Which of the tasks, by frame, the thread of a frame is running; None if it is none."""
    return next((running[outer] for outer in walk(frame) if outer in running), None) if running else None


def tasks_by_frame(frames: dict[int, FrameType]) -> dict[FrameType, Any]:
    """The asyncio tasks that run, by the frame of their coroutine: one of the frames of their thread."""
    tasks_module = sys.modules.get("asyncio.tasks")
    current = getattr(tasks_module, "_current_tasks", None)
    if current is None:  # not imported, or not to its end
        return {}
    if sys.version_info < (3, 14):
        tasks = list(current.values())
    else:  # where each thread keeps its own
        tasks = [tasks_module.current_task(loop) for frame in frames.values() for loop in loops_in(frame)]
    found = {}
    for task in tasks:
        frame = getattr(task.get_coro(), "cr_frame", None) if task is not None else None
        if frame is not None:
            found[frame] = task
    return found


def loops_in(frame: FrameType) -> Iterator[Any]:
    """The asyncio loops that the thread of a frame runs, as far as frames of Python code name them."""
    base, runners = sys.modules.get("asyncio.base_events"), sys.modules.get("asyncio.runners")
    loop_type, runner_type = getattr(base, "BaseEventLoop", None), getattr(runners, "Runner", None)
    run_forever = loop_type.run_forever.__code__ if loop_type is not None else None
    run = runner_type.run.__code__ if runner_type is not None else None
    for outer in walk(frame):
        if outer.f_code is run_forever:
            yield outer.f_locals["self"]
        elif outer.f_code is run:  # whatever loop it has: uvloop's run_forever() has no frame
            yield outer.f_locals["self"]._loop


def _without_this(seen: Seen) -> Seen:
    inner = 0
    while inner < len(seen.stack) and seen.stack[inner].filename.startswith(HERE):
        inner += 1
    if inner == len(seen.stack):
        return seen
    return seen._replace(stack=seen.stack[inner:], codes=seen.codes[inner:])

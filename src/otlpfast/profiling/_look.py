"""One look at what all threads are doing, natively or in plain Python."""

from __future__ import annotations

import sys
import threading
import time
from types import CodeType, FrameType
from typing import Any, NamedTuple

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
    here = threading.get_ident()
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
        places = places_of(frame)
        task = next((running[f] for f in walk(frame) if f in running), None) if running else None
        loop = task.get_loop() if task is not None else None
        seen.append(Seen(ident, lines.stack(places), tuple(code for code, _ in places), loop, task))
    return seen


def tasks_by_frame(frames: dict[int, FrameType]) -> dict[FrameType, Any]:
    """The asyncio tasks that run, by the frame of their coroutine: one of the frames of their thread."""
    tasks_module = sys.modules.get("asyncio.tasks")
    current = getattr(tasks_module, "_current_tasks", None)
    if tasks_module is None:
        return {}
    if current:
        tasks = list(current.values())
    else:
        tasks = [tasks_module.current_task(loop) for loop in loops_in(frames)]
    found = {}
    for task in tasks:
        frame = getattr(task.get_coro(), "cr_frame", None) if task is not None else None
        if frame is not None:
            found[frame] = task
    return found


def loops_in(frames: dict[int, FrameType]) -> list[Any]:
    """The asyncio loops that run, as far as frames of Python code name them."""
    base, runners = sys.modules.get("asyncio.base_events"), sys.modules.get("asyncio.runners")
    if base is None:
        return []
    run_forever = base.BaseEventLoop.run_forever.__code__
    runner = getattr(runners, "Runner", None)
    run = runner.run.__code__ if runner is not None else None
    loops = []
    for frame in frames.values():
        for outer in walk(frame):
            if outer.f_code is run_forever:
                loops.append(outer.f_locals.get("self"))
            elif outer.f_code is run:  # whatever loop it has: uvloop's run_forever() has no frame
                loops.append(getattr(outer.f_locals.get("self"), "_loop", None))
    return list({id(loop): loop for loop in loops if loop is not None}.values())


def _without_this(seen: Seen) -> Seen:
    inner = 0
    while inner < len(seen.stack) and seen.stack[inner].filename.startswith(HERE):
        inner += 1
    if inner == len(seen.stack):
        return seen
    return seen._replace(stack=seen.stack[inner:], codes=seen.codes[inner:])

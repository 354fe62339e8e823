"""The asyncio tasks of this process, and what each of them waits for, whichever thread asks."""

from __future__ import annotations

import gc
import inspect
import sys
from collections.abc import Iterable, Iterator
from types import CodeType, FrameType
from typing import Any, NamedTuple

from ._frames import MOST_FRAMES, Lines
from ._labels import UNNAMED
from ._look import Seen
from ._waits import OWN_FILES
from .profile import Frame, Stack

MOST_TASKS = 64
"""That await each other and are shown as one stack."""


class TaskSeen(NamedTuple):
    """A task, and where it is."""

    task: Any
    name: str
    stack: Stack
    """What it awaits, the innermost first; the coroutine of the task is the last."""
    state: str
    """``running``, ``ready`` to run, or ``waiting for …``."""
    ident: int
    """Of the thread whose loop it belongs to; 0 is unknown."""


def all_tasks(seen: Iterable[Seen]) -> list[TaskSeen]:
    """The tasks of all loops that run.

    Args:
        seen: all threads, as they were just now.
    """
    if "asyncio.tasks" not in sys.modules:
        return []
    threads = list(seen)
    chains = _Chains(threads)
    idents = {id(entry.loop): entry.ident for entry in threads if entry.loop is not None}
    found = []
    for task in _living(entry.loop for entry in threads if entry.loop is not None):
        try:
            loop = task.get_loop()
            if loop.is_running() and not task.done():
                ident = idents.get(id(loop)) or getattr(loop, "_thread_id", None) or 0
                found.append(TaskSeen(task, _name(task), chains.of(task), chains.state(task), ident))
        except Exception:  # a task, a loop or a coroutine of someone's own making, which has its own ways
            found.append(TaskSeen(task, UNNAMED, (), "unreadable", 0))
    return found


def _name(task: Any) -> str:
    return str(task.get_name()) if hasattr(task, "get_name") else UNNAMED


def _living(loops: Iterable[Any]) -> list[Any]:
    """Tasks, each once; some may be done by now."""
    module: Any = sys.modules["asyncio.tasks"]
    found: dict[int, Any] = {}
    for name in ("_all_tasks", "_scheduled_tasks"):  # CPython 3.11 and older, 3.12 and newer
        # The references themselves, in one step: a WeakSet that changes meanwhile refuses to be iterated.
        for reference in list(getattr(getattr(module, name, None), "data", ())):
            if (task := reference()) is not None:
                found[id(task)] = task
    for task in list(getattr(module, "_eager_tasks", ())):
        found[id(task)] = task
    if sys.version_info >= (3, 14):  # which keeps its own tasks by thread
        for loop in loops:
            found.update((id(task), task) for task in module.all_tasks(loop))
    return list(found.values())


class _Chains:
    """Await chains, each found once."""

    def __init__(self, threads: list[Seen]) -> None:
        self._lines = Lines()
        self._running = {id(entry.task): entry for entry in threads if entry.task is not None}
        self._known: dict[int, Stack] = {}
        self._open: set[int] = set()  # that are being looked for: tasks can await each other in a circle

    def of(self, task: Any) -> Stack:
        """The innermost frame first."""
        key = id(task)
        if key in self._open or len(self._open) > MOST_TASKS:
            return ()
        if key not in self._known:
            self._open.add(key)
            try:
                self._known[key] = self._find(task)
            finally:
                self._open.discard(key)
        return self._known[key]

    def state(self, task: Any) -> str:
        if id(task) in self._running:
            return "running"
        waited = getattr(task, "_fut_waiter", None)
        if waited is None:
            return "ready"
        name = f" {waited.get_name()!r}" if hasattr(waited, "get_name") else ""
        return f"waiting for {type(waited).__name__}{name}"

    def _find(self, task: Any) -> Stack:
        running = self._running.get(id(task))
        if running is not None:
            return self._above(running, getattr(task.get_coro(), "cr_code", None))
        frames: list[Frame] = []  # the outermost first
        last = None
        for awaited in _awaited(task.get_coro()):
            last = awaited
            self._add(frames, awaited)
        inner = self._awaited_tasks(last, getattr(task, "_fut_waiter", None))
        return (inner + tuple(reversed(frames)))[-MOST_FRAMES:]

    def _above(self, thread: Seen, code: CodeType | None) -> Stack:
        """What a thread does in a coroutine of that code; all of it if that is not to be found."""
        places = [place for place, other in enumerate(thread.codes) if other is code]
        return thread.stack[: places[-1] + 1] if places else thread.stack

    def _add(self, frames: list[Frame], awaited: Any) -> None:
        frame = _frame_of(awaited)
        if frame is not None and frame.f_code.co_filename in OWN_FILES:
            return
        if frame is not None:
            frames.append(self._lines.frame(frame.f_code, frame.f_lineno))
        elif isinstance(code := _first(awaited, "cr_code", "gi_code", "ag_code"), CodeType):
            frames.append(self._lines.frame(code, None))

    def _awaited_tasks(self, last: Any, future: Any) -> Stack:
        """What another task does, that is awaited; of several, if they all do the same."""
        if future is None:
            return ()
        tasks = [task for task in _meant(last, future) if hasattr(task, "get_coro") and not task.done()]
        stacks = {self.of(task) for task in tasks}
        return stacks.pop() if len(stacks) == 1 else ()


def _meant(last: Any, future: Any) -> list[Any]:
    """The futures and tasks that stand behind the one that the innermost coroutine awaits."""
    children = getattr(future, "_children", None)  # of gather()
    if isinstance(children, list):
        return children
    module: Any = sys.modules["asyncio.tasks"]
    frame = _frame_of(last)
    if frame is not None and frame.f_code is inspect.unwrap(module._wait).__code__:
        return list(frame.f_locals["fs"])
    if (
        frame is not None
        and frame.f_code is inspect.unwrap(module.wait_for).__code__
        and "fut" in frame.f_locals
    ):
        return [frame.f_locals["fut"]]  # CPython 3.11 and older
    # Only there: before CPython 3.13 a frame keeps what f_locals has shown.
    if frame is not None and frame.f_code.co_name in ("__aexit__", "_aexit"):
        group = frame.f_locals.get("self")
        if type(group).__name__ == "TaskGroup":
            return list(getattr(group, "_tasks", ()))
    for callback, *_ in getattr(future, "_callbacks", None) or ():
        if getattr(callback, "__qualname__", "") == "shield.<locals>._outer_done_callback":
            names = callback.__code__.co_freevars
            return [callback.__closure__[names.index("inner")].cell_contents]
    return [future]


def _awaited(outermost: Any) -> Iterator[Any]:
    """A coroutine, what it awaits, what that awaits: all that has code."""
    current, steps = outermost, 0
    while current is not None and steps < 2 * MOST_FRAMES:
        steps += 1
        if _first(current, "cr_code", "gi_code", "ag_code") is not None:
            yield current
            current = _first(current, "cr_await", "gi_yieldfrom", "ag_await") or _measured_by(current)
        else:
            current = _wrapped(current)


def _measured_by(waiter: Any) -> Any:
    """The coroutine that contention's ``_resumed()`` goes on with, which the interpreter does not know of."""
    frame = _frame_of(waiter)
    if frame is None or frame.f_code.co_filename not in OWN_FILES or frame.f_code.co_name != "_resumed":
        return None
    return frame.f_locals.get("coroutine")


def _wrapped(awaitable: Any) -> Any:
    """What an awaitable object of the interpreter's, such as ``__anext__()`` of a generator, is about."""
    if type(awaitable).__module__ != "builtins" and type(awaitable).__name__ != "FutureIter":
        return None
    for inner in gc.get_referents(awaitable):
        if _first(inner, "cr_code", "gi_code", "ag_code") is not None:
            return inner
    return next((inner for inner in gc.get_referents(awaitable) if _is_awaitable(inner)), None)


def _is_awaitable(value: Any) -> bool:
    return type(value).__name__ in ("async_generator_asend", "async_generator_athrow", "coroutine_wrapper")


def _frame_of(awaitable: Any) -> FrameType | None:
    frame = _first(awaitable, "cr_frame", "gi_frame", "ag_frame")
    return frame if isinstance(frame, FrameType) else None


def _first(value: Any, *names: str) -> Any:
    for name in names:
        found = getattr(value, name, None)
        if found is not None:
            return found
    return None

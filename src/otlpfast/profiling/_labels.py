"""What a thread is at work on, as the labels of its samples: trace, span, asyncio task, and its own name.

Read with the GIL held; what the compiled sampler reads is made into labels here.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Set
from contextvars import Context, ContextVar
from typing import Any, NamedTuple

import opentelemetry.context
from opentelemetry.context.contextvars_context import ContextVarsRuntimeContext
from opentelemetry.trace.propagation import _SPAN_KEY

from .._shown import shown
from .._threads import real
from ._native import sampler
from .profile import Label

SPAN_KEY = _SPAN_KEY
MOST_NAMES = 1 << 14
UNNAMED = "(unnamed)"

Key = int
"""Of a thread: no two that live at a time have the same."""


# As far as Python knows: the main thread's, if this is imported there.
_importer: int = real("get_ident")() if threading.current_thread() is threading.main_thread() else 0


class Work(NamedTuple):
    """What a thread is at work on; 0 and None are unknown."""

    thread: int
    """The number of its label."""
    trace_id: int = 0
    span_id: int = 0
    span_name: str | None = None
    task: str | None = None

    def labels(self, names: ThreadNames) -> tuple[Label, ...]:
        """The labels of a sample."""
        found: dict[str, str] = {}
        if self.trace_id:
            found["trace_id"], found["span_id"] = f"{self.trace_id:032x}", f"{self.span_id:016x}"
        if self.span_name:
            found["span_name"] = shown(self.span_name)
        if self.task:
            found["task"] = self.task
        if label := names[self.thread]:
            found["thread"] = label
        return tuple(sorted(found.items()))


class ThreadNames:
    """Labels of threads: their names, and of those that share a name one is ``worker (2)``.

    The number of one that has ended is free again: there are as many labels of a name as there were such
    threads at a time.
    """

    def __init__(self) -> None:
        self._labels = [""]  # of threads beyond what is kept apart
        self._numbers: dict[str, int] = {}
        self._threads: dict[Key, tuple[str, str]] = {}  # name and label
        self._taken: set[str] = set()

    def __getitem__(self, number: int) -> str:
        return self._labels[number]

    def of(self, key: Key, ident: int) -> int:
        """The number of a thread's label."""
        return self.named(key, thread_name(ident))

    def named(self, key: Key, name: str) -> int:
        """The same, where the name is known."""
        known = self._threads.get(key)
        if known is None or known[0] != name:
            self.forget(key)
            known = self._threads[key] = name, self._free(name)
            self._taken.add(known[1])
        return self._number(known[1])

    def forget(self, key: Key) -> None:
        """The thread has ended."""
        _, label = self._threads.pop(key, ("", ""))
        self._taken.discard(label)

    def keep(self, keys: Set[Key]) -> None:
        """All other threads have ended."""
        for key in self._threads.keys() - keys:
            self.forget(key)

    def _free(self, name: str) -> str:
        label, count = name, 1
        while label in self._taken:
            count += 1
            label = f"{name} ({count})"
        return label

    def _number(self, label: str) -> int:
        number = self._numbers.get(label)
        if number is None:
            if len(self._labels) > MOST_NAMES:
                return 0
            number = self._numbers[label] = len(self._labels)
            self._labels.append(label)
        return number


def thread_of(ident: int) -> threading.Thread | None:
    """The Thread with that ident, if Python made one."""
    # Not threading.enumerate(): that takes a lock, which this thread may be holding, or one that is gone.
    thread: threading.Thread | None = threading._active.get(ident)  # type: ignore[attr-defined]
    if thread is None and ident == _main_ident():  # gevent gives it another ident
        thread = threading.main_thread()
    return thread


def _main_ident() -> int:
    return int(sampler.main_ident()) if sampler is not None else _importer


def thread_name(ident: int) -> str:
    """A thread's name; one that was not made by threading has none of its own."""
    try:
        thread = thread_of(ident)
        return str(thread.name) if thread is not None else UNNAMED
    except Exception:  # a subclass may have its own idea of a name
        return UNNAMED


def context_variable() -> ContextVar[Any] | None:
    """Where OpenTelemetry keeps its current context; None where it has other ways."""
    runtime = opentelemetry.context._RUNTIME_CONTEXT
    return runtime._current_context if type(runtime) is ContextVarsRuntimeContext else None


def work_of_task(task: Any, thread: int = 0) -> Work:
    """What a task is at work on. Without native code that is seen of tasks, but not of a thread."""
    try:
        name, context, variable = task.get_name(), _context_of(task), context_variable()
        values = context.get(variable) if context is not None and variable is not None else None
        span = values.get(SPAN_KEY) if isinstance(values, dict) else None
        ids = span.get_span_context() if span is not None else None
        if ids is None or not ids.is_valid:
            return Work(thread, task=name)
        return Work(thread, ids.trace_id, ids.span_id, getattr(span, "name", None), name)
    except Exception:  # whoever wrote that span or task
        return Work(thread)


def _context_of(task: Any) -> Context | None:
    if hasattr(task, "get_context"):  # CPython 3.12
        context = task.get_context()
    elif hasattr(task, "_context"):
        context = task._context
    else:
        context = next((item for item in gc.get_referents(task) if type(item) is Context), None)
    return context if isinstance(context, Context) else None

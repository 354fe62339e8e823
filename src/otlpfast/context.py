"""The current context, its span and its baggage, carried to where Python does not take it by itself.

``contextvars`` follow a task of asyncio, ``asyncio.to_thread()`` and a fork. They don't follow threads,
executors, pools and processes that are spawned. Either say so where it matters::

    executor.submit(otlpfast.carry(work), 7)
    multiprocessing.Process(target=otlpfast.carry(work), args=(7,)).start()

or have the standard library do it, for the whole process::

    otlpfast.configure(carry_context=True)  # or OTLPFAST_CARRY_CONTEXT=true, or otlpfast.carry_context()

docs/context.md has what goes where.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar, cast

from opentelemetry.context import get_current

from . import _choice
from ._carried import Carried

__all__ = ["ContextPatch", "carry", "carry_context"]

_P = ParamSpec("_P")
_R = TypeVar("_R")


def carry(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """The function, to be called in the context that is current now, wherever and whenever that is.

    In this process it is the context itself. In another it is what W3C headers say of it: the span's
    identity, so that spans continue the trace, and baggage; what is given has to be one that can be pickled.

    Not for coroutine functions: asyncio's tasks take the context by themselves.

    Raises:
        TypeError: that is no function.
    """
    if not callable(function):
        raise TypeError(f"function={function!r}: something that can be called is allowed")
    return cast("Callable[_P, _R]", Carried(function, get_current()))


class ContextPatch:
    """What ``carry_context()`` has set up, until ``undo()`` or the end of a ``with`` block."""

    def undo(self) -> None:
        """Puts the methods back as they were, unless others have asked for the same. May be called again."""
        from ._context_patches import release

        release(self)

    def __enter__(self) -> ContextPatch:
        return self

    def __exit__(self, *_: object) -> None:
        self.undo()


def carry_context() -> ContextPatch:
    """From now on, threads, executors, pools and processes take the current context with them.

    These are ``threading.Thread`` and ``Timer``, ``ThreadPoolExecutor``, ``ProcessPoolExecutor`` (and so
    ``loop.run_in_executor()``), ``multiprocessing.Process`` and ``Pool`` by any start method. Where the
    context is empty, all of them do what they did; while ``OTLPFAST_DISABLED`` is true, always.

    Returns:
        A handle to undo it; calls may be repeated, and the last one that is undone counts.
    """
    patch = ContextPatch()
    if not _choice.DISABLED:
        from ._context_patches import ask

        ask(patch)
    return patch

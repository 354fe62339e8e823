"""What the sampler has to know to find spans and tasks in the memory of a thread."""

from __future__ import annotations

import asyncio
from asyncio import tasks
from typing import Any

import opentelemetry.context
from opentelemetry.context.context import Context
from opentelemetry.context.contextvars_context import ContextVarsRuntimeContext
from opentelemetry.trace import SpanContext
from opentelemetry.trace.propagation import _SPAN_KEY

from .._impl import span_layouts
from ._native import sampler


def learn() -> None:
    """Tells the sampler; before each profile that has labels, since what is in use may have been replaced."""
    if sampler is None:
        return
    runtime: Any = getattr(opentelemetry.context, "_RUNTIME_CONTEXT", None)
    variable = runtime._current_context if type(runtime) is ContextVarsRuntimeContext else None
    sampler.learn_spans(variable, Context, _SPAN_KEY, SpanContext, span_layouts())
    _learn_tasks(sampler)


class _Nowhere:
    """An event loop that runs nothing, for a task that is only looked at."""

    def get_debug(self) -> bool:
        return False

    def call_soon(self, *_: Any, **__: Any) -> None:
        pass


async def _nothing() -> None:
    pass


def _learn_tasks(sampler: Any) -> None:
    native = getattr(tasks, "_CTask", None)
    if native is None:  # nor is there a dict to find tasks in
        sampler.learn_tasks(None, "", {}, None)
        return
    loop: Any = _Nowhere()
    name = "".join(("otlpfast", ".profiling"))  # a str that nothing else refers to
    coroutine = _nothing()
    task = native(coroutine, loop=loop, name=name)
    task._log_destroy_pending = False
    coroutine.close()
    running = asyncio._get_running_loop()
    if running is None:
        asyncio._set_running_loop(loop)
    try:
        current: dict[Any, Any] = getattr(tasks, "_current_tasks", {})
        sampler.learn_tasks(task, task.get_name(), current, running or loop)
    finally:
        if running is None:
            asyncio._set_running_loop(None)

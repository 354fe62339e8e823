"""The only place that chooses between the compiled core and the plain-Python one.

``OTLPFAST_IMPL=auto`` (the default) takes ``_core`` where it was built; ``c`` insists on it; ``py`` takes
``_pure``. Only a core that is not there falls back: one that is there and broken raises, whatever the
variable says.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
from typing import TYPE_CHECKING

from ._life import is_subinterpreter


def _has_core() -> bool:
    # In a source tree the folder of the core's parts answers to the same name; it has no origin, a built
    # module has.
    spec = importlib.util.find_spec("otlpfast._core")
    return spec is not None and spec.origin is not None


def _choose(wanted: str) -> str:
    if wanted not in ("auto", "c", "py"):
        allowed = "auto (compiled where it was built), c (compiled), py (plain Python)"
        raise ValueError(f"OTLPFAST_IMPL={wanted!r}: one of {allowed}")
    if wanted == "py":
        return "_pure"
    if _has_core():
        return "_core"
    if wanted == "c":
        raise ImportError(
            "OTLPFAST_IMPL=c, but this installation has no compiled core: "
            "reinstall with a C compiler and OTLPFAST_BUILD=require, or unset OTLPFAST_IMPL"
        )
    return "_pure"


if is_subinterpreter():
    # The core's module loads into one interpreter of a process, whichever comes first; and with either
    # implementation CPython aborts the process when a subinterpreter ends that has a daemon thread.
    raise ImportError(
        "otlpfast can't be imported in a subinterpreter: import it in the main interpreter of the process "
        "(with mod_wsgi: WSGIApplicationGroup %{GLOBAL})"
    )

if TYPE_CHECKING:
    from . import _pure as core
else:
    _wanted = os.environ.get("OTLPFAST_IMPL", "").strip().lower() or "auto"
    core = importlib.import_module(f".{_choose(_wanted)}", __package__)

# Every name that an implementation must supply.
IMPLEMENTATION = core.IMPLEMENTATION
AttributePool = core.AttributePool
BatchBuilder = core.BatchBuilder
BufferPool = core.BufferPool
EventPool = core.EventPool
PaddedCounters = core.PaddedCounters
Route = core.Route
Span = core.Span
SpanBuffer = core.SpanBuffer
SpanQueue = core.SpanQueue
Tracer = core.Tracer
WireWriter = core.WireWriter
encode_spans = core.encode_spans

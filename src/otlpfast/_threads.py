"""How otlpfast starts its threads, and whether they are threads."""

from __future__ import annotations

import _thread
import socket
import sys
import threading
import types
from collections.abc import Callable
from typing import Any

from opentelemetry.context import Context, attach, detach


def are_real() -> bool:
    """Whether threads and sockets are the operating system's: gevent and eventlet have their own instead."""
    return isinstance(threading.get_ident, types.BuiltinFunctionType) and isinstance(
        socket.socket.recv, types.MethodDescriptorType
    )


def start_outside(thread: threading.Thread) -> None:
    """Starts a thread, but not in the context of the span that happens to be current.

    Instrumented threads take that with them. RuntimeError where the interpreter is on its way out.
    """
    token = attach(Context())
    try:
        thread.start()
    finally:
        detach(token)


def real(name: str) -> Any:
    """What ``_thread`` has under a name, also where gevent or eventlet have put their own in its place."""
    monkey, patcher = sys.modules.get("gevent.monkey"), sys.modules.get("eventlet.patcher")
    if monkey is not None:
        return monkey.get_original("_thread", name)
    if patcher is not None:
        return getattr(patcher.original("_thread"), name)
    return getattr(_thread, name)


def start_real(work: Callable[[], None]) -> None:
    """Starts a thread of the operating system's in any case; ``threading`` knows nothing of it.

    It has no context and is not waited for at exit. It must not use what gevent or eventlet have patched.
    RuntimeError where there can be no more threads.
    """
    real("start_new_thread")(work, ())

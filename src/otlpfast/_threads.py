"""How otlpfast starts its threads, and whether they are threads."""

from __future__ import annotations

import socket
import threading
import types

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

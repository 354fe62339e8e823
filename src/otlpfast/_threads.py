"""How otlpfast starts its threads."""

from __future__ import annotations

import threading

from opentelemetry.context import Context, attach, detach


def start_outside(thread: threading.Thread) -> None:
    """Starts a thread, but not in the context of the span that happens to be current.

    Instrumented threads take that with them. RuntimeError where the interpreter is on its way out.
    """
    token = attach(Context())
    try:
        thread.start()
    finally:
        detach(token)

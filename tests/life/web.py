"""A WSGI and an ASGI application: a span for each request, and one for loading."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

from traced_app import note


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    note(environ["PATH_INFO"])
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(os.getpid()).encode()]


async def asgi(scope: dict[str, Any], receive: Callable[..., Any], send: Callable[..., Any]) -> None:
    if scope["type"] != "http":
        return
    note(scope["path"])
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": str(os.getpid()).encode()})

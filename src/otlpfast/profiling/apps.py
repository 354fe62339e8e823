"""Profiles as part of an application's own server: ``pprof_wsgi_app()`` and ``pprof_asgi_app()``."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from contextlib import suppress
from http import HTTPStatus
from typing import Any

from .._components import variable
from .._threads import start_outside
from ..environment_variables import OTLPFAST_PPROF_TOKEN
from ..web.guard import Address, Guard, check_token
from ._serving.handler import awaited
from ._serving.request import Answer, Refused, Request
from ._serving.site import MAX_SECONDS, PREFIX, Site

_WSGI = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]
_Message = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[_Message]]
_Send = Callable[[_Message], Awaitable[None]]
_ASGI = Callable[[_Message, _Receive, _Send], Awaitable[None]]

_MAX_REQUESTS = 16  # at a time, of an ASGI application: each has a thread


def pprof_wsgi_app(
    token: str | None = None,
    *,
    app: _WSGI | None = None,
    unprotected: bool = False,
    max_seconds: float = MAX_SECONDS,
) -> _WSGI:
    """A WSGI application with what ``enable_pprof_http()`` serves, to be mounted at any path.

    Each profile is of the process that answers, one of a server's workers. A request for 30 seconds keeps a
    thread of the server for so long. If the client goes away, that ends the profile under servers that show
    their socket (gunicorn, Werkzeug); under others it goes on to its end.

    Args:
        token: who knows it may ask; by default ``OTLPFAST_PPROF_TOKEN``. It is needed also for this machine:
            behind a proxy every client seems to be here.
        app: gets all requests but those under ``/debug/pprof/``: for frameworks that can't mount, as Django.
        unprotected: no token; the application itself decides who gets here.
        max_seconds: the longest that a profile may be asked to take.

    Raises:
        TypeError, ValueError: no token, or an argument that is not allowed.
    """
    site = _site("pprof_wsgi_app", token, unprotected, max_seconds)

    def pprof(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        path = str(environ.get("PATH_INFO", "")).encode("latin-1", "replace").decode("utf-8", "replace")
        if app is not None and not _is_below(path, PREFIX):
            return app(environ, start_response)
        request = _request(
            str(environ.get("REQUEST_METHOD", "GET")),
            path,
            str(environ.get("SCRIPT_NAME", "")),
            str(environ.get("QUERY_STRING", "")),
            {
                name[5:].lower().replace("_", "-"): str(v)
                for name, v in environ.items()
                if name[:5] == "HTTP_"
            },
            _waiting(environ),
        )
        answer = site.answer(request)
        start_response(f"{answer.status} {HTTPStatus(answer.status).phrase}", list(answer.headers.items()))
        return [answer.body]

    return pprof


def pprof_asgi_app(
    token: str | None = None,
    *,
    app: _ASGI | None = None,
    unprotected: bool = False,
    max_seconds: float = MAX_SECONDS,
) -> _ASGI:
    """An ASGI application with what ``enable_pprof_http()`` serves, to be mounted at any path; for asyncio.

    Each profile is of the process that answers, one of a server's workers. Profiles are taken by threads: the
    event loop goes on meanwhile. But while it is stuck it answers nobody, unlike ``enable_pprof_http()``. A
    client that goes away, or a request that is cancelled, ends its profile.

    The arguments, and what is raised, are those of ``pprof_wsgi_app()``.
    """
    site = _site("pprof_asgi_app", token, unprotected, max_seconds)
    requests = threading.BoundedSemaphore(_MAX_REQUESTS)

    async def pprof(scope: _Message, receive: _Receive, send: _Send) -> None:
        path, root = str(scope.get("path", "")), str(scope.get("root_path", ""))
        path = path[len(root) :] if _is_below(path, root) else path  # of before ASGI 2.4 it is without
        if app is not None and (scope["type"] != "http" or not _is_below(path, PREFIX)):
            await app(scope, receive, send)
        elif scope["type"] == "lifespan":
            await _live(receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close"})
        elif requests.acquire(blocking=False):
            try:
                answer = await _answered(site, _from_scope(scope, path, root), receive)
                if answer is not None:
                    await _send(send, answer)
            finally:
                requests.release()
        else:
            await _send(send, Refused(503, f"at most {_MAX_REQUESTS} requests at a time").answer())

    return pprof


def _site(name: str, token: str | None, unprotected: bool, max_seconds: float) -> Site:
    if unprotected:
        if token is not None:
            raise ValueError("unprotected=True takes no token")
        return Site(None, max_seconds)
    token = variable(OTLPFAST_PPROF_TOKEN) or None if token is None else token
    if token is None:
        raise ValueError(
            f"{name}() takes a token ({OTLPFAST_PPROF_TOKEN}), also for this machine: behind a proxy every "
            "client seems to be here; unprotected=True where the application decides who gets there"
        )
    check_token(token)
    return Site(Guard(Address("", socket.AF_INET, ("", 0), False), token, shared=True), max_seconds)


def _is_below(path: str, root: str) -> bool:
    return path == root or path.startswith(f"{root}/")


def _request(
    method: str, path: str, base: str, query: str, headers: Mapping[str, str], wait: Callable[[float], bool]
) -> Request:
    if _is_below(path, PREFIX):  # mounted at the root
        path, base = path[len(PREFIX) :], base + PREFIX
    return Request(method, path, query, headers, wait, base)


# --- WSGI


def _waiting(environ: Mapping[str, Any]) -> Callable[[float], bool]:
    """Waits for as long as the client does, where the server shows its connection."""
    connection = environ.get("gunicorn.socket") or environ.get("werkzeug.socket")
    if isinstance(connection, socket.socket):
        return lambda seconds: awaited(connection, seconds)
    return lambda seconds: not threading.Event().wait(seconds)


# --- ASGI


def _from_scope(scope: _Message, path: str, root: str) -> Request:
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
    query = scope.get("query_string", b"").decode("latin-1")
    return _request(str(scope["method"]), path, root, query, headers, lambda _: True)


async def _answered(site: Site, request: Request, receive: _Receive) -> Answer | None:
    """The answer of a thread, or None as soon as the client has gone."""
    loop = asyncio.get_running_loop()
    answered: asyncio.Future[Answer] = loop.create_future()
    gone = threading.Event()

    def settle(answer: Answer) -> None:
        if not answered.done():
            answered.set_result(answer)

    def work() -> None:
        answer = site.answer(request._replace(wait=lambda seconds: not gone.wait(seconds)))
        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(settle, answer)

    start_outside(threading.Thread(target=work, name="otlpfast-pprof-request", daemon=True))
    leaving = asyncio.ensure_future(_gone(receive))
    try:
        waiting: tuple[asyncio.Future[Any], ...] = answered, leaving
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        return answered.result() if answered.done() else None
    finally:
        gone.set()
        leaving.cancel()


async def _gone(receive: _Receive) -> None:
    """Comes back when the client has gone away; what it sends before is nothing that anybody reads."""
    with suppress(Exception):
        while (await receive())["type"] != "http.disconnect":
            pass


async def _send(send: _Send, answer: Answer) -> None:
    headers = [
        (name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in answer.headers.items()
    ]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})


async def _live(receive: _Receive, send: _Send) -> None:
    while True:
        kind = (await receive())["type"]
        await send({"type": f"{kind}.complete"})
        if kind == "lifespan.shutdown":
            return

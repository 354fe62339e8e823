"""Answers requests: the page, what it is made of, figures and traces as JSON, and a stream of events."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from .answering import TEXT, Answering
from .recent import MAX_TRACES

if TYPE_CHECKING:
    from .server import PageListener

_STATIC = {
    "/": ("index.html", "text/html; charset=utf-8"),
    **{
        f"/static/{name}": (name, kind)
        for name, kind in (
            ("page.css", "text/css; charset=utf-8"),
            ("theme.js", "text/javascript; charset=utf-8"),
            ("themes.js", "text/javascript; charset=utf-8"),
            ("page.js", "text/javascript; charset=utf-8"),
            ("dom.js", "text/javascript; charset=utf-8"),
            ("figures.js", "text/javascript; charset=utf-8"),
            ("waterfall.js", "text/javascript; charset=utf-8"),
            ("icon.svg", "image/svg+xml"),
        )
    },
}
_ENDPOINTS = {
    "/api": "this list",
    "/api/stats": "account, queue, exports, spool and rate of each processor; pools; the process",
    "/api/traces": f"recent traces, the newest first; ?limit=1 to {MAX_TRACES}",
    "/api/traces/ID": "one of them with its spans, their attributes, events and links",
    "/api/operations": "recent spans by name, the slowest first: count, errors, p50, p99 and longest",
    "/events": "server-sent events: stats (as /api/stats, each second), traces (there are new ones)",
}
_TICK = 1.0  # seconds between two events


@cache
def _static(name: str) -> bytes:
    return (files(__package__) / "static" / name).read_bytes()


def _json(value: Any) -> bytes:
    return json.dumps(value, allow_nan=False, separators=(",", ":")).encode()


class Handler(Answering):
    """One connection, with a thread of its own."""

    server: PageListener

    def do_GET(self) -> None:
        """Everything is read by GET, or its head by HEAD."""
        url = urlsplit(self.path)
        guard = self.server.guard
        if not guard.knows_host(self.headers.get("host")):
            self.refuse(421, "this page does not answer to that name: ask for localhost or 127.0.0.1")
        elif guard.has_token(url.query):
            self._welcome(url.path, url.query)
        elif not guard.admits(self.headers.get("authorization", ""), self.headers.get("cookie", "")):
            self.refuse(401, "a token is needed: /?token=..., or Authorization: Bearer ...")
        else:
            self._route(url.path, url.query, {})

    do_HEAD = do_GET

    def _other(self) -> None:
        self.close_connection = True  # whatever comes after the head is not read
        self.refuse(405, "GET and HEAD are allowed")

    do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = _other

    def _welcome(self, path: str, query: str) -> None:
        cookie = {"Set-Cookie": self.server.guard.new_cookie}
        if path == "/":  # out of the address bar, the history and bookmarks
            self._send(303, b"", TEXT, {"Location": "/", **cookie})
        else:
            self._route(path, query, cookie)

    def _route(self, path: str, query: str, more: dict[str, str]) -> None:
        if path in _STATIC:
            name, kind = _STATIC[path]
            self._send(200, _static(name), kind, more)
        elif path == "/events":
            self._stream(more)
        elif (value := self._value(path.removesuffix("/"), query)) is not None:
            self._send(200, _json(value), "application/json", more)
        else:
            self.refuse(404, "there is no such page, or no longer such a trace; /api lists what there is")

    def _value(self, path: str, query: str) -> Any:
        if path == "/api":
            return {"endpoints": _ENDPOINTS}
        if path == "/api/stats":
            return self.server.figures.read()
        if path == "/api/traces":
            return self.server.recent.traces(_limit(query))
        if path == "/api/operations":
            return self.server.recent.operations()
        folder, _, name = path.rpartition("/")
        return self.server.recent.trace(name.lower()) if folder == "/api/traces" else None

    def _stream(self, more: dict[str, str]) -> None:
        self.close_connection = True
        self.head(200, {"Content-Type": "text/event-stream", "Connection": "close", **more})
        if self.command == "HEAD":
            return
        self.wfile.write(b"retry: 2000\n\n")
        version = -1
        with self.server.watched():
            while not self.server.closing.is_set():
                self._event("stats", self.server.figures.read())
                if version != (version := self.server.recent.version):
                    self._event("traces", {"version": version})
                self.server.closing.wait(_TICK)

    def _event(self, name: str, value: Any) -> None:
        self.wfile.write(b"event: %b\ndata: %b\n\n" % (name.encode(), _json(value)))

    # --- answers

    def _send(self, status: int, body: bytes, kind: str, more: dict[str, str]) -> None:
        self.send(status, body, {"Content-Type": kind, **more})

    def refuse(self, status: int, text: str) -> None:
        """Says why not, and what would help."""
        fields = {"WWW-Authenticate": 'Bearer realm="otlpfast"'} if status == 401 else {}
        fields |= {"Allow": "GET, HEAD"} if status == 405 else {}
        self._send(status, f"{status}: {text}\n".encode(), TEXT, fields)


def _limit(query: str) -> int:
    given = parse_qs(query).get("limit", [""])[-1]
    return min(max(int(given), 1), MAX_TRACES) if given.isdecimal() and len(given) < 9 else MAX_TRACES

"""The server of the page: the standard library's, in daemon threads, with nothing else on its shoulders."""

from __future__ import annotations

import logging
import os
import selectors
import socket
import socketserver
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import HTTPServer
from typing import Any

from .. import _tap
from .._threads import start_outside
from ..batch import SpanBatch
from ..export.endpoint import mask_url
from .figures import Figures, hurry
from .guard import Address, Guard, check_token, resolve
from .handler import Handler
from .recent import Recent

_logger = logging.getLogger(__name__)

_MAX_CONNECTIONS = 64
# Without a descriptor of its own, which a forked child would inherit.
_Selector: type[selectors.BaseSelector] = getattr(selectors, "PollSelector", selectors.SelectSelector)

_TICK = 1.0  # seconds between two looks at the figures


class Listener(socketserver.ThreadingMixIn, HTTPServer):
    """Accepts connections and gives each a thread."""

    daemon_threads = True
    block_on_close = False
    # Elsewhere than on POSIX systems it would let others take the port away.
    allow_reuse_address = os.name == "posix"
    request_queue_size = 64
    timeout = 0  # handle_request() is called when there is one

    def __init__(self, address: Address, guard: Guard) -> None:
        self.address_family = address.family
        self.guard = guard
        self.figures = Figures()
        self.recent = Recent()
        self.closing = threading.Event()
        self._watchers: set[int] = set()
        self._connections: set[Any] = set()
        super().__init__(address.sockaddr, Handler)
        self._heard, self._bell = socket.socketpair()

    def server_bind(self) -> None:
        """Without asking a name server, which HTTPServer does."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]

    def run(self) -> None:
        """Accepts connections until ``end()``, and each second takes note of the figures."""
        due = 0.0
        with _Selector() as selector:
            selector.register(self, selectors.EVENT_READ)
            selector.register(self._heard, selectors.EVENT_READ)
            while not self.closing.is_set():
                if (now := time.monotonic()) >= due:
                    due = now + _TICK
                    self._tick()
                if any(key.fileobj is self for key, _ in selector.select(due - now)):
                    self.handle_request()

    def _tick(self) -> None:
        self.figures.sample()
        if self._watchers:
            hurry()

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Somebody looks on."""
        thread = threading.get_ident()
        self._watchers.add(thread)
        try:
            yield
        finally:
            self._watchers.discard(thread)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Refuses without a word when there are too many connections."""
        if len(self._connections) >= _MAX_CONNECTIONS:
            self.shutdown_request(request)
            return
        self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Ends a connection."""
        self._connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Mostly a client that has gone away."""
        _logger.debug("a request to the page failed", exc_info=True)

    def end(self, thread: threading.Thread) -> None:
        """Ends everything that is under way, and the thread that is in ``run()``."""
        self.closing.set()
        self._bell.close()
        thread.join()
        self.server_close()
        self._heard.close()
        for connection in list(self._connections):
            with suppress(OSError):  # its thread closes it
                connection.shutdown(socket.SHUT_RDWR)

    def abandon(self) -> None:
        """In a forked child: closes its copies of the sockets, which says nothing to who is connected."""
        for inherited in (self.socket, self._heard, self._bell, *self._connections):
            # Not by close(), which leaves the descriptor to whoever reads from it: a thread of the parent.
            descriptor = inherited.detach()
            if descriptor >= 0:
                os.close(descriptor)
        self._connections.clear()


class Server:
    """A page that is being served, until ``close()`` or the end of the process; a context manager.

    A forked child does not serve it: its copy is closed, the parent's goes on.
    """

    def __init__(self, address: str, token: str | None = None) -> None:
        where = resolve(address)
        if token is not None:
            check_token(token)
        elif not where.is_loopback:
            raise ValueError(
                f"{mask_url(address)!r} is not of this machine alone: it takes a token (OTLPFAST_WEB_TOKEN), "
                "or 127.0.0.1"
            )
        self._listener: Listener | None = Listener(where, Guard(where, token))
        self._url = _url(self._listener)
        self._thread = threading.Thread(target=self._listener.run, name="otlpfast-web", daemon=True)
        try:
            start_outside(self._thread)
        except RuntimeError:  # no more threads: the process is ending
            self._listener.server_close()
            raise
        _tap.attach(self._listener.recent)
        _servers.add(self)

    @property
    def url(self) -> str:
        """Where the page is. The token, where there is one, is not in it."""
        return self._url

    @property
    def closed(self) -> bool:
        """Whether it serves no more, or not in this process."""
        return self._listener is None

    def show(self, batch: SpanBatch) -> None:
        """Has a batch among the recent ones that was about to be exported before there was this page."""
        if self._listener is not None:
            self._listener.recent.take(batch)

    def close(self) -> None:
        """Ends it, and all connections. May be called again."""
        listener, self._listener = self._listener, None
        if listener is not None:
            _servers.discard(self)
            _tap.detach(listener.recent)
            listener.end(self._thread)

    def _after_fork(self) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            _servers.discard(self)
            _tap.detach(listener.recent)
            listener.abandon()

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Server {'closed' if self.closed else self._url}>"


def _url(listener: Listener) -> str:
    host, port = str(listener.server_address[0]), listener.server_address[1]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # no addresses that a browser could ask
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


_servers: set[Server] = set()  # also those that nobody keeps: they serve all the same


def _in_child() -> None:
    for server in list(_servers):
        server._after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)

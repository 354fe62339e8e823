"""What the servers of this package have in common: the standard library's, in daemon threads."""

from __future__ import annotations

import logging
import os
import selectors
import socket
import socketserver
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

from .._threads import start_outside
from ..export.endpoint import mask_url
from .guard import Address, Guard, check_token, resolve

_logger = logging.getLogger(__name__)

_MAX_CONNECTIONS = 64
# Without a descriptor of its own, which a forked child would inherit.
Selector: type[selectors.BaseSelector] = getattr(selectors, "PollSelector", selectors.SelectSelector)


class Listener(socketserver.ThreadingMixIn, HTTPServer):
    """Accepts connections and gives each a thread."""

    daemon_threads = True
    block_on_close = False
    # Elsewhere than on POSIX systems it would let others take the port away.
    allow_reuse_address = os.name == "posix"
    request_queue_size = 64
    timeout = 0  # handle_request() is called when there is one
    tick_seconds: float | None = None  # between two calls of tick(); None: there are none

    def __init__(self, address: Address, guard: Guard, handler: type[BaseHTTPRequestHandler]) -> None:
        self.address_family = address.family
        self.guard = guard
        self.closing = threading.Event()
        self._connections: set[Any] = set()
        super().__init__(address.sockaddr, handler)
        self._heard, self._bell = socket.socketpair()

    def server_bind(self) -> None:
        """Without asking a name server, which HTTPServer does."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]

    @property
    def base_url(self) -> str:
        """What a browser on this machine asks for."""
        host, port = str(self.server_address[0]), self.server_address[1]
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # no addresses that can be asked for
        return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"

    def run(self) -> None:
        """Accepts connections until ``end()``."""
        due, wait = 0.0, None
        with Selector() as selector:
            selector.register(self, selectors.EVENT_READ)
            selector.register(self._heard, selectors.EVENT_READ)
            while not self.closing.is_set():
                if self.tick_seconds is not None:
                    if (now := time.monotonic()) >= due:
                        due = now + self.tick_seconds
                        self.tick()
                    wait = due - now
                if any(key.fileobj is self for key, _ in selector.select(wait)):
                    self.handle_request()

    def tick(self) -> None:
        """What there is to do from time to time."""

    def get_request(self) -> tuple[socket.socket, Any]:
        """The next connection. Where the process has no descriptor left for it, not at once again."""
        try:
            return super().get_request()
        except OSError:
            self.closing.wait(0.1)
            raise

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
        _logger.debug("a request failed", exc_info=True)

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


class Served:
    """What is being served, until ``close()`` or the end of the process; a context manager.

    A forked child does not serve it: its copy is closed, the parent's goes on.
    """

    _listener: Listener | None

    def __init__(self, listener: Listener, name: str, path: str = "") -> None:
        self._listener = listener
        self._url = listener.base_url + path
        self._thread = threading.Thread(target=listener.run, name=name, daemon=True)
        try:
            start_outside(self._thread)
        except RuntimeError:  # no more threads: the process is ending
            listener.server_close()
            raise
        served.add(self)

    @property
    def url(self) -> str:
        """Where it is. The token, where there is one, is not in it."""
        return self._url

    @property
    def closed(self) -> bool:
        """Whether it serves no more, or not in this process."""
        return self._listener is None

    def close(self) -> None:
        """Ends it, and all connections. May be called again."""
        listener, self._listener = self._listener, None
        if listener is not None:
            served.discard(self)
            self._leave(listener)
            listener.end(self._thread)

    def _after_fork(self) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            served.discard(self)
            self._leave(listener)
            listener.abandon()

    def _leave(self, listener: Any) -> None:
        """Undoes what else was done for it."""

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {'closed' if self.closed else self._url}>"


served: set[Served] = set()  # also those that nobody keeps: they serve all the same


def admit(address: str, token: str | None, variable: str) -> Address:
    """Where to listen, if that may be: off loopback it takes a token. TypeError or ValueError if not."""
    where = resolve(address)
    if token is not None:
        check_token(token)
    elif not where.is_loopback:
        raise ValueError(
            f"{mask_url(address)!r} is not of this machine alone: it takes a token ({variable}), or 127.0.0.1"
        )
    return where


def _in_child() -> None:
    for server in list(served):
        server._after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)

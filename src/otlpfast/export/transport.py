"""OTLP over HTTP/1.1: requests to one endpoint, over one kept-alive connection, one export at a time.

The transport knows requests and answers; what an answer means for the spans is the exporter's business. It
logs nothing.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING

from .compression import compressor_of
from .config import Settings
from .connection import Connection, Late, Part, size
from .session import SessionConnection

if TYPE_CHECKING:
    import requests

LONGEST_WAIT = 7 * 86400.0  # seconds; beyond it some system calls overflow


class Transport:
    """Sends requests to one endpoint. Thread-safe, re-entrant, usable in a forked child.

    Every process has its own channel, found by its pid, so that a child neither uses nor closes the TLS
    session of its parent and never waits for a lock that was held at the fork, also where no fork hooks run.
    """

    def __init__(self, settings: Settings, user_agent: str, session: requests.Session | None = None) -> None:
        self._settings = settings
        self._fields = _request_fields(settings, user_agent)
        self._head = _request_head(settings, self._fields)
        compression = settings.compression
        self._compressor = compressor_of(compression) if compression != "none" else None
        self._session = session
        self._channels: dict[int, _Channel] = {}
        self._closed = False

    def request(self, buffers: Sequence[Part]) -> list[Part]:
        """The request, head and body, whose body is the concatenation of `buffers`, compressed if set so."""
        if self._compressor is not None:
            compressor = self._compressor()
            buffers = [*map(compressor.compress, buffers), compressor.flush()]
        length = sum(map(size, buffers))
        return [b"%b%d\r\n\r\n" % (self._head, length), *buffers]

    @contextmanager
    def turn(
        self, deadline: float, let_go: Callable[[], None] | None = None
    ) -> Iterator[Connection | SessionConnection]:
        """The connection, for one export with all its attempts; others wait for their turn meanwhile.

        deadline: of the monotonic clock. TimeoutError where another export has its turn until then.
        let_go: called when others begin to wait, for a turn that may take as long as nobody does.
        """
        channel = self._channel()
        if not channel.take(deadline - monotonic()):
            raise Late("waiting for an earlier export")
        try:
            if channel.busy:  # a signal handler or finaliser in the middle of this thread's own export
                connection = self._connection()
                try:
                    yield connection
                finally:
                    connection.close()
                return
            channel.busy = True
            if let_go is not None:
                channel.let_go = let_go
            try:
                yield channel.connection
            finally:
                channel.busy = False
                if self._closed:  # while this export was under way
                    channel.connection.close()
        finally:
            channel.lock.release()

    def is_awaited(self) -> bool:
        """Whether somebody waits for a turn."""
        return bool(self._channel().asking)

    @property
    def plain_head(self) -> bytes | None:
        """The head of each request up to the value of Content-Length; None where not only spans follow."""
        is_plain = self._session is None and self._compressor is None and self._settings.tls is None
        return self._head if is_plain else None

    def _channel(self) -> _Channel:
        pid = os.getpid()
        channel = self._channels.get(pid)
        if channel is None:
            for inherited in list(self._channels):
                if (other := self._channels.pop(inherited, None)) is not None:
                    other.connection.abandon()
            channel = self._channels.setdefault(pid, _Channel(self._connection()))
        return channel

    def _connection(self) -> Connection | SessionConnection:
        if self._session is None:
            return Connection(self._settings)
        return SessionConnection(self._settings, self._session, self._fields)

    def wait_idle(self, timeout: float) -> bool:
        """Wait for another thread's export under way; whether it ended within `timeout` seconds."""
        channel = self._channel()
        if acquired := channel.take(timeout):
            channel.lock.release()
        return acquired

    def close(self, timeout: float) -> None:
        """Close the connection; an export under way gets `timeout` seconds to end and is cut off then."""
        self._closed = True
        channel = self._channel()
        if not channel.take(timeout):
            channel.connection.interrupt()
            return
        try:
            if not channel.busy:  # else this thread's own export, in the middle of which we are, closes it
                channel.connection.close()
        finally:
            channel.lock.release()


def _nothing() -> None:
    pass


class _Channel:
    """One process's connection. The lock is re-entrant: `busy` tells a nested request from a waiting one."""

    def __init__(self, connection: Connection | SessionConnection) -> None:
        self.lock = threading.RLock()
        self.busy = False
        self.connection = connection
        self.asking: deque[None] = deque()  # an entry for each thread that waits for the lock
        # Has who holds the lock, and only waits for work, release it.
        self.let_go: Callable[[], None] = _nothing

    def take(self, timeout: float) -> bool:
        """Whether the lock was acquired within so many seconds."""
        if self.lock.acquire(blocking=False):
            return True
        self.asking.append(None)
        try:
            self.let_go()
            return self.lock.acquire(timeout=min(max(0.0, timeout), LONGEST_WAIT))
        finally:
            self.asking.pop()


def _request_fields(settings: Settings, user_agent: str) -> dict[str, str]:
    """The request's header fields but for Content-Length. Their characters were checked by the settings."""
    fields = {
        "host": settings.endpoint.authority,
        "user-agent": user_agent,
        "accept-encoding": "identity",
        "content-type": "application/x-protobuf",
    }
    if settings.compression != "none":
        fields["content-encoding"] = settings.compression
    return {**fields, **settings.headers}


def _request_head(settings: Settings, fields: Mapping[str, str]) -> bytes:
    """The request's head up to the value of Content-Length."""
    target, proxy = settings.endpoint.target, settings.proxy
    if proxy is not None and not settings.endpoint.secure:
        target = f"http://{settings.endpoint.authority}{target}"
        if proxy.authorization:
            fields = {"proxy-authorization": proxy.authorization, **fields}
    lines = [f"{name}: {value}\r\n" for name, value in fields.items()]
    return f"POST {target} HTTP/1.1\r\n{''.join(lines)}content-length: ".encode("latin-1")

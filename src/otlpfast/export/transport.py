"""OTLP over HTTP/1.1: one kept-alive connection, one request at a time, one deadline for all of it.

The transport knows requests and answers; what an answer means for the spans is the exporter's business. It
logs nothing. Proxy variables, `.netrc` and redirects are not followed.
"""

from __future__ import annotations

import http.client
import io
import os
import socket
import ssl
import threading
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, Any, cast

from .answer import MAX_RESPONSE, Answer, TooLarge, read_body
from .config import Settings

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

    Part = bytes | memoryview

_MAX_ON_THE_WIRE = MAX_RESPONSE + 256 * 1024  # with status line, header fields and framing
_VECTORS = 512  # buffers in one sendmsg; Linux takes 1024, POSIX promises 16 and every system in use 512
_RECORD = 16 * 1024  # bytes in a full TLS record
_LONGEST_WAIT = 7 * 86400.0  # seconds; beyond it some system calls overflow


class Transport:
    """Sends requests to one endpoint. Thread-safe, re-entrant, usable in a forked child.

    Every process has its own channel, found by its pid, so that a child neither uses nor closes the TLS
    session of its parent and never waits for a lock that was held at the fork, also where no fork hooks run.
    """

    def __init__(self, settings: Settings, user_agent: str) -> None:
        self._settings = settings
        self._head = _request_head(settings, user_agent)
        self._channels: dict[int, _Channel] = {}
        self._closed = False

    def post(self, buffers: Sequence[Part], timeout: float) -> Answer:
        """Send the concatenation of `buffers` and return the answer, all within `timeout` seconds.

        Without an answer it raises OSError (TimeoutError with the phase that took the time as its text,
        ConnectionError, ssl.SSLError, socket.gaierror) or http.client.HTTPException.
        """
        deadline = monotonic() + min(timeout, _LONGEST_WAIT)
        if self._settings.compression != "none":
            buffers = _compress(buffers, self._settings.compression)
        length = sum(map(_size, buffers))
        return self._exchange([b"%b%d\r\n\r\n" % (self._head, length), *buffers], deadline)

    def _exchange(self, parts: list[Part], deadline: float) -> Answer:
        channel = self._channel()
        if not channel.lock.acquire(timeout=max(0.0, deadline - monotonic())):
            raise _Late("waiting for an earlier export")
        try:
            if channel.busy:  # a signal handler or finaliser in the middle of this thread's own request
                connection = _Connection(self._settings)
                try:
                    return connection.exchange(parts, deadline)
                finally:
                    connection.close()
            channel.busy = True
            try:
                return channel.connection.exchange(parts, deadline)
            finally:
                channel.busy = False
                if self._closed:  # while this request was under way
                    channel.connection.close()
        finally:
            channel.lock.release()

    def _channel(self) -> _Channel:
        pid = os.getpid()
        channel = self._channels.get(pid)
        if channel is None:
            for inherited in list(self._channels):
                if (other := self._channels.pop(inherited, None)) is not None:
                    other.connection.abandon()
            channel = self._channels.setdefault(pid, _Channel(self._settings))
        return channel

    def wait_idle(self, timeout: float) -> bool:
        """Wait for another thread's request under way; whether it ended within `timeout` seconds."""
        lock = self._channel().lock
        if acquired := lock.acquire(timeout=min(max(0.0, timeout), _LONGEST_WAIT)):
            lock.release()
        return acquired

    def close(self, timeout: float) -> None:
        """Close the connection; a request under way gets `timeout` seconds to end and is cut off then."""
        self._closed = True
        channel = self._channel()
        if not channel.lock.acquire(timeout=min(max(0.0, timeout), _LONGEST_WAIT)):
            channel.connection.interrupt()
            return
        try:
            if not channel.busy:  # else this thread's own request, in the middle of which we are, closes it
                channel.connection.close()
        finally:
            channel.lock.release()


class _Channel:
    """One process's connection. The lock is re-entrant: `busy` tells a nested request from a waiting one."""

    def __init__(self, settings: Settings) -> None:
        self.lock = threading.RLock()
        self.busy = False
        self.connection = _Connection(settings)


class _Late(TimeoutError):
    """The deadline has passed; the text says during what."""


class _Connection:
    """One connection, made when it is needed. Not thread-safe: the channel's lock is held by the caller."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._pid = os.getpid()
        self._sock: socket.socket | None = None
        self._lookup: _Lookup | None = None
        self._phase = ""
        self._answered = False  # whether a byte of the present answer has come
        self._interrupted = False

    def exchange(self, parts: list[Part], deadline: float) -> Answer:
        """One request and its answer. A kept connection that turns out to be dead is replaced, once."""
        reused = not self._is_stale()
        try:
            while True:
                try:
                    answer, reusable = self._attempt(parts, deadline)
                    break
                except (ConnectionError, ssl.SSLError):
                    if not reused or self._answered or self._interrupted:
                        raise
                    self.close()
                    reused = False
        except TimeoutError as error:
            self.close()
            raise error if isinstance(error, _Late) else _Late(self._phase) from None
        except BaseException:
            self.close()
            raise
        if not reusable:
            self.close()
        return answer

    def _attempt(self, parts: list[Part], deadline: float) -> tuple[Answer, bool]:
        self._answered = False
        if self._sock is None:
            self._open(deadline)
        self._phase = "sending the request"
        try:
            self._send(parts, deadline)
        except (ConnectionError, ssl.SSLError):
            # A refusal (413, a TLS alert) may have come, and the connection gone, before all was sent.
            with suppress(ConnectionError, TimeoutError, http.client.HTTPException):
                return self._receive(deadline)[0], False
            raise
        self._phase = "waiting for the answer"
        return self._receive(deadline)

    def _arm(self, deadline: float) -> socket.socket:
        """The socket, ready for one operation that ends by the deadline."""
        sock = self._sock
        if sock is None or self._pid != os.getpid():
            raise ConnectionAbortedError("the process was forked in the middle of a request")
        if self._interrupted:
            raise ConnectionAbortedError("cut off by the shutdown of the exporter")
        left = deadline - monotonic()
        if left <= 0:
            raise _Late(self._phase)
        sock.settimeout(left)
        return sock

    def _open(self, deadline: float) -> None:
        endpoint, tls = self._settings.endpoint, self._settings.tls
        self._phase = "looking up the host name"
        addresses = self._resolve(deadline)
        self._phase = "connecting"
        while addresses:
            family, kind, protocol, _, address = addresses.pop(0)
            try:
                self._sock = socket.socket(family, kind, protocol)
                # A share of the time for each: an address that swallows packets leaves some to the next.
                share = max(0.0, deadline - monotonic()) / (len(addresses) + 1)
                self._arm(monotonic() + share).connect(address)
                break
            except OSError:
                self.close()
                if not addresses:
                    raise
        sock = self._arm(deadline)
        with suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls is not None:
            self._phase = "in the TLS handshake"
            name = endpoint.host.partition("%")[0]
            secured = tls.context.wrap_socket(sock, server_hostname=name, do_handshake_on_connect=False)
            self._sock = secured
            secured.do_handshake()

    def _resolve(self, deadline: float) -> list[tuple[Any, ...]]:
        host, port = self._settings.endpoint.host, self._settings.endpoint.port
        with suppress(socket.gaierror):
            return list(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST))
        if self._lookup is None:  # else one that an earlier request gave up waiting for: never two at a time
            self._lookup = _Lookup(host, port)
        if not self._lookup.done.wait(max(0.0, deadline - monotonic())):
            raise _Late(self._phase)
        lookup, self._lookup = self._lookup, None
        if lookup.error is not None:
            raise lookup.error
        return lookup.addresses

    def _is_stale(self) -> bool:
        """Close a kept connection that the other end has closed or on which it sent something unasked."""
        if self._sock is None:
            return True
        try:
            self._sock.settimeout(0)
            self._sock.recv(1)  # on TLS this also takes in session tickets, which are no sign of an end
        except (BlockingIOError, ssl.SSLWantReadError):
            return False
        except OSError:
            pass
        self.close()
        return True

    def _send(self, parts: list[Part], deadline: float) -> None:
        if hasattr(self._sock, "sendmsg") and not isinstance(self._sock, ssl.SSLSocket):
            self._send_vectors(parts, deadline)
            return
        for piece in _pieces(parts):
            sent = 0
            while sent < len(piece):
                sent += self._arm(deadline).send(piece[sent:])

    def _send_vectors(self, parts: list[Part], deadline: float) -> None:
        index = offset = 0  # the first part that is not wholly sent, and how much of it is
        while index < len(parts):
            window = parts[index : index + _VECTORS]
            if offset:
                window[0] = memoryview(window[0]).cast("B")[offset:]
            offset += self._arm(deadline).sendmsg(window)
            while index < len(parts) and offset >= _size(parts[index]):
                offset -= _size(parts[index])
                index += 1

    def _receive(self, deadline: float) -> tuple[Answer, bool]:
        """The answer, and whether the connection can be used again."""
        incoming = _Incoming(self, deadline)
        # HTTPResponse wants of a socket only that it makes a file.
        response = http.client.HTTPResponse(cast("socket.socket", incoming), method="POST")
        try:
            response.begin()
            body, flaw = read_body(response)
            reusable = response.isclosed() and not (flaw or response.will_close or response.status < 200)
            return Answer(response.status, response.reason, response.headers, body, flaw), reusable
        finally:
            response.close()

    def receive_into(self, buffer: WriteableBuffer, deadline: float) -> int:
        count = self._arm(deadline).recv_into(buffer)
        self._answered = self._answered or count > 0
        return count

    def close(self) -> None:
        sock, self._sock = self._sock, None
        if sock is not None:
            sock.close()

    def interrupt(self) -> None:
        """Wake the thread that uses it. Not by SSLSocket.shutdown, which would switch it to plain text."""
        self._interrupted = True
        if (sock := self._sock) is not None:
            with suppress(OSError):
                socket.socket.shutdown(sock, socket.SHUT_RDWR)

    def abandon(self) -> None:
        """In a forked child: close the inherited descriptor and nothing else, the parent goes on using it."""
        sock, self._sock = self._sock, None
        if sock is not None:
            with suppress(OSError):
                os.close(sock.detach())


class _Lookup:
    """A name lookup in a thread, because getaddrinfo knows no timeout."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self.done = threading.Event()
        self.addresses: list[tuple[Any, ...]] = []
        self.error: Exception | None = None
        try:
            threading.Thread(target=self._run, name="otlpfast-lookup", daemon=True).start()
        except RuntimeError:  # the interpreter is ending and starts no more threads
            self._run()

    def _run(self) -> None:
        try:
            self.addresses = list(socket.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM))
        except socket.gaierror as error:
            self.error = socket.gaierror(*error.args)
        except Exception as error:
            self.error = OSError(type(error).__name__)
        self.done.set()


class _Incoming(io.RawIOBase):
    """The bytes of one answer, as a file: each read has what is left of the time and of the size."""

    def __init__(self, connection: _Connection, deadline: float) -> None:
        self._connection = connection
        self._deadline = deadline
        self._left = _MAX_ON_THE_WIRE

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(self)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        count = self._connection.receive_into(buffer, self._deadline)
        self._left -= count
        if self._left < 0:
            raise TooLarge
        return count


def _request_head(settings: Settings, user_agent: str) -> bytes:
    """The request's head up to the value of Content-Length. Its characters were checked by the settings."""
    fields = {
        "host": settings.endpoint.authority,
        "user-agent": user_agent,
        "accept-encoding": "identity",
        "content-type": "application/x-protobuf",
    }
    if settings.compression != "none":
        fields["content-encoding"] = settings.compression
    lines = [f"{name}: {value}\r\n" for name, value in {**fields, **settings.headers}.items()]
    return f"POST {settings.endpoint.target} HTTP/1.1\r\n{''.join(lines)}content-length: ".encode("latin-1")


def _size(part: Part) -> int:
    return len(part) if isinstance(part, bytes) else part.nbytes


def _compress(buffers: Sequence[Part], compression: str) -> list[Part]:
    compressor = zlib.compressobj(1, zlib.DEFLATED, 31 if compression == "gzip" else 15)
    return [*map(compressor.compress, buffers), compressor.flush()]


def _pieces(parts: list[Part]) -> Iterator[bytearray | memoryview]:
    """The same bytes without small pieces, each of which would be a TLS record; large parts uncopied."""
    pending = bytearray()
    for part in parts:
        view = memoryview(part).cast("B")
        if pending:
            room = _RECORD - len(pending)
            pending += view[:room]
            view = view[room:]
            if len(pending) == _RECORD:
                yield pending
                pending = bytearray()
        if len(view) >= _RECORD:
            yield view
        else:
            pending += view
    if pending:
        yield pending

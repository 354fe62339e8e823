"""One HTTP/1.1 connection, over TCP, TLS, a proxy or a unix socket: every step ends by one deadline.

`.netrc` and redirects are not followed.
"""

from __future__ import annotations

import http.client
import io
import os
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from .answer import MAX_RESPONSE, Answer, TooLarge, read_body
from .config import Settings
from .proxy import Proxy, ProxyRefused

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

    from .._impl import BatchBuilder

    Taken: TypeAlias = tuple[BatchBuilder, int, int, float]  # its spans, bytes and deadline
    Left: TypeAlias = tuple[BatchBuilder, int, int, float, bool, bytes]  # as `Begun` has the last two

Part: TypeAlias = bytes | memoryview

_MAX_ON_THE_WIRE = MAX_RESPONSE + 256 * 1024  # with status line, header fields and framing
_VECTORS = 512  # buffers in one sendmsg; Linux takes 1024, POSIX promises 16 and every system in use 512
_RECORD = 16 * 1024  # bytes in a full TLS record


@dataclass(frozen=True)
class Begun:
    """A request that `SpanQueue.send_full` has begun: whether it was sent as a whole, and what came back."""

    was_sent: bool
    received: bytes


class Late(TimeoutError):
    """The deadline has passed; the text says during what."""


class Connection:
    """One connection, made when it is needed. Not thread-safe: who uses it has its turn."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._pid = os.getpid()
        self._sock: socket.socket | None = None
        self._lookup: _Lookup | None = None
        self._phase = ""
        self._answered = False  # whether a byte of the present answer has come
        self._interrupted = False
        self._begun: Begun | None = None

    def send_full(self, send: Callable[[int], Left | None]) -> Taken | None:
        """Have a queue send what gets full over this connection, if there is one, by itself.

        send: `SpanQueue.send_full` of a descriptor. Where it leaves a batch, the next `exchange()` has to be
            of just that one, and goes on from there.
        """
        sock = self._sock
        if type(sock) is not socket.socket or self._interrupted or self._is_stale():
            return None
        left = send(sock.fileno())
        if left is None:
            return None
        batch, count, nbytes, deadline, was_sent, received = left
        self._begun = Begun(was_sent, received)
        return batch, count, nbytes, deadline

    def exchange(self, parts: list[Part], deadline: float) -> Answer:
        """Send `parts` and return the answer. A kept connection that turns out to be dead is replaced, once.

        Without an answer by the deadline (of the monotonic clock) it raises OSError (TimeoutError with the
        phase that took the time as its text, ConnectionError, ssl.SSLError, socket.gaierror) or
        http.client.HTTPException.
        """
        begun, self._begun = self._begun, None
        reused = begun is not None or not self._is_stale()
        try:
            while True:
                try:
                    answer, reusable = (
                        self._attempt(parts, deadline) if begun is None else self._go_on(begun, deadline)
                    )
                    break
                except (ConnectionError, ssl.SSLError):
                    if not reused or self._answered or self._interrupted:
                        raise
                    self.close()
                    reused, begun = False, None
        except TimeoutError as error:
            self.close()
            raise error if isinstance(error, Late) else Late(self._phase) from None
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

    def _go_on(self, begun: Begun, deadline: float) -> tuple[Answer, bool]:
        self._answered = bool(begun.received)
        self._phase = "waiting for the answer" if begun.was_sent else "sending the request"
        if not begun.was_sent:
            self._arm(deadline)
            raise ConnectionResetError
        return self._receive(deadline, begun.received)

    def _arm(self, deadline: float) -> socket.socket:
        """The socket, ready for one operation that ends by the deadline."""
        sock = self._sock
        if sock is None or self._pid != os.getpid():
            raise ConnectionAbortedError("the process was forked in the middle of a request")
        if self._interrupted:
            raise ConnectionAbortedError("cut off by the shutdown of the exporter")
        left = deadline - monotonic()
        if left <= 0:
            raise Late(self._phase)
        sock.settimeout(left)
        return sock

    def _open(self, deadline: float) -> None:
        endpoint, tls, proxy = self._settings.endpoint, self._settings.tls, self._settings.proxy
        self._connect(deadline)
        if tls is None:
            return
        if proxy is not None:
            self._tunnel(proxy, deadline)
        self._phase = "in the TLS handshake"
        name = endpoint.host.partition("%")[0]
        sock = self._arm(deadline)
        secured = tls.context.wrap_socket(sock, server_hostname=name, do_handshake_on_connect=False)
        self._sock = secured
        secured.do_handshake()

    def _connect(self, deadline: float) -> None:
        """Connect to the proxy, if there is one, else to the endpoint."""
        self._phase = "looking up the host name"
        addresses = self._addresses(deadline)
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
        with suppress(OSError):  # a unix socket has no such thing
            self._arm(deadline).setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def _tunnel(self, proxy: Proxy, deadline: float) -> None:
        """Have the proxy connect us to the endpoint. Specification: RFC 9110, "CONNECT"."""
        self._phase = "waiting for the proxy"
        endpoint = self._settings.endpoint
        place = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
        lines = [f"CONNECT {place}:{endpoint.port} HTTP/1.1", f"host: {place}:{endpoint.port}"]
        if proxy.authorization:
            lines.append(f"proxy-authorization: {proxy.authorization}")
        self._send(["\r\n".join([*lines, "", ""]).encode("latin-1")], deadline)
        response = http.client.HTTPResponse(
            cast("socket.socket", _Incoming(self, deadline)), method="CONNECT"
        )
        try:
            response.begin()
        finally:
            response.close()
        if not 200 <= response.status < 300:
            raise ProxyRefused(response.status)
        self._answered = False  # the collector has not, yet

    def _addresses(self, deadline: float) -> list[tuple[Any, ...]]:
        if self._settings.endpoint.socket is not None:
            return [(socket.AF_UNIX, socket.SOCK_STREAM, 0, "", self._settings.endpoint.socket)]
        peer = self._settings.proxy or self._settings.endpoint
        host, port = peer.host, peer.port
        with suppress(socket.gaierror):
            return list(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST))
        if self._lookup is None:  # else one that an earlier request gave up waiting for: never two at a time
            self._lookup = _Lookup(host, port)
        if not self._lookup.done.wait(max(0.0, deadline - monotonic())):
            raise Late(self._phase)
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
            while index < len(parts) and offset >= size(parts[index]):
                offset -= size(parts[index])
                index += 1

    def _receive(self, deadline: float, received: bytes = b"") -> tuple[Answer, bool]:
        """The answer, of which that was received already, and whether the connection can be used again."""
        incoming = _Incoming(self, deadline, received)
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

    def __init__(self, connection: Connection, deadline: float, received: bytes = b"") -> None:
        self._connection = connection
        self._deadline = deadline
        self._received = io.BytesIO(received)
        self._left = _MAX_ON_THE_WIRE

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(self)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        count = self._received.readinto(buffer) or self._connection.receive_into(buffer, self._deadline)
        self._left -= count
        if self._left < 0:
            raise TooLarge
        return count


def size(part: Part) -> int:
    """Bytes in a part."""
    return len(part) if isinstance(part, bytes) else part.nbytes


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

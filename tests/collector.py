"""A small OTLP/HTTP collector for tests: real sockets, official protobuf classes, scripted answers.

    with Collector() as collector:
        collector.script(Reply(503), Reply(hang_up=True))   # then 200 for ever
        ... OTLPSpanExporter(endpoint=collector.endpoint) ...
        request = collector.wait_for_request()
        request.spans, request.headers["authorization"], request.body, request.connection

Give it a server-side `ssl.SSLContext` and it speaks TLS. Nothing in it sleeps: a delay ends when the
collector closes.
"""

from __future__ import annotations

import gzip
import importlib
import socket
import ssl
import struct
import sys
import threading
import time
import zlib
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span

PATIENCE = 20.0  # seconds that a wait in a test may take before the test fails


@dataclass(frozen=True)
class Reply:
    """One scripted answer."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    delay: float = 0.0  # seconds before the answer; also float("inf")
    hang_up: bool = False  # close the connection instead of answering
    reset: bool = False  # the same with an RST
    close_after: bool = False  # answer, then close without having said so
    drip: float = 0.0  # seconds between the single bytes of the answer, from its first byte on
    drip_body: float = 0.0  # the same, head at once and body in drips
    raw: bytes | None = None  # these bytes instead of an HTTP answer; the connection closes after them

    @property
    def succeeds(self) -> bool:
        return 200 <= self.status < 300 and not (self.hang_up or self.reset or self.raw is not None)

    @property
    def stays(self) -> bool:
        """Whether the connection stays open after it."""
        return not (self.hang_up or self.reset or self.close_after or self.raw is not None)

    @staticmethod
    def partial_success(rejected: int, message: str = "", **more: Any) -> Reply:
        response = ExportTraceServiceResponse()
        response.partial_success.rejected_spans = rejected
        response.partial_success.error_message = message
        return Reply(body=response.SerializeToString(), **more)


@dataclass(frozen=True)
class Request:
    """One request as it came in; `connection` tells connections apart."""

    path: str
    headers: Message[str, str]
    body: bytes  # after decompression
    wire_bytes: int  # before
    connection: tuple[str, int]
    arrived: float = field(default_factory=time.monotonic)

    @property
    def message(self) -> ExportTraceServiceRequest:
        message = ExportTraceServiceRequest()
        message.ParseFromString(self.body)
        return message

    @property
    def spans(self) -> list[Span]:
        return [
            span
            for resource in self.message.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]


class Collector:
    """Listens on a free port of 127.0.0.1 from construction to `close()`; a context manager."""

    def __init__(self, tls: ssl.SSLContext | None = None, port: int = 0) -> None:
        self.max_body: int | None = None  # bytes; a larger request is answered 413, whatever the script says
        self._changed = threading.Condition()
        self._requests: list[Request] = []
        self._accepted: list[Request] = []
        self._replies: deque[Reply] = deque()
        self._default = Reply()
        self._opened = self._closed = 0
        self.closing = threading.Event()
        self._server = _Server(("127.0.0.1", port), self, tls)
        self.port: int = self._server.server_address[1]
        self.base = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        self.endpoint = f"{self.base}/v1/traces"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def __enter__(self) -> Collector:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop listening and end all connections."""
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(PATIENCE)

    def script(self, *replies: Reply, then: Reply | None = None) -> None:
        """The next answers, one a request; `then` answers all further ones (200 without it)."""
        with self._changed:
            self._replies.extend(replies)
            self._default = then or self._default

    @property
    def requests(self) -> list[Request]:
        with self._changed:
            return list(self._requests)

    @property
    def spans(self) -> list[Span]:
        """Of all requests so far, whatever the answer was."""
        return [span for request in self.requests for span in request.spans]

    @property
    def accepted(self) -> list[Span]:
        """Of the requests that were to be answered with success, each span once, however often it came."""
        with self._changed:
            accepted = list(self._accepted)
        return list({span.span_id: span for request in accepted for span in request.spans}.values())

    @property
    def connections_opened(self) -> int:
        with self._changed:
            return self._opened

    def wait_for_request(self, number: int = 1, timeout: float = PATIENCE) -> Request:
        """The request of this number, counted from 1; AssertionError if it does not come in time."""
        self._wait(lambda: len(self._requests) >= number, timeout, f"request {number}")
        return self._requests[number - 1]

    def wait_for_spans(self, number: int, timeout: float = PATIENCE) -> list[Span]:
        """All spans, once there are at least so many."""
        self._wait(lambda: sum(len(r.spans) for r in self._requests) >= number, timeout, f"{number} spans")
        return self.spans

    def wait_for_closed_connections(self, number: int, timeout: float = PATIENCE) -> None:
        """Wait until the server's end of so many connections is closed."""
        self._wait(lambda: self._closed >= number, timeout, f"{number} closed connections")

    def _wait(self, condition: Any, timeout: float, what: str) -> None:
        with self._changed:
            if not self._changed.wait_for(condition, timeout):
                raise AssertionError(f"no {what} in {timeout} s; {len(self._requests)} requests came")

    def record(self, request: Request) -> Reply:
        with self._changed:
            self._requests.append(request)
            self._changed.notify_all()
            if self.max_body is not None and len(request.body) > self.max_body:
                return Reply(413)
            reply = self._replies.popleft() if self._replies else self._default
            if reply.succeeds:
                self._accepted.append(request)
            return reply

    def count_connections(self, *, opened: int = 0, closed: int = 0) -> None:
        with self._changed:
            self._opened += opened
            self._closed += closed
            self._changed.notify_all()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, address: tuple[str, int], collector: Collector, tls: ssl.SSLContext | None) -> None:
        self.collector = collector
        self.tls = tls
        super().__init__(address, _Handler)

    def get_request(self) -> tuple[Any, Any]:
        sock, address = super().get_request()
        self.collector.count_connections(opened=1)
        if self.tls is not None:  # the handshake happens at the first read, in the connection's own thread
            sock = self.tls.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
        return sock, address

    def shutdown_request(self, request: Any) -> None:
        super().shutdown_request(request)
        self.collector.count_connections(closed=1)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away or does not trust us is part of many tests."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def do_POST(self) -> None:
        collector = self.server.collector
        wire = self._body()
        reply = collector.record(
            Request(self.path, self.headers, _inflate(wire, self.headers), len(wire), self.client_address)
        )
        if reply.delay:
            collector.closing.wait(None if reply.delay == float("inf") else reply.delay)
        if not reply.stays or collector.closing.is_set():
            self.close_connection = True
        if reply.reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
        if reply.hang_up or reply.reset or collector.closing.is_set():
            return
        if reply.raw is not None:
            self.wfile.write(reply.raw)
            return
        fields = {"Content-Type": "application/x-protobuf", "Content-Length": str(len(reply.body))}
        fields.update(reply.headers)
        lines = [
            f"HTTP/1.1 {reply.status} Scripted\r\n",
            *(f"{k}: {v}\r\n" for k, v in fields.items()),
            "\r\n",
        ]
        head = "".join(lines).encode("latin-1")
        if reply.drip:
            self._drip(head + reply.body, reply.drip)
        elif reply.drip_body:
            self.wfile.write(head)
            self._drip(reply.body, reply.drip_body)
        else:
            self.wfile.write(head + reply.body)

    def _body(self) -> bytes:
        if "content-length" in self.headers:
            return self.rfile.read(int(self.headers["content-length"]))
        chunks = []
        while size := int(self.rfile.readline(), 16):  # as Envoy sends it
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    def _drip(self, data: bytes, pause: float) -> None:
        for byte in data:
            if self.server.collector.closing.wait(pause):
                return
            self.wfile.write(bytes([byte]))

    def log_message(self, format: str, *args: Any) -> None:
        """Tests read requests, not a log."""


def _inflate(body: bytes, headers: Message[str, str]) -> bytes:
    encoding = headers.get("content-encoding", "")
    if encoding == "gzip":
        return gzip.decompress(body)
    if encoding == "zstd":
        name = "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd"
        return bytes(importlib.import_module(name).decompress(body))
    return zlib.decompress(body) if encoding == "deflate" else body

"""A service between two others: takes a request, makes spans of its own, and asks the next one.

    python forwarding_service.py NEXT

NEXT is HOST:PORT or the path of a Unix socket. The first line that it prints is its port. ``GET /3`` asks the
next one three times; the answer is JSON: the headers that came, and what was answered to each request.
"""

from __future__ import annotations

import http.client
import json
import socket
import sys
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry import context, propagate, trace
from opentelemetry.propagators.textmap import Getter
from opentelemetry.trace import SpanKind

import otlpfast

tracer = trace.get_tracer("forwarding")


class Headers(Getter["Message[str, str]"]):
    """Each header as often as it came."""

    def get(self, carrier: Message[str, str], key: str) -> list[str] | None:
        return carrier.get_all(key)

    def keys(self, carrier: Message[str, str]) -> list[str]:
        return list(carrier)


class UnixConnection(http.client.HTTPConnection):
    """To a server that listens on a Unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=60)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def connection_to(address: str) -> http.client.HTTPConnection:
    return UnixConnection(address) if "/" in address else http.client.HTTPConnection(address, timeout=60)


def ask(address: str, path: str, headers: list[tuple[str, str]]) -> Any:
    """What is answered to a GET with these headers, each of them as often as it is there."""
    connection = connection_to(address)
    try:
        connection.putrequest("GET", path, skip_accept_encoding=True)
        for name, value in headers:
            connection.putheader(name, value)
        connection.endheaders()
        answer = connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise ConnectionError(f"{answer.status} {body.decode('latin-1')}")
        return json.loads(body)
    finally:
        connection.close()


class Service(BaseHTTPRequestHandler):
    """Answers with the headers that came."""

    def answers(self) -> list[Any]:
        return []

    def do_GET(self) -> None:
        body = json.dumps({"came": self.headers.items(), "answers": self.answers()}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Who asks gets to know it all."""


class Forwarding(Service):
    """Asks the next service before it answers, as often as the path says."""

    next: str

    def answers(self) -> list[Any]:
        token = context.attach(propagate.extract(self.headers, getter=Headers()))
        try:
            with tracer.start_as_current_span("server", kind=SpanKind.SERVER):
                return [self.asked() for _ in range(int(self.path.strip("/") or 1))]
        finally:
            context.detach(token)

    def asked(self) -> Any:
        with tracer.start_as_current_span("client", kind=SpanKind.CLIENT):
            headers: dict[str, str] = {}
            propagate.inject(headers)
            request = self.headers.get("x-request-id")  # as a service in a mesh has to
            passed = [("x-request-id", request)] if request else []
            return ask(self.next, "/1", [*headers.items(), *passed])


def main() -> None:
    otlpfast.configure()
    Forwarding.next = sys.argv[1]
    server = ThreadingHTTPServer(("127.0.0.1", 0), Forwarding)
    print(server.server_address[1], flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()

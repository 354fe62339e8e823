"""The demo's collector, in a process of its own: OTLP/HTTP, decoded with the official protobuf classes."""

from __future__ import annotations

import gzip
import threading
import zlib
from collections import defaultdict
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from otlpfast.cli.demo import children
from otlpfast.cli.demo.messages import SpanSet, set_difference


@dataclass
class Received:
    """What arrived at one path."""

    messages: list[ExportTraceServiceRequest] = field(default_factory=list)
    wire_bytes: int = 0
    refused: int = 0


class Sink(ThreadingHTTPServer):
    """Keeps what arrives by path, so that one sink serves every run."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.lock = threading.Lock()
        self.received: defaultdict[str, Received] = defaultdict(Received)

    def account(self, path: str) -> dict[str, Any]:
        with self.lock:
            found = self.received[path]
            spans = sum(
                len(scope_spans.spans)
                for message in found.messages
                for resource_spans in message.resource_spans
                for scope_spans in resource_spans.scope_spans
            )
            return {
                "spans": spans,
                "requests": len(found.messages),
                "wire_bytes": found.wire_bytes,
                "refused": found.refused,
            }

    def compare(self, first: str, others: list[str]) -> dict[str, Any]:
        """Where what each of the others got parts from what the first got; None if nowhere."""
        with self.lock:
            expected, *found = (SpanSet(self.received[path].messages) for path in (first, *others))
        return {"differences": [set_difference(expected, one) for one in found]}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Sink

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        head = f"{self.requestline}\r\n\r\n" + "".join(
            f"{name}: {value}\r\n" for name, value in self.headers.items()
        )
        try:
            message = ExportTraceServiceRequest.FromString(_plain(body, self.headers.get("Content-Encoding")))
        except (DecodeError, OSError, EOFError, zlib.error):
            message = None
        with self.server.lock:
            received = self.server.received[self.path]
            received.wire_bytes += len(head) + len(body)
            if message is None:
                received.refused += 1
            else:
                received.messages.append(message)
        self.send_response(400 if message is None else 200)
        answer = ExportTraceServiceResponse().SerializeToString()
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: Any) -> None:
        """What arrived is told in the account."""


def _plain(body: bytes, coding: str | None) -> bytes:
    return (
        gzip.decompress(body) if coding == "gzip" else zlib.decompress(body) if coding == "deflate" else body
    )


def main() -> None:
    sink = Sink()
    threading.Thread(target=sink.serve_forever, daemon=True).start()
    children.answer(port=sink.server_address[1])
    for question in children.questions():
        if question["do"] == "account":
            children.answer(**sink.account(question["path"]))
        else:
            children.answer(**sink.compare(question["first"], question["others"]))


if __name__ == "__main__":
    main()

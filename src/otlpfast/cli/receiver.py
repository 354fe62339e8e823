"""A collector that counts spans and keeps none, as a process of its own: OTLP over HTTP, and gRPC if asked.

It reads just as much of a request as counting takes, so that it is no load beside what is measured.
"""

from __future__ import annotations

import argparse
import gzip
import threading
import zlib
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from otlpfast._parse import count_spans
from otlpfast.cli.demo import children

GRPC_METHOD = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"


@dataclass
class Received:
    """What arrived at one path."""

    spans: int = 0
    requests: int = 0
    wire_bytes: int = 0
    refused: int = 0


class Receiver(ThreadingHTTPServer):
    """Counts by path, so that one serves several runs."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self._lock = threading.Lock()
        self._received: defaultdict[str, Received] = defaultdict(Received)

    def take(self, path: str, body: bytes, coding: str | None = None) -> bool:
        """Counts a request; False if it is none."""
        try:
            spans = count_spans(_plain(body, coding))
        except (ValueError, OSError, EOFError, zlib.error):
            spans = -1
        with self._lock:
            received = self._received[path]
            received.requests += 1
            received.wire_bytes += len(body)
            received.spans += max(spans, 0)
            received.refused += spans < 0
        return spans >= 0

    def account(self, path: str) -> dict[str, int]:
        with self._lock:
            return asdict(self._received[path])


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        taken = self.server.take(self.path, body, self.headers.get("Content-Encoding"))
        self.send_response(200 if taken else 400)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """What arrived is told in the account."""


def _plain(body: bytes, coding: str | None) -> bytes:
    if coding == "gzip":
        return gzip.decompress(body)
    return zlib.decompress(body) if coding == "deflate" else body


def _serve_grpc(receiver: Receiver) -> tuple[Any, int]:
    """The server, which serves for as long as it is referred to, and its port."""
    import grpc  # type: ignore[import-untyped]

    def export(body: bytes, context: Any) -> bytes:
        if not receiver.take(GRPC_METHOD, body):
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "not an ExportTraceServiceRequest")
        return b""

    class Handler(grpc.GenericRpcHandler):  # type: ignore[misc]
        def service(self, call: Any) -> Any:
            return grpc.unary_unary_rpc_method_handler(export) if call.method == GRPC_METHOD else None

    server = grpc.server(ThreadPoolExecutor(4), handlers=[Handler()])
    port: int = server.add_insecure_port("127.0.0.1:0")
    server.start()
    return server, port


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--grpc", action="store_true")
    arguments = parser.parse_args()
    receiver = Receiver()
    threading.Thread(target=receiver.serve_forever, daemon=True).start()
    _server, grpc_port = _serve_grpc(receiver) if arguments.grpc else (None, None)
    children.answer(port=receiver.server_address[1], grpc_port=grpc_port)
    for question in children.questions():
        children.answer(**receiver.account(question["path"]))


if __name__ == "__main__":
    main()

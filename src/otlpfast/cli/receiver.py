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
from contextlib import suppress
from dataclasses import asdict, dataclass
from socketserver import StreamRequestHandler, ThreadingTCPServer
from typing import Any

from otlpfast._parse import count_spans
from otlpfast.cli.demo import children

_ANSWER = b"HTTP/1.1 %b\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n"
_TAKEN, _REFUSED = _ANSWER % b"200 OK", _ANSWER % b"400 Bad Request"
GRPC_METHOD = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"


@dataclass
class Received:
    """What arrived at one path."""

    spans: int = 0
    requests: int = 0
    wire_bytes: int = 0
    refused: int = 0


class Receiver(ThreadingTCPServer):
    """Counts by path, so that one serves several runs."""

    daemon_threads = True
    request_queue_size = 128

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


class _Handler(StreamRequestHandler):
    """HTTP/1.1 as exporters speak it. The standard library takes longer over a head than over spans."""

    disable_nagle_algorithm = True
    server: Receiver

    def handle(self) -> None:
        with suppress(ConnectionError, ValueError):
            while line := self.rfile.readline(65536):
                if not self._answer(*line.decode("latin-1").split()):
                    break

    def _answer(self, method: str, path: str, version: str) -> bool:
        """Takes one request; whether the connection stays open."""
        fields = dict[str, str]()
        while line := self.rfile.readline(65536).strip().decode("latin-1"):
            name, _, value = line.partition(":")
            fields[name.lower()] = value.strip()
        body = self.rfile.read(int(fields.get("content-length", 0)))
        taken = method == "POST" and self.server.take(path, body, fields.get("content-encoding"))
        self.wfile.write(_TAKEN if taken else _REFUSED)
        return version == "HTTP/1.1" and fields.get("connection", "").lower() != "close"


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

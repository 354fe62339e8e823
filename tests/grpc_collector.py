"""A collector that speaks OTLP/gRPC; `python -m tests.grpc_collector` is one in a process of its own."""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import DebugInfo, RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from otlpfast import OTLPSpanExporter

from .collector import PATIENCE

SERVICE = "opentelemetry.proto.collector.trace.v1.TraceService"


@dataclass
class Failure:
    """An answer that is none. `delay` in seconds becomes a RetryInfo."""

    code: grpc.StatusCode
    details: str = "scripted"
    delay: float | None = None


HANG = object()


@dataclass
class Request:
    body: bytes
    metadata: dict[str, Any]
    arrived: float = field(default_factory=time.monotonic)

    @property
    def names(self) -> list[str]:
        """Of the spans."""
        resources = ExportTraceServiceRequest.FromString(self.body).resource_spans
        return [span.name for resource in resources for scope in resource.scope_spans for span in scope.spans]


def partial(rejected: int, message: str = "") -> bytes:
    answer = ExportTracePartialSuccess(rejected_spans=rejected, error_message=message)
    return ExportTraceServiceResponse(partial_success=answer).SerializeToString()


class GRPCCollector:
    """Answers with what it was scripted to, then with success, and keeps the requests."""

    def __init__(
        self,
        tls: grpc.ServerCredentials | None = None,
        address: str = "127.0.0.1:0",
        options: Sequence[tuple[str, Any]] = (),
    ) -> None:
        self.requests: list[Request] = []
        self._accepted: list[Request] = []
        self._script: deque[Any] = deque()
        self._default: Any = b""
        self._changed = threading.Condition()
        self._closing = threading.Event()
        self._server = grpc.server(
            futures.ThreadPoolExecutor(8), options=[("grpc.so_reuseport", 0), *options]
        )
        handler = grpc.unary_unary_rpc_method_handler(self._export)
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(SERVICE, {"Export": handler}),)
        )
        if tls is None:
            self.port = self._server.add_insecure_port(address)
        else:
            self.port = self._server.add_secure_port(address, tls)
        self.endpoint = f"{'http' if tls is None else 'https'}://127.0.0.1:{self.port}"
        self._server.start()

    def __enter__(self) -> GRPCCollector:
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._server.stop(0).wait(PATIENCE)

    def script(self, *answers: Any, then: Any = b"") -> None:
        """Answers to come: bytes, a Failure, or HANG; `then` is the answer to all further requests."""
        self._script.extend(answers)
        self._default = then

    @property
    def accepted(self) -> list[Span]:
        """Of the requests that were to be answered with success, each span once, however often it came."""
        with self._changed:
            messages = [ExportTraceServiceRequest.FromString(request.body) for request in self._accepted]
        return list(
            {
                span.span_id: span
                for message in messages
                for resource in message.resource_spans
                for scope in resource.scope_spans
                for span in scope.spans
            }.values()
        )

    def wait_for_request(self, number: int) -> Request:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.requests) >= number, PATIENCE), "no request"
            return self.requests[number - 1]

    def judge(self, request: Request) -> Any:
        """The answer to a request for which none was scripted."""
        return self._default

    def _export(self, body: bytes, context: Any) -> bytes:
        with self._changed:
            request = Request(body, dict(context.invocation_metadata()))
            self.requests.append(request)
            answer = self._script.popleft() if self._script else self.judge(request)
            if isinstance(answer, bytes):
                self._accepted.append(request)
            self._changed.notify_all()
        if answer is HANG:
            self._closing.wait(PATIENCE)
            return b""
        if isinstance(answer, Failure):
            if answer.delay is not None:
                context.set_trailing_metadata((("grpc-status-details-bin", _status(answer.delay)),))
            context.abort(answer.code, answer.details)
        if len(answer) > 1 << 20:
            context.set_compression(grpc.Compression.Gzip)
        return bytes(answer)


def _status(delay: float) -> bytes:
    status = Status(code=8, message="throttled")
    status.details.add().Pack(DebugInfo(detail="other details come first"))
    seconds = int(delay)
    retry = RetryInfo(retry_delay=Duration(seconds=seconds, nanos=round((delay - seconds) * 1e9)))
    status.details.add().Pack(retry)
    return status.SerializeToString()


@pytest.fixture(name="collector")
def collector_fixture() -> Iterator[GRPCCollector]:
    with GRPCCollector() as running:
        yield running


Make = Callable[..., OTLPSpanExporter]


@pytest.fixture(name="make")
def make_fixture(request: pytest.FixtureRequest) -> Make:
    """Exporters by gRPC that are shut down after the test."""

    def new(endpoint: str | GRPCCollector | None = None, **settings: Any) -> OTLPSpanExporter:
        target = endpoint.endpoint if isinstance(endpoint, GRPCCollector) else endpoint
        exporter = OTLPSpanExporter(target, protocol="grpc", **settings)
        request.addfinalizer(lambda: exporter.shutdown(0))
        return exporter

    return new


def main(write: Callable[[str], Any]) -> None:
    """Writes the port, then serves until the standard input ends."""
    with GRPCCollector() as collector:
        write(f"{collector.port}\n")
        sys.stdout.flush()
        sys.stdin.read()


if __name__ == "__main__":
    main(sys.stdout.write)

"""Inside an application's process: a provider, a batch processor and an exporter of the side it is on."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

from .application import NEVER_MILLIS


class Traced:
    """The pipeline of one process, made by ``to()``.

    ``side`` is "otlpfast" or "SDK". Settings that the SDK does not have go to otlpfast alone.
    """

    def __init__(self, side: str) -> None:
        self.side = side
        self.leaves_at_once = False  # whether its process ends without what happens at exit
        self.provider: Any = None
        self.processor: Any = None
        self.tracer: Any = None

    @property
    def is_otlpfast(self) -> bool:
        return self.side == "otlpfast"

    def to(
        self,
        endpoint: str,
        *,
        protocol: str = "http",
        exporter: dict[str, Any] | None = None,
        own: dict[str, Any] | None = None,
        processors: tuple[Any, ...] = (),
        **settings: Any,
    ) -> Any:
        """A tracer whose spans go to an endpoint; the worker's timer never fires unless told otherwise.

        exporter, settings: arguments of the exporter and the processor, on both sides. own: those of
        otlpfast's processor alone. processors: others, before the batch processor.
        """
        settings = {"schedule_delay_millis": NEVER_MILLIS, **settings}
        provider, processor, make = _classes(self.side, protocol)
        self.processor = processor(
            make(endpoint, **(exporter or {})), **settings, **(own or {} if self.is_otlpfast else {})
        )
        self.provider = provider()
        for one in (*processors, self.processor):
            self.provider.add_span_processor(one)
        self.tracer = self.provider.get_tracer("faults")
        return self.tracer

    def end_spans(self, count: int, name: str = "span", **attributes: Any) -> None:
        for number in range(count):
            self.tracer.start_span(f"{name} {number}", attributes=attributes).end()

    def flush(self, millis: int = 30_000) -> Any:
        """What force_flush() answers, or the name of what it raised."""
        try:
            return self.processor.force_flush(millis)
        except Exception as error:
            return type(error).__name__

    def settle(self, seconds: float = 20.0) -> None:
        """Waits until nothing is queued or spooled any more; where there is no account, for nothing."""
        deadline = time.monotonic() + seconds
        while self.is_otlpfast and time.monotonic() < deadline:
            stats = self.processor.stats()
            if not (stats["queued"] or stats["spooled"]):
                return
            time.sleep(0.01)

    def stats(self) -> Any:
        """The account, where there is one."""
        return self.processor.stats() if self.is_otlpfast else None


def _classes(side: str, protocol: str) -> tuple[Any, Any, Callable[..., Any]]:
    # Each process imports no more than its application would.
    if side == "otlpfast":
        import otlpfast

        def make(endpoint: str, **more: Any) -> Any:
            names = {"http": "http/protobuf"}
            return otlpfast.OTLPSpanExporter(endpoint, protocol=names.get(protocol, protocol), **more)

        return otlpfast.TracerProvider, otlpfast.BatchSpanProcessor, make
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    exporter: Any
    if protocol == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as exporter
    else:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as exporter
    return TracerProvider, BatchSpanProcessor, exporter


def say(said: Any) -> None:
    """Tells who started this process."""
    print(json.dumps({"said": said}), flush=True)


def wait_to_be_told() -> None:
    """Until Application.tell(), or the end of who started this process."""
    sys.stdin.readline()


def main(side: str, work: Callable[..., Any], arguments: str) -> None:
    traced = Traced(side)
    value = work(traced, *json.loads(arguments))
    print(json.dumps({"value": value}), flush=True)
    if traced.leaves_at_once:
        os._exit(0)

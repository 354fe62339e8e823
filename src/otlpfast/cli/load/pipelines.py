"""The pipelines that the load can go through, each with its own defaults and the account it keeps."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_ON

import otlpfast

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

HTTP, GRPC = "http/protobuf", "grpc"

TITLES = {
    "otlpfast": "otlpfast's provider, processor and exporter",
    "processor": "otlpfast's processor and exporter on the SDK's provider",
    "sdk": "the SDK's provider and processor, the official exporter",
}


@dataclass
class Pipeline:
    """A provider that exports. ``account()`` says what became of the spans, as far as the pipeline knows."""

    provider: TracerProvider
    account: Callable[[], dict[str, Any]]

    def shutdown(self) -> None:
        """Exports what is left, within the processor's own time-out."""
        self.provider.shutdown()


def missing(name: str, protocol: str) -> str | None:
    """The package that a pipeline needs and that is not installed; None if nothing is missing."""
    if name == "sdk":
        kind = "grpc" if protocol == GRPC else "http"
        needed, package = (
            f"opentelemetry.exporter.otlp.proto.{kind}",
            f"opentelemetry-exporter-otlp-proto-{kind}",
        )
    elif protocol == GRPC:
        needed, package = "grpc", "'otlpfast[grpc]'"
    else:
        return None
    try:
        return None if importlib.util.find_spec(needed) else package
    except ModuleNotFoundError:  # a package above it
        return package


def build(name: str, protocol: str, endpoint: str) -> Pipeline:
    """A pipeline that sends to this endpoint. Which spans are sampled does not depend on the environment."""
    make = otlpfast.TracerProvider if name == "otlpfast" else TracerProvider
    resource = Resource.create({"service.name": "otlpfast-load"})
    provider = make(sampler=ALWAYS_ON, resource=resource, shutdown_on_exit=False)
    return Pipeline(provider, (_stock if name == "sdk" else _ours)(provider, protocol, endpoint))


def _ours(provider: TracerProvider, protocol: str, endpoint: str) -> Callable[[], dict[str, Any]]:
    exporter = otlpfast.OTLPSpanExporter(endpoint=endpoint, protocol=protocol)
    processor = otlpfast.BatchSpanProcessor(exporter)
    provider.add_span_processor(processor)
    return lambda: dict(processor.stats())


def _stock(provider: TracerProvider, protocol: str, endpoint: str) -> Callable[[], dict[str, Any]]:
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult

    kind = "grpc" if protocol == GRPC else "http"
    official: Any = importlib.import_module(f"opentelemetry.exporter.otlp.proto.{kind}.trace_exporter")
    options = {"insecure": endpoint.startswith("http://")} if protocol == GRPC else {}

    class CountingExporter(official.OTLPSpanExporter):  # type: ignore[misc]
        """The stock pipeline keeps no account: one addition a batch makes one."""

        exported = failed = 0

        def export(self, spans: Sequence[ReadableSpan]) -> Any:
            result = super().export(spans)
            if result is SpanExportResult.SUCCESS:
                self.exported += len(spans)
            else:
                self.failed += len(spans)
            return result

    exporter = CountingExporter(endpoint=endpoint, **options)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return lambda: {"exported": exporter.exported, "export_failed": exporter.failed}

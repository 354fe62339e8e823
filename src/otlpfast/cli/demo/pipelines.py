"""The ways to trace that the demo compares, each with its own defaults."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan, TracerProvider

Attributes = Mapping[str, Any]
Accepted = Callable[[], int]


@dataclass(frozen=True)
class Pipeline:
    """One way to trace, or none: who makes the spans, and who exports them.

    ``provider(attributes)`` makes the provider, with a resource of these attributes; None: the OpenTelemetry
    API finds no SDK. ``install(provider, endpoint)`` adds the export, and returns a function that says how
    many spans the exporter saw accepted; None: no export. Where ``imports_otlpfast`` is False, otlpfast is
    not even in the process: it would show in that one's memory.
    """

    name: str
    title: str
    provider: Callable[[Attributes], TracerProvider] | None
    install: Callable[[TracerProvider, str], Accepted] | None
    imports_otlpfast: bool = False

    @property
    def exports(self) -> bool:
        return self.install is not None


# Nothing is imported before it is wanted: a process without an SDK must not have one in its memory.


def _sdk_provider(attributes: Attributes) -> TracerProvider:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider

    return TracerProvider(resource=Resource.create(attributes))


def _native_provider(attributes: Attributes) -> TracerProvider:
    from opentelemetry.sdk.resources import Resource

    import otlpfast

    return otlpfast.TracerProvider(resource=Resource.create(attributes))


def _install_stock(provider: TracerProvider, endpoint: str) -> Accepted:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult

    class CountingExporter(OTLPSpanExporter):
        """The stock exporter keeps no account: one addition a batch makes one."""

        accepted = 0

        def export(self, spans: Sequence[ReadableSpan]) -> Any:
            result = super().export(spans)
            if result is SpanExportResult.SUCCESS:
                self.accepted += len(spans)
            return result

    exporter = CountingExporter(endpoint=endpoint)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return lambda: exporter.accepted


def _install_otlpfast(provider: TracerProvider, endpoint: str) -> Accepted:
    import otlpfast

    processor = otlpfast.BatchSpanProcessor(otlpfast.OTLPSpanExporter(endpoint=endpoint))
    provider.add_span_processor(processor)
    return lambda: processor.stats()["exported"]


NO_SDK = Pipeline("no_sdk", "no SDK", None, None)
NO_EXPORT = Pipeline("no_export", "SDK, no export", _sdk_provider, None)
STOCK = Pipeline("stock", "stock SDK", _sdk_provider, _install_stock)
PROCESSOR = Pipeline("processor", "otlpfast processor", _sdk_provider, _install_otlpfast, True)
PROVIDER = Pipeline("provider", "otlpfast provider", _native_provider, _install_otlpfast, True)

PIPELINES = [NO_SDK, NO_EXPORT, STOCK, PROCESSOR, PROVIDER]
"""In the order in which they run and stand in the table."""
OTLPFAST = [PROCESSOR, PROVIDER]
"""Those that the stock SDK is compared with."""

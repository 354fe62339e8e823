"""Processors that change a span in on_end: what they changed is what arrives, wherever they stand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.context import Context
from opentelemetry.sdk.trace import (
    ConcurrentMultiSpanProcessor,
    ReadableSpan,
    Span,
    SpanProcessor,
    SynchronousMultiSpanProcessor,
    TracerProvider,
)
from opentelemetry.sdk.trace.export import BatchSpanProcessor as StockBatchSpanProcessor
from opentelemetry.sdk.trace.export import SimpleSpanProcessor as StockSimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from otlpfast import BatchSpanProcessor, SimpleSpanProcessor

from .exporting import make_fixture  # noqa: F401
from .pipeline import Batching, Encoded, batching_fixture  # noqa: F401
from .spans import provider


class AwsRedactor(SpanProcessor):
    """Does what AWS's processor does: writes the attributes under their lock, and sets a private field."""

    def on_end(self, span: ReadableSpan) -> None:
        attributes = span._attributes
        assert isinstance(attributes, BoundedAttributes)
        with attributes._lock:
            attributes._dict["db.statement"] = "SELECT ?"
            attributes._dict["added"] = True
        span._kind = SpanKind.CLIENT


class AzureRedactor(SpanProcessor):
    """Does what Azure's documentation does: another name."""

    def on_end(self, span: ReadableSpan) -> None:
        span._name = "GET /users/?"


class Onlooker(SpanProcessor):
    """Changes nothing, but who is to know?"""


def secret(source: TracerProvider) -> None:
    """Ends a span that nobody should see as it is."""
    tracer = source.get_tracer("tests")
    tracer.start_span("GET /users/joe", attributes={"db.statement": "SELECT 'joe'"}).end()


def arrived(exporter: Encoded) -> list[tuple[str, str, int]]:
    return [
        (span.name, next(a.value.string_value for a in span.attributes if a.key == "db.statement"), span.kind)
        for span in exporter.spans
    ]


PLAIN = ("GET /users/joe", "SELECT 'joe'", 1)
REDACTED = ("GET /users/?", "SELECT ?", 3)


@pytest.mark.parametrize(
    "order",
    [
        lambda ours: [AwsRedactor(), AzureRedactor(), ours],
        lambda ours: [AwsRedactor(), ours, AzureRedactor()],
        lambda ours: [ours, AwsRedactor(), AzureRedactor()],
        lambda ours: [ours, Onlooker(), AwsRedactor(), AzureRedactor()],
        lambda ours: [ours, StockBatchSpanProcessor(InMemorySpanExporter()), AwsRedactor(), AzureRedactor()],
    ],
    ids=["before", "around", "after", "after another", "after an exporting one"],
)
def test_registered_anywhere(
    batching: Batching, order: Callable[[SpanProcessor], list[SpanProcessor]]
) -> None:
    exporter = Encoded()
    processor = batching(exporter)
    traced = provider(*order(processor))
    secret(traced)
    secret(traced)
    assert processor.force_flush()
    assert arrived(exporter) == [REDACTED, REDACTED]
    traced.shutdown()


def test_registered_at_run_time(batching: Batching) -> None:
    exporter = Encoded()
    processor = batching(exporter)
    traced = provider(processor)
    secret(traced)
    tracer = traced.get_tracer("tests")
    under_way = tracer.start_span("GET /users/joe", attributes={"db.statement": "SELECT 'joe'"})
    traced.add_span_processor(AwsRedactor())
    traced.add_span_processor(AzureRedactor())
    secret(traced)
    under_way.end()
    assert processor.force_flush()
    assert sorted(arrived(exporter)) == [REDACTED, REDACTED, PLAIN]


def test_the_spans_before_the_processor_was_registered(batching: Batching) -> None:
    exporter = Encoded()
    processor = batching(exporter)
    traced = provider()
    under_way = traced.get_tracer("tests").start_span("GET /users/joe", attributes={"db.statement": "joe"})
    traced.add_span_processor(processor)
    traced.add_span_processor(AwsRedactor())
    traced.add_span_processor(AzureRedactor())
    under_way.end()
    assert processor.force_flush()
    assert arrived(exporter) == [REDACTED]


def test_several_of_ours(batching: Batching) -> None:
    first, second = Encoded(), Encoded()
    processors = batching(first), batching(second)
    traced = provider(processors[0], AwsRedactor(), processors[1], AzureRedactor())
    secret(traced)
    assert all(processor.force_flush() for processor in processors)
    assert arrived(first) == arrived(second) == [REDACTED]


def test_in_parallel(batching: Batching) -> None:
    exporter = Encoded()
    processor = batching(exporter)
    parallel = ConcurrentMultiSpanProcessor(2)
    traced = TracerProvider(active_span_processor=parallel, shutdown_on_exit=False)
    for each in (processor, AwsRedactor(), AzureRedactor()):
        traced.add_span_processor(each)
    secret(traced)
    secret(traced)
    assert processor.force_flush()
    assert arrived(exporter) == [REDACTED, REDACTED]
    parallel._executor.shutdown()


class Wrapper(SpanProcessor):
    """Hands another processor the end of a span, and its start only if it is told to."""

    def __init__(self, inner: SpanProcessor, forward_start: bool) -> None:
        self.inner = inner
        self.forward_start = forward_start

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        if self.forward_start:
            self.inner.on_start(span, parent_context)

    def on_end(self, span: ReadableSpan) -> None:
        self.inner.on_end(span)


@pytest.mark.parametrize("forward_start", [False, True])
def test_in_a_wrapper(batching: Batching, forward_start: bool) -> None:
    exporter = Encoded()
    processor = batching(exporter)
    traced = provider(Wrapper(processor, forward_start), AwsRedactor(), AzureRedactor())
    secret(traced)
    secret(traced)
    assert processor.force_flush()
    assert arrived(exporter) == [REDACTED, REDACTED]


def test_in_a_nested_multi_processor(batching: Batching) -> None:
    exporter, inner = Encoded(), SynchronousMultiSpanProcessor()  # type: ignore[no-untyped-call]
    processor = batching(exporter)
    inner.add_span_processor(processor)
    traced = provider(inner, AwsRedactor(), AzureRedactor())
    secret(traced)
    secret(traced)
    assert processor.force_flush()
    assert arrived(exporter) == [REDACTED, REDACTED]


def test_as_the_only_processor_of_a_provider(batching: Batching) -> None:
    exporter = Encoded()
    processor = batching(exporter)
    traced = TracerProvider(active_span_processor=processor, shutdown_on_exit=False)  # type: ignore[arg-type]
    secret(traced)
    assert traced.force_flush()
    assert arrived(exporter) == [PLAIN]


def test_one_processor_at_two_providers(batching: Batching) -> None:
    """A span of the one ends after one of the other started."""
    exporter = Encoded()
    processor = batching(exporter)
    strict, open_hearted = provider(processor, AwsRedactor(), AzureRedactor()), provider(processor)
    under_way = strict.get_tracer("tests").start_span("GET /users/joe", attributes={"db.statement": "joe"})
    secret(open_hearted)
    under_way.end()
    secret(strict)
    secret(open_hearted)
    assert processor.force_flush()
    assert sorted(arrived(exporter)) == [REDACTED, REDACTED, PLAIN, PLAIN]


@pytest.mark.parametrize(
    "base", [BatchSpanProcessor, SimpleSpanProcessor, StockBatchSpanProcessor, StockSimpleSpanProcessor]
)
def test_an_exporting_processor_that_redacts(batching: Batching, base: type[Any]) -> None:
    """Such as Langfuse's, a subclass of the stock batch processor."""

    class Redacting(base):  # type: ignore[misc]
        def on_end(self, span: ReadableSpan) -> None:
            AwsRedactor().on_end(span)
            AzureRedactor().on_end(span)
            super().on_end(span)

    exporter, after = Encoded(), Redacting(InMemorySpanExporter())
    processor = batching(exporter)
    traced = provider(processor, after)
    secret(traced)
    assert processor.force_flush()
    assert arrived(exporter) == [REDACTED]
    traced.shutdown()


@pytest.mark.parametrize(
    "others",
    [
        list,
        lambda: [StockBatchSpanProcessor(InMemorySpanExporter())],
        lambda: [StockSimpleSpanProcessor(InMemorySpanExporter())],
        lambda: [BatchSpanProcessor(Encoded()), SimpleSpanProcessor(Encoded())],
    ],
    ids=["alone", "stock batch", "stock simple", "ours"],
)
def test_encoded_at_once_where_nobody_can_change_it(
    batching: Batching, others: Callable[[], list[SpanProcessor]]
) -> None:
    """Seen from a change that comes after on_end and is not seen."""
    exporter, ended = Encoded(), []

    class First(SpanProcessor):
        def on_end(self, span: ReadableSpan) -> None:
            ended.append(span)

    processor = batching(exporter)
    traced = provider(First(), processor, *others())
    secret(traced)
    AzureRedactor().on_end(ended[0])
    assert processor.force_flush()
    assert arrived(exporter) == [PLAIN]
    traced.shutdown()

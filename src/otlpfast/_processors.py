"""The span processors of otlpfast's own provider."""

from __future__ import annotations

from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, SynchronousMultiSpanProcessor

from ._given import guarded
from ._impl import Route, SpanQueue
from .processor import BatchSpanProcessor, SimpleSpanProcessor


def _overrides(processor: SpanProcessor, method: str) -> bool:
    found = getattr(processor, method, None)
    return found is not None and getattr(found, "__func__", found) is not getattr(SpanProcessor, method)


def _is_own(processor: SpanProcessor) -> bool:
    # One with a method that somebody has replaced is treated as somebody's.
    return type(processor) in (BatchSpanProcessor, SimpleSpanProcessor) and not (
        vars(processor).keys() & {"on_start", "_on_ending", "on_end"}
    )


def _only_reads(processor: SpanProcessor) -> bool:
    # Not of a subclass, which may do anything; nor where somebody has replaced the method.
    return "_only_reads" in vars(type(processor)) and "on_end" not in vars(processor)


def _watching(own: tuple[SpanProcessor, ...]) -> list[SpanQueue]:
    queues = [getattr(processor, "watching_queue", None) for processor in own]
    return [queue for queue in queues if queue is not None]


class _AtEnding:
    """Has a processor that only reads get the span itself: nobody then needs a copy, nor its attributes."""

    __slots__ = ("_on_ending",)

    def __init__(self, processor: SpanProcessor) -> None:
        self._on_ending = processor.on_end


class Processors(SynchronousMultiSpanProcessor):
    """Calls the processors of a provider one after the other: otlpfast's own last, whenever they came.

    So whatever others change in a span that ends, otlpfast's see, and can encode it at once. An exception of
    one is logged and stops nobody (specification: error-handling.md).
    """

    def __init__(self) -> None:
        self.route = Route()
        self._all: tuple[SpanProcessor, ...] = ()
        super().__init__()  # type: ignore[no-untyped-call]

    # Some set the tuple instead of calling add_span_processor().
    @property
    def _span_processors(self) -> tuple[SpanProcessor, ...]:
        return self._all

    @_span_processors.setter
    def _span_processors(self, processors: tuple[SpanProcessor, ...]) -> None:
        own = tuple(p for p in processors if _is_own(p))
        readers = tuple(_AtEnding(p) for p in processors if _only_reads(p))
        others = tuple(p for p in processors if p not in own and not _only_reads(p))
        self.route.assign(
            (*(p for p in others if _overrides(p, "on_start")), *_watching(own)),
            (*(p for p in others if _overrides(p, "_on_ending")), *readers),
            tuple(p for p in others if _overrides(p, "on_end")),
            own,
            tuple(getattr(p, "encoding_queue", None) for p in own),
        )
        self._all = tuple(processors)

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        for processor in self.route.starting:
            guarded(processor.on_start, span, parent_context=parent_context)

    def _on_ending(self, span: Span) -> None:
        for processor in self.route.ending:
            guarded(processor._on_ending, span)

    def on_end(self, span: ReadableSpan) -> None:
        for processor in self.route.ended:
            guarded(processor.on_end, span)
        for processor in self.route.own:
            processor.take(span)

"""Which processors come after one of ours, and so whether a span is final when it reaches ours."""

from __future__ import annotations

from typing import Any

from opentelemetry.sdk.trace import Span, SpanProcessor, SynchronousMultiSpanProcessor


class Chain:
    """Whether spans can still change after a processor's ``on_end``, because others come after it.

    The SDK calls the processors of a provider in their order and gives each the same attributes; a redacting
    one changes them. Only where nobody comes after, or none but processors of classes that change nothing, is
    a span final in ``on_end``.

    Args:
        processor: the one it is about.
        harmless: the very classes of processors (not their subclasses) that change nothing.
    """

    __slots__ = ("_final", "_harmless", "_holder", "_processor", "_seen", "_several")

    def __init__(self, processor: SpanProcessor, harmless: tuple[type[SpanProcessor], ...]) -> None:
        self._processor = processor
        self._harmless = harmless
        self._holder: Any = None
        self._seen: Any = None
        self._final = False
        self._several = False

    def learn(self, span: Span) -> None:
        """Notes who calls the processors of this span's provider."""
        try:
            holder = getattr(span, "_span_processor", None)
        except Exception:
            holder = None
        if holder is not self._holder:
            # Which provider a span that ends belongs to is not seen in it: with several, none is final.
            self._several = self._holder is not None
            self._holder, self._seen = holder, None

    def is_final(self) -> bool:
        """True where nothing after this processor can change the span. An unknown chain is not final."""
        holder = self._holder
        if self._several:
            return False
        if holder is self._processor:
            return True
        processors = getattr(holder, "_span_processors", None)
        if processors is not self._seen:
            self._seen, self._final = processors, self._judge(holder, processors)
        return self._final

    def _judge(self, holder: object, processors: Any) -> bool:
        # Only the sequential holder keeps the order; any other may run the rest at the same time.
        if type(holder) is not SynchronousMultiSpanProcessor or not isinstance(processors, tuple):
            return False
        places = [i for i, processor in enumerate(processors) if processor is self._processor]
        return bool(places) and all(map(self._is_harmless, processors[places[0] + 1 :]))

    def _is_harmless(self, processor: object) -> bool:
        return type(processor) in self._harmless or "_only_reads" in vars(type(processor))

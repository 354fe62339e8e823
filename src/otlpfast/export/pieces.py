"""What one export sends: encoded spans that can be cut in halves where a collector finds them too large."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

    from .connection import Part


class Piece(Protocol):
    """A `SpanBatch`, or what does for one: some spans, encoded as one request."""

    @property
    def count(self) -> int:
        """How many spans."""

    @property
    def buffers(self) -> Sequence[Part]:
        """The encoded request, in parts."""

    def split(self) -> tuple[Piece, Piece]:
        """Two pieces with half of the spans each; ValueError below 2 spans."""

    def release(self) -> None:
        """Let go of memory."""


class SpanList:
    """Spans that some other processor handed over, not encoded yet. They are encoded anew when split."""

    def __init__(self, spans: Sequence[ReadableSpan]) -> None:
        from .._impl import encode_spans

        self._spans = spans
        self.count = len(spans)
        self.buffers: tuple[Part, ...] = (encode_spans(spans),)

    def split(self) -> tuple[SpanList, SpanList]:
        """Two lists with half of the spans each."""
        middle = self.count // 2
        if not middle:
            raise ValueError(f"{self.count} spans can't be split")
        return SpanList(self._spans[:middle]), SpanList(self._spans[middle:])

    def release(self) -> None:
        """Nothing that has to be given back."""

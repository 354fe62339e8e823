"""What a processor hands an exporter."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice

from ._checks import whole_number
from ._parse import halve
from ._protobuf import fields
from ._request import Group, request_parts


@dataclass(frozen=True, slots=True)
class ExportOutcome:
    """What became of the spans of one batch; the four numbers sum to ``batch.count``.

    Outcomes are equal when their numbers are.

    Attributes:
        exported: spans the collector took.
        rejected: spans the collector refused for good: a partial success, or an answer that says not to try
            again.
        failed: spans that were not delivered: no connection, a time-out, an error of the server.
        too_large: spans that are larger, each by itself, than the limits allow, and were dropped.
        remains: where a part of the batch was delivered and a part was not, the latter: pieces on the batch's
            memory, in its order, that hold exactly the ``failed`` spans, valid until ``batch.release()``.
            Empty where nothing or the whole batch failed.
        retry_after: how many seconds the collector asks to be left alone, where it does.
    """

    exported: int = 0
    rejected: int = 0
    failed: int = 0
    too_large: int = 0
    remains: tuple[SpanBatch, ...] = field(default=(), compare=False)
    retry_after: float = field(default=0.0, compare=False)


class SpanBatch:
    """Encoded spans as one ``ExportTraceServiceRequest``, in pieces not copied since the spans ended.

    Attributes:
        count: how many spans.
    """

    __slots__ = ("_buffers", "_groups", "count")

    def __init__(self, groups: list[Group]) -> None:
        self._groups = groups
        self._buffers: tuple[bytes | memoryview, ...] | None = None
        self.count = sum(count for _, _, count in groups)

    @staticmethod
    def from_request(data: bytes, count: int) -> SpanBatch:
        """A batch of a request that was serialised before and holds ``count`` spans.

        It is not read before it has to be split: ``split()`` raises ValueError where it is no such request.
        """
        if not isinstance(data, bytes):
            raise TypeError(f"data is of type {type(data).__name__}: bytes are allowed")
        return _SerialisedBatch(data, whole_number("count", count, 0, sys.maxsize))

    @property
    def buffers(self) -> tuple[bytes | memoryview, ...]:
        """Read-only buffers whose concatenation is the serialised request. ValueError once released."""
        if self._buffers is None:
            self._check_alive()
            self._buffers = tuple(request_parts(self._groups))
        return self._buffers

    def _check_alive(self) -> None:
        if self.count and not self._groups:
            raise ValueError("this SpanBatch was released")

    @property
    def nbytes(self) -> int:
        """Size of the serialised request in bytes, before compression."""
        return sum(memoryview(buffer).nbytes for buffer in self.buffers)

    def split(self) -> tuple[SpanBatch, SpanBatch]:
        """Two batches with half of the spans each, on the same memory; this one stays as it is.

        ValueError below 2 spans, or once released.
        """
        self._check_alive()
        if self.count < 2:
            raise ValueError(f"a batch of {self.count} spans can't be split")
        first: list[Group] = []
        second: list[Group] = []
        wanted = self.count // 2
        for entry, views, count in self._groups:
            taken = min(wanted, count)
            wanted -= taken
            head, tail = _cut(views, taken)
            if taken:
                first.append((entry, head, taken))
            if count - taken:
                second.append((entry, tail, count - taken))
        return SpanBatch(first), SpanBatch(second)

    def release(self) -> None:
        """Gives the memory back, once no other view of it is alive. May be called again."""
        self._groups = []
        self._buffers = None

    def __bytes__(self) -> bytes:
        return b"".join(self.buffers)

    def __repr__(self) -> str:
        return f"<SpanBatch of {self.count} spans>"


class _SerialisedBatch(SpanBatch):
    """A request in one piece."""

    __slots__ = ()

    def __init__(self, request: bytes, count: int) -> None:
        super().__init__([])
        self._buffers = (request,) if request else ()
        self.count = count

    def split(self) -> tuple[SpanBatch, SpanBatch]:
        """Two batches with half of the spans each, copied; ValueError also for what is no request."""
        first, second = halve(bytes(self), self.count)
        middle = self.count // 2
        return _SerialisedBatch(first, middle), _SerialisedBatch(second, self.count - middle)


def _cut(views: Sequence[memoryview], spans: int) -> tuple[list[memoryview], list[memoryview]]:
    """The views of the first ``spans`` spans, and of the rest."""
    head: list[memoryview] = []
    tail: list[memoryview] = []
    for view in views:
        at = 0
        for _, _, span in islice(fields(view), spans):
            at += span.nbytes
            spans -= 1
        if at:
            head.append(view[:at])
        if at < view.nbytes:
            tail.append(view[at:])
    return head, tail

"""What one export sends: encoded spans, cut in halves where one side finds them too large."""

from __future__ import annotations

from collections.abc import Callable, Sequence, Sized
from typing import TYPE_CHECKING, Protocol, cast

from opentelemetry.sdk.trace.export import SpanExportResult

from ..batch import ExportOutcome
from .connection import size

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

    from ..batch import SpanBatch
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


class Sending:
    """One batch on its way, in as many pieces as the limits of both sides want, and what became of them.

    whole: the batch. It is not released here, its pieces are.
    limit: bytes that a request may have, 0 for no limit.
    warn: takes kind and text of a warning.

    Attributes: `status` of the last answer; None where the last attempt got none.
    """

    def __init__(self, whole: Piece, limit: int, warn: Callable[[str, str], None]) -> None:
        self._whole, self._limit, self._warn = whole, limit, warn
        self._pending = [whole] if whole.count else []  # the last one is the next
        self._failed: list[Piece] = []
        self._exported = self._rejected = self._too_large = 0
        self._retry_after = 0.0
        self._errors: dict[str, int] = {}  # spans by error type
        self.status: int | str | None = None
        self._error = ""

    def run(self, send: Callable[[Piece], ExportOutcome | str]) -> None:
        """Send piece after piece; what `send` raises leaves the rest undelivered.

        send: sends a piece until it is taken, refused or given up, as a whole; says what became of it, or in
            words why the other end finds it too large.
        """
        while self._pending:
            piece = self._pending[-1]
            nbytes = sum(map(size, piece.buffers))
            if 0 < self._limit < nbytes:
                outcome: ExportOutcome | str = f"max_request_bytes is {self._limit}"
            else:
                outcome = send(piece)
            if isinstance(outcome, str) and piece.count > 1:
                self._pending[-1:] = reversed(piece.split())
                self._release(piece)
                continue
            if isinstance(outcome, str):
                self._warn("too large", f"a span of {nbytes} bytes is too large and dropped: {outcome}")
                outcome = ExportOutcome(too_large=1)
            self._pending.pop()
            self._settle(piece, outcome)

    def answered(self, status: int | str, error: str = "") -> None:
        """Note how the last attempt was answered; the error type where that is not a success."""
        self.status, self._error = status, error

    def broke_off(self, error: Exception) -> None:
        """Note why the last attempt got no answer."""
        self.status = None
        self._error = "timeout" if isinstance(error, TimeoutError) else type(error).__qualname__

    def _settle(self, piece: Piece, outcome: ExportOutcome) -> None:
        self._note(self._error or "rejected", outcome.rejected + outcome.failed)
        self._note("too_large", outcome.too_large)
        self._exported += outcome.exported
        self._rejected += outcome.rejected
        self._too_large += outcome.too_large
        self._retry_after = max(self._retry_after, outcome.retry_after)
        if outcome.failed:
            self._failed.append(piece)
        else:
            self._release(piece)

    def _note(self, error: str, spans: int) -> None:
        if spans:
            self._errors[error] = self._errors.pop(error, 0) + spans  # the last one is the last in it

    @property
    def count(self) -> int:
        """How many spans the batch has."""
        return self._whole.count

    def verdict(self) -> tuple[dict[str, int], str]:
        """Once it has ended: spans by error type, "" for those that were taken, and the last error type.

        Specification: semantic conventions, `otel.sdk.exporter.span.exported`.
        """
        self._note(self._error or "aborted", self.count - self._exported - sum(self._errors.values()))
        return {"": self._exported, **self._errors}, next(reversed(self._errors), "")

    def _release(self, piece: Piece) -> None:
        if piece is not self._whole:
            piece.release()

    @property
    def undelivered(self) -> int:
        """How many spans are neither taken nor refused nor too large, up to now."""
        return self._whole.count - self._exported - self._rejected - self._too_large

    def outcome(self) -> ExportOutcome:
        """What became of the batch, once `run` has ended, whichever way."""
        remains = [*self._failed, *reversed(self._pending)]
        failed = self.undelivered
        if failed == self._whole.count:
            for piece in remains:
                self._release(piece)
            remains = []
        # Pieces of a SpanBatch are SpanBatches; nobody is told what remains of a SpanList.
        pieces = cast("tuple[SpanBatch, ...]", tuple(remains))
        return ExportOutcome(
            self._exported, self._rejected, failed, self._too_large, pieces, self._retry_after
        )


def as_result(outcome: ExportOutcome) -> SpanExportResult:
    """What `export()` answers: SUCCESS when the collector took spans, also if it refused a part of them."""
    taken = outcome.exported or not outcome.rejected + outcome.too_large
    return SpanExportResult.SUCCESS if taken and not outcome.failed else SpanExportResult.FAILURE


def read_limit(value: int | None, default: int) -> int:
    """The argument `max_request_bytes`. TypeError or ValueError where it is wrong."""
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(
            f"max_request_bytes must be an int, 0 for no limit; it is of type {type(value).__name__}"
        )
    if value < 0:
        raise ValueError(f"max_request_bytes={value} is not allowed; allowed: bytes, 0 for no limit")
    return value


def described(spans: object) -> str:
    """What was to be exported, in words: a list by its length, what is none by its type."""
    return spelled(len(spans)) if isinstance(spans, Sized) else f"{type(spans).__name__!r} as spans"


def spelled(count: int) -> str:
    """A number of spans, in words."""
    return "1 span" if count == 1 else f"{count} spans"

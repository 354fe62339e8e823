"""Spans on the terminal: each trace as an indented tree, as soon as its root has ended."""

from __future__ import annotations

import os
import sys
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from time import monotonic
from typing import NamedTuple, TextIO

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import StatusCode

from .._tree import in_order
from .endpoint import printable

_DIM, _BOLD, _RED, _END = "\x1b[2m", "\x1b[1m", "\x1b[31m", "\x1b[0m"
_DEEPEST = 16  # levels that are indented
_REMEMBERED = 256  # traces whose root was shown, for what ends after it
_NAME_LENGTH = 100
_REASONS = ("error.type", "http.response.status_code", "http.status_code")  # where a status says nothing


class _Record(NamedTuple):
    """What is kept of a span until it can be shown."""

    span_id: int
    parent_id: int  # 0 for the root of what this process has of the trace
    start: int  # nanoseconds since 1970
    end: int
    name: str
    error: str | None


class _Trace:
    def __init__(self) -> None:
        self.records: list[_Record] = []
        self.since = monotonic()
        self.has_root = False


class ConsoleSpanExporter(SpanExporter):
    """Writes traces as trees: when a span began, how long it took, its name, its error.

    A trace is shown once its root has ended; spans whose parent does not come are shown without it after a
    while. Colours only on a terminal, and not where ``NO_COLOR`` is set.

    stream: standard error by default.
    max_spans: how many may wait for their parents; beyond that the oldest trace is shown as it is.
    patience: seconds that spans wait for their root; longer if nothing else is exported meanwhile.
    """

    schedule_delay_millis = 250
    """What a batch processor in front of it should wait, if nobody says otherwise."""
    destination = "this terminal"

    def __init__(
        self, stream: TextIO | None = None, *, max_spans: int = 2000, patience: float = 10.0
    ) -> None:
        self._stream = stream
        self._max_spans = max_spans
        self._patience = patience
        self._start_anew()

    def _start_anew(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.RLock()  # a signal handler may end spans, too
        self._waiting: OrderedDict[int, _Trace] = OrderedDict()
        self._count = 0
        self._shown: OrderedDict[int, None] = OrderedDict()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Shows the traces that are complete now. FAILURE where the stream takes nothing."""
        if self._pid != os.getpid():
            self._start_anew()  # what waits is the parent process's
        with self._lock:
            for span in spans:
                self._add(span)
            ready = [*self._complete(), *self._overdue()]
        return self._write(ready)

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Shows what waits for parents, without them."""
        if self._pid != os.getpid():
            self._start_anew()
        with self._lock:
            ready = [(trace_id, self._take(trace_id)) for trace_id in list(self._waiting)]
        return self._write(ready) is SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        """The same."""
        self.force_flush()

    # --- what waits; under the lock

    def _add(self, span: ReadableSpan) -> None:
        context, parent = span.context, span.parent
        if context is None:
            return
        is_root = parent is None or parent.is_remote
        trace = self._waiting.setdefault(context.trace_id, _Trace())
        trace.has_root = trace.has_root or is_root
        trace.records.append(
            _Record(
                context.span_id,
                0 if parent is None or is_root else parent.span_id,
                span.start_time or 0,
                span.end_time or 0,
                printable(str(span.name), _NAME_LENGTH),
                _error_of(span),
            )
        )
        self._count += 1

    def _complete(self) -> Iterator[tuple[int, _Trace]]:
        for trace_id, trace in list(self._waiting.items()):
            if trace.has_root or trace_id in self._shown:
                yield trace_id, self._take(trace_id)

    def _overdue(self) -> Iterator[tuple[int, _Trace]]:
        now = monotonic()
        while self._waiting:
            trace_id = next(iter(self._waiting))
            if self._count <= self._max_spans and now - self._waiting[trace_id].since < self._patience:
                return
            yield trace_id, self._take(trace_id)

    def _take(self, trace_id: int) -> _Trace:
        trace = self._waiting.pop(trace_id)
        self._count -= len(trace.records)
        if trace.has_root:
            self._shown[trace_id] = None
            while len(self._shown) > _REMEMBERED:
                self._shown.popitem(last=False)
        return trace

    # --- how it looks

    def _write(self, traces: Iterable[tuple[int, _Trace]]) -> SpanExportResult:
        stream = self._stream if self._stream is not None else sys.stderr
        if stream is None:  # a program without a console
            return SpanExportResult.FAILURE
        try:
            colour = _has_colour(stream)
            lines = [line for trace_id, trace in traces for line in _lines(trace_id, trace, colour)]
            if lines:
                text = "".join(line + "\n" for line in lines)
                encoding = getattr(stream, "encoding", None) or "utf-8"
                stream.write(text.encode(encoding, "replace").decode(encoding))
                stream.flush()
        except (OSError, ValueError):  # closed, or nobody reads it
            return SpanExportResult.FAILURE
        return SpanExportResult.SUCCESS


def _has_colour(stream: TextIO) -> bool:
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _error_of(span: ReadableSpan) -> str | None:
    if span.status.status_code is not StatusCode.ERROR:
        return None
    attributes = span.attributes or {}
    reasons = (span.status.description, *(attributes.get(key) for key in _REASONS))
    return printable(str(next(filter(None, reasons), "")), _NAME_LENGTH)


def _lines(trace_id: int, trace: _Trace, colour: bool) -> Iterator[str]:
    note = f"trace {trace_id:032x}" if trace.has_root else f"trace {trace_id:032x}, its root has not ended"
    for record, depth in in_order(trace.records):
        begun = datetime.fromtimestamp(max(record.start, 0) / 1e9).strftime("%H:%M:%S.%f")[:-3]
        took = f"{_duration(record.end - record.start):>8}"
        name = "  " * min(depth, _DEEPEST) + record.name
        error = f"  {record.error}" if record.error else ""
        if colour:
            style = _BOLD if not depth else ""
            style = style if record.error is None else _RED
            yield f"{_DIM}{begun}{_END} {took}  {style}{name}{error}{_END if style else ''}" + (
                f"  {_DIM}{note}{_END}" if note else ""
            )
        else:
            mark = "" if record.error is None else f"  ERROR{error}"
            yield f"{begun} {took}  {name}{mark}" + (f"  ({note})" if note else "")
        note = ""


def _duration(nanoseconds: int) -> str:
    seconds = max(nanoseconds, 0) / 1e9
    if seconds < 0.001:
        return f"{seconds * 1e6:.{int(seconds < 1e-5)}f} µs"
    if seconds < 1:
        return f"{seconds * 1e3:.1f} ms"
    return f"{seconds:.2f} s"

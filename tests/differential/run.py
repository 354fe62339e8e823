"""Runs a program on one provider, notes what can be seen of it, and compares the notes of two runs.

Noted are, in order: what every line gives or raises, what span processors, samplers and loggers are called
with, the public and the underscore fields of spans whenever the program looks, and what is exported.
"""

from __future__ import annotations

import contextlib
import contextvars
import difflib
import functools
import logging
import os
import types
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import CodeType
from typing import Any
from unittest import mock

from opentelemetry.sdk import trace as sdk
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.trace import INVALID_SPAN

import otlpfast
from otlpfast._attribute_log import warnings_of_full_attributes
from otlpfast._impl import encode_spans

from ..pipeline import NEVER_MILLIS, Encoded
from ..spans import decode, official
from .ops import Line, Op, Program
from .shown import Shown, is_refusal, plain_stack, plain_text

_LOG_OF_THE_PROVIDER = "otlpfast.trace"
_RAISED, _REFUSED = " raised ", " was refused: "


class Run(Shown):
    """One provider, what the program calls by name, and the notes."""

    def __init__(self, program: Program, fast: bool, cast: Callable[[Run], dict[str, Any]]) -> None:
        super().__init__(program.random_ids)
        self.program, self.fast = program, fast
        self.notes: list[str] = []
        self.names: dict[str, Any] = cast(self)
        self._encoded = Encoded()
        self._requests: list[Any] = []

    def __call__(self) -> list[str]:
        """Runs it in a context and an environment of its own; the notes."""
        variables = dict(self.program.variables)
        if self.program.metrics:
            variables["OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED"] = "true"
        root = logging.getLogger()
        try:
            handlers, root.handlers = root.handlers, [_LogNotes(self)]
            invalid = dict(vars(INVALID_SPAN))
            with (
                mock.patch.dict(os.environ, variables),
                mock.patch.multiple(warnings_of_full_attributes, interval=0, _due=0, _held_back=0),
                warnings.catch_warnings(record=True) as warned,
            ):
                warnings.simplefilter("always")
                contextvars.Context().run(self._run)
        finally:
            root.handlers = handlers
            vars(INVALID_SPAN).clear()  # a program may have written to it
            vars(INVALID_SPAN).update(invalid)
        self.notes += sorted({f"warned {told.category.__name__}: {told.message}" for told in warned})
        return self.notes

    def _run(self) -> None:
        reader = InMemoryMetricReader()
        meters = MeterProvider([reader], shutdown_on_exit=False)
        options = {name: self.value(source) for name, source in self.program.options.items()}
        options.setdefault("resource", Resource({"service.name": "test"}))
        if self.program.metrics:
            options["meter_provider"] = meters
        self.provider = (otlpfast if self.fast else sdk).TracerProvider(shutdown_on_exit=False, **options)
        self.names["provider"] = self.provider
        if self.program.own:
            self.add(self._own())
        self.inside(self.program.body, None)
        self._finish()
        self.notes += sorted(f"metric {text}" for text in _points(reader))
        meters.shutdown()

    def _own(self) -> sdk.SpanProcessor:
        if not self.fast:
            return _Encode(self)
        if self.program.own == "simple":
            return otlpfast.SimpleSpanProcessor(self._encoded)
        return otlpfast.BatchSpanProcessor(self._encoded, schedule_delay_millis=NEVER_MILLIS)

    def add(self, processor: Any) -> None:
        """Registers a processor. otlpfast's own see what others change, whenever they came."""
        self.provider.add_span_processor(processor)
        is_given = "active_span_processor" in self.program.options
        if self.fast or (is_given and self.program.own == "simple"):  # that one can't wait
            return
        chain = self.provider._active_span_processor
        own_last = sorted(chain._span_processors, key=lambda known: isinstance(known, _Encode))
        chain._span_processors = tuple(own_last)

    def _finish(self) -> None:
        for name, value in sorted(self.names.items()):
            if isinstance(value, types.GeneratorType):
                Line(f"{name}.close()")(self)
            elif name.startswith("m") and name[1:].isdigit():
                del value  # a manager that may have been entered and not left
                with self.noting(f"dropping {name}"):
                    del self.names[name]
        for span in list(self.spans):
            self.note(f"finally {self.look(span)}")
        self.provider.shutdown()
        executor = getattr(self.provider._active_span_processor, "_executor", None)
        if executor is not None:
            executor.shutdown()
        requests = self._requests + [decode(batch) for batch in self._encoded.batches]
        self.notes += sorted(text for request in requests for text in self._messages(request))

    def note(self, text: str) -> None:
        self.notes.append(plain_text(text))

    @contextlib.contextmanager
    def noting(self, label: str) -> Iterator[None]:
        """Notes an exception that leaves the block, and goes on."""
        try:
            yield
        except (AssertionError, NameError):  # of the test itself
            raise
        except BaseException as error:
            refused = not self.fast and is_refusal(error)
            self.note(f"{label}{_REFUSED if refused else _RAISED}{self.error(error)}")

    def inside(self, body: tuple[Op, ...], error: str | None) -> None:
        """Runs the lines of a block, then raises."""
        for op in body:
            op(self)
        if error is not None:
            raise self.value(error)

    def value(self, source: str) -> Any:
        """What an expression gives; None for a statement."""
        return eval(_compiled(source), self.names)

    # --- what is exported

    def encode(self, span: sdk.ReadableSpan) -> None:
        """Keeps a span's message as the official encoder has it, or the plain one where that can't."""
        with _Refused() as refused:
            try:
                request = official([span])
            except Exception:
                refused.count += 1
        self._requests.append(decode(encode_spans([span])) if refused.count else request)

    def _messages(self, request: Any) -> Iterator[str]:
        # How spans are grouped and batched is no matter of the provider.
        for resource in request.resource_spans:
            for scope in resource.scope_spans:
                for span in scope.spans:
                    texts = (self._plain(span), scope.scope, scope.schema_url, resource.resource)
                    yield plain_text(f"exported {''.join(map(str, texts))}{resource.schema_url}")

    def _plain(self, span: Any) -> Any:
        for name in ("start_time_unix_nano", "end_time_unix_nano"):
            setattr(span, name, 1 if self.is_now(getattr(span, name)) else getattr(span, name))
        for event in span.events:
            event.time_unix_nano = 1 if self.is_now(event.time_unix_nano) else event.time_unix_nano
            for pair in event.attributes:
                if pair.key == "exception.stacktrace":
                    pair.value.string_value = plain_stack(pair.value.string_value)
        if self.random_ids:
            for message, name in ((span, "parent_span_id"), *((m, "span_id") for m in (span, *span.links))):
                setattr(message, name, self.met(int.from_bytes(getattr(message, name), "big")).encode())
            for message in (span, *span.links):
                message.trace_id = self.met(int.from_bytes(message.trace_id, "big")).encode()
        return span


class _Encode(sdk.SpanProcessor):
    """Stands for otlpfast's processor in the SDK's run: encodes each span when it ends."""

    def __init__(self, run: Run) -> None:
        self._run, self._shut = run, False

    def on_end(self, span: sdk.ReadableSpan) -> None:
        if not self._shut and span.context is not None and int(span.context.trace_flags) & 1:
            self._run.encode(span)

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._run.program.own == "simple" or not self._shut

    def shutdown(self) -> None:
        self._shut = True


class _Refused(logging.Filter):
    """Counts what the official encoder logs, and keeps it from being noted."""

    count = 0
    _logger = logging.getLogger("opentelemetry.exporter.otlp.proto.common._internal")

    def filter(self, record: logging.LogRecord) -> bool:
        self.count += 1
        return False

    def __enter__(self) -> _Refused:
        self._logger.addFilter(self)
        return self

    def __exit__(self, *_: object) -> None:
        self._logger.removeFilter(self)


class _LogNotes(logging.Handler):
    def __init__(self, run: Run) -> None:
        super().__init__(logging.WARNING)
        self._run = run

    def emit(self, record: logging.LogRecord) -> None:
        if not record.name.startswith("otlpfast") or record.name == _LOG_OF_THE_PROVIDER:
            error = record.exc_info[1] if record.exc_info else None
            told = f"{record.name} {record.levelname} {record.getMessage()!r}"
            self._run.note(f"logged {told} {type(error).__name__}")


def _points(reader: InMemoryMetricReader) -> Iterator[str]:
    data = reader.get_metrics_data()
    for resource in data.resource_metrics if data else ():
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                points: Any = metric.data.data_points
                for point in points:
                    yield f"{metric.name} {sorted(point.attributes.items())} {point.value}"


@functools.lru_cache(10_000)
def _compiled(source: str) -> CodeType:
    try:
        return compile(source, "<program>", "eval")
    except SyntaxError:
        return compile(source, "<program>", "exec")


# --- both


def raising(notes: list[str]) -> list[str]:
    """The notes that tell of an exception that reached the program."""
    first = ((note, note.partition("\n")[0]) for note in notes if not note.startswith(("logged", "finally")))
    return [note for note, line in first if _RAISED in line or _REFUSED in line]


@dataclass
class Compared:
    """The notes of both runs, up to the first line that the SDK alone refused."""

    stock: list[str]
    fast: list[str]
    cut: str | None = None

    def difference(self) -> str | None:
        """Where the runs first differ, with what came before."""
        for number, (stock, fast) in enumerate(zip(self.stock, self.fast, strict=False)):
            if stock != fast:
                return self._around(number)
        if self.cut is None and len(self.stock) != len(self.fast):
            return self._around(min(len(self.stock), len(self.fast)))
        return None

    def _around(self, number: int) -> str:
        before = "".join(
            f"  {line}\n" for note in self.stock[max(0, number - 3) : number] for line in note.splitlines()
        )
        stock, fast = ("\n".join(notes[number : number + 2]) for notes in (self.stock, self.fast))
        lines = difflib.unified_diff(
            stock.splitlines(), fast.splitlines(), "SDK", "otlpfast", lineterm="", n=2
        )
        return f"after\n{before}they differ:\n" + "\n".join(lines)


def compare(program: Program, cast: Callable[[Run], dict[str, Any]]) -> Compared:
    """Runs the program on both."""
    stock, fast = Run(program, False, cast)(), Run(program, True, cast)()
    for number, (left, right) in enumerate(zip(stock, fast, strict=False)):
        if _REFUSED in left and left.replace(_REFUSED, _RAISED) != right:
            return Compared(stock[:number], fast[:number], left)
        stock[number] = left = left.replace(_REFUSED, _RAISED)
        if left != right:
            break
    return Compared(stock, fast)

"""What the lines of programs call by name: odd values, samplers, processors."""

from __future__ import annotations

import builtins
import collections
import copy
import datetime
import decimal
import enum
import hashlib
import types
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from opentelemetry import context as context_api
from opentelemetry import trace
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.context import Context
from opentelemetry.sdk import trace as sdk
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan, SpanProcessor, sampling
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext, SpanKind, TraceFlags, TraceState

from .run import Run

# --- values


class Level(enum.IntEnum):
    HIGH = 3


class Color(str, enum.Enum):
    RED = "red"


class Shape(enum.Enum):
    ROUND = "round"


class Word(str):
    """Text with a text of its own."""

    def __str__(self) -> str:
        return "spoken"


class Number(int):
    def __repr__(self) -> str:
        return "number"


class Real(float):
    pass


class Octets(bytes):
    pass


class Spoken:
    """Only __str__."""

    def __str__(self) -> str:
        return "spoken"


class Written:
    """Only __repr__."""

    def __repr__(self) -> str:
        return "written"


class Opaque:
    """No text of its own."""


class Pairs(Mapping[Any, Any]):
    """A mapping that is no dict."""

    def __init__(self, *pairs: tuple[Any, Any]) -> None:
        self._pairs = dict(pairs)

    def __getitem__(self, key: Any) -> Any:
        return self._pairs[key]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._pairs)

    def __len__(self) -> int:
        return len(self._pairs)


class Row(Sequence[Any]):
    """A sequence that is no list."""

    def __init__(self, *items: Any) -> None:
        self._items = items

    def __getitem__(self, index: Any) -> Any:
        return self._items[index]

    def __len__(self) -> int:
        return len(self._items)


class Foreign(trace.NonRecordingSpan):
    """Another vendor's span as parent, with whatever context."""


class Odd(Context):
    """A context of another class."""


class Trouble(Exception):
    """An exception with a module and a qualified name."""

    class Deep(ValueError):
        def __str__(self) -> str:
            return "deep\ntrouble"


def raised(error: BaseException, depth: int = 1, cause: BaseException | None = None) -> BaseException:
    """The exception as it comes out of some frames."""
    try:
        _fall(error, depth, cause)
    except BaseException as caught:
        return caught
    raise AssertionError


def _fall(error: BaseException, depth: int, cause: BaseException | None) -> None:
    if depth:
        _fall(error, depth - 1, cause)
    if cause:
        raise error from cause
    raise (
        error  # on a line of its own
    )


def handling(error: BaseException) -> BaseException:
    """The exception as it comes out of the handling of another."""
    try:
        try:
            {}["missing"]
        except KeyError:
            raise error  # noqa: B904 (that is what it is for)
    except BaseException as caught:
        return caught
    raise AssertionError


def noted(error: BaseException) -> BaseException:
    """With notes, where Python has them."""
    if hasattr(error, "add_note"):
        error.add_note("a note")
        error.add_note("of two lines\nor so")
    return error


def group(*errors: Exception) -> Exception:
    """An ExceptionGroup, where Python has it."""
    kind = getattr(builtins, "ExceptionGroup", None)
    return kind("group", errors) if kind else ValueError("no groups")


# --- ids and samplers


class Ids(IdGenerator):
    """The same ids in both runs, with as much variety as random ones."""

    def __init__(self, random: bool = False) -> None:
        self._count, self._random = 0, random

    def _octets(self) -> bytes:
        self._count += 1
        return hashlib.sha256(str(self._count).encode()).digest()

    def generate_trace_id(self) -> int:
        return int.from_bytes(self._octets()[:16], "big")

    def generate_span_id(self) -> int:
        return int.from_bytes(self._octets()[:8], "big")

    def is_trace_id_random(self) -> bool:
        return self._random


class DuckIds:
    """Ids of no known class."""

    def __init__(self) -> None:
        self.generate_trace_id = iter(range(10, 10_000)).__next__
        self.generate_span_id = iter(range(10, 10_000)).__next__

    def is_trace_id_random(self) -> int:
        return 1


class Noting(Sampler):
    """Notes what it is asked, and decides as it was told."""

    def __init__(
        self, run: Run, decision: Decision, attributes: Any = None, state: Any = None, keep: bool = False
    ) -> None:
        self._run, self._keep = run, keep
        self._result = (decision, attributes, state)

    def should_sample(self, *args: Any, **options: Any) -> SamplingResult:
        parent = options.get("parent_context", args[0] if args else None)
        options.pop("parent_context", None)
        shown = [self._run.id(arg) if type(arg) is int else self._run.render(arg) for arg in args[1:]]
        ids = {name: self._run.id(option) for name, option in options.items() if name == "trace_id"}
        named = [f"{name}={ids.get(name) or self._run.render(option)}" for name, option in options.items()]
        context = None if parent is None else type(parent).__name__
        self._run.note(f"sampler asked {context} {shown} {named}")
        decision, attributes, state = self._result
        given = options.get("attributes", args[4] if len(args) > 4 else None)
        return SamplingResult(decision, given if self._keep else attributes, state)

    def get_description(self) -> str:
        return "Noting"


# --- processors


class Recording(SpanProcessor):
    """Notes its calls and what spans show then: nothing, all that is public, or underscore fields too."""

    def __init__(self, run: Run, name: str, view: str = "public") -> None:
        self._run, self._name, self._view = run, name, view

    def _note(self, method: str, span: Any, more: str = "") -> None:
        text = (
            self._run.span(span) if isinstance(span, trace.Span) else f"{type(span).__name__} {span.name!r}"
        )
        if self._view != "calls":
            text = self._run.look(span)
        if self._view == "private" and isinstance(span, trace.Span):
            text += self._run.look_inside(span)
        self._run.note(f"{self._name}.{method}{more} {text}")

    def on_start(self, span: sdk.Span, parent_context: Context | None = None) -> None:
        current = self._run.render(trace.get_current_span())
        given = None if parent_context is None else type(parent_context).__name__
        self._note("on_start", span, f" in {given}, current {current}")

    def _on_ending(self, span: sdk.Span) -> None:
        self._note("_on_ending", span)

    def on_end(self, span: ReadableSpan) -> None:
        self._note("on_end", span, f" current {self._run.render(trace.get_current_span())}")

    def shutdown(self) -> None:
        self._run.note(f"{self._name}.shutdown")

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        self._run.note(f"{self._name}.force_flush")
        return self._name != "failing"


class Doing(SpanProcessor):
    """Runs lines on spans: ``span`` is theirs."""

    def __init__(self, run: Run, start: str = "None", ending: str = "None", end: str = "None") -> None:
        self._run, self._lines = run, (start, ending, end)
        self._busy = False

    def _do(self, number: int, span: Any) -> None:
        if self._busy:  # what a line starts and ends itself
            return
        self._busy, before = True, self._run.names.get("span")
        self._run.names["span"] = span
        line = self._lines[number]
        try:
            with self._run.noting(f"processor: {line}"):  # that one raises is tested elsewhere
                self._run.value(line)
        finally:
            self._busy, self._run.names["span"] = False, before

    def on_start(self, span: sdk.Span, parent_context: Context | None = None) -> None:
        self._do(0, span)

    def _on_ending(self, span: sdk.Span) -> None:
        self._do(1, span)

    def on_end(self, span: ReadableSpan) -> None:
        self._do(2, span)


class OnlyEnds(SpanProcessor):
    def __init__(self, run: Run) -> None:
        self._run = run

    def on_end(self, span: ReadableSpan) -> None:
        self._run.note(f"only ends {span.name!r}")


class Duck:
    """No SpanProcessor by class."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def __getattr__(self, name: str) -> Callable[..., bool]:
        if name not in ("on_start", "_on_ending", "on_end", "shutdown", "force_flush"):
            raise AttributeError(name)
        return lambda *args, **options: self._run.note(f"duck.{name} {len(args)} {list(options)}") or True


def redact(span: ReadableSpan) -> None:
    """As AWS's processor does."""
    attributes = span._attributes
    if isinstance(attributes, BoundedAttributes) and "a" in attributes:
        with attributes._lock:
            attributes._dict["a"] = "redacted"


# --- what programs call by name


def cast(run: Run) -> dict[str, Any]:
    """The names that a program's lines may use."""
    tokens: list[Any] = []

    def attach(span: Any) -> None:
        tokens.append(context_api.attach(trace.set_span_in_context(span)))

    def detach() -> None:
        if tokens:
            context_api.detach(tokens.pop())

    def leave(manager: Any, error: BaseException | None) -> Any:
        error = None if error is None else raised(error)
        return manager.__exit__(
            *((None, None, None) if error is None else (type(error), error, error.__traceback__))
        )

    def patch(span: Any, method: str) -> None:
        original = getattr(span, method)
        setattr(
            span,
            method,
            lambda *args, **options: (run.note(f"patched {method}"), original(*args, **options))[1],
        )

    modules = {
        "np": np,
        "sdk": sdk,
        "sampling": sampling,
        "copy": copy,
        "trace": trace,
        "MappingProxyType": types.MappingProxyType,
    }
    names = [
        Level,
        Color,
        Shape,
        Word,
        Number,
        Real,
        Octets,
        Spoken,
        Written,
        Opaque,
        Pairs,
        Row,
        Foreign,
        Trouble,
    ]
    names += [raised, handling, noted, group, redact, Ids, DuckIds, Context, Event, Link, NonRecordingSpan]
    names += [SpanContext, SpanKind, TraceFlags, TraceState, Decision, SamplingResult, Resource]
    names += [InstrumentationScope, BoundedAttributes, trace.Status, trace.StatusCode, trace.use_span]
    names += [trace.set_span_in_context, trace.get_current_span, collections.UserDict, collections.UserList]
    names += [collections.deque, collections.OrderedDict, datetime.date, decimal.Decimal]
    names += [uuid.UUID, context_api.set_value, sdk.SpanLimits, attach, detach, leave, patch, Odd]
    local: dict[str, Callable[..., Any]] = {
        "sampler": lambda *args, **options: Noting(run, *args, **options),
        "recording": lambda *args: Recording(run, *args),
        "doing": lambda **lines: Doing(run, **lines),
        "only_ends": lambda: OnlyEnds(run),
        "duck": lambda: Duck(run),
        "add": run.add,
        "look": lambda span: run.note(run.look(span)),
        "look_inside": lambda span: run.note(run.look_inside(span)),
        "note": run.note,
        "configure": lambda *disabled: lambda scope: sdk._TracerConfig(is_enabled=scope.name not in disabled),
    }
    constants = {"INVALID_SPAN": trace.INVALID_SPAN, "SPAN_KEY": trace.propagation._SPAN_KEY}
    constants.update(nan=float("nan"), inf=float("inf"), box=["mutable"])
    return {**modules, **{named.__name__: named for named in names}, **local, **constants}

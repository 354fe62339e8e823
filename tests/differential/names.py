"""What the lines of programs call by name in any run: odd values, exceptions, ids, and what is imported."""
# ruff: noqa: F401

from __future__ import annotations

import builtins
import copy
import enum
import hashlib
import types
from collections import OrderedDict, UserDict, UserList, deque
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from decimal import Decimal
from math import inf, nan
from types import MappingProxyType
from typing import Any
from uuid import UUID

import numpy as np
from opentelemetry import trace
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.context import Context, set_value
from opentelemetry.sdk import trace as sdk
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan, sampling
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import Decision, SamplingResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import (
    INVALID_SPAN,
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
    get_current_span,
    set_span_in_context,
    use_span,
)
from opentelemetry.trace.propagation import _SPAN_KEY as SPAN_KEY


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


class Label(str):
    """Text of another class."""


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


class Speechless:
    """Its text can't be had."""

    def __str__(self) -> str:
        raise ValueError("speechless")


class Mute(Exception):
    """An exception whose text can't be had."""

    def __str__(self) -> str:
        raise ValueError("mute")


class Unreadable(Pairs):
    """A mapping that can't be read."""

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[Any]:
        raise ValueError("unreadable")


cyclic: list[Any] = []
cyclic.append(cyclic)


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


def endless(frames: int) -> BaseException:
    """Out of a recursion, whose frames a stack trace folds."""

    def deeper(frames: int) -> None:
        if not frames:
            raise RecursionError("too deep")
        deeper(frames - 1)

    try:
        deeper(frames)
    except RecursionError as caught:
        return caught
    raise AssertionError


def handling(error: BaseException) -> BaseException:
    """The exception as it comes out of the handling of another."""
    try:
        try:
            dict[str, int]()["missing"]
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


class RaisingIds(Ids):
    def generate_span_id(self) -> int:
        raise ValueError("no ids")


class DuckIds:
    """Ids of no known class."""

    def __init__(self) -> None:
        self.generate_trace_id = iter(range(10, 10_000)).__next__
        self.generate_span_id = iter(range(10, 10_000)).__next__

    def is_trace_id_random(self) -> int:
        return 1


def redact(span: ReadableSpan) -> None:
    """As AWS's processor does."""
    attributes = span._attributes
    if isinstance(attributes, BoundedAttributes) and "a" in attributes:
        with attributes._lock:
            attributes._dict["a"] = "redacted"

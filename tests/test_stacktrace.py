"""The stack trace of an exception event: the standard library's text, told from kept frames."""

from __future__ import annotations

import linecache
import sys
import traceback
from collections.abc import Iterator
from types import TracebackType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import otlpfast
from otlpfast._stacktrace import UNPRINTABLE, exception_attributes, format_exception

from . import raisers
from .raisers import RAISING, caught
from .spans import Keep
from .telling import KEEPS_FRAMES, expected, forget, formatted_frames, same

keeps_frames = pytest.mark.skipif(not KEEPS_FRAMES, reason="a package replaced parts of traceback")

# Told by the standard library itself, each time.
LEFT_ALONE = {name for name in RAISING if "group" in name}
# The last lines are its own, the frames are kept.
BY_PARTS = {
    "an_unknown_name",
    "a_module_that_was_not_imported",
    "an_unknown_attribute",
    "an_attribute_error_by_hand",
    "an_unknown_import",
    "an_unknown_module",
    "source_that_does_not_parse",
    "a_cause_with_suggestions",
    "text_of_a_subclass",
    "str_gives_a_subclass",
    "str_gives_a_number",
    "str_raises",
    "no_module",
    "notes_that_are_no_text",
    "notes_of_a_subclass",
    "notes_in_no_list",
    "notes_that_are_a_number",
    "a_falsy_exception_with_a_cause",
    "an_empty_cause_with_a_cause",
}
PLAIN = set(RAISING) - LEFT_ALONE - BY_PARTS


@pytest.fixture(autouse=True)
def _nothing_kept() -> Iterator[None]:
    forget()
    yield
    forget()


# What is told


@pytest.mark.parametrize("name", RAISING)
def test_the_text_is_the_standard_librarys_the_first_time_and_later(name: str) -> None:
    same(caught(RAISING[name]))


@pytest.mark.parametrize("name", RAISING)
def test_an_exception_raised_anew_has_the_same_text(name: str) -> None:
    same(caught(RAISING[name]))
    same(caught(RAISING[name]))


@keeps_frames
@pytest.mark.parametrize("name", sorted(PLAIN | BY_PARTS))
def test_known_frames_are_not_looked_at_again(name: str) -> None:
    error = caught(RAISING[name])
    same(error)
    assert formatted_frames(lambda: format_exception(error)) == 0
    assert formatted_frames(lambda: traceback.format_exception(error)) > 0


@keeps_frames
@pytest.mark.parametrize("name", sorted(PLAIN))
def test_a_plain_exception_with_known_frames_is_told_without_the_standard_library(name: str) -> None:
    error = caught(RAISING[name])
    same(error)
    calls: list[str] = []

    def note(frame: Any, event: str, _: object) -> None:
        if event == "call" and frame.f_globals in (vars(traceback), vars(linecache)):
            calls.append(frame.f_code.co_name)

    sys.setprofile(note)
    try:
        format_exception(error)
    finally:
        sys.setprofile(None)
    assert calls == []


def test_an_exception_that_was_never_raised_has_no_frames() -> None:
    assert same(ValueError("new")) == "ValueError: new\n"


def test_a_subclass_in_a_dotted_place_is_named_in_full() -> None:
    assert same(raisers.Dotted.Error("x")) == "tests.raisers.Dotted.Error: x\n"


def test_the_frames_of_a_running_program_are_told_at_each_step_of_unwinding() -> None:
    def inner() -> None:
        try:
            raisers.a_cause()
        except OSError as error:
            same(error)
            raise

    try:
        inner()
    except OSError as error:
        assert "in inner" in same(error)


@pytest.mark.parametrize("attribute", ["limit", "zero", "negative"])
def test_a_limit_of_the_interpreter_is_kept(attribute: str, monkeypatch: pytest.MonkeyPatch) -> None:
    error = caught(RAISING["mutual_recursion_5"])
    whole = same(error)
    limit = {"limit": 2, "zero": 0, "negative": -1}[attribute]
    monkeypatch.setattr(sys, "tracebacklimit", limit, raising=False)
    assert same(error) != whole


PROGRAM = st.lists(
    st.tuples(st.sampled_from(["down", "ping", "pong", "call"]), st.integers(0, 9)), min_size=1, max_size=5
)


def run(program: list[tuple[str, int]]) -> object:
    """Nested calls; the last one raises."""
    (name, depth), rest = program[0], program[1:]
    if name == "call" and rest:
        return sum([run(rest) for _ in range(1)]) if depth % 2 else (lambda: run(rest))()
    try:
        return getattr(raisers, name, raisers.down)(depth)
    except RecursionError:
        if not rest:
            raise
        if depth % 3 == 0:
            raise KeyError(depth) from caught(lambda: run(rest))
        return run(rest)


MESSAGES = st.one_of(st.text(max_size=20), st.none(), st.integers(), st.text("a\n\r\x85\u2028 ", max_size=6))
KINDS = st.sampled_from(
    [ValueError, KeyError, OSError, raisers.Dotted.Error, raisers.Dotted.Falsy, NameError]
)


@st.composite
def webs(draw: st.DrawFn) -> BaseException:
    """An exception amid others, linked at random: chains, circles, suppressed ones."""
    errors: list[BaseException] = []
    for _ in range(draw(st.integers(1, 5))):
        error = draw(KINDS)(*draw(st.lists(MESSAGES, max_size=2)))
        if draw(st.booleans()):
            error = error.with_traceback(caught(lambda: run(draw(PROGRAM))).__traceback__)
        notes = draw(st.lists(st.text(max_size=8), max_size=2))
        if notes:
            error.__notes__ = notes  # type: ignore[attr-defined]
        errors.append(error)
    for error in errors:
        error.__cause__ = draw(st.sampled_from([None, *errors]))
        error.__context__ = draw(st.sampled_from([None, *errors]))
        error.__suppress_context__ = draw(st.booleans())
    return errors[0]


@given(webs())
def test_any_web_of_exceptions_is_told_the_same(error: BaseException) -> None:
    same(error, times=2)
    for link in (error.__cause__, error.__context__):
        if link is not None:
            same(link, times=1)


@given(PROGRAM)
def test_any_nesting_of_calls_is_told_the_same(program: list[tuple[str, int]]) -> None:
    same(caught(lambda: run(program)), times=2)


# What cannot be told natively


def test_a_replaced_format_exception_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    error = caught(raisers.one_line)
    same(error)
    monkeypatch.setattr(traceback, "format_exception", lambda error: ["told ", "by another"])
    assert format_exception(error) == "told by another"


@pytest.mark.parametrize("owner", [traceback.TracebackException, traceback.StackSummary])
def test_a_replaced_method_of_the_standard_library_is_asked(
    owner: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = caught(raisers.one_line)
    same(error)
    monkeypatch.setattr(owner, "format", lambda *_, **options: ["replaced\n"])
    assert "replaced" in same(error)


def test_what_the_standard_library_cannot_tell_gets_a_placeholder(monkeypatch: pytest.MonkeyPatch) -> None:
    def format_exception_(error: BaseException) -> list[str]:
        raise ZeroDivisionError

    monkeypatch.setattr(traceback, "format_exception", format_exception_)
    assert format_exception(ValueError("x")) == UNPRINTABLE


class _Raising(type):
    def __getattribute__(cls, name: str) -> Any:
        if name in ("__module__", "__qualname__"):
            raise ZeroDivisionError
        return super().__getattribute__(name)


class Hostile(Exception, metaclass=_Raising):
    __cause__ = property(lambda self: 1 / 0)

    def __str__(self) -> str:
        raise ZeroDivisionError


def test_a_hostile_exception_does_not_raise() -> None:
    recorded = exception_attributes(Hostile(), False)
    assert recorded is not None
    assert all(type(value) is str for value in recorded.values())
    assert recorded["exception.stacktrace"] == UNPRINTABLE


class Odd(Exception):
    __traceback__ = None


def test_a_traceback_of_somebodys_own_kind_is_told() -> None:
    real = caught(raisers.one_line).__traceback__

    class Lookalike:
        tb_frame, tb_lasti, tb_lineno, tb_next = real.tb_frame, real.tb_lasti, real.tb_lineno, real.tb_next

    Odd.__traceback__ = Lookalike()
    assert "in one_line" in same(Odd())


def test_tracebacks_put_together_by_hand_are_told() -> None:
    frame = sys._getframe()
    first = same(ValueError().with_traceback(TracebackType(None, frame, -1, 1)))
    second = same(ValueError().with_traceback(TracebackType(None, frame, -1, 2)))
    assert first != second


def test_an_instruction_that_does_not_exist_gives_what_the_standard_library_gives() -> None:
    error = ValueError("x").with_traceback(TracebackType(None, sys._getframe(), 10**6, 1))
    try:
        text = expected(error)
    except RuntimeError:
        text = UNPRINTABLE
    assert format_exception(error) == text


# The event


def test_an_exception_event_has_type_message_text_and_whether_it_escaped() -> None:
    error = caught(raisers.a_cause)
    assert exception_attributes(error, True) == {
        "exception.type": "FileNotFoundError",
        "exception.message": "[Errno 2] No such file: 'here'",
        "exception.stacktrace": expected(error),
        "exception.escaped": "True",
    }
    recorded = exception_attributes(raisers.Dotted.Error(), False)
    assert recorded is not None
    assert recorded["exception.type"] == "tests.raisers.Dotted.Error"
    assert recorded["exception.message"] == ""


@pytest.mark.parametrize("given_", [None, "text", ValueError, 5])
def test_what_is_no_exception_has_no_event(given_: Any) -> None:
    assert exception_attributes(given_, False) is None


def test_a_span_records_the_text_of_the_standard_library() -> None:
    keep = Keep()
    provider = otlpfast.TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(keep)
    error = caught(raisers.a_cause)
    for _ in range(3):
        with provider.get_tracer("tests").start_as_current_span("span") as span:
            span.record_exception(error)
    for span in keep.spans:
        (event,) = span.events
        assert event.attributes["exception.stacktrace"] == expected(error)
    assert len(keep.spans) == 3

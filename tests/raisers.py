"""Exceptions of many kinds, raised in as many ways: what a traceback can look like."""

from __future__ import annotations

import asyncio
import functools
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

Work = Callable[[], object]
RAISING: dict[str, Work] = {}


def caught(work: Work) -> BaseException:
    """What ``work`` raises."""
    try:
        work()
    except BaseException as error:
        return error
    raise AssertionError(f"{work} raised nothing")


def raising(work: Work) -> Work:
    RAISING[work.__name__] = work
    return work


class Dotted:
    class Error(Exception):
        pass

    class Falsy(Exception):
        def __bool__(self) -> bool:
            return False

    class Empty(Exception):
        def __len__(self) -> int:
            return 0


class Text(str):
    def __str__(self) -> str:
        return "the text of a subclass"

    def __format__(self, spec: str) -> str:
        return "the format of a subclass"


class Speaking(Exception):
    def __str__(self) -> str:
        return self.args[0]


class Homeless(Exception):
    __module__ = None


@raising
def one_line() -> object:
    raise ValueError("plain")


@raising
def a_subscript_in_an_expression() -> object:
    rows: Any = [{"a": 1}]
    return 1 + rows[0]["b"] * (2 + 3)


@raising
def an_operator_between_lines() -> object:
    left, right = 1, None
    # fmt: off
    return (
        left
        + right
        + sum(
            [1, 2, 3]
        )
    )
    # fmt: on


@raising
def a_call_over_many_lines() -> object:
    return one_argument_a_line(
        "first",
        "second",
        third=[
            "a",
            "b",
        ],
        fourth=int(
            "not a number",
        ),
    )


def one_argument_a_line(*arguments: object, **named: object) -> object:
    raise LookupError(
        "a",
        "tuple",
    )


@raising
def wide_characters() -> object:
    名前: Any = "広い文字"
    return 名前 + 名前 + "é" + 1 + "ß"


@raising
def a_semicolon_and_a_tab() -> object:
    x: Any = None; y = x	+ 1; return y  # fmt: skip # noqa: E702


@raising
def a_lambda() -> object:
    return (lambda x: 1 / x)(0)


@raising
def a_comprehension() -> object:
    return [{key: int(key) for key in "1x"} for _ in range(2)]


@raising
def a_generator() -> object:
    def numbers() -> Iterator[float]:
        yield 1
        yield from (1 / n for n in (1, 0))

    return list(numbers())


@raising
def a_coroutine() -> object:
    async def inner() -> None:
        await asyncio.sleep(0)
        raise TimeoutError("slow")

    async def outer() -> None:
        async with asyncio.Lock():
            await asyncio.gather(inner())

    return asyncio.run(outer())


@raising
def a_callback_of_c() -> object:
    return sorted([1, 2], key=lambda n: int("x" * n))


@raising
def a_compiled_module() -> object:
    return np.random.default_rng(0).choice(-1)


@raising
def a_decorator() -> object:
    def twice(work: Work) -> Work:
        @functools.wraps(work)
        def run() -> object:
            return work() or work()

        return run

    @twice
    @twice
    def work() -> object:
        raise Dotted.Error("decorated")

    return work()


@raising
def a_property_and_a_finally() -> object:
    class Owner:
        @property
        def value(self) -> object:
            try:
                return {}["x"]
            finally:
                self.done = True

    return Owner().value


@raising
def an_assertion() -> object:
    assert len([1]) == 2, f"no {'surprise'}"


def down(depth: int) -> object:
    if depth:
        return down(depth - 1)
    raise RecursionError("deep enough")


def ping(depth: int) -> object:
    return pong(depth - 1) if depth else down(0)


def pong(depth: int) -> object:
    return ping(depth - 1) if depth else down(5)


for _depth in (0, 1, 2, 3, 4, 5, 20, 300):
    RAISING[f"recursion_{_depth}"] = functools.partial(down, _depth)
    RAISING[f"mutual_recursion_{_depth}"] = functools.partial(ping, _depth)


@raising
def recursion_without_end() -> object:
    return recursion_without_end()


@raising
def a_cause() -> object:
    try:
        down(4)
    except RecursionError as error:
        raise OSError(2, "No such file", "here") from error


@raising
def a_context() -> object:
    try:
        try:
            one_line()
        finally:
            a_lambda()
    except ZeroDivisionError:
        raise Dotted.Error from caught(one_line)


@raising
def a_suppressed_context() -> object:
    try:
        return one_line()
    except ValueError:
        raise KeyError(("a", 1)) from None


@raising
def a_cause_that_was_seen_and_a_context_to_show() -> object:
    error = Dotted.Error("both")
    error.__cause__ = error
    error.__suppress_context__ = False
    error.__context__ = caught(one_line)
    raise error


@raising
def a_circle_of_causes_and_contexts() -> object:
    first, second, third = caught(one_line), caught(a_lambda), caught(a_cause)
    first.__context__, second.__cause__ = second, third
    third.__cause__, third.__context__ = first, second
    raise first


@raising
def a_falsy_exception_with_a_cause() -> object:
    raise Dotted.Falsy("falsy") from caught(one_line)


@raising
def an_empty_cause_with_a_cause() -> object:
    empty = Dotted.Empty("empty")
    empty.__cause__ = caught(one_line)
    raise ValueError from empty


def message(*arguments: object, kind: type[BaseException] = Exception) -> Work:
    def message() -> object:
        raise kind(*arguments)

    return message


RAISING["no_message"] = message()
RAISING["empty_message"] = message("")
RAISING["lines_in_the_message"] = message("one\n  two\r\nthree\n\n")
RAISING["many_arguments"] = message(1, None, b"x", [])
RAISING["surrogates"] = message("lone \ud800 surrogate \x00")
RAISING["text_of_a_subclass"] = message(Text("raw"))
RAISING["str_gives_a_subclass"] = message(Text("raw"), kind=Speaking)
RAISING["str_gives_a_number"] = message(1, kind=Speaking)
RAISING["str_raises"] = message(kind=Speaking)
RAISING["no_module"] = message("homeless", kind=Homeless)
RAISING["in_main"] = message("m", kind=type("InMain", (Exception,), {"__module__": "__main__"}))
RAISING["key_error"] = message("quoted", kind=KeyError)
RAISING["exit"] = message(3, kind=SystemExit)
RAISING["interrupt"] = message(kind=KeyboardInterrupt)


@raising
def an_unknown_name() -> object:
    return recursion_without_ends()  # noqa: F821


@raising
def a_module_that_was_not_imported() -> object:
    return zipfile  # noqa: F821


@raising
def an_unknown_attribute() -> object:
    return one_line.__nam__


@raising
def an_attribute_error_by_hand() -> object:
    raise AttributeError("by hand")


@raising
def an_unknown_import() -> object:
    from asyncio import gathered

    return gathered


@raising
def an_unknown_module() -> object:
    import no_such_module

    return no_such_module


@raising
def source_that_does_not_parse() -> object:
    return compile("x = = 1\n", "given.py", "exec")


@raising
def a_cause_with_suggestions() -> object:
    try:
        return an_unknown_attribute()
    except AttributeError as error:
        raise ValueError("later") from error


@raising
def code_without_source() -> object:
    exec("def inner():\n    raise ValueError('in a string')\n\ninner()", {})


def noted(*notes: object) -> Work:
    def noted() -> object:
        error = ValueError("noted")
        error.__notes__ = list(notes)
        raise error

    return noted


RAISING["a_note"] = noted("one note")
RAISING["notes_of_many_lines"] = noted("", "a\nb\r\nc\n", "\n")
RAISING["notes_that_are_no_text"] = noted(1, None)
RAISING["notes_of_a_subclass"] = noted(Text("raw"))
RAISING["no_notes"] = noted()


@raising
def notes_in_no_list() -> object:
    error = ValueError("noted")
    error.__notes__ = "text"
    raise error


@raising
def notes_that_are_a_number() -> object:
    error = ValueError("noted")
    error.__notes__ = 17
    raise error


if sys.version_info >= (3, 11):

    @raising
    def a_group() -> object:
        raise ExceptionGroup("many", [caught(one_line), caught(a_cause)])  # noqa: F821

    @raising
    def a_group_as_cause() -> object:
        raise ValueError("one") from caught(a_group)

    @raising
    def a_group_behind_an_unknown_name() -> object:
        try:
            raise caught(a_group)
        except BaseException:
            an_unknown_name()

"""Stacks as the native sampler reads them, against those that Python itself shows."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Iterator

import pytest

from otlpfast.profiling._native import sampler

if sampler is None:
    pytest.skip("the sampler is native", allow_module_level=True)


def seen_by_python() -> list[tuple[object, int | None]]:
    return [(frame.f_code, line) for frame, line in traceback.walk_stack(sys._getframe(1))]


def checked() -> int:
    """Both looks from one line; the depth."""
    table = sampler.StackTable()
    number, expected = table.add_current(), seen_by_python()
    assert list(table.frames(number)) == expected
    return len(expected)


def recurse(depth: int) -> int:
    return recurse(depth - 1) if depth else checked()


def test_functions() -> None:
    assert recurse(20) > 20


def test_generators_and_what_c_calls() -> None:
    def generator() -> Iterator[int]:
        yield from (recurse(n) for n in range(3))

    assert len(list(map(abs, generator()))) == 3
    assert sorted([3, 1, 2], key=lambda _: checked()) == [3, 1, 2]


def test_coroutines_and_classes() -> None:
    async def inner() -> int:
        class Body:
            depth = checked()

        return Body.depth

    async def outer() -> int:
        return await inner()

    with pytest.raises(StopIteration) as ended:
        outer().send(None)
    assert ended.value.value > 2


def test_the_same_stack_has_the_same_number_and_another_line_another() -> None:
    table = sampler.StackTable()
    add: Callable[[], int] = table.add_current
    numbers = [add() for _ in range(3)]
    assert len(set(numbers)) == 1
    assert add() not in numbers
    assert len(table) == 2


def test_a_full_table_says_zero_and_has_no_frames_for_it() -> None:
    table = sampler.StackTable(most=1)
    assert table.add_current() == 1
    assert table.add_current() == 0
    assert table.frames(0) == ()
    with pytest.raises(IndexError, match="no stack has number 2"):
        table.frames(2)


def test_a_table_keeps_the_code_it_names() -> None:
    table = sampler.StackTable()
    names: dict[str, object] = {"add": table.add_current}
    exec("def gone():\n    return add()", names)
    number = names["gone"]()  # type: ignore[operator]
    names.clear()
    assert table.frames(number)[0][0].co_name == "gone"

"""``AttributePool`` and ``EventPool``: what is recycled, and that what is recycled never shows old data."""

from __future__ import annotations

import array
import gc
import os
import sys
import weakref
from collections.abc import Callable
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from otlpfast._impl import AttributePool, EventPool

from .forks import in_child

Make = Callable[..., Any]
POOLS = pytest.mark.parametrize("make", [AttributePool, EventPool])


def fill(acquired: Any, count: int) -> None:
    for i in range(count):
        acquired.append(f"name {i}", {"n": i})


def stats(pool: Any) -> dict[str, int]:
    """The counts that are not zero."""
    return {name: count for name, count in pool.stats().items() if count}


@POOLS
def test_what_is_released_is_taken_again(make: Make) -> None:
    pool = make()
    pool.acquire().release()
    assert stats(pool) == {"misses": 1, "recycled": 1, "idle": 1}
    again = pool.acquire()
    assert stats(pool) == {"misses": 1, "recycled": 1, "hits": 1}
    assert len(again) == 0
    assert again.items() == []


@POOLS
def test_memory_comes_back_when_an_array_dies(make: Make) -> None:
    pool = make()
    acquired = pool.acquire()
    fill(acquired, 3)
    del acquired
    gc.collect()
    assert stats(pool) == {"misses": 1, "recycled": 1, "idle": 1}


@POOLS
def test_memory_comes_back_at_the_end_of_a_with_block(make: Make) -> None:
    pool = make()
    with pool.acquire() as acquired:
        fill(acquired, 3)
        assert "idle" not in stats(pool)
    assert stats(pool)["idle"] == 1
    with pytest.raises(ZeroDivisionError), pool.acquire() as acquired:
        fill(acquired, 1 // 0)
    assert stats(pool) == {"misses": 1, "hits": 1, "recycled": 2, "idle": 1}


@POOLS
@pytest.mark.parametrize("initial", [1, 4, 16])
def test_up_to_four_times_the_initial_capacity_is_kept(make: Make, initial: int) -> None:
    pool = make(initial)
    acquired = pool.acquire()
    assert acquired.capacity == initial
    fill(acquired, 4 * initial)
    assert acquired.capacity == 4 * initial
    acquired.release()
    assert stats(pool) == {"misses": 1, "recycled": 1, "idle": 1}
    assert pool.acquire().capacity == 4 * initial


@POOLS
@pytest.mark.parametrize("initial", [1, 4, 16])
def test_larger_ones_are_freed_and_counted(make: Make, initial: int) -> None:
    pool = make(initial)
    acquired = pool.acquire()
    fill(acquired, 4 * initial + 1)
    assert acquired.capacity == 8 * initial
    assert len(acquired.items()) == 4 * initial + 1
    acquired.release()
    assert stats(pool) == {"misses": 1, "oversized": 1}
    assert pool.acquire().capacity == initial


@POOLS
def test_no_more_than_max_size_are_kept(make: Make) -> None:
    pool = make(4, 2)
    held = [pool.acquire() for _ in range(5)]
    for acquired in held:
        acquired.release()
    assert stats(pool) == {"misses": 5, "recycled": 2, "discarded": 3, "idle": 2}
    none_kept = make(4, 0)
    none_kept.acquire().release()
    assert stats(none_kept) == {"misses": 1, "discarded": 1}


@POOLS
def test_an_array_outlives_its_pool(make: Make) -> None:
    acquired = make().acquire()
    gc.collect()
    fill(acquired, 100)
    assert [row[0] for row in acquired.items()] == [f"name {i}" for i in range(100)]
    acquired.release()


@POOLS
def test_releasing_again_does_nothing(make: Make) -> None:
    pool = make()
    acquired = pool.acquire()
    fill(acquired, 2)
    acquired.release()
    acquired.release()
    with pytest.raises(ValueError, match="was released"):
        acquired.__enter__()
    del acquired
    assert stats(pool) == {"misses": 1, "recycled": 1, "idle": 1}


@POOLS
def test_a_released_array_is_of_no_more_use(make: Make) -> None:
    acquired = make().acquire()
    fill(acquired, 2)
    acquired.release()
    assert (len(acquired), acquired.capacity) == (0, 0)
    for use in (lambda: acquired.append("a", {}), acquired.items, acquired.__enter__):
        with pytest.raises(ValueError, match=f"this {type(acquired).__name__} was released"):
            use()


@POOLS
def test_arrays_are_made_by_their_pool_alone(make: Make) -> None:
    kind: Any = type(make().acquire())
    with pytest.raises(TypeError, match=r"made by its pool's acquire\(\)"):
        kind()
    empty: Any = kind.__new__(kind)
    assert (len(empty), empty.capacity) == (0, 0)
    with pytest.raises(ValueError, match="was released"):
        empty.append("a", {})
    empty.release()


@POOLS
def test_reset_frees_what_is_idle_and_starts_counting_anew(make: Make) -> None:
    pool = make()
    out = pool.acquire()
    pool.acquire().release()
    pool.reset()
    assert stats(pool) == {}
    fill(out, 1)
    out.release()
    assert stats(pool) == {"recycled": 1, "idle": 1}


@POOLS
def test_a_forked_child_starts_with_an_empty_pool(make: Make) -> None:
    pool = make()
    out = pool.acquire()
    fill(out, 3)
    pool.acquire().release()

    def child() -> list[Any]:
        at_first = stats(pool)
        rows = len(out.items())
        out.release()
        after = stats(pool)
        pool.reset()
        return [at_first, rows, after, stats(pool)]

    assert in_child(child) == [{}, 3, {"recycled": 1, "idle": 1}, {}]
    assert stats(pool) == {"misses": 2, "recycled": 1, "idle": 1}
    assert len(out.items()) == 3


@POOLS
def test_a_forked_child_that_takes_first_counts_from_zero(make: Make) -> None:
    pool = make()
    pool.acquire().release()

    def child() -> list[Any]:
        with pool.acquire() as acquired:
            fill(acquired, 2)
        return [stats(pool), os.getpid()]

    assert in_child(child)[0] == {"misses": 1, "recycled": 1, "idle": 1}
    assert stats(pool) == {"misses": 1, "recycled": 1, "idle": 1}


@POOLS
def test_arguments_and_statistics_can_be_read(make: Make) -> None:
    pool = make(initial_capacity=8, max_size=3)
    assert (pool.initial_capacity, pool.max_size) == (8, 3)
    assert pool.stats() == dict.fromkeys(("hits", "misses", "recycled", "oversized", "discarded", "idle"), 0)
    pool.acquire()
    assert (pool.hits, pool.misses, pool.recycled, pool.oversized, pool.discarded) == (0, 1, 1, 0, 0)


@POOLS
@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"initial_capacity": 0}, ValueError),
        ({"initial_capacity": -1}, ValueError),
        ({"initial_capacity": 2**40}, ValueError),
        ({"initial_capacity": 2**70}, ValueError),
        ({"max_size": -1}, ValueError),
        ({"max_size": 2**31 - 1}, ValueError),
        ({"initial_capacity": 1.5}, TypeError),
        ({"initial_capacity": "16"}, TypeError),
        ({"initial_capacity": None}, TypeError),
        ({"max_size": True}, TypeError),
    ],
)
def test_a_wrong_argument_is_named(make: Make, arguments: dict[str, Any], error: type[Exception]) -> None:
    ((name, value),) = arguments.items()
    with pytest.raises(error, match=f"^{name}={value!r}: .* is allowed"):
        make(**arguments)


# --- what is kept


def test_attributes_keep_order_and_duplicates() -> None:
    acquired = AttributePool(2).acquire()
    rows = [("a", 1), ("b", "text"), ("a", True), ("c", None), ("d", 2.5), ("e", b"\0")]
    for key, value in rows:
        acquired.append(key, value)
    assert acquired.items() == rows
    assert len(acquired) == 6


def test_events_keep_name_attributes_and_time() -> None:
    acquired = EventPool(1).acquire()
    acquired.append("first")
    acquired.append("second", {"a": [1, 2]}, 5)
    acquired.append("third", attributes=MappingProxyType({"b": None}), timestamp=6)
    assert acquired.items() == [
        ("first", None, None),
        ("second", {"a": (1, 2)}, 5),
        ("third", {"b": None}, 6),
    ]


def test_values_are_copied_when_they_are_given() -> None:
    values: dict[str, Any] = {
        "list": [1, [2, 3]],
        "map": {"a": [1]},
        "array": array.array("i", [1, 2]),
        "numpy": np.arange(3),
        "floats": np.array([0.5, 1.5], dtype="f2"),
        "view": memoryview(array.array("d", [1.0])),
        "nested": [np.arange(2)],
        "scalar": np.int32(7),
        "table": np.arange(4).reshape(2, 2),
        "unsigned": np.array([2**64 - 1, 1], dtype="u8"),
    }
    acquired = AttributePool().acquire()
    for key, value in values.items():
        acquired.append(key, value)
    values["list"][1].append(4)
    values["list"].clear()
    values["map"]["a"].append(2)
    values["array"].append(3)  # no view is left that would forbid it
    for name in ("numpy", "floats", "table"):
        values[name][...] = 9
    values["view"][0] = 9.0
    assert dict(acquired.items()) == {
        "list": (1, (2, 3)),
        "map": {"a": (1,)},
        "array": (1, 2),
        "numpy": (0, 1, 2),
        "floats": (0.5, 1.5),
        "view": (1.0,),
        "nested": ((0, 1),),
        "scalar": 7,
        "table": ((0, 1), (2, 3)),
        "unsigned": (str(2**64 - 1), 1),
    }


class Unprintable:
    def __str__(self) -> str:
        raise RuntimeError("no text")


def test_what_can_not_be_a_value_becomes_text() -> None:
    cyclic: list[Any] = [1]
    cyclic.append(cyclic)
    acquired = AttributePool().acquire()
    for value in (2**70, cyclic, Unprintable(), ValueError("why")):
        acquired.append("k", value)
    assert [value for _, value in acquired.items()] == [
        str(2**70),
        (1, "<cyclic reference>"),
        "<unprintable Unprintable object>",
        "why",
    ]


@pytest.mark.parametrize("key", [None, 1, b"key"])
def test_a_key_must_be_a_string(key: Any) -> None:
    acquired = AttributePool().acquire()
    with pytest.raises(TypeError, match=r"^key="):
        acquired.append(key, 1)
    assert len(acquired) == 0


@pytest.mark.parametrize("attributes", [[("a", 1)], "text", 5])
def test_event_attributes_must_be_a_mapping(attributes: Any) -> None:
    acquired = EventPool().acquire()
    with pytest.raises(TypeError, match=r"^attributes="):
        acquired.append("event", attributes)
    assert len(acquired) == 0


class Hostile(dict[str, Any]):
    """A mapping whose items do something first."""

    def __init__(self, act: Callable[[], None]) -> None:
        super().__init__(a=1)
        self.act = act

    def items(self) -> Any:
        self.act()
        return super().items()


def test_a_value_may_add_to_the_array_that_it_is_added_to() -> None:
    acquired = AttributePool(1).acquire()
    acquired.append("outer", Hostile(lambda: acquired.append("inner", 2)))
    assert acquired.items() == [("inner", 2), ("outer", {"a": 1})]


@POOLS
def test_a_value_may_release_the_array_that_it_is_added_to(make: Make) -> None:
    pool = make()
    acquired = pool.acquire()
    fill(acquired, 2)
    with pytest.raises(ValueError, match="was released"):
        acquired.append("outer", Hostile(acquired.release))
    assert stats(pool) == {"misses": 1, "recycled": 1, "idle": 1}


# --- finalisers


class Key(str):
    """A string that does something when it goes."""

    act: Callable[[], None]

    def __del__(self) -> None:
        self.act()


def with_finaliser(pool: Any, act: Callable[[Any], None]) -> Any:
    """An array whose first key calls ``act(array)`` as it goes."""
    acquired = pool.acquire()
    key = Key("first")
    key.act = lambda: act(acquired)
    acquired.append(key, 1)
    acquired.append("second", 2)
    return acquired


def test_finalisers_find_the_array_released_and_its_memory_not_yet_in_the_pool() -> None:
    pool = AttributePool()
    seen: list[Any] = []

    def act(acquired: Any) -> None:
        seen.append((len(acquired), acquired.capacity, pool.stats()["idle"]))
        acquired.release()
        try:
            acquired.append("late", 3)
        except ValueError as error:
            seen.append(str(error))
        other = pool.acquire()
        other.append("other", 4)
        seen.append(other.items())
        seen.append(other)

    with_finaliser(pool, act).release()
    assert seen[:3] == [(0, 0, 0), "this AttributeArray was released", [("other", 4)]]
    assert seen[3].items() == [("other", 4)]
    assert stats(pool) == {"misses": 2, "recycled": 1, "idle": 1}


def test_a_finaliser_that_raises_costs_nothing(recwarn: pytest.WarningsRecorder) -> None:
    pool = AttributePool()
    raised: list[Any] = []
    hook, sys.unraisablehook = sys.unraisablehook, raised.append

    def act(acquired: Any) -> None:
        raise RuntimeError("finaliser")

    try:
        with_finaliser(pool, act).release()
    finally:
        sys.unraisablehook = hook
    assert len(raised) == 1
    assert stats(pool) == {"misses": 1, "recycled": 1, "idle": 1}


@POOLS
def test_references_come_back(make: Make) -> None:
    pool = make()
    key, value = "key of " + make.__name__, {"k": 12345.678}
    held = sys.getrefcount(key), sys.getrefcount(value["k"]), sys.getrefcount(pool)
    for how in range(3):
        acquired = pool.acquire()
        for _ in range(100):
            acquired.append(key, value)
            acquired.items()
        if how:
            acquired.release()
        if how == 2:
            acquired.release()
        del acquired
    gc.collect()
    assert (sys.getrefcount(key), sys.getrefcount(value["k"]), sys.getrefcount(pool)) == held


def test_keys_are_let_go_when_the_array_is_released() -> None:
    pool = AttributePool()
    acquired = pool.acquire()
    key = Key("key")
    key.act = lambda: None
    gone = weakref.ref(key)
    acquired.append(key, 1)
    del key
    assert gone() is not None
    acquired.release()
    assert gone() is None


# --- against a model

VALUES = st.one_of(st.none(), st.booleans(), st.integers(-(2**63), 2**63 - 1), st.text(max_size=5))


class Pollution(RuleBasedStateMachine):
    """Arrays that are taken, filled, given back and dropped in any order, against plain lists."""

    arrays = Bundle("arrays")

    def __init__(self) -> None:
        super().__init__()
        self.pools: list[Any] = [AttributePool(2, 2), EventPool(1, 3)]
        self.live: list[tuple[Any, list[tuple[Any, ...]], int]] = []

    @rule(target=arrays, which=st.integers(0, 1))
    def acquire(self, which: int) -> Any:
        made: tuple[Any, list[tuple[Any, ...]], int] = (self.pools[which].acquire(), [], which)
        assert made[0].items() == []
        assert len(made[0]) == 0
        self.live.append(made)
        return made

    @rule(made=arrays, key=st.text(max_size=5), value=VALUES, times=st.integers(1, 9))
    def append(self, made: Any, key: str, value: Any, times: int) -> None:
        acquired, rows, which = made
        for _ in range(times):
            row = (key, value) if which == 0 else (key, {"v": value}, 7)
            acquired.append(*row)
            rows.append(row)

    @rule(made=consumes(arrays))
    def release(self, made: Any) -> None:
        made[0].release()
        assert len(made[0]) == 0
        self.live = [other for other in self.live if other is not made]

    @rule(made=consumes(arrays))
    def drop(self, made: Any) -> None:
        self.live = [other for other in self.live if other is not made]

    @rule(which=st.integers(0, 1))
    def reset(self, which: int) -> None:
        self.pools[which].reset()

    @invariant()
    def every_array_has_what_was_put_in(self) -> None:
        for acquired, rows, _ in self.live:
            assert acquired.items() == rows
            assert acquired.capacity >= len(acquired) == len(rows)

    @invariant()
    def pools_stay_in_bounds(self) -> None:
        for pool in self.pools:
            counts = pool.stats()
            assert 0 <= counts["idle"] <= pool.max_size
            assert counts["idle"] <= counts["recycled"]


Pollution.TestCase.settings = settings(max_examples=100, stateful_step_count=60)
test_a_recycled_array_never_shows_old_data = Pollution.TestCase


@given(st.lists(st.lists(st.tuples(st.text(max_size=3), VALUES), max_size=20), max_size=20))
def test_each_user_of_one_block_sees_only_its_own(users: list[list[tuple[str, Any]]]) -> None:
    pool = AttributePool(4, 1)
    for rows in users:
        with pool.acquire() as acquired:
            for key, value in rows:
                acquired.append(key, value)
            assert acquired.items() == rows
    counts = pool.stats()
    assert counts["hits"] + counts["misses"] == len(users) == counts["recycled"] + counts["oversized"]

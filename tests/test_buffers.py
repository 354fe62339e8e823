"""``SpanBuffer`` and ``BufferPool``: bytes that nobody changes or writes past while they are looked at."""

from __future__ import annotations

import array
import ctypes
import gc
import io
import sys
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, precondition, rule

import otlpfast
from otlpfast import SpanBatch, _pure
from otlpfast._impl import BatchBuilder, BufferPool

from .forks import in_child
from .spans import stock_spans


def stats(pool: Any) -> dict[str, int]:
    """The counts that are not zero."""
    return {name: count for name, count in pool.stats().items() if count}


def filled(data: bytes = b"encoded", pool: Any = None) -> Any:
    buffer = (pool or BufferPool()).acquire()
    buffer.append(data)
    return buffer


CHANGES: list[Callable[[Any], object]] = [
    lambda buffer: buffer.append(b"x"),
    lambda buffer: buffer.append(b""),
    lambda buffer: buffer.append(b"x" * 100_000),
    lambda buffer: buffer.clear(),
    lambda buffer: buffer.release(),
]
changes = pytest.mark.parametrize(
    "change", CHANGES, ids=["write", "write nothing", "growth", "clear", "release"]
)


@changes
def test_nothing_changes_while_a_view_is_alive(change: Callable[[Any], object]) -> None:
    pool = BufferPool()
    buffer = filled(pool=pool)
    view = buffer.view()
    with pytest.raises(BufferError):
        change(buffer)
    assert (bytes(view), len(buffer), buffer.count) == (b"encoded", 7, 1)
    assert stats(pool) == {"misses": 1}


@changes
def test_everything_can_change_once_the_views_are_gone(change: Callable[[Any], object]) -> None:
    buffer = filled()
    view = buffer.view()
    part = view[2:4]
    view.release()
    with pytest.raises(BufferError):  # a slice is a view
        change(buffer)
    part.release()
    change(buffer)


def test_a_view_that_dies_is_a_view_released() -> None:
    buffer = filled()
    view = buffer.view()
    del view
    gc.collect()
    buffer.append(b" more")
    assert bytes(buffer.view()) == b"encoded more"


def test_a_numpy_array_is_a_view() -> None:
    buffer = filled()
    seen = np.frombuffer(buffer.view(), dtype="u1")
    with pytest.raises(BufferError):
        buffer.append(b"x")
    assert seen.tobytes() == b"encoded"
    assert not seen.flags.writeable
    del seen
    buffer.append(b"x")


def test_views_are_read_only() -> None:
    view = filled().view()
    assert (view.readonly, view.format, view.itemsize, view.shape) == (True, "B", 1, (7,))
    with pytest.raises(TypeError, match="read-only"):
        view[0] = 1
    with pytest.raises(TypeError, match="read-only"):
        view[2:3][0] = 1
    with pytest.raises((TypeError, BufferError)):
        io.BytesIO(b"other").readinto(view)
    with pytest.raises((TypeError, BufferError)):
        ctypes.c_char.from_buffer(view)


@pytest.mark.skipif(otlpfast.IMPLEMENTATION == "py", reason="a plain Python object has no buffer before 3.12")
def test_the_buffer_itself_is_read_only_and_guards_like_its_views() -> None:
    buffer = filled()
    with pytest.raises((TypeError, BufferError)):
        ctypes.c_char.from_buffer(buffer)
    view = memoryview(buffer)
    assert (bytes(view), view.readonly) == (b"encoded", True)
    with pytest.raises(BufferError, match="release them before it is changed"):
        buffer.clear()


def test_views_and_slices_end_where_the_bytes_ended() -> None:
    buffer = BufferPool(4096).acquire()
    buffer.append(b"first")
    view = buffer.view()
    assert (buffer.capacity, view.nbytes) == (4096, 5)
    assert bytes(view[3:4096]) == b"st"
    assert view[5:].nbytes == 0
    for place in (5, 4095, -6):
        with pytest.raises(IndexError):
            view[place]
    head = view[:2]
    with pytest.raises(IndexError):
        head[2]
    assert bytes(head[:100]) == b"fi"


def test_an_older_view_stays_as_long_as_it_was() -> None:
    buffer = filled(b"one")
    view = buffer.view()
    copy = bytes(view)
    view.release()
    buffer.append(b"two")
    assert (copy, bytes(buffer.view()), buffer.count) == (b"one", b"onetwo", 2)


def test_bytes_stay_while_they_are_viewed_though_pool_and_owner_are_gone() -> None:
    pool = BufferPool(16, 4)
    view = filled(b"still here" * 100, pool).view()
    del pool
    gc.collect()
    others = [filled(b"other data" * 100) for _ in range(50)]
    assert bytes(view) == b"still here" * 100
    part = view[5:9]
    del view, others
    gc.collect()
    assert bytes(part) == b" her"


def test_memory_goes_back_only_when_the_last_view_is_gone() -> None:
    pool = BufferPool()
    buffer = filled(pool=pool)
    view = buffer.view()
    del buffer
    gc.collect()
    if otlpfast.IMPLEMENTATION == "c":  # plain Python pools no memory that could be taken too early
        assert stats(pool) == {"misses": 1}
    assert bytes(view) == b"encoded"
    del view
    gc.collect()
    assert stats(pool) == {"misses": 1, "recycled": 1, "idle": 1}


def test_what_is_recycled_is_empty() -> None:
    pool = BufferPool()
    buffer = filled(b"secret", pool)
    buffer.release()
    buffer.release()
    again = pool.acquire()
    assert (len(again), again.count, bytes(again.view())) == (0, 0, b"")
    again.append(b"new")
    assert bytes(again.view()) == b"new"
    assert stats(pool) == {"misses": 1, "hits": 1, "recycled": 1}


@pytest.mark.parametrize(("length", "count"), [(4096, "recycled"), (4097, "oversized")])
def test_up_to_four_times_the_initial_capacity_is_kept(length: int, count: str) -> None:
    pool = BufferPool(1024)
    filled(b"x" * length, pool).release()
    assert pool.stats()[count] == 1
    assert pool.stats()["idle"] == (count == "recycled")


@pytest.mark.parametrize("initial", [1, 7, 64, 100])
def test_both_implementations_grow_alike(initial: int) -> None:
    for length in (1, 2, 63, 64, 65, 100, 101, 500, 5000):
        here, plain = BufferPool(initial).acquire(), _pure.BufferPool(initial).acquire()
        here.append(b"x" * length)
        plain.append(b"x" * length)
        assert here.capacity == plain.capacity


def test_no_more_than_max_size_are_kept() -> None:
    pool = BufferPool(16, 1)
    held = [pool.acquire() for _ in range(3)]
    for buffer in held:
        buffer.release()
    assert stats(pool) == {"misses": 3, "recycled": 1, "discarded": 2, "idle": 1}


def test_clear_keeps_the_memory() -> None:
    pool = BufferPool(16)
    buffer = filled(b"x" * 60, pool)
    buffer.clear()
    assert (len(buffer), buffer.count, buffer.capacity) == (0, 0, 64)
    assert stats(pool) == {"misses": 1}


def test_a_released_buffer_is_of_no_more_use() -> None:
    buffer = filled()
    buffer.release()
    assert (len(buffer), buffer.count, buffer.capacity) == (0, 0, 0)
    for use in (lambda: buffer.append(b"x"), buffer.clear, buffer.view):
        with pytest.raises(ValueError, match="this SpanBuffer was released"):
            use()


def test_buffers_are_made_by_their_pool_alone() -> None:
    kind = type(BufferPool().acquire())
    with pytest.raises(TypeError, match=r"made by its pool's acquire\(\)|made by BufferPool\.acquire\(\)"):
        kind()
    with pytest.raises(ValueError, match="was released"):
        kind.__new__(kind).append(b"x")


def test_takes_any_contiguous_buffer_and_nothing_else() -> None:
    buffer: Any = BufferPool().acquire()
    for data in (
        b"a",
        bytearray(b"b"),
        memoryview(b"xcx")[1:2],
        array.array("b", [100]),
        np.array([101], "u1"),
    ):
        buffer.append(data)
    assert (bytes(buffer.view()), buffer.count) == (b"abcde", 5)
    for wrong, error in (
        ("text", TypeError),
        (5, TypeError),
        (None, TypeError),
        (memoryview(b"abc")[::2], BufferError),
    ):
        with pytest.raises(error):
            buffer.append(wrong)
    assert (bytes(buffer.view()), buffer.count) == (b"abcde", 5)


def test_a_buffer_can_not_be_added_to_itself() -> None:
    buffer = filled()
    with pytest.raises(BufferError):
        buffer.append(buffer.view())
    assert (bytes(buffer.view()), buffer.count) == (b"encoded", 1)


def test_views_leave_no_references_behind() -> None:
    buffer = filled()
    before = sys.getrefcount(buffer), sys.getrefcount(None)
    for _ in range(1_000):
        buffer.view()[1:3].release()
    assert sys.getrefcount(buffer) == before[0]
    assert abs(sys.getrefcount(None) - before[1]) < 100


def test_a_forked_child_keeps_what_it_holds_and_pools_anew() -> None:
    pool = BufferPool()
    buffer = filled(pool=pool)
    filled(pool=pool).release()

    def child() -> list[Any]:
        at_first, seen = stats(pool), bytes(buffer.view()).decode()
        buffer.release()
        return [at_first, seen, stats(pool)]

    assert in_child(child) == [{}, "encoded", {"recycled": 1, "idle": 1}]
    assert stats(pool) == {"misses": 2, "recycled": 1, "idle": 1}


def test_a_batch_is_views_of_buffers_that_go_back_when_it_is_released() -> None:
    builder = BatchBuilder()
    for span in stock_spans(100):
        builder.add(span)
    batch = SpanBatch(builder.finish())
    del builder
    views = [part for part in batch.buffers if isinstance(part, memoryview)]
    assert views
    assert all(view.readonly for view in views)
    whole = bytes(batch)
    batch.release()
    for span in stock_spans(100):  # other spans take what memory is free
        other = BatchBuilder()
        other.add(span)
    assert whole.endswith(b"".join(bytes(view) for view in views))


def test_views_are_counted_right_by_many_threads() -> None:
    buffer = filled(b"x" * 1000)

    def look() -> None:
        for _ in range(2_000):
            with buffer.view() as view, view[10:20] as part:
                assert part.nbytes == 10

    threads = [threading.Thread(target=look) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    buffer.append(b"y")  # none is left
    assert len(buffer) == 1001


# --- against a model


class Sharing(RuleBasedStateMachine):
    """Buffers that are taken, written, viewed, cleared and given back in any order, against bytearrays."""

    buffers = Bundle("buffers")
    views = Bundle("views")

    def __init__(self) -> None:
        super().__init__()
        self.pool = BufferPool(32, 2)
        self.live: dict[int, tuple[Any, bytearray]] = {}
        self.seen: dict[int, tuple[memoryview, bytes, int]] = {}
        self.number = 0

    def viewed(self, number: int) -> bool:
        return any(owner == number for _, _, owner in self.seen.values())

    @rule(target=buffers)
    def acquire(self) -> int:
        self.number += 1
        buffer = self.pool.acquire()
        assert (len(buffer), buffer.count) == (0, 0)
        self.live[self.number] = (buffer, bytearray())
        return self.number

    @rule(number=buffers, data=st.binary(max_size=80))
    def append(self, number: int, data: bytes) -> None:
        buffer, model = self.live[number]
        if self.viewed(number):
            with pytest.raises(BufferError):
                buffer.append(data)
        else:
            buffer.append(data)
            model += data

    @rule(number=buffers)
    def clear(self, number: int) -> None:
        buffer, model = self.live[number]
        if self.viewed(number):
            with pytest.raises(BufferError):
                buffer.clear()
        else:
            buffer.clear()
            model.clear()

    @rule(target=views, number=buffers, start=st.integers(0, 50), stop=st.integers(0, 200))
    def view(self, number: int, start: int, stop: int) -> int:
        buffer, model = self.live[number]
        self.number += 1
        self.seen[self.number] = (buffer.view()[start:stop], bytes(model)[start:stop], number)
        return self.number

    @rule(view=consumes(views))
    def let_go(self, view: int) -> None:
        self.seen.pop(view)

    @rule(number=consumes(buffers))
    def drop(self, number: int) -> None:
        self.live.pop(number)

    @precondition(lambda self: self.live)
    @rule(number=consumes(buffers))
    def release(self, number: int) -> None:
        buffer, _ = self.live.pop(number)
        if self.viewed(number):
            with pytest.raises(BufferError):
                buffer.release()
        else:
            buffer.release()
            assert len(buffer) == 0

    @invariant()
    def all_is_as_it_was_written(self) -> None:
        for buffer, model in self.live.values():
            assert len(buffer) == len(model)
            assert bytes(buffer.view()) == bytes(model)
        for view, bytes_seen, _ in self.seen.values():
            assert bytes(view) == bytes_seen


Sharing.TestCase.settings = settings(max_examples=100, stateful_step_count=50)
test_buffers_behave_as_bytearrays_that_are_shared = Sharing.TestCase

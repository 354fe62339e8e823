"""Heap profiles: what was allocated where, and what of it is in use, as the default engine counts it."""

from __future__ import annotations

import gc
import signal
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from otlpfast.profiling import Profile, ProfilerBusyError, heap_profile, start_heap
from otlpfast.profiling._native import sampler

from .forks import in_child
from .heaps import MIB, found, lines

native = pytest.mark.skipif(sampler is None, reason="the sampler is native")

PATIENCE = 300


@pytest.fixture(autouse=True)
def nothing_is_on() -> Iterator[None]:
    yield
    try:
        assert not tracemalloc.is_tracing()
        with pytest.raises(RuntimeError, match="no heap recording is on"):
            heap_profile()
    finally:
        tracemalloc.stop()


# --- estimates against the truth, which tracemalloc knows


def truth_of(work: Callable[[], list[object]]) -> Profile:
    tracemalloc.start(1)  # one frame names it, and takes the least time
    with start_heap(exact=True) as recording:
        kept = work()
        truth = recording.snapshot()
    tracemalloc.stop()
    assert kept
    return truth


def of_bytes() -> list[object]:
    return [bytes(1_000) for _ in range(16_000)]


def of_lists() -> list[object]:
    return [[None] * (number % 200) for number in range(20_000)]


def of_dicts() -> list[object]:
    return [dict.fromkeys(range(number % 50)) for number in range(10_000)]


def of_small_objects() -> list[object]:
    return [object() for _ in range(100_000)]


def of_text() -> list[object]:
    return [f"{'ä' * (number % 1_000)}" for number in range(20_000)]


@native
@pytest.mark.parametrize("work", [of_bytes, of_lists, of_dicts, of_small_objects, of_text])
def test_estimates_are_near_the_truth(work: Callable[[], list[object]]) -> None:
    name, truth = work.__name__, truth_of(work)
    # Some 3,000 samples: a standard deviation of 2 %, of which the bounds are more than seven.
    sample_bytes = found(truth, name) // 3_000
    with start_heap(sample_bytes) as recording:
        kept = work()
        seen = recording.snapshot()
        del kept
        after = recording.stop()
    assert found(seen, name) == pytest.approx(found(truth, name), rel=0.15)
    assert found(seen, name, "alloc_space") >= found(seen, name)
    if work is not of_dicts and work is not of_lists:  # of whose blocks, large and small, few are samples
        assert found(seen, name, "inuse_objects") == pytest.approx(
            found(truth, name, "inuse_objects"), rel=0.15
        )
    assert found(after, name) < found(seen, name) / 10  # the interpreter keeps some to use again
    assert found(after, name, "alloc_space") == found(seen, name, "alloc_space")
    assert found(after, name, "alloc_objects") == found(seen, name, "alloc_objects")


@native
def test_64_mib_of_1_kib_each_at_the_default_rate() -> None:
    def keep() -> list[bytes]:
        return [bytes(1024 - 33) for _ in range(64 * 1024)]

    with start_heap() as recording:
        kept = keep()
        seen = recording.snapshot()
        # Some 128 samples, a standard deviation of 9 %.
        assert found(seen, "keep") == pytest.approx(64 * MIB, rel=0.6)
        del kept
        after = recording.snapshot()
    assert found(after, "keep") < 4 * MIB
    assert found(after, "keep", "alloc_space") == found(seen, "keep", "alloc_space")


def test_one_large_object_is_always_seen_and_has_its_size() -> None:
    def keep() -> bytearray:
        return bytearray(64 * MIB)

    with start_heap() as recording:
        kept = keep()
        seen = recording.snapshot()
        del kept
        after = recording.snapshot()
    assert found(seen, "keep") == pytest.approx(64 * MIB, rel=0.1)
    assert found(after, "keep") < MIB
    if sampler is not None:
        assert found(after, "keep", "alloc_space") == pytest.approx(64 * MIB, rel=0.1)


def test_lines_and_functions_are_named() -> None:
    kept = []

    def inner(size: int) -> None:
        kept.append(bytes(size))

    def outer() -> None:
        inner(8 * MIB)
        inner(16 * MIB)

    with start_heap() as recording:
        outer()
        seen = recording.stop()
    first = outer.__code__.co_firstlineno
    by_line = lines(seen, "outer")
    assert by_line[first + 1] == pytest.approx(8 * MIB, rel=0.1)
    assert by_line[first + 2] == pytest.approx(16 * MIB, rel=0.1)
    frames = max(seen.samples, key=lambda sample: sample.values[3]).stack
    assert [frame.line for frame in frames[:2]] == [inner.__code__.co_firstlineno + 1, first + 2]
    assert all(frame.filename == __file__ for frame in frames[:2])
    assert frames[1].first_line == first


def test_the_profile_says_what_it_holds() -> None:
    seen = start_heap(sample_bytes=1000).stop()
    assert seen.kind == "heap"
    assert [tuple(value) for value in seen.value_types] == [
        ("alloc_objects", "count"),
        ("alloc_space", "bytes"),
        ("inuse_objects", "count"),
        ("inuse_space", "bytes"),
    ]
    assert seen.default_type == "inuse_space"
    assert seen.time_unix_nano > 0
    if sampler is None:
        assert seen.period_type is None
        assert seen.comments[0] == "no native sampler here, so each block is counted"
    else:
        assert (seen.period_type, seen.period) == (("space", "bytes"), 1000)
        assert seen.comments[0] == "estimates: one sample in 1000 bytes, on average"
    assert len({(sample.stack, sample.labels) for sample in seen.samples}) == len(seen.samples)


def test_with_gc_only_what_is_referenced_is_in_use() -> None:
    class Node:
        def __init__(self) -> None:
            self.itself = self
            self.memory = bytes(32 * MIB)

    with start_heap() as recording:
        gc.disable()
        try:
            Node()
            assert found(recording.snapshot(), "__init__") > 30 * MIB
            assert found(heap_profile(gc=True), "__init__") < MIB
        finally:
            gc.enable()


# --- blocks that change and move


@native
def test_each_block_is_counted_at_one_byte_also_where_it_grows_shrinks_and_moves() -> None:
    def grow() -> list[object]:
        appended: list[object] = []
        for _ in range(10_000):
            appended.append(None)
        array = bytearray()
        for _ in range(1_000):
            array += b"some more"
        shrunk = bytearray(1_000_000)
        del shrunk[1_000:]
        emptied = list(range(1_000))
        emptied.clear()
        small = [0] * 100  # within one size of a pool
        del small[95:]
        return [appended, array, shrunk, emptied, small, b"".join([b"x" * 10_000, b"y"])[:9_000]]

    truth = truth_of(grow)
    with start_heap(sample_bytes=1) as recording:
        kept = grow()
        seen = recording.snapshot()
        del kept
        after = recording.stop()
    # But for a few objects that the interpreter had kept to use again.
    assert found(seen, "grow") == pytest.approx(found(truth, "grow"), abs=2_000)
    assert found(seen, "grow", "inuse_objects") == pytest.approx(
        found(truth, "grow", "inuse_objects"), abs=20
    )
    assert found(after, "grow") < 10_000  # what the interpreter keeps to use again


@native
def test_a_list_that_grew_by_appending_is_in_use_with_its_size() -> None:
    def append() -> list[None]:
        items: list[None] = []
        for _ in range(4_000_000):
            items.append(None)
        return items

    with start_heap() as recording:
        items = append()
        seen = recording.stop()
    assert found(seen, "append") == pytest.approx(sys.getsizeof(items), rel=0.1)
    assert found(seen, "append", "alloc_space") > found(seen, "append")


@native
def test_a_block_that_cannot_grow_stays_in_use() -> None:
    def grow(array: bytearray) -> None:
        with pytest.raises(MemoryError):
            array.extend(bytes(1)) if len(array) < 8 * MIB else array.__imul__(1 << 42)

    def keep() -> bytearray:
        return bytearray(8 * MIB)

    with start_heap() as recording:
        kept = keep()
        grow(kept)
        assert found(recording.snapshot(), "keep") == pytest.approx(8 * MIB, rel=0.1)
        del kept
        assert found(recording.snapshot(), "keep") < MIB


def test_what_was_allocated_before_may_be_freed_and_is_in_no_profile() -> None:
    def keep() -> list[bytearray]:
        return [bytearray(1_000) for _ in range(10_000)]

    before = keep()
    with start_heap(sample_bytes=1) as recording:
        for array in before[::2]:
            array.extend(bytes(10_000))
        before.clear()
        del array
        seen = recording.stop()
    assert found(seen, "keep", "alloc_objects") == found(seen, "keep") == 0


# --- threads, forks, generators


def test_threads_that_come_and_go() -> None:
    kept: list[bytes] = []

    def churn(keep: bool) -> None:
        for _ in range(10):
            block = bytes(8 * MIB)
        if keep:
            kept.append(block)

    with start_heap() as recording:
        for number in range(20):
            threads = [threading.Thread(target=churn, args=(number == 0 and n == 0,)) for n in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(PATIENCE)
        seen = recording.stop()
    assert found(seen, "churn") == pytest.approx(8 * MIB, rel=0.2)
    if sampler is not None:
        assert found(seen, "churn", "alloc_space") == pytest.approx(20 * 4 * 10 * 8 * MIB, rel=0.05)


def test_a_forked_child_goes_on_with_a_copy() -> None:
    def keep(size: int) -> bytes:
        return bytes(size)

    kept = [keep(8 * MIB)]
    with start_heap() as recording:
        kept = [keep(8 * MIB)]

        def child() -> list[int]:
            kept.append(keep(16 * MIB))
            both = found(recording.snapshot(), "keep")
            kept.pop(0)
            one = found(heap_profile(gc=True), "keep")
            last = recording.stop()
            start_heap().stop()
            return [both // MIB, one // MIB, found(last, "keep") // MIB]

        assert in_child(child) == [24, 16, 16]
        assert found(recording.snapshot(), "keep") // MIB == 8
        assert in_child(lambda: found(recording.stop(), "keep") // MIB) == 8


def test_deep_recursion_and_generators() -> None:
    kept = []

    def dive(depth: int) -> None:
        if depth:
            dive(depth - 1)
        else:
            kept.append(bytes(8 * MIB))

    def produce() -> Iterator[bytes]:
        for _ in range(4):
            yield bytes(8 * MIB)

    with start_heap() as recording:
        dive(700 if sys.getrecursionlimit() >= 1_000 else 100)
        kept.extend(produce())
        seen = recording.stop()
    assert found(seen, "dive") // MIB == 8
    assert found(seen, "produce") // MIB == 32


# --- one at a time, many readers


def test_a_second_recording_is_refused() -> None:
    with start_heap():
        for more in ({}, {"exact": True}, {"native": True}):
            with pytest.raises(ProfilerBusyError, match="heap profiling already in use"):
                start_heap(**more)  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [{"sample_bytes": 0}, {"sample_bytes": -1}, {"sample_bytes": 1 << 41}])
def test_a_rate_without_meaning_is_refused_and_nothing_is_on(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="sample_bytes"):
        start_heap(**wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="it is one of them"):
        start_heap(exact=True, native=True)


def test_after_the_end_there_is_the_last_profile() -> None:
    recording = start_heap()
    last = recording.stop()
    assert recording.stop() is last
    assert recording.snapshot(gc=True) is last
    with start_heap() as another:
        assert recording.stop() is last
        assert another.snapshot() is not last
        assert heap_profile() is not last


def test_all_who_stop_it_at_once_get_the_same() -> None:
    for _ in range(20):
        recording = start_heap()
        with ThreadPoolExecutor(4) as threads:
            profiles = list(threads.map(lambda r: r.stop(), [recording] * 4, timeout=PATIENCE))
        assert len(set(map(id, profiles))) == 1


def test_a_signal_handler_may_read_and_stop() -> None:
    recording = start_heap(sample_bytes=4096)
    profiles = []

    def stop(*_: object) -> None:
        profiles.append(recording.snapshot())
        profiles.append(recording.stop())

    before = signal.signal(signal.SIGALRM, stop)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.001)
        while not profiles:
            recording.snapshot()
    finally:
        signal.signal(signal.SIGALRM, before)
    assert recording.stop() is profiles[-1]


def test_a_finaliser_may_read() -> None:
    read = []

    class Reader:
        def __init__(self) -> None:
            self.itself = self

        def __del__(self) -> None:
            read.append(heap_profile(gc=True))

    with start_heap(sample_bytes=4096) as recording:
        Reader()
        recording.snapshot(gc=True)
        assert len(read) == 1


def allocate(number: int) -> list[object]:
    return [bytes(number * 7919 % 5_000), [[None] * (number % 300) for _ in range(10)], {number: str(number)}]


def run_new_code(number: int) -> None:
    exec(f"def function_{number}():\n    return [{number}] * 1000\nfunction_{number}()", {})


def allocate_until(is_over: threading.Event) -> None:
    """Blocks of all sizes, some kept for long, most not."""
    kept: list[object] = []
    number = 0
    while not is_over.is_set():
        number += 1
        kept.append(allocate(number))
        if number % 100 == 0:
            del kept[::2]
        if number % 1_000 == 0:
            kept.clear()
            run_new_code(number)


@native
@pytest.mark.parametrize("sample_bytes", [1, 512, 16_384])
def test_eight_threads_allocate_while_snapshots_are_taken(sample_bytes: int) -> None:
    is_over = threading.Event()
    until = time.monotonic() + 4
    with start_heap(sample_bytes) as recording:
        threads = [threading.Thread(target=allocate_until, args=(is_over,)) for _ in range(8)]
        for thread in threads:
            thread.start()
        taken = 0
        while time.monotonic() < until or taken < 3:
            recording.snapshot(gc=taken % 10 == 0)
            taken += 1
        is_over.set()
        for thread in threads:
            thread.join(PATIENCE)
        after = recording.snapshot(gc=True)
    # What the interpreter keeps to use again, of which a sample may stand for some.
    assert found(after, "allocate") < 2 * MIB
    assert found(after, "allocate", "alloc_space") > MIB

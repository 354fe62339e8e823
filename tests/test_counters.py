"""``PaddedCounters``: a cache line each, right totals from many threads, a view that NumPy reads as it is."""

from __future__ import annotations

import ctypes
import gc
import io
import sys
import threading
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import otlpfast
from otlpfast import _pure
from otlpfast._impl import PaddedCounters

CACHE_LINE = 64
NAMES = ("ended", "exported", "dropped")

placed = pytest.mark.skipif(
    otlpfast.IMPLEMENTATION == "py", reason="plain Python can't say where memory lies"
)


def in_threads(count: int, work: Any) -> None:
    """Runs ``work(i)`` in as many threads, all started at once."""
    start = threading.Barrier(count)
    errors: list[BaseException] = []

    def run(i: int) -> None:
        start.wait()
        try:
            work(i)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(i,)) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors


@placed
@pytest.mark.parametrize("stripes", [1, 2, 64, 1024])
@pytest.mark.parametrize("names", [["a"], NAMES, [str(i) for i in range(33)]])
def test_every_counter_has_cache_lines_to_itself(stripes: int, names: list[str]) -> None:
    array = np.asarray(PaddedCounters(names, stripes).view())
    address: int = array.ctypes.data
    assert address % CACHE_LINE == 0
    places = {
        address + stripe * array.strides[0] + i * array.strides[1]
        for stripe in range(stripes)
        for i in range(len(names))
    }
    assert len({place // CACHE_LINE for place in places}) == stripes * len(names)
    assert all(place % CACHE_LINE == 0 for place in places)


@placed
def test_unpadded_counters_share_a_cache_line() -> None:
    array = np.asarray(PaddedCounters(NAMES, 2, padded=False).view())
    assert array.shape == (2, len(NAMES), 1)
    assert array.strides == (8 * len(NAMES), 8, 8)


def test_counts_by_name() -> None:
    counters = PaddedCounters(NAMES)
    counters.add("exported")
    counters.add("exported", 41)
    counters.add("dropped", -5)
    assert counters.get("exported") == 42
    assert counters.snapshot() == {"ended": 0, "exported": 42, "dropped": -5}
    assert list(counters.snapshot()) == list(NAMES)
    assert (counters.names, counters.stripes) == (NAMES, 8)


@pytest.mark.parametrize("stripes", [1, 8])
def test_no_count_is_lost_between_eight_threads(stripes: int) -> None:
    counters = PaddedCounters(NAMES, stripes)

    def work(i: int) -> None:
        for _ in range(5_000):
            counters.add("ended")
            counters.add("exported", i)

    in_threads(8, work)
    assert counters.snapshot() == {"ended": 40_000, "exported": 5_000 * sum(range(8)), "dropped": 0}


def test_threads_are_spread_over_the_stripes() -> None:
    counters = PaddedCounters(["a"], 8)
    together = threading.Barrier(32)  # an identifier may be given again once its thread has ended

    def work(_: int) -> None:
        together.wait()
        counters.add("a")
        together.wait()

    in_threads(32, work)
    used = np.count_nonzero(np.asarray(counters.view())[:, 0, 0])
    assert counters.get("a") == 32
    assert used >= (3 if otlpfast.IMPLEMENTATION == "c" else 1)


def test_spin_adds_without_loss_on_one_stripe() -> None:
    counters = PaddedCounters(NAMES, 2)
    in_threads(4, lambda i: counters.spin("ended", 10_000, i % 2))
    array = np.asarray(counters.view())
    assert array[:, 0, 0].tolist() == [20_000, 20_000]
    assert counters.snapshot() == {"ended": 40_000, "exported": 0, "dropped": 0}


@pytest.mark.skipif(otlpfast.IMPLEMENTATION == "py", reason="a thread of plain Python holds the GIL")
def test_spin_lets_other_threads_run() -> None:
    counters = PaddedCounters(NAMES, 1)
    spinning = threading.Thread(target=counters.spin, args=("ended", 200_000_000))
    spinning.start()
    seen = 0
    while spinning.is_alive() and not 0 < seen < 200_000_000:
        seen = counters.get("ended")
    # This thread saw the count on its way: the other had the GIL for none of it.
    assert 0 < seen < 200_000_000
    spinning.join()
    assert counters.get("ended") == 200_000_000


def test_numpy_sees_later_counts_without_a_copy() -> None:
    counters = PaddedCounters(NAMES, 4)
    array = np.asarray(counters.view())
    assert array.dtype == np.int64
    assert array.shape == (4, 3, 8)
    assert not array.any()
    counters.add("dropped", 7)
    assert array[..., 0].sum(axis=0).tolist() == [0, 0, 7]
    assert np.shares_memory(array, np.asarray(counters.view()))
    counters.reset()
    assert not array.any()


def test_the_view_is_read_only() -> None:
    counters = PaddedCounters(NAMES)
    view = counters.view()
    assert (view.readonly, view.format, view.itemsize, view.c_contiguous) == (True, "q", 8, True)
    with pytest.raises(TypeError, match="read-only"):
        view[0, 0, 0] = 1
    array = np.asarray(view)
    with pytest.raises(ValueError, match="read-only"):
        array[0, 0, 0] = 1
    with pytest.raises(ValueError, match="WRITEABLE"):
        array.flags.writeable = True


@placed
def test_nobody_gets_a_writable_buffer() -> None:
    counters: Any = PaddedCounters(NAMES)
    assert np.asarray(counters).shape == (8, 3, 8)
    assert bytes(memoryview(counters)) == bytes(8 * 3 * 64)
    with pytest.raises((TypeError, BufferError)):
        io.BytesIO(b"\1" * 8).readinto(counters)
    with pytest.raises((TypeError, BufferError)):
        ctypes.c_char.from_buffer(counters)
    assert not any(counters.snapshot().values())


def test_the_view_outlives_the_counters() -> None:
    counters = PaddedCounters(NAMES)
    counters.add("ended", 3)
    array = np.asarray(counters.view())
    del counters
    gc.collect()
    assert array[..., 0].sum(axis=0).tolist() == [3, 0, 0]


def test_views_leave_no_references_behind() -> None:
    counters = PaddedCounters(NAMES)
    before = sys.getrefcount(counters), sys.getrefcount(None)
    for _ in range(1_000):
        counters.view().release()
    assert sys.getrefcount(counters) == before[0]
    assert abs(sys.getrefcount(None) - before[1]) < 100


def test_reset_sets_all_to_zero() -> None:
    counters = PaddedCounters(NAMES)
    for name in NAMES:
        counters.add(name, 5)
    counters.reset()
    assert counters.snapshot() == dict.fromkeys(NAMES, 0)


@given(st.lists(st.tuples(st.sampled_from(NAMES), st.integers(-(2**50), 2**50)), max_size=50))
def test_counts_as_a_dict_would(additions: list[tuple[str, int]]) -> None:
    counters, plain = PaddedCounters(NAMES), _pure.PaddedCounters(NAMES)
    model = dict.fromkeys(NAMES, 0)
    for name, n in additions:
        model[name] += n
        counters.add(name, n)
        plain.add(name, n)
    assert counters.snapshot() == model == plain.snapshot()
    assert {name: counters.get(name) for name in NAMES} == model


def test_many_counters_and_stripes_fit() -> None:
    names = [str(i) for i in range(40_000)]
    counters = PaddedCounters(names, 128, padded=False)
    counters.spin("39999", 3, 127)
    assert counters.get("39999") == 3
    assert counters.view().nbytes == 40_000 * 128 * 8


@pytest.mark.parametrize("names", [[], ["a", "b", "a"]])
def test_names_must_be_there_and_differ(names: list[str]) -> None:
    with pytest.raises(ValueError, match=r"^names="):
        PaddedCounters(names)


@pytest.mark.parametrize("names", ["name", [1, 2], [b"name"], [None]])
def test_names_must_be_strings(names: Any) -> None:
    with pytest.raises(TypeError, match=r"^names="):
        PaddedCounters(names)


@pytest.mark.parametrize("stripes", [0, -1, 3, 12, 2048, 2**40])
def test_stripes_must_be_a_power_of_two(stripes: int) -> None:
    with pytest.raises(ValueError, match=f"^stripes={stripes}: .*1024"):
        PaddedCounters(NAMES, stripes)


@pytest.mark.parametrize("stripes", ["8", 8.0, None, True])
def test_stripes_must_be_a_whole_number(stripes: Any) -> None:
    with pytest.raises(TypeError, match=r"^stripes="):
        PaddedCounters(NAMES, stripes)


def test_an_unknown_name_is_named() -> None:
    counters = PaddedCounters(NAMES)
    for call in (counters.add, counters.get, lambda name: counters.spin(name, 1)):
        with pytest.raises(KeyError, match="'lost': the counters are ended, exported, dropped"):
            call("lost")
    assert counters.snapshot() == dict.fromkeys(NAMES, 0)


def test_what_can_not_be_added_is_refused() -> None:
    counters = PaddedCounters(NAMES)
    for wrong, error in (
        (2**63, OverflowError),
        (-(2**63) - 1, OverflowError),
        (1.5, TypeError),
        ("1", TypeError),
    ):
        with pytest.raises(error):
            counters.add("ended", wrong)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        counters.spin("ended", 1.5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"^stripe=8: "):
        counters.spin("ended", 1, 8)
    with pytest.raises(ValueError, match=r"^stripe=-1: "):
        counters.spin("ended", 1, -1)
    assert counters.get("ended") == 0

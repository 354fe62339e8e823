"""Heap profiles by tracemalloc and by memray."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator

import pytest

from otlpfast.profiling import start_heap
from otlpfast.profiling._native import sampler

from .forks import in_child
from .heaps import MIB, found, lines

PATIENCE = 300


@pytest.fixture(autouse=True)
def no_tracing() -> Iterator[None]:
    yield
    tracemalloc.stop()


def keep(size: int) -> bytes:
    return bytes(size)


# --- exact=True


def test_exact_counts_each_block() -> None:
    with start_heap(exact=True) as recording:
        kept = [keep(number) for number in range(2, 1_002)]
        seen = recording.snapshot()
        size = sum(map(sys.getsizeof, kept))
        del kept[500:]
        after = recording.stop()
    assert found(seen, "keep", "inuse_objects") == 1_000
    assert found(seen, "keep") == size
    assert found(after, "keep") == sum(map(sys.getsizeof, kept))
    assert found(after, "keep", "alloc_space") == 0
    assert any("tracemalloc forgets what is freed" in comment for comment in after.comments)
    assert not tracemalloc.is_tracing()


def test_exact_uses_a_tracemalloc_that_is_on_and_leaves_it_on() -> None:
    tracemalloc.start(2)
    kept = keep(MIB)
    with start_heap(exact=True) as recording:
        assert found(recording.snapshot(), "keep") == sys.getsizeof(kept)
    assert tracemalloc.is_tracing()


def test_exact_says_that_tracemalloc_was_stopped() -> None:
    recording = start_heap(exact=True)
    kept = keep(MIB)
    tracemalloc.stop()
    seen = recording.stop()
    assert kept
    assert seen.samples == ()
    assert seen.comments[-1] == "tracemalloc was stopped by someone else: nothing is known"


def test_exact_names_the_function_around_a_comprehension_the_method_and_the_module() -> None:
    class Shop:
        def stock(self) -> list[bytes]:
            return [keep(1_000) for _ in range(10)]

    names: dict[str, object] = {}
    with start_heap(exact=True) as recording:
        kept: Callable[[], list[bytes]] = Shop().stock
        stock = kept()
        exec(compile("kept = bytes(100_000)", "a_module.py", "exec"), names)
        seen = recording.stop()
    assert stock
    assert lines(seen, "keep") == {keep.__code__.co_firstlineno + 1: 10 * sys.getsizeof(stock[0])}
    (stack,) = {sample.stack for sample in seen.samples if sample.stack[0].function == "keep"}
    assert "stock" in [frame.function.split(".")[-1] for frame in stack[:3]]
    module = next(s.stack[0] for s in seen.samples if s.stack[0].filename == "a_module.py")
    assert (module.function, module.line) == ("<module>", 1)


def test_data_of_numpy_is_seen_by_exact_alone() -> None:
    numpy = pytest.importorskip("numpy")

    def make() -> object:
        return numpy.ones(4 * MIB, dtype=numpy.uint8)

    with start_heap(exact=True) as recording:
        kept = make()
        assert found(recording.stop(), "make") >= 4 * MIB
    if sampler is not None:
        with start_heap() as recording:
            kept = make()
            seen = recording.stop()
        assert found(seen, "make") < 4 * MIB
        assert any("neither data of numpy" in comment for comment in seen.comments)
    assert kept is not None


# --- native=True


def test_native_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "memray", None)
    with pytest.raises(ImportError, match=r"pip install 'otlpfast\[memray\]'"):
        start_heap(native=True)
    start_heap().stop()


has_memray = pytest.mark.skipif(importlib.util.find_spec("memray") is None, reason="takes memray")


def ran(code: str) -> str:
    """In a process of its own: memray looks into every library that is loaded."""
    done = subprocess.run(
        [sys.executable, "-c", "from tests.heaps import MIB, found\n" + code],
        env=dict(os.environ),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done  # memray may have warnings on stderr
    return done.stdout.strip()


@has_memray
def test_native_sees_what_no_allocator_of_python_gave_and_the_c_functions_that_took_it() -> None:
    code = """
import glob, mmap, tempfile
from otlpfast.profiling import heap_profile, start_heap
def here(): return glob.glob(tempfile.gettempdir() + f"/otlpfast-heap-*")
def take(): return mmap.mmap(-1, 64 << 20)
def keep(): return bytes(8 << 20)
before = here()
with start_heap(native=True) as recording:
    taken, kept = take(), keep()
    seen = heap_profile()
    taken.close()
    after = recording.stop()
assert recording.stop() is after
print(found(seen, "take") // MIB, found(after, "take") // MIB, found(after, "take", "alloc_space") // MIB)
print(found(seen, "keep") // MIB, found(after, "keep") // MIB, found(after, "keep", "alloc_space") // MIB)
large = [sample.stack for sample in after.samples if sample.values[1] >= 64 << 20]
(names,) = [names for stack in large if "take" in (names := [frame.function for frame in stack])]
if len(names) > 2:  # memray could walk the frames of C, which depends on how Python was built
    assert any("mmap" in name for name in names), names
assert here() == before
start_heap().stop()
"""
    assert ran(code) == "64 0 64\n8 8 8"


@has_memray
def test_native_refuses_a_second_tracker_and_leaves_nothing_behind() -> None:
    code = """
import memray, os, tempfile
from otlpfast.profiling import start_heap
folder = tempfile.mkdtemp()
tempfile.tempdir = folder
os.environ["TMPDIR"] = folder
with memray.Tracker(folder + "/file"):
    try: start_heap(native=True)
    except RuntimeError as error: print("Tracker" in str(error))
print(os.listdir(folder))
start_heap(native=True).stop()
"""
    assert ran(code) == "True\n['file']"


@has_memray
def test_native_stays_with_its_process() -> None:
    code = """
import os, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # memray has a thread of its own
from otlpfast.profiling import start_heap
recording = start_heap(native=True)
def keep(): return bytes(8 << 20)
kept = keep()
child = os.fork()
if child == 0:
    seen = recording.stop()
    with start_heap() as other: other.snapshot()
    os._exit(0 if not seen.samples and "forked child" in seen.comments[-1] else 1)
print(os.waitpid(child, 0)[1], found(recording.stop(), "keep") // MIB)
"""
    assert ran(code) == "0 8"


def test_exact_goes_on_in_a_forked_child() -> None:
    with start_heap(exact=True) as recording:
        kept = [keep(MIB)]

        def child() -> int:
            kept.append(keep(MIB))
            return found(recording.stop(), "keep") // MIB

        assert in_child(child) == 2
        assert found(recording.stop(), "keep") // MIB == 1

"""The hook in Python's allocators: when it is there, whose it stands beside, and how it goes."""

from __future__ import annotations

import os
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from itertools import permutations

import pytest

from otlpfast.profiling import HeapRecording, start_heap
from otlpfast.profiling._native import sampler

from .heaps import MIB, allocators, found

if sampler is None:
    pytest.skip("the sampler is native", allow_module_level=True)

PATIENCE = 300


@pytest.fixture(autouse=True)
def no_tracing() -> Iterator[None]:
    yield
    tracemalloc.stop()


def keep(size: int) -> bytes:
    return bytes(size)


def ran(code: str, *options: str, **environment: str) -> str:
    """The output of a Python that runs the code, and ends well."""
    done = subprocess.run(
        [sys.executable, *options, "-c", code],
        env={**os.environ, "OTLPFAST_IMPL": "c", **environment},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert (done.returncode, done.stderr) == (0, ""), done
    return done.stdout.strip()


def test_there_is_none_before_the_first_start_nor_after_a_stop() -> None:
    code = """
from tests.heaps import allocators
before = allocators()
from otlpfast import profiling
from otlpfast.profiling import _native, heap
assert allocators() == before
for _ in range(100):
    recording = profiling.start_heap()
    raw, mem, obj = allocators()
    assert raw == before[0]
    assert mem != before[1] and obj != before[2]
    recording.stop()
    assert allocators() == before
print("as before")
"""
    assert ran(code) == "as before"


def test_importing_otlpfast_does_not_load_it() -> None:
    code = "import otlpfast, sys; print([n for n in sys.modules if n.startswith('otlpfast.profiling')])"
    assert ran(code) == "[]"


# t and h start tracemalloc and a recording, T and H end them.
ORDERS = sorted("".join(o) for o in permutations("thTH") if o.index("t") < o.index("T") > 0)
ORDERS = [order for order in ORDERS if order.index("h") < order.index("H")]


@pytest.mark.parametrize("order", ORDERS)
def test_it_lives_with_tracemalloc_in_any_order(order: str) -> None:
    before = allocators()
    for _ in range(3):
        recording: HeapRecording | None = None
        freed_later = []
        for step in order:
            freed_later.append([bytes(number) for number in range(1_000)])
            if step == "t":
                tracemalloc.start()
            elif step == "T":
                tracemalloc.stop()
            elif step == "h":
                recording = start_heap()
            elif recording is not None:
                is_cut = order == "thTH"
                if is_cut:  # tracemalloc put back what was there before the hook; a look puts that in again
                    recording.snapshot()
                kept = keep(8 * MIB)
                seen = recording.stop()
                assert found(seen, "keep") // MIB == 8
                assert any("took the hook out" in comment for comment in seen.comments) == is_cut
                del kept
        del freed_later
    assert not tracemalloc.is_tracing()
    start_heap().stop()  # where it had to stay, wrapped, it is the outermost now
    assert allocators() == before


def test_a_wrapped_hook_sees_what_is_allocated_and_passes_on_after_its_end() -> None:
    recording = start_heap()
    tracemalloc.start()
    kept = keep(8 * MIB)
    seen = recording.stop()
    assert found(seen, "keep") // MIB == 8
    assert tracemalloc.get_traced_memory()[0] > 8 * MIB
    with start_heap() as another:
        assert found(another.snapshot(), "keep") == 0
        more = keep(16 * MIB)
        assert found(another.snapshot(), "keep") // MIB == 16
    del kept, more
    assert tracemalloc.get_traced_memory()[0] < 8 * MIB


WORK = """
import gc, threading
from otlpfast.profiling import start_heap
def work(kept):
    for number in range(20_000):
        kept.append([str(number), bytes(number), {number: None}])
        if number % 100 == 0: kept.clear()
def keep(): return bytearray(8 << 20)
before = [[number] * 10 for number in range(10_000)]
for sample_bytes in (1, 4096, 1 << 19):
    recording = start_heap(sample_bytes)
    threads = [threading.Thread(target=work, args=([],)) for _ in range(4)]
    for thread in threads: thread.start()
    kept = keep()
    seen = recording.snapshot(gc=True)
    sizes = [s.values[3] for s in seen.samples if any(f.function == "keep" for f in s.stack)]
    assert 8 == sum(sizes) >> 20, sizes
    if sample_bytes == 4096:
        before.clear()
        del kept[1 << 20:]
    for thread in threads: thread.join()
    recording.stop()
"""


@pytest.mark.parametrize("allocator", ["pymalloc", "malloc", "malloc_debug", "pymalloc_debug", "debug"])
def test_it_works_on_each_of_pythons_allocators(allocator: str) -> None:
    assert ran(WORK + "print('done')", PYTHONMALLOC=allocator) == "done"


def test_it_works_where_tracemalloc_traces_from_the_start() -> None:
    assert ran(WORK + "print('done')", "-X", "tracemalloc=1") == "done"


@pytest.mark.parametrize("allocator", ["pymalloc", "debug"])
def test_a_process_may_end_while_it_is_on(allocator: str) -> None:
    code = """
import atexit, threading
atexit.register(lambda: print(recording.stop() is recording.stop()))
from otlpfast.profiling import start_heap
recording = start_heap(1)
class Late:
    def __del__(self): self.memory = [bytes(1_000_000) for _ in range(10)]
late = Late()
late.itself = late
def allocate():
    while True: [[0] * 100 for _ in range(100)]
threading.Thread(target=allocate, daemon=True).start()
import json
"""
    assert ran(code, PYTHONMALLOC=allocator) == "True"


@pytest.mark.skipif(sys.version_info < (3, 12), reason="interpreters have a GIL of their own since 3.12")
def test_interpreters_with_a_gil_of_their_own_are_passed_through() -> None:
    code = """
import sys, threading
from otlpfast.profiling import start_heap
if sys.version_info >= (3, 13):
    import _interpreters as interpreters
    create = lambda: interpreters.create("isolated")
    run = interpreters.exec
else:
    import _xxsubinterpreters as interpreters
    create = interpreters.create
    run = interpreters.run_string
work = '''
for number in range(20_000):
    kept = [bytes(number), [number] * 10, {number: None}, str(number)]
'''
def keep(): return bytes(8 << 20)
others = [create() for _ in range(4)]
threads = [threading.Thread(target=run, args=(other, work)) for other in others]
with start_heap(256) as recording:
    for thread in threads: thread.start()
    for _ in range(200):
        here = [[number] * 10 for number in range(1_000)]
        recording.snapshot()
    kept = keep()
    for thread in threads: thread.join()
    seen = recording.snapshot()
    for other in others: interpreters.destroy(other)
frames = {frame.function for sample in seen.samples for frame in sample.stack}
assert any(s.values[3] >> 20 == 8 for s in seen.samples if s.stack[0].function == "keep")
print("done")
"""
    assert ran(code) == "done"


def test_a_full_table_of_stacks_and_a_second_sampler() -> None:
    assert sampler is not None
    one, other = sampler.HeapSampler(1, 1), sampler.HeapSampler()
    one.start()
    try:
        with pytest.raises(RuntimeError, match="a HeapSampler is on"):
            other.start()
        other.stop()  # and not the one
        kept = [keep(100), bytes(100)]
        rows = {number: values for number, *values in one.rows()}
        assert set(rows) == {0, 1}
        assert one.frames(0) == ()
        assert kept
    finally:
        one.stop()
    assert one.lost == 0
    assert one.rows() == one.rows()

"""Children of multiprocessing, which run no atexit: what ends in them arrives, and they don't hang.

Here multiprocessing is imported after the processor was made, unless a test says otherwise.
"""

from __future__ import annotations

import gc
import io
import logging
import os
import signal
import sys
import threading
import weakref
from collections import Counter
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any

import pytest
from opentelemetry.sdk import trace as sdk

import otlpfast
from otlpfast import BatchSpanProcessor, OTLPSpanExporter, TracerProvider, _life

from .collector import Collector, Reply
from .exporting import collector_fixture  # noqa: F401
from .pipeline import NEVER_MILLIS, Encoded, account, end_spans, names, run
from .traced import native

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")

PATIENCE = 60  # seconds until a child that hangs is ended by its alarm
KINDS: dict[str, Any] = {"otlpfast": TracerProvider, "sdk": sdk.TracerProvider}
_kept: list[Any] = []


def make(endpoint: str, kind: str) -> BatchSpanProcessor:
    """A provider that does nothing at exit, its tracer and its processor."""
    processor = BatchSpanProcessor(OTLPSpanExporter(endpoint), schedule_delay_millis=NEVER_MILLIS)
    made = native(processor, kind=KINDS[kind])
    _kept[:] = made, made.get_tracer("tests"), processor
    return processor


def spans(count: int, name: str) -> None:
    signal.alarm(PATIENCE)
    end_spans(_kept[1], count, name)


def check(collector: Collector, finished: Any, **expected: int) -> None:
    """Each span of parent and children arrived once; Python's warnings about forks are not the subject."""
    lines = [line for line in finished.stderr.splitlines() if "fork" not in line and "self.pid =" not in line]
    assert (finished.returncode, lines) == (0, [])
    wanted = Counter(f"{who} {n}" for who, count in expected.items() for n in range(count))
    assert Counter(names(collector.spans)) == wanted


# --- the ways of a child to end


def returns() -> None:
    spans(3, "child")


def fails() -> None:
    spans(3, "child")
    sys.stderr = io.StringIO()  # not for the traceback
    raise RuntimeError("the application's own")


def exits() -> None:
    spans(3, "child")
    sys.exit(7)


def leaves_threads() -> None:
    """Threads that end spans after the main thread's last line."""
    over, pool = threading.Event(), ThreadPoolExecutor(1)

    def late() -> None:
        over.wait(PATIENCE)
        spans(1, "late")

    def later() -> None:
        thread = threading.Thread(target=spans, args=(1, "later"))
        late()
        thread.start()

    pool.submit(later)
    threading.Timer(0.2, over.set).start()
    spans(3, "child")


def has_a_child() -> None:
    import multiprocessing

    spans(3, "child")
    process = multiprocessing.get_context("fork").Process(target=spans, args=(2, "grandchild"))
    process.start()
    process.join()
    assert process.exitcode == 0


WAYS: dict[str, tuple[Any, int, dict[str, int]]] = {
    "returns": (returns, 0, {}),
    "fails": (fails, 1, {}),
    "exits": (exits, 7, {}),
    "leaves threads": (leaves_threads, 0, {"late": 1, "later": 1}),
    "has a child": (has_a_child, 0, {"grandchild": 2}),
}


def processes(endpoint: str, kind: str, way: str) -> list[Any]:
    processor = make(endpoint, kind)
    spans(2, "parent")

    import multiprocessing

    process = multiprocessing.get_context("fork").Process(target=WAYS[way][0])
    process.start()
    process.join()
    return [process.exitcode, processor.force_flush(), processor.stats()]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("way", WAYS)
def test_a_process_that(collector: Collector, kind: str, way: str) -> None:
    finished = run(processes, collector.endpoint, kind, way)
    assert finished.value == [WAYS[way][1], True, account(2, exported=2)]
    check(collector, finished, parent=2, child=3, **WAYS[way][2])


# --- pools


def numbered(number: int) -> int:
    spans(1, f"task {number}")
    return number


def closes_a_pool(endpoint: str, kind: str) -> list[int]:
    make(endpoint, kind)

    import multiprocessing

    with multiprocessing.get_context("fork").Pool(2, maxtasksperchild=2) as pool:
        found = pool.map(numbered, range(10), chunksize=1)
        pool.close()
        pool.join()
    return found


def runs_an_executor(endpoint: str, kind: str) -> list[int]:
    make(endpoint, kind)

    import multiprocessing

    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("fork")) as pool:
        return list(pool.map(numbered, range(10)))


def leaves_a_pool(endpoint: str, kind: str) -> list[int]:
    """The end of the with block terminates the workers."""
    make(endpoint, kind)

    import multiprocessing

    with multiprocessing.get_context("fork").Pool(2) as pool:
        return pool.map(numbered, range(10), chunksize=1)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("pool", [closes_a_pool, runs_an_executor])
def test_a_pool_of_forked_workers(collector: Collector, kind: str, pool: Any) -> None:
    finished = run(pool, collector.endpoint, kind)
    assert finished.value == list(range(10))
    check(collector, finished, **{f"task {number}": 1 for number in range(10)})


def test_workers_that_are_terminated_flush_where_that_was_asked_for(collector: Collector) -> None:
    finished = run(leaves_a_pool, collector.endpoint, "otlpfast", OTLPFAST_FLUSH_ON_SIGTERM="true")
    check(collector, finished, **{f"task {number}": 1 for number in range(10)})


# --- children that make their own


def begins(endpoint: str, kind: str) -> None:
    if not _kept:
        make(endpoint, kind)


def work(endpoint: str, kind: str) -> None:
    begins(endpoint, kind)
    spans(3, "child")


def starts(endpoint: str, kind: str, method: str) -> list[Any]:
    import multiprocessing

    context: Any = multiprocessing.get_context(method)
    process = context.Process(target=work, args=(endpoint, kind))
    process.start()
    process.join()
    with context.Pool(1, begins, (endpoint, kind)) as pool:
        found = pool.map(numbered, range(2), chunksize=1)
        pool.close()
        pool.join()
    return [process.exitcode, found]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_child_that_makes_its_own_pipeline(collector: Collector, kind: str, method: str) -> None:
    finished = run(starts, collector.endpoint, kind, method)
    assert finished.value == [0, [0, 1]]
    check(collector, finished, **{"child": 3, "task 0": 1, "task 1": 1})


# --- what it must not do


def waits_for_nobody(endpoint: str) -> int | None:
    """Its collector hangs; the child has less than its usual patience, and tells of it."""
    _life.END_MILLIS = 300
    logging.basicConfig(format="%(message)s")
    make(endpoint, "otlpfast")

    import multiprocessing

    process = multiprocessing.get_context("fork").Process(target=returns)
    process.start()
    process.join()
    return process.exitcode


def test_a_child_whose_collector_hangs_ends_all_the_same(collector: Collector) -> None:
    collector.script(then=Reply(delay=float("inf")))
    finished = run(waits_for_nobody, collector.endpoint)
    assert (finished.returncode, finished.value) == (0, 0)
    assert "ends with spans that were not exported within 300 ms" in finished.stderr


def flushes_in_order() -> list[str]:
    """The last of all finalizers, so that spans that end in others are not late."""
    import multiprocessing
    from multiprocessing.util import Finalize

    receiver, sender = multiprocessing.get_context("fork").Pipe(duplex=False)
    processor = BatchSpanProcessor(Encoded(), schedule_delay_millis=NEVER_MILLIS)
    _kept.append(processor)

    def child() -> None:
        processor.force_flush = lambda *_: sender.send("flush") or True  # type: ignore[method-assign]
        Finalize(None, sender.send, ("early",), exitpriority=10)
        Finalize(None, sender.send, ("late",), exitpriority=-100)

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join()
    return [receiver.recv() for _ in range(3)]


def test_the_flush_comes_after_other_finalizers() -> None:
    assert run(flushes_in_order).value == ["early", "late", "flush"]


def test_otlpfast_imports_no_multiprocessing() -> None:
    code = "import sys, otlpfast; sys.exit(any(name.startswith('multiprocessing') for name in sys.modules))"
    assert os.spawnv(os.P_WAIT, sys.executable, [sys.executable, "-c", code]) == 0


def test_a_processor_that_is_gone_is_not_kept() -> None:
    processor = otlpfast.BatchSpanProcessor(Encoded())
    gone = weakref.ref(processor)
    gc.collect()  # those of other tests
    before = len(_life._watched)
    processor.shutdown()
    del processor
    gc.collect()
    assert gone() is None
    assert len(_life._watched) == before - 1

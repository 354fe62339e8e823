"""Fork: a child sends its own spans and none of its parent's, however it came to be, and never hangs."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import sys
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from otlpfast import BatchSpanProcessor, OTLPSpanExporter, SimpleSpanProcessor

from .collector import Collector
from .exporting import collector_fixture  # noqa: F401
from .forks import die_in
from .pipeline import NEVER_MILLIS, Finished, account, end_spans, names, run
from .spans import provider

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")

PATIENCE = 30  # seconds until a child that hangs is ended by its alarm


def pipeline(endpoint: str, **settings: Any) -> tuple[Any, BatchSpanProcessor]:
    processor = BatchSpanProcessor(OTLPSpanExporter(endpoint), schedule_delay_millis=NEVER_MILLIS, **settings)
    return provider(processor).get_tracer("tests"), processor


def forked(work: Callable[[], bool], fork: Callable[[], int] = os.fork) -> int:
    """Forks a child that ends with 0 if its work came to True; its id."""
    child = fork()
    if child:
        return child
    die_in(PATIENCE)
    code = 1
    try:
        code = 0 if work() else 2
    finally:
        sys.stderr.flush()
        os._exit(code)


def ended_well(child: int) -> bool:
    return os.waitpid(child, 0)[1] == 0


def quiet(finished: Finished, expected: str = "fork") -> Any:
    """What it returned; Python's warning that forking with threads is dangerous is what this is about."""
    lines = [line for line in finished.stderr.splitlines() if "fork" not in line and expected not in line]
    assert (finished.returncode, lines) == (0, [])
    return finished.value


# --- children


def parent_child_and_grandchild(endpoint: str) -> dict[str, Any]:
    tracer, processor = pipeline(endpoint)
    end_spans(tracer, 5, "parent before")

    def grandchild() -> bool:
        end_spans(tracer, 2, "grandchild")
        return processor.force_flush() and processor.stats() == account(2, exported=2)

    def child() -> bool:
        empty = processor.stats() == account(0)
        end_spans(tracer, 3, "child")
        good = ended_well(forked(grandchild))
        good = good and processor.force_flush() and processor.stats() == account(3, exported=3)
        processor.shutdown()
        return good and empty

    good = ended_well(forked(child))
    end_spans(tracer, 4, "parent after")
    flushed = processor.force_flush()
    return {"good": good, "flushed": flushed, "stats": processor.stats()}


def test_children_send_their_own_and_parents_theirs(collector: Collector) -> None:
    value = quiet(run(parent_child_and_grandchild, collector.endpoint))
    assert value == {"good": True, "flushed": True, "stats": account(9, exported=9)}
    expected = [("parent before", 5), ("parent after", 4), ("child", 3), ("grandchild", 2)]
    assert Counter(names(collector.spans)) == Counter(f"{who} {i}" for who, n in expected for i in range(n))


def parent_that_is_exporting(endpoint: str) -> dict[str, Any]:
    """The worker, its thread and its connection are in use when the fork comes."""
    tracer, processor = pipeline(endpoint, max_export_batch_size=5)
    end_spans(tracer, 1, "warm up")
    processor.force_flush()
    children = []
    for number in range(10):
        end_spans(tracer, 6, f"parent {number}")

        def child(number: int = number) -> bool:
            end_spans(tracer, 6, f"child {number}")
            return processor.force_flush()

        children.append(forked(child))
    good = [ended_well(child) for child in children]
    return {"good": good, "flushed": processor.force_flush(), "stats": processor.stats()}


def test_a_fork_in_the_middle_of_an_export(collector: Collector) -> None:
    value = quiet(run(parent_that_is_exporting, collector.endpoint))
    assert value == {"good": [True] * 10, "flushed": True, "stats": account(61, exported=61)}
    expected = [f"{who} {n} {i}" for who in ("parent", "child") for n in range(10) for i in range(6)]
    assert Counter(names(collector.spans)) == Counter(["warm up 0", *expected])


def a_child_that_only_shuts_down(endpoint: str) -> bool:
    tracer, processor = pipeline(endpoint)
    end_spans(tracer, 5, "parent")

    def child() -> bool:
        processor.shutdown()
        end_spans(tracer, 1, "child")
        return processor.stats() == account(1, shutdown=1)

    return ended_well(forked(child)) and processor.force_flush()


def test_a_shutdown_in_the_child_leaves_the_parent_alone(collector: Collector) -> None:
    assert quiet(run(a_child_that_only_shuts_down, collector.endpoint), "after shutdown") is True
    assert names(collector.spans) == [f"parent {n}" for n in range(5)]


def simple_parent_and_child(endpoint: str) -> bool:
    processor = SimpleSpanProcessor(OTLPSpanExporter(endpoint))
    tracer = provider(processor).get_tracer("tests")
    end_spans(tracer, 2, "parent")

    def child() -> bool:
        empty = processor.stats() == account(0)
        end_spans(tracer, 3, "child")
        return empty and processor.stats() == account(3, exported=3)

    good = ended_well(forked(child))
    end_spans(tracer, 1, "parent after")
    processor.shutdown()  # which nobody else does: its provider leaves that to the test
    return good and processor.stats() == account(3, exported=3)


def test_a_simple_processor_in_a_child(collector: Collector) -> None:
    assert quiet(run(simple_parent_and_child, collector.endpoint)) is True
    assert len(collector.spans) == 6


def work_of_a_process(endpoint: str, name: str) -> None:
    die_in(PATIENCE)
    end_spans(_inherited[0], 4, name)
    if not _inherited[1].force_flush():
        sys.exit(3)


_inherited: list[Any] = []


def parent_of_multiprocessing(endpoint: str) -> list[int | None]:
    _inherited[:] = pipeline(endpoint)
    end_spans(_inherited[0], 3, "parent")
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=work_of_a_process, args=(endpoint, f"worker {n}")) for n in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    _inherited[1].shutdown()
    return [worker.exitcode for worker in workers]


def test_multiprocessing_by_fork(collector: Collector) -> None:
    assert quiet(run(parent_of_multiprocessing, collector.endpoint)) == [0, 0, 0, 0]
    expected = [f"parent {i}" for i in range(3)] + [f"worker {n} {i}" for n in range(4) for i in range(4)]
    assert Counter(names(collector.spans)) == Counter(expected)


def parent_of_an_unseen_child(endpoint: str) -> bool:
    """Forks as uWSGI does, in C: no hook of Python's runs. PyDLL keeps the GIL, which the child needs."""
    tracer, processor = pipeline(endpoint)
    end_spans(tracer, 1, "warm up")
    processor.force_flush()
    end_spans(tracer, 5, "parent")

    def grandchild() -> bool:
        end_spans(tracer, 2, "grandchild")
        return processor.force_flush()

    def child() -> bool:
        empty = processor.stats() == account(0)
        end_spans(tracer, 3, "child")
        return empty and ended_well(forked(grandchild, libc.fork)) and processor.force_flush()

    libc = ctypes.PyDLL(None)
    return ended_well(forked(child, libc.fork)) and processor.force_flush()


def test_a_fork_that_python_does_not_see(collector: Collector) -> None:
    assert quiet(run(parent_of_an_unseen_child, collector.endpoint)) is True
    expected = [("warm up", 1), ("parent", 5), ("child", 3), ("grandchild", 2)]
    assert Counter(names(collector.spans)) == Counter(f"{who} {i}" for who, n in expected for i in range(n))


# --- forks in the thick of it


def sixty_children_of_busy_threads(endpoint: str, late: bool) -> dict[str, Any]:
    tracer, processor = pipeline(endpoint, max_queue_size=1_000_000, max_export_batch_size=50)
    if late:
        tracer.span_processor.add_span_processor(Onlooker())
    stop = threading.Event()

    def busy(number: int) -> None:
        turn = 0
        while not stop.is_set():
            end_spans(tracer, 5, f"thread {number}.{turn}")
            turn += 1
            if turn % 20 == number:
                processor.force_flush()

    threads = [threading.Thread(target=busy, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    good = 0
    for number in range(60):

        def child(number: int = number) -> bool:
            end_spans(tracer, 2, f"child {number}")
            return processor.force_flush() and processor.stats() == account(2, exported=2)

        good += ended_well(forked(child))
    stop.set()
    for thread in threads:
        thread.join()
    return {"good": good, "flushed": processor.force_flush(), "stats": processor.stats()}


class Onlooker:
    """Changes nothing, but who is to know?"""

    def on_start(self, *_: Any, **__: Any) -> None: ...

    _on_ending = on_end = on_start


@pytest.mark.parametrize("late", [False, True])
def test_sixty_children_of_busy_threads(collector: Collector, late: bool) -> None:
    value = quiet(run(sixty_children_of_busy_threads, collector.endpoint, late, patience=100))
    assert value["good"] == 60
    assert value["flushed"] is True
    ended = value["stats"]["ended"]
    assert value["stats"] == account(ended, exported=ended)
    received = Counter(names(collector.spans))
    children = {name: count for name, count in received.items() if name.startswith("child")}
    assert children == {f"child {number} {i}": 1 for number in range(60) for i in range(2)}
    assert set(received.values()) == {1}
    assert len(received) == ended + 120

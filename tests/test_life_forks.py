"""Forks under load, in signal handlers and of daemons: nothing hangs, and each span arrives once."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from otlpfast import BatchSpanProcessor, OTLPSpanExporter
from otlpfast.export.grpc_channel import _Line

from .collector import Collector
from .exporting import collector_fixture  # noqa: F401
from .forks import die_in
from .grpc_collector import GRPCCollector
from .pipeline import NEVER_MILLIS, Finished, account, end_spans, names, run, spans_of
from .traced import native

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")

PATIENCE = 60  # seconds until a child that hangs is ended by its alarm
LONG_MILLIS = 120_000  # no flush of these tests waits for so long, unless for itself
_kept: list[Any] = []


def pipeline(endpoint: str, **settings: Any) -> tuple[Any, BatchSpanProcessor]:
    exporter = OTLPSpanExporter(endpoint, protocol=settings.pop("protocol", "http/protobuf"))
    processor = BatchSpanProcessor(exporter, schedule_delay_millis=NEVER_MILLIS, **settings)
    _kept.append(native(processor))
    return _kept[-1].get_tracer("tests"), processor


def forked(work: Callable[[], bool]) -> int:
    """Forks a child that ends with 0 if its work came to True; its id."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        die_in(PATIENCE)
        code = 0 if work() else 2
    finally:
        sys.stderr.flush()
        os._exit(code)


def quiet(finished: Finished) -> Any:
    """What it returned; Python's warning that forking with threads is dangerous is what this is about."""
    lines = [line for line in finished.stderr.splitlines() if "fork" not in line]
    assert (finished.returncode, lines) == (0, [])
    return finished.value


# --- under load


def storm(endpoint: str, protocol: str, forks: int) -> dict[str, Any]:
    tracer, processor = pipeline(
        endpoint, protocol=protocol, max_queue_size=1_000_000, max_export_batch_size=100
    )
    stop = threading.Event()

    def busy(number: int) -> None:
        turn = 0
        while not stop.wait(0.001):
            with tracer.start_as_current_span(f"thread {number} {turn}", attributes={"a": [1]}) as span:
                span.add_event("event")
            turn += 1
            if turn % 25 == number:
                processor.force_flush()

    threads = [threading.Thread(target=busy, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    depth = [0]

    def flush(*_: Any) -> None:
        depth[0] += 1  # handlers interrupt handlers
        if depth[0] < 4:
            processor.force_flush()
        depth[0] -= 1

    signal.signal(signal.SIGALRM, flush)
    signal.setitimer(signal.ITIMER_REAL, 0.005, 0.005)
    children, codes = [], []
    for number in range(forks):

        def child(number: int = number) -> bool:
            end_spans(tracer, 2, f"child {number}")
            return processor.force_flush() and processor.stats() == account(2, exported=2)

        children.append(forked(child))
        if len(children) == 4:
            codes.append(os.waitpid(children.pop(0), 0)[1])
    codes += [os.waitpid(child, 0)[1] for child in children]
    signal.setitimer(signal.ITIMER_REAL, 0)
    stop.set()
    for thread in threads:
        thread.join()
    return {"codes": codes, "flushed": processor.force_flush(), "stats": processor.stats()}


def check_storm(spans: list[Any], value: dict[str, Any], forks: int) -> Counter[str]:
    """All spans of parent and children arrived; how often each did."""
    assert value["codes"] == [0] * forks
    ended = value["stats"]["ended"]
    assert (value["flushed"], value["stats"]) == (True, account(ended, exported=ended))
    received = Counter(names(spans))
    children = {f"child {number} {i}" for number in range(forks) for i in range(2)}
    assert children <= received.keys()
    assert len(received) == ended + len(children)
    return received


def test_two_hundred_forks_during_exports_over_http(collector: Collector) -> None:
    value = quiet(run(storm, collector.endpoint, "http/protobuf", 200, patience=200))
    assert set(check_storm(collector.spans, value, 200).values()) == {1}


def test_forks_during_exports_over_grpc() -> None:
    with GRPCCollector() as collector:
        value = quiet(run(storm, collector.endpoint, "grpc", 40, patience=200))
        # What was called off for a fork is sent again.
        check_storm([span for request in collector.requests for span in spans_of(request.body)], value, 40)


# --- in a signal handler


def forks_in_a_handler(endpoint: str) -> dict[str, Any]:
    """The handler comes wherever the main thread is: in a span, a flush, or an export that it waits for."""
    tracer, processor = pipeline(endpoint, max_queue_size=1_000_000, max_export_batch_size=20)
    codes: list[int] = []
    forking = [False]

    def handler(*_: Any) -> None:
        # The timer may have been set again while a signal waited. A fork that interrupts a fork waits for the
        # locks of the standard library's own hooks, whatever else is loaded.
        if forking[0]:
            return
        forking[0] = True
        number = len(codes)

        def child() -> bool:
            end_spans(tracer, 2, f"child {number}")
            return processor.force_flush() and processor.stats() == account(2, exported=2)

        codes.append(os.waitpid(forked(child), 0)[1])
        forking[0] = False

    signal.signal(signal.SIGALRM, handler)
    turn = 0
    while len(codes) < 30:
        if not signal.getitimer(signal.ITIMER_REAL)[0]:
            signal.setitimer(signal.ITIMER_REAL, 0.002)
        with tracer.start_as_current_span(f"turn {turn}", attributes={"a": [1, 2]}) as span:
            span.add_event("event", {"a": 1})
        turn += 1
        if turn % 10 == 0:
            processor.force_flush()
    signal.setitimer(signal.ITIMER_REAL, 0)
    return {"codes": codes, "flushed": processor.force_flush(), "stats": processor.stats()}


def test_forks_in_a_signal_handler(collector: Collector) -> None:
    value = quiet(run(forks_in_a_handler, collector.endpoint))
    codes = value["codes"]
    assert set(check_storm(collector.spans, value, len(codes)).values()) == {1}


def flushes_on_its_way_out_of_a_fork(endpoint: str) -> dict[str, Any]:
    """The signal comes where it hurts: the thread has what the export thread needs."""
    tracer, processor = pipeline(endpoint, protocol="grpc")
    end_spans(tracer, 1, "warm up")
    flushed = [processor.force_flush()]
    signal.signal(signal.SIGUSR1, lambda *_: flushed.append(processor.force_flush(LONG_MILLIS)))
    after_fork = _Line.after_fork

    def interrupted(self: _Line) -> None:
        with self._changed:
            signal.raise_signal(signal.SIGUSR1)
            after_fork(self)

    _Line.after_fork = interrupted  # type: ignore[method-assign]
    end_spans(tracer, 1, "parent")
    start = time.monotonic()
    codes = [os.waitpid(forked(lambda: True), 0)[1]]
    in_time = time.monotonic() - start < LONG_MILLIS / 2e3
    flushed.append(processor.force_flush())
    return {"codes": codes, "flushed": flushed, "in time": in_time, "stats": processor.stats()}


def test_a_handler_on_the_way_out_of_a_fork_does_not_wait_for_its_own_thread() -> None:
    with GRPCCollector() as collector:
        value = quiet(run(flushes_on_its_way_out_of_a_fork, collector.endpoint, patience=200))
        assert value == {
            "codes": [0],
            "flushed": [True, False, True],
            "in time": True,
            "stats": account(2, exported=2),
        }
        assert names(collector.accepted) == ["warm up 0", "parent 0"]


# --- other ways to another process


def starts_programs(endpoint: str) -> list[Any]:
    tracer, processor = pipeline(endpoint)
    end_spans(tracer, 3)
    command = [sys.executable, "-c", "print('done')"]
    codes: list[Any] = [os.waitpid(os.posix_spawn(sys.executable, command, os.environ), 0)[1]]
    codes.append(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    codes.append(subprocess.run(command, check=True, preexec_fn=os.getpid, stdout=subprocess.PIPE).returncode)
    return [*codes, processor.force_flush(), processor.stats()]


def test_programs_that_are_started_leave_the_parent_alone(collector: Collector) -> None:
    finished = run(starts_programs, collector.endpoint)
    assert finished.value == [0, "done\n", 0, True, account(3, exported=3)]
    assert names(collector.spans) == [f"span {n}" for n in range(3)]


def becomes_a_daemon(endpoint: str, closes: bool) -> None:
    """As daemons are made: fork, setsid, fork, close what is open. The parents send nothing."""
    tracer, processor = pipeline(endpoint)
    end_spans(tracer, 1, "warm up")
    processor.force_flush()
    end_spans(tracer, 3, "lost with the parent, which does not flush")
    if os.fork():
        os._exit(0)
    os.setsid()
    if os.fork():
        os._exit(0)
    die_in(PATIENCE)
    if closes:
        os.closerange(0, 256)
        for _ in range(3):
            os.open(os.devnull, os.O_RDWR)
    end_spans(tracer, 4, "daemon")
    processor.force_flush()
    with contextlib.suppress(OSError):
        # In place of descriptors that were closed, something else may be open by now.
        os.write(1, b"null\n")
    os._exit(0)


@pytest.mark.parametrize("closes", [False, True])
def test_a_daemon(collector: Collector, closes: bool) -> None:
    assert run(becomes_a_daemon, collector.endpoint, closes).returncode == 0
    spans = collector.wait_for_spans(5)
    assert Counter(names(spans)) == Counter(["warm up 0", *(f"daemon {n}" for n in range(4))])

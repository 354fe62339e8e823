"""Forks under load, in signal handlers and of daemons: nothing hangs, and each span arrives once."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from otlpfast import BatchSpanProcessor, OTLPSpanExporter

from .collector import Collector
from .exporting import collector_fixture  # noqa: F401
from .grpc_collector import GRPCCollector
from .pipeline import NEVER_MILLIS, Finished, account, end_spans, names, run
from .traced import native

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")

PATIENCE = 60  # seconds until a child that hangs is ended by its alarm
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
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(PATIENCE)
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


def check_storm(spans: list[Any], value: dict[str, Any], forks: int) -> None:
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
        check_storm(collector.spans, value, 40)

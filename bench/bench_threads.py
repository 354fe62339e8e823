"""Spans from 1 to 8 real threads at once, which share a GIL, a queue and its counters."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from .conftest import Measure
from .spans import some_attributes, traced

SPANS = 16_000
ROOM = {"max_queue_size": SPANS, "schedule_delay_millis": 3_600_000, "max_export_batch_size": SPANS}


@pytest.mark.benchmark(timer=time.process_time)  # all threads
@pytest.mark.parametrize("threads", [1, 2, 4, 8])
@pytest.mark.parametrize("attributes", [1, 50])
@pytest.mark.parametrize("side", ["SDK", "otlpfast"])
def test_gil_contention_batch_processor(measure: Measure, side: str, attributes: int, threads: int) -> None:
    of = traced(side, room=ROOM)
    given = some_attributes(attributes)
    count = SPANS // attributes // 8 * 8

    def spans() -> None:
        tracer = of.tracer
        for _ in range(count // threads):
            with tracer.start_as_current_span("span", attributes=given):
                pass

    def work() -> None:
        started = [threading.Thread(target=spans) for _ in range(threads)]
        for thread in started:
            thread.start()
        for thread in started:
            thread.join()

    plural = "s" * (attributes > 1), "s" * (threads > 1)
    operation = f"with, {attributes} attribute{plural[0]}, {threads} thread{plural[1]}"
    nothing: Any = ((), {})
    measure(operation, side, work, count, setup=lambda: nothing, teardown=of.drain, rounds=5)

"""One measurement of bench.latency, in a process of its own: prints what it found as a line of JSON."""

from __future__ import annotations

import argparse
import gc
import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from otlpfast.cli.load.histogram import Histogram
from otlpfast.cli.load.pacing import Paced, operation

from . import worker
from .spans import LARGE, NullExporter, traced

QUEUED = 100_000
_SIDES = {"sdk": "SDK", "native": "otlpfast"}


def _traced(pipeline: str, endpoint: str) -> tuple[Any, Callable[[], None]]:
    """A tracer, and what ends its pipeline. Without an endpoint, spans are exported to nowhere."""
    if endpoint:
        return worker.PIPELINES[pipeline](endpoint, "none")
    of = traced(_SIDES[pipeline], NullExporter(), {})
    return of.tracer, of.processor.shutdown


def spans(arguments: argparse.Namespace) -> dict[str, Any]:
    """How long a span takes in threads that do nothing else."""
    tracer, shutdown = _traced(arguments.pipeline, arguments.endpoint)
    paced = Paced(operation(tracer, 10, 1), 0, arguments.threads, arguments.seconds)
    paced.start()
    while paced.running:
        time.sleep(0.05)
    latency = paced.stop()
    shutdown()
    return {**latency.figures(), "sent": latency.count, "seconds": arguments.seconds}


def lateness(arguments: argparse.Namespace) -> dict[str, Any]:
    """How much later than wanted a thread that sleeps 1 ms wakes up, beside another that makes spans."""
    if arguments.pipeline == "nothing":
        tracer, shutdown = worker.nothing("", "")
    else:
        tracer, shutdown = _traced(arguments.pipeline, arguments.endpoint)
    work: Callable[[], None] = operation(tracer, 10, 1) if tracer else lambda: None
    paced = Paced(work, arguments.rate, 1, arguments.seconds)
    late = Histogram()

    def sleeper() -> None:
        clock, sleep = time.perf_counter_ns, time.sleep
        while paced.running:
            before = clock()
            sleep(0.001)
            late.record(max(clock() - before - 1_000_000, 0))

    paced.start()
    thread = threading.Thread(target=sleeper)
    thread.start()
    thread.join()
    sent = paced.stop().count
    shutdown()
    return {**late.figures(), "sent": sent if tracer else 0}


def _nothing() -> None:
    pass


def collections(arguments: argparse.Namespace) -> dict[str, Any]:
    """How long a full garbage collection takes with so many ended spans in the queue."""
    work = drain = _nothing
    if arguments.pipeline != "nothing":
        room = 2 * arguments.queued
        sizes = {"max_queue_size": room, "max_export_batch_size": room}
        of = traced(_SIDES[arguments.pipeline], NullExporter(), {**LARGE, **sizes})
        work, drain = operation(of.tracer, 10, 0), of.drain
    work()  # what the first span imports is not a span's
    gc.collect()
    before = _resident()
    for _ in range(arguments.queued):
        work()
    gc.collect()
    pauses = []
    for _ in range(5):
        begun = time.perf_counter()
        gc.collect()
        pauses.append((time.perf_counter() - begun) * 1e3)
    found = {
        "milliseconds": sorted(pauses)[2],
        "objects": len(gc.get_objects()),
        "grown": _resident() - before,
    }
    drain()
    return found


def _resident() -> int:
    """Bytes of this process in memory; 0 where the system doesn't say."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


MEASUREMENTS = {measured.__name__: measured for measured in (spans, lateness, collections)}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--measure", required=True, choices=MEASUREMENTS)
    parser.add_argument("--pipeline", required=True)
    parser.add_argument("--endpoint", default="")
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rate", type=float, default=0.0)
    parser.add_argument("--queued", type=int, default=QUEUED)
    arguments = parser.parse_args()
    print(json.dumps(MEASUREMENTS[arguments.measure](arguments)))


if __name__ == "__main__":
    main()

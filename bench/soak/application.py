"""The soak's application: makes spans at a steady rate, and measures how long each takes it.

Reads a line for each thing to do: a name from now on to be measured under, or "finish". Says once a second
how it is, as a line of JSON, and at the end what it measured.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace.sampling import ALWAYS_ON

from bench.soak.latency import Latencies
from otlpfast import BatchSpanProcessor, OTLPSpanExporter, TracerProvider

_PAUSE = 0.005  # seconds between two bursts of spans: a loop that never sleeps would measure itself
_DRAIN = 120.0  # seconds that the rest may take to be delivered


def resident() -> int:
    """The bytes of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Application:
    def __init__(self, endpoint: str, rate: float, settings: dict[str, Any]) -> None:
        self._rate = rate
        self._processor = BatchSpanProcessor(OTLPSpanExporter(endpoint), **settings)
        provider = TracerProvider(
            sampler=ALWAYS_ON, resource=Resource({"service.name": "soak"}), shutdown_on_exit=False
        )
        provider.add_span_processor(self._processor)
        self._tracer = provider.get_tracer("soak")
        self._measured: dict[str, dict[str, Latencies]] = {}
        self._begun = time.monotonic()
        self.phase = ""

    def run(self) -> None:
        made, begun, next_word = 0, self._begun, 0.0
        phase = ""
        spans = late = Latencies()
        while self.phase != "finish":
            if phase != self.phase:
                phase = self.phase
                kept = self._measured.setdefault(phase, {"span": Latencies(), "wake": Latencies()})
                spans, late = kept["span"], kept["wake"]
            # What is due by the clock, so that a pause is made up for and not left out.
            due = int((time.monotonic() - begun) * self._rate)
            self._burst(made, due, spans)
            made = due
            now = time.monotonic()
            if now >= next_word:
                next_word = now + 1
                self._say(rss=resident(), stats=self._processor.stats())
            asleep = time.perf_counter_ns()
            time.sleep(_PAUSE)
            late.add(time.perf_counter_ns() - asleep - int(_PAUSE * 1e9))
        self._finish()

    def _burst(self, first: int, end: int, latencies: Latencies) -> None:
        start_span, clock, add = self._tracer.start_span, time.perf_counter_ns, latencies.add
        for number in range(first, end):
            begun = clock()
            span = start_span("operation")
            span.set_attribute("number", number)
            span.set_attribute("http.request.method", "GET")
            span.end()
            add(clock() - begun)

    def _finish(self) -> None:
        deadline = time.monotonic() + _DRAIN
        while time.monotonic() < deadline:
            self._processor.force_flush(1000)
            stats = self._processor.stats()
            if not (stats["queued"] or stats["spooled"]):
                break
            time.sleep(0.05)
        stats = self._processor.stats()
        self._processor.shutdown(5000)
        self._say(
            rss=resident(),
            stats=stats,
            cpu=time.process_time(),
            latencies={
                phase: {name: one.figures() for name, one in kept.items()}
                for phase, kept in self._measured.items()
            },
        )

    def _say(self, **what: Any) -> None:
        print(json.dumps({"seconds": time.monotonic() - self._begun, **what}), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--endpoint", required=True)
    parser.add_argument("--rate", type=float, required=True)
    parser.add_argument("--settings", type=json.loads, default={}, help="of the processor, as JSON")
    arguments = parser.parse_args()
    application = Application(arguments.endpoint, arguments.rate, arguments.settings)
    application.phase = sys.stdin.readline().strip() or "finish"

    def listen() -> None:
        for line in sys.stdin:
            application.phase = line.strip()
        application.phase = "finish"

    threading.Thread(target=listen, daemon=True).start()
    application.run()


if __name__ == "__main__":
    main()

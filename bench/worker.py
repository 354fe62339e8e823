"""One pipeline under one load, in a process of its own: prints what it measured as a line of JSON.

``bench.scenarios`` runs this file by its path, also with the Python of an environment where the rivals are
installed and otlpfast is not. Nothing is imported before it is wanted: what a pipeline does not use must not
be in its memory.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Work = Callable[[int], None]
Shutdown = Callable[[], None]

BURST = 500  # spans: less than fills a queue

# Ten attributes, keys and values of 20 characters. The values differ between spans, or gzip had it too easy.
_values = random.Random(16)
TEN = [
    [(f"attribute.{number:010}", f"{_values.getrandbits(80):020x}") for number in range(10)]
    for _ in range(97)
]


# --- pipelines: each gives what has start_as_current_span, and what exports the rest and ends it


def nothing(endpoint: str, compression: str) -> tuple[Any, Shutdown]:
    return None, lambda: None


def _sdk_provider(processor: Any, make: Any = None) -> tuple[Any, Shutdown]:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.sampling import ALWAYS_ON

    resource = Resource({"service.name": "bench", "service.version": "1.0"})
    provider = (make or TracerProvider)(sampler=ALWAYS_ON, resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(processor)
    return provider.get_tracer("bench", "1.0"), provider.shutdown


def sdk(endpoint: str, compression: str) -> tuple[Any, Shutdown]:
    from opentelemetry.exporter.otlp.proto.http import Compression
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    exporter = OTLPSpanExporter(endpoint=endpoint, compression=Compression(compression))
    return _sdk_provider(BatchSpanProcessor(exporter))


def processor(endpoint: str, compression: str) -> tuple[Any, Shutdown]:
    import otlpfast

    exporter = otlpfast.OTLPSpanExporter(endpoint=endpoint, compression=compression)
    return _sdk_provider(otlpfast.BatchSpanProcessor(exporter))


def native(endpoint: str, compression: str) -> tuple[Any, Shutdown]:
    import otlpfast

    exporter = otlpfast.OTLPSpanExporter(endpoint=endpoint, compression=compression)
    return _sdk_provider(otlpfast.BatchSpanProcessor(exporter), otlpfast.TracerProvider)


def fastotel(endpoint: str, compression: str) -> tuple[Any, Shutdown]:
    from fastotel import OTLPSpanProcessor  # type: ignore[import-not-found]

    return _sdk_provider(OTLPSpanProcessor(endpoint=endpoint, compression=compression))


_PYCPP = """\
file_format: "1.0"
resource: {{attributes: [{{name: service.name, value: bench}}]}}
tracer_provider:
  sampler: {{always_on: }}
  processors: [{{batch: {{exporter: {{otlp_http: {{endpoint: "{endpoint}"}}}}}}}}]
"""


def pycpp(endpoint: str, compression: str) -> tuple[Any, Shutdown]:
    import tempfile

    import honeycomb_pycpp  # type: ignore[import-not-found]
    from honeycomb.pycpp.distro.patch_api import patch  # type: ignore[import-not-found]

    patch()  # as its distro does
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "otel.yaml")
        file.write_text(_PYCPP.format(endpoint=endpoint))
        whole = honeycomb_pycpp.SDK(str(file))
    if whole.tracer_provider is None:
        raise SystemExit("honeycomb-pycpp did not take its configuration")
    return whole.tracer_provider.get_tracer("bench"), whole.shutdown


def ddtrace(endpoint: str, compression: str) -> tuple[Any, Shutdown]:
    from ddtrace.trace import tracer  # type: ignore[import-not-found]

    return tracer, tracer.shutdown


PIPELINES = {made.__name__: made for made in (nothing, sdk, processor, native, fastotel, pycpp, ddtrace)}


# --- what a span is


def cost_span(tracer: Any) -> Work:
    """The specification's: one integer attribute and one event."""

    def spans(count: int) -> None:
        for number in range(count):
            with tracer.start_as_current_span("span") as span:
                span.set_attribute("app.number", number)
                span.add_event("loaded")

    return spans


def dd_cost_span(tracer: Any) -> Work:
    def spans(count: int) -> None:
        for number in range(count):
            with tracer.trace("span") as span:
                span.set_tag("app.number", number)
                span._add_event("loaded")

    return spans


def ten_span(tracer: Any) -> Work:
    """The specification's for throughput: 10 attributes, keys and values of 20 characters."""

    supply = itertools.cycle(TEN)

    def spans(count: int) -> None:
        for attributes in itertools.islice(supply, count):
            with tracer.start_as_current_span("span") as span:
                for key, value in attributes:
                    span.set_attribute(key, value)

    return spans


def no_span(tracer: Any) -> Work:
    def spans(count: int) -> None:
        pass

    return spans


# --- loads


def cost(spans: Work, seconds: float, rate: float) -> dict[str, Any]:
    """CPU time of the thread that makes the spans, in bursts with pauses, in which the export happens."""
    costs: list[float] = []
    end = time.monotonic() + seconds
    while time.monotonic() < end or len(costs) < 3:
        before = time.thread_time()
        spans(BURST)
        costs.append((time.thread_time() - before) / BURST)
        time.sleep(0.1)
    # The middle one: the first is made with cold caches, some with a batch on its way.
    return {"sent": BURST * len(costs), "microseconds": sorted(costs)[len(costs) // 2] * 1e6}


def flat_out(spans: Work, seconds: float, rate: float) -> dict[str, Any]:
    """As many spans as the thread can make."""
    sent, begun = 0, time.monotonic()
    while (took := time.monotonic() - begun) < seconds:
        spans(100)
        sent += 100
    return {"sent": sent, "seconds": took}


def paced(spans: Work, seconds: float, rate: float) -> dict[str, Any]:
    """A steady rate, a hundredth of a second's spans at a time."""
    sent, begun = 0, time.monotonic()
    while (now := time.monotonic() - begun) < seconds:
        # Not all at once after this process had to wait: that would be another load.
        due = min(int(now * rate) - sent, BURST)
        spans(due)
        sent += due
        time.sleep(0.01)
    return {"sent": sent, "seconds": now}


LOADS = {load.__name__: load for load in (cost, flat_out, paced)}


def peak_bytes() -> int:
    """The most memory that this process has had resident."""
    try:
        # Not ru_maxrss where this exists: that one is inherited from the parent process.
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line.split()[1] for line in lines if line.startswith("VmHWM:"))) * 1024
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024


def encode(pipeline: str, seconds: float) -> dict[str, Any]:
    """Microseconds that encoding a span of 10 attributes takes, on batches of 512."""
    from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor

    spans: list[ReadableSpan] = []

    class Keep(SpanProcessor):
        def on_end(self, span: ReadableSpan) -> None:
            spans.append(span)

    tracer, _ = _sdk_provider(Keep())
    ten_span(tracer)(512)
    encoder: Callable[[], bytes]
    if pipeline == "otlp_proto":
        from otlp_proto import encode_spans  # type: ignore[import-not-found]

        def encoder() -> bytes:
            found: bytes = encode_spans(spans)
            return found

    elif pipeline == "native":
        from otlpfast import encode_spans as ours

        def encoder() -> bytes:
            return ours(spans)

    else:
        from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans as official

        def encoder() -> bytes:
            found: bytes = official(spans).SerializeToString()
            return found

    best, end = float("inf"), time.monotonic() + seconds
    while time.monotonic() < end or best == float("inf"):
        before = time.thread_time()
        encoder()
        best = min(best, time.thread_time() - before)
    return {"microseconds": best / 512 * 1e6, "bytes": len(encoder()) / 512}


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    tracer, shutdown = PIPELINES[arguments.pipeline](arguments.endpoint, arguments.compression)
    if tracer is None:
        spans = no_span(tracer)
    elif arguments.pipeline == "ddtrace":
        spans = dd_cost_span(tracer)
    else:
        spans = (cost_span if arguments.load == "cost" else ten_span)(tracer)
    spans(1)  # what the first one imports and starts
    cpu, begun = time.process_time(), time.monotonic()
    found = LOADS[arguments.load](spans, arguments.seconds, arguments.rate)
    # That of the load alone: what is left then is exported in the end, and is in the next figure.
    found["cores"] = (time.process_time() - cpu) / (time.monotonic() - begun)
    shutdown()
    found["cpu_seconds"] = time.process_time() - cpu
    found["sent"] += tracer is not None
    return {**found, "peak_bytes": peak_bytes()}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--pipeline", required=True)
    parser.add_argument("--load", required=True, choices=[*LOADS, "encode"])
    parser.add_argument("--endpoint", default="")
    parser.add_argument("--compression", default="none")
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--rate", type=float, default=0.0)
    arguments = parser.parse_args()
    encodes = arguments.load == "encode"
    print(json.dumps(encode(arguments.pipeline, arguments.seconds) if encodes else run(arguments)))


if __name__ == "__main__":
    main()

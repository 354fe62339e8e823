"""``python greenlets.py WHEN WHAT``: a process that gevent has patched.

WHEN is ``before`` or ``after`` otlpfast was imported, or ``late``: when its export thread was already there.
What goes out goes to a collector that is a greenlet of the same process: it answers only while others run.
"""

# ruff: noqa: E402  (what is imported before and after the patch is what this is about)
from __future__ import annotations

import sys

from gevent import monkey

when, what = sys.argv[1:]
if when == "before":
    monkey.patch_all()

import json
import os
import signal
import threading
from typing import Any

import gevent
from gevent.pywsgi import WSGIServer
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

import otlpfast

if when == "after":
    monkey.patch_all()

received: list[str] = []
ticks = [0]


def collector(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    body = environ["wsgi.input"].read()
    for _ in range(20):
        gevent.sleep(0.001)
        ticks[0] += 1
    request = ExportTraceServiceRequest.FromString(body)
    spans = [s for r in request.resource_spans for scope in r.scope_spans for s in scope.spans]
    received.extend(span.name for span in spans)
    start_response("200 OK", [("Content-Type", "application/x-protobuf"), ("Content-Length", "0")])
    return [b""]


def make(endpoint: str) -> tuple[Any, otlpfast.BatchSpanProcessor]:
    processor = otlpfast.BatchSpanProcessor(
        otlpfast.OTLPSpanExporter(endpoint), schedule_delay_millis=3_600_000, max_export_batch_size=20
    )
    provider = otlpfast.TracerProvider()
    provider.add_span_processor(processor)
    return provider.get_tracer("tests"), processor


def work(tracer: Any, number: int) -> bool:
    """Spans stay with their greenlet, however these take turns."""
    with tracer.start_as_current_span(f"outer {number}") as outer:
        gevent.sleep(0)
        with tracer.start_as_current_span(f"inner {number}") as inner:
            gevent.sleep(0)
            return bool(inner.parent.span_id == outer.get_span_context().span_id)


def cooperate() -> dict[str, Any]:
    server = WSGIServer(("127.0.0.1", 0), collector, log=None)
    server.start()
    tracer, processor = make(f"http://127.0.0.1:{server.server_port}/v1/traces")
    greenlets = [gevent.spawn(work, tracer, number) for number in range(50)]
    threads = [threading.Thread(target=work, args=(tracer, number)) for number in range(50, 60)]
    for thread in threads:
        thread.start()
    gevent.joinall(greenlets)
    for thread in threads:
        thread.join()
    flushed = processor.force_flush()
    during_flush = ticks[0]
    work(tracer, 60)
    processor.shutdown()
    return {
        "parents": all(greenlet.value for greenlet in greenlets),
        "flushed": flushed,
        "ticks": during_flush >= 20 and ticks[0] >= during_flush + 20,
        "received": received,
        "stats": processor.stats(),
    }


def just_end() -> None:
    tracer, processor = make(os.environ["COLLECTOR"])
    if when == "late":
        tracer.start_span("early").end()
        processor.force_flush()
        monkey.patch_all()
    gevent.joinall([gevent.spawn(work, tracer, number) for number in range(5)])


def be_terminated() -> None:
    tracer, processor = make(os.environ["COLLECTOR"])
    otlpfast.flush_on_signal(processor)
    work(tracer, 0)
    # From outside of the event loop, while that waits.
    gevent.get_hub().threadpool.spawn(os.kill, os.getpid(), signal.SIGTERM)
    gevent.sleep(60)


print(json.dumps({"cooperate": cooperate, "just end": just_end, "be terminated": be_terminated}[what]()))

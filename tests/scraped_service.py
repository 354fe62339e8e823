"""A program for `otlpfast run`, set up like deploy/kubernetes/service.yaml: it prints what Prometheus gets.

The first request to its collector has to fail, the second to succeed.
"""

from __future__ import annotations

import urllib.request

import psutil
from opentelemetry import metrics, trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import StatusCode

from otlpfast import SpanPool


def main() -> None:
    provider = trace.get_tracer_provider()
    assert isinstance(provider, TracerProvider)
    tracer, pool = provider.get_tracer("shop"), SpanPool(meter=metrics.get_meter("shop"))
    for status in (StatusCode.ERROR, StatusCode.UNSET):
        with tracer.start_as_current_span("GET /") as span, pool.wrap(span) as wrapper:
            wrapper.set_attribute("user", "a")
            span.set_status(status)
        provider.force_flush()
    live = tracer.start_span("live")
    [port] = [each.laddr.port for each in psutil.Process().net_connections("tcp") if each.status == "LISTEN"]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60) as answer:
        print(answer.read().decode())
    live.end()


if __name__ == "__main__":
    main()

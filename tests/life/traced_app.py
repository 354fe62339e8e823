"""The pipeline of the applications here: the endpoint is in the environment, and nothing goes out by itself.

``PROVIDER`` is ``otlpfast`` or ``sdk``; with ``FLUSH_WHEN_LOADED``, what ends while the application is loaded
is flushed at once.
"""

from __future__ import annotations

import os

from opentelemetry import trace
from opentelemetry.sdk import trace as sdk

import otlpfast

provider = (otlpfast if os.environ["PROVIDER"] == "otlpfast" else sdk).TracerProvider()
processor = otlpfast.BatchSpanProcessor(otlpfast.OTLPSpanExporter(), schedule_delay_millis=3_600_000)
provider.add_span_processor(processor)
trace.set_tracer_provider(provider)
tracer = trace.get_tracer("tests")


def note(name: str) -> None:
    """Ends a span of that name."""
    tracer.start_span(name).end()


note("loaded")
if "FLUSH_WHEN_LOADED" in os.environ:
    processor.force_flush()

"""A celery application with its official instrumentation; a task asks for another. Its broker is a folder.

As a program it asks for the first task, in a span and with baggage.
"""

from __future__ import annotations

from pathlib import Path

from opentelemetry import baggage, context
from opentelemetry.instrumentation.celery import CeleryInstrumentor
from tasks import app
from traced_app import note, tracer

CeleryInstrumentor().instrument()


@app.task(name="first")
def first() -> None:
    second.delay()


@app.task(name="second")
def second() -> None:
    note(f"found {baggage.get_baggage('tenant')}")
    Path("done").touch()


if __name__ == "__main__":
    context.attach(baggage.set_baggage("tenant", "blue"))
    with tracer.start_as_current_span("request"):
        first.delay()

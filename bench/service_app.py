"""The services of bench.service: FastAPI (three spans a request) and Flask (one), with one way to trace.

``BENCH_PIPELINE``: "bare" (not instrumented), "api" (instrumented, no SDK), or a pipeline of ``otlpfast
load``; ``BENCH_ENDPOINT``: where that sends.
"""

from __future__ import annotations

import atexit
import os
from typing import Any

ITEMS = {number: {"name": f"item {number}", "price": number * 1.25} for number in range(100)}


def _start_tracing() -> bool:
    """Sets the pipeline up; whether the service is to be instrumented."""
    pipeline = os.environ["BENCH_PIPELINE"]
    if pipeline in ("bare", "api"):
        return pipeline == "api"
    from opentelemetry import trace

    from otlpfast.cli.load.pipelines import HTTP, build

    built = build(pipeline, HTTP, os.environ["BENCH_ENDPOINT"])
    trace.set_tracer_provider(built.provider)
    atexit.register(built.shutdown)
    return True


def fastapi() -> Any:
    """A FastAPI application, for uvicorn."""
    from fastapi import FastAPI

    traced = _start_tracing()
    app = FastAPI()

    @app.get("/items/{number}")
    async def item(number: int) -> dict[str, Any]:
        return {"number": number, **ITEMS[number]}

    if traced:
        from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor

        FastAPIInstrumentor.instrument_app(app)
    return app


def flask() -> Any:
    """A Flask application, for gunicorn."""
    from flask import Flask

    traced = _start_tracing()
    app = Flask("bench")

    @app.get("/items/<int:number>")
    def item(number: int) -> dict[str, Any]:
        return {"number": number, **ITEMS[number]}

    if traced:
        from opentelemetry.instrumentation.flask import FlaskInstrumentor

        instrumentor: Any = FlaskInstrumentor()
        instrumentor.instrument_app(app)
    return app

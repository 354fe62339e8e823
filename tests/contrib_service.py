"""The service of test_contrib.py: a Flask and a FastAPI application, instrumented, on either provider.

    python -m tests.contrib_service sdk|otlpfast

Its first line on standard output says where they listen. At the end of its standard input it ends: requests
are finished, spans delivered, and its last line says what was logged and measured. Where a request goes on
to is in its header ``to``: URLs with blanks between them. Nothing in it sleeps.
"""

from __future__ import annotations

import faulthandler
import json
import logging
import socket
import sys
import threading
from typing import Any

import flask
import uvicorn
from opentelemetry import _logs, metrics, trace
from opentelemetry.instrumentation.asyncio import AsyncioInstrumentor
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.instrumentation.flask import FlaskInstrumentor
from opentelemetry.instrumentation.logging import LoggingInstrumentor
from opentelemetry.instrumentation.requests import RequestsInstrumentor
from opentelemetry.instrumentation.sqlalchemy import SQLAlchemyInstrumentor
from opentelemetry.instrumentation.threading import ThreadingInstrumentor
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from werkzeug.serving import make_server

LIFETIME = 150  # seconds after which a service that hangs says where, and ends
RESOURCE = Resource.create({"service.name": "contrib", "service.version": "1.2.3", "regions": ["a", "b"]})


def provider(which: str) -> TracerProvider:
    """A tracer provider as an application sets it up, but for the end of the process, which comes later."""
    made: TracerProvider
    if which == "otlpfast":
        import otlpfast

        made = otlpfast.TracerProvider(resource=RESOURCE, shutdown_on_exit=False)
        made.add_span_processor(otlpfast.BatchSpanProcessor(otlpfast.OTLPSpanExporter()))
    else:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        made = TracerProvider(resource=RESOURCE, shutdown_on_exit=False)
        made.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return made


def _mark(span: trace.Span, *_: Any) -> None:
    # What hooks are for: attributes of one's own, if anybody is going to see them.
    if span.is_recording():
        span.set_attribute("hook.saw", f"{span.name} {span.kind.name} {sorted(span.attributes)[:2]}")


def instrument() -> None:
    """All that is instrumented, in the order in which automatic instrumentation would."""
    LoggingInstrumentor().instrument(inject_trace_context=True, log_hook=_note)
    ThreadingInstrumentor().instrument()
    AsyncioInstrumentor().instrument()
    RequestsInstrumentor().instrument(request_hook=_mark)
    SQLAlchemyInstrumentor().instrument(enable_commenter=True, enable_attribute_commenter=True)
    FlaskInstrumentor().instrument(request_hook=_mark, response_hook=_mark)
    FastAPIInstrumentor().instrument(server_request_hook=_mark, client_response_hook=_mark)


def _note(span: trace.Span, record: logging.LogRecord) -> None:
    record.spanName = getattr(span, "name", None)


class Lines(logging.Handler):
    """Keeps what was logged, as a format string with otelTraceID and otelSpanID would show it."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[list[Any]] = []

    def emit(self, record: logging.LogRecord) -> None:
        name = getattr(record, "spanName", None)
        ids = record.otelTraceID, record.otelSpanID, record.otelTraceSampled  # type: ignore[attr-defined]
        self.kept.append([record.name, record.levelname, record.getMessage(), *ids, name])


def exemplars(reader: InMemoryMetricReader) -> list[list[Any]]:
    """Metric, trace id and span id of each exemplar."""
    data = reader.get_metrics_data()
    return [
        [metric.name, exemplar.trace_id, exemplar.span_id]
        for resource in (data.resource_metrics if data else ())
        for scope in resource.scope_metrics
        for metric in scope.metrics
        for point in metric.data.data_points
        for exemplar in point.exemplars
    ]


class Servers:
    """Both applications on ports of their own, each in a thread."""

    def __init__(self, front: flask.Flask, store: Any) -> None:
        self._front = make_server("127.0.0.1", 0, front, threaded=True)
        self._front.daemon_threads = False  # type: ignore[attr-defined]  # server_close() waits for requests
        self._socket = socket.create_server(("127.0.0.1", 0))
        # Its log goes where all of the log goes.
        settings = uvicorn.Config(store, log_config=None, timeout_keep_alive=1, ws="websockets-sansio")
        self._store = uvicorn.Server(settings)
        serve = {"target": self._store.run, "kwargs": {"sockets": [self._socket]}}
        self._threads = [threading.Thread(target=self._front.serve_forever), threading.Thread(**serve)]
        for thread in self._threads:
            thread.start()
        self.front = f"http://127.0.0.1:{self._front.server_port}"
        self.store = f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    def close(self) -> None:
        """Finishes the requests that have begun, and ends."""
        self._front.shutdown()
        self._front.server_close()
        self._store.should_exit = True
        for thread in self._threads:
            thread.join()
        self._socket.close()


def main(which: str) -> None:
    faulthandler.dump_traceback_later(LIFETIME, exit=True)
    logging.getLogger().setLevel(logging.INFO)
    tracers, records, reader = provider(which), InMemoryLogRecordExporter(), InMemoryMetricReader()
    trace.set_tracer_provider(tracers)
    loggers = LoggerProvider(resource=RESOURCE, shutdown_on_exit=False)
    loggers.add_log_record_processor(SimpleLogRecordProcessor(records))
    _logs.set_logger_provider(loggers)
    meters = MeterProvider([reader], resource=RESOURCE, shutdown_on_exit=False)
    metrics.set_meter_provider(meters)
    instrument()
    lines = Lines()
    logging.getLogger().addHandler(lines)

    from . import contrib_apps  # after the instrumentation, which replaces classes and functions

    servers = Servers(contrib_apps.front, contrib_apps.store)
    print(json.dumps({"front": servers.front, "store": servers.store}), flush=True)
    sys.stdin.read()
    servers.close()
    tracers.shutdown()
    logged = [
        [str(found.log_record.body), found.log_record.trace_id, found.log_record.span_id]
        for found in records.get_finished_logs()
    ]
    print(json.dumps({"lines": lines.kept, "records": logged, "exemplars": exemplars(reader)}), flush=True)
    meters.shutdown()
    loggers.shutdown()


if __name__ == "__main__":
    main(sys.argv[1])

"""The demo's service process: the notes application, instrumented, with one of the pipelines."""

from __future__ import annotations

import argparse
import sys
import threading
import time
from typing import Any

from opentelemetry import trace
from opentelemetry.instrumentation.sqlite3 import SQLite3Instrumentor
from opentelemetry.instrumentation.wsgi import OpenTelemetryMiddleware
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider

from otlpfast.cli.demo import children
from otlpfast.cli.demo.app import NotesApplication
from otlpfast.cli.demo.pipelines import PIPELINES
from otlpfast.cli.demo.server import Server

_RESOURCE = {
    "service.name": "notes",
    "service.version": "1.4.2",
    "deployment.environment": "demo",
    "host.arch": "any",
    "feature.flags": ("search", "digest"),
}


class _Counter(SpanProcessor):
    """Counts the spans that end, and keeps the first few."""

    def __init__(self, keep: int) -> None:
        self.spans: list[ReadableSpan] = []
        self._keep = keep
        self._by_thread: dict[int, int] = {}

    def on_end(self, span: ReadableSpan) -> None:
        # A number of its own for each thread: a shared one would lose counts, a lock would cost.
        thread = threading.get_ident()
        self._by_thread[thread] = self._by_thread.get(thread, 0) + 1
        if len(self.spans) < self._keep:
            self.spans.append(span)

    @property
    def ended(self) -> int:
        return sum(self._by_thread.values())


def _peak_memory() -> int | None:
    """The most memory that this process has had resident, in bytes; None where the system doesn't say."""
    try:
        # Not ru_maxrss where this exists: that one is inherited from the parent process.
        with open("/proc/self/status", encoding="ascii") as status:
            for line in status:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    try:
        import resource
    except ModuleNotFoundError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


class Service:
    """The running service; its methods answer the parent's commands."""

    def __init__(self, pipeline: str, endpoint: str, keep: int) -> None:
        chosen = next(known for known in PIPELINES if known.name == pipeline)
        self._provider = TracerProvider(resource=Resource.create(_RESOURCE))
        self._counter = _Counter(keep)
        # First in the chain: the pipeline's processor is the last, as where it is the only one.
        self._provider.add_span_processor(self._counter)
        self._accepted = chosen.install(self._provider, endpoint)
        trace.set_tracer_provider(self._provider)
        SQLite3Instrumentor().instrument()
        self._server = Server(OpenTelemetryMiddleware(NotesApplication()))
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.port = self._server.server_port

    def begin(self) -> dict[str, Any]:
        """Begins a turn of the load."""
        self._made, self._cpu = self._counter.ended, time.process_time()
        return {}

    def end(self) -> dict[str, Any]:
        """Ends a turn, with the export of what it made; the figures are those of the turn."""
        self._provider.force_flush()
        return {"cpu_seconds": time.process_time() - self._cpu, "made": self._counter.ended - self._made}

    def finish(self) -> dict[str, Any]:
        """Ends the service: all spans ended and delivered, or given up. The figures are of its whole life."""
        self._server.shutdown()
        self._server.server_close()
        self._provider.shutdown()
        return {
            "made": self._counter.ended,
            "accepted": self._accepted(),
            "peak_bytes": _peak_memory(),
        }

    def encode(self) -> dict[str, Any]:
        """Compares the encoders on the spans kept."""
        from otlpfast.cli.demo import encoders

        return encoders.compare(self._counter.spans)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--pipeline", required=True)
    parser.add_argument("--endpoint", required=True)
    parser.add_argument("--keep", type=int, default=0)
    arguments = parser.parse_args()
    service = Service(arguments.pipeline, arguments.endpoint, arguments.keep)
    children.answer(port=service.port)
    commands = {
        "begin": service.begin,
        "end": service.end,
        "finish": service.finish,
        "encode": service.encode,
    }
    for question in children.questions():
        children.answer(**commands[question["do"]]())


if __name__ == "__main__":
    main()

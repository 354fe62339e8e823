"""The demo's service process: the notes application, instrumented, with one of the pipelines or without."""

from __future__ import annotations

import argparse
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

from opentelemetry import trace
from opentelemetry.instrumentation.sqlite3 import SQLite3Instrumentor
from opentelemetry.instrumentation.wsgi import OpenTelemetryMiddleware

from otlpfast.cli.demo import children
from otlpfast.cli.demo.app import NotesApplication
from otlpfast.cli.demo.pipelines import PIPELINES, Accepted
from otlpfast.cli.demo.server import Server

if TYPE_CHECKING:
    from otlpfast.cli.demo.observer import Observer

_RESOURCE = {
    "service.name": "notes",
    "service.version": "1.4.2",
    "deployment.environment": "demo",
    "host.arch": "any",
    "feature.flags": ("search", "digest"),
}


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
        self._provider = chosen.provider and chosen.provider(_RESOURCE)
        self._accepted: Accepted = int
        self._observer: Observer | None = None
        if self._provider:
            if keep:
                from otlpfast.cli.demo.observer import Observer

                self._observer = Observer(keep)
                self._provider.add_span_processor(self._observer)
            if chosen.install:
                self._accepted = chosen.install(self._provider, endpoint)
            trace.set_tracer_provider(self._provider)
        SQLite3Instrumentor().instrument()
        self._server = Server(OpenTelemetryMiddleware(NotesApplication()))
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.port = self._server.server_port

    def begin(self) -> dict[str, Any]:
        """Begins a turn of the load."""
        self._cpu = time.process_time()
        return {}

    def end(self) -> dict[str, Any]:
        """Ends a turn, with the export of what it made; the figure is that of the turn."""
        if self._provider:
            self._provider.force_flush()
        return {"cpu_seconds": time.process_time() - self._cpu}

    def finish(self) -> dict[str, Any]:
        """Ends the service: all spans ended and delivered, or given up. The figures are of its whole life."""
        self._server.shutdown()
        self._server.server_close()
        if self._provider:
            self._provider.shutdown()
        return {"accepted": self._accepted(), "peak_bytes": _peak_memory()}

    def observed(self) -> dict[str, Any]:
        """How many spans had ended by the end of each request, and what the encoders make of the first."""
        from otlpfast.cli.demo import encoders

        assert self._observer
        return {"ended_by_request": self._observer.by_request, **encoders.compare(self._observer.spans)}


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
        "observed": service.observed,
    }
    for question in children.questions():
        children.answer(**commands[question["do"]]())


if __name__ == "__main__":
    main()

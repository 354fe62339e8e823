"""Programs that are started in processes of their own, in an environment that is said and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import otlpfast

from .collector import PATIENCE, Collector

SOURCE = str(Path(otlpfast.__file__).parents[1])
NO_INSTRUMENTATION = {"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "*"}  # which takes a second to load
LINE = f"otlpfast {otlpfast.__version__} ({otlpfast.IMPLEMENTATION}): "

TRACED = """\
import os, sys
from opentelemetry import trace
with trace.get_tracer("app").start_as_current_span(sys.argv[1] if sys.argv[1:] else "a span"):
    print(type(trace.get_tracer_provider()).__module__)
"""


def environment(collector: Collector | None = None, **variables: str) -> dict[str, str]:
    """The present one, without what would configure tracing, and these variables."""
    foreign = ("OTEL_", "OTLPFAST_", "PYTHONPATH", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy")
    made = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    if collector is not None:
        made["OTEL_EXPORTER_OTLP_ENDPOINT"] = collector.base
    return {**made, "PYTHONPATH": SOURCE, "OTLPFAST_IMPL": otlpfast.IMPLEMENTATION, **variables}


def finished(
    command: Sequence[str], collector: Collector | None = None, *, cwd: Path | None = None, **variables: str
) -> subprocess.CompletedProcess[str]:
    """A command that has come to its end."""
    return subprocess.run(
        command,
        env=environment(collector, **variables),
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=3 * PATIENCE,
        stdin=subprocess.DEVNULL,
        check=False,
    )


@contextmanager
def under_way(command: Sequence[str], **options: Any) -> Iterator[subprocess.Popen[str]]:
    """A command that can be told to go on, and is killed at the end. The options are Popen's."""
    process = subprocess.Popen(command, stdin=subprocess.PIPE, text=True, **options)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def python(
    code: str, collector: Collector | None = None, *arguments: str, **variables: str
) -> subprocess.CompletedProcess[str]:
    """A Python program that has come to its end, and well."""
    done = finished([sys.executable, "-c", code, *arguments], collector, **variables)
    assert done.returncode == 0, done.stderr
    return done


def run(*command: str) -> list[str]:
    """The command line of ``otlpfast run``."""
    return [sys.executable, "-m", "otlpfast.cli", "run", *command]

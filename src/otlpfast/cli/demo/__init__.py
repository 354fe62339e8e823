"""``otlpfast demo``: stock and otlpfast on the same web service, side by side."""

from __future__ import annotations

import argparse
import importlib.util
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    _Subcommands = argparse._SubParsersAction[argparse.ArgumentParser]

NEEDS = {
    "opentelemetry.exporter.otlp.proto.http": "opentelemetry-exporter-otlp-proto-http",
    "opentelemetry.instrumentation.wsgi": "opentelemetry-instrumentation-wsgi",
    "opentelemetry.instrumentation.sqlite3": "opentelemetry-instrumentation-sqlite3",
}
"""Modules that the demo needs beyond otlpfast's own dependencies, and the packages that bring them."""

_DESCRIPTION = """\
Runs a small web service (WSGI and SQLite, with the official instrumentation) five times, each in a process
of its own and with the same HTTP requests: without an SDK, with the SDK but no export, with the stock SDK,
with otlpfast's processor on the SDK's provider, and with otlpfast's own provider. The spans go to a sink in
another process, which decodes them with the official protobuf classes. Everything in the table was measured
in this run.
"""
_EPILOG = """\
exit status: 0 if all spans were received and the payloads are equal, 1 otherwise
"""


def add_parser(subcommands: _Subcommands) -> None:
    """Adds ``demo`` to the command line."""
    parser = subcommands.add_parser(
        "demo",
        help="stock and otlpfast side by side on a real web service: cost, drops, equality",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--requests",
        type=_positive(int),
        default=6000,
        metavar="N",
        help="HTTP requests to each service (default 6000)",
    )
    parser.add_argument(
        "--collector", metavar="URL", help="send to this OTLP/HTTP collector, such as http://localhost:4318"
    )
    parser.add_argument("--json", action="store_true", help="print the figures as JSON instead of a table")
    parser.add_argument(
        "--timeout",
        type=_positive(float),
        default=120.0,
        metavar="SECONDS",
        help="give up after this long (default 120)",
    )
    parser.set_defaults(run=run)


def _positive(kind: Any) -> Any:
    def parse(text: str) -> Any:
        value = kind(text)
        if not 0 < value < float("inf"):
            raise ValueError
        return value

    parse.__name__ = f"positive {kind.__name__}"
    return parse


def missing() -> list[str]:
    """The packages that the demo needs and that are not installed."""
    return [package for module, package in NEEDS.items() if not _is_there(module)]


def _is_there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # A package above it is missing.
        return False


def run(arguments: argparse.Namespace) -> int:
    """Runs the demo and prints its table; returns the exit status."""
    packages = missing()
    if packages:
        command = f"{sys.executable} -m pip install {' '.join(packages)}"
        print(
            f"otlpfast demo: {', '.join(packages)} not installed. To install:\n  {command}", file=sys.stderr
        )
        return 1
    from otlpfast.cli.console import Console
    from otlpfast.cli.demo.children import Deadline, DemoError
    from otlpfast.cli.demo.report import as_json, as_table
    from otlpfast.cli.demo.runs import Demo

    console = Console()
    try:
        result = Demo(arguments.requests, arguments.collector, Deadline(arguments.timeout), console).run()
    except DemoError as error:
        console.clear()
        print(f"otlpfast demo: {error}", file=sys.stderr)
        return 1
    finally:
        console.clear()
    print(as_json(result) if arguments.json else as_table(result))
    return 0 if result.good else 1

"""``otlpfast load``: spans at a steady rate, and what became of them."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    _Subcommands = argparse._SubParsersAction[argparse.ArgumentParser]

PROTOCOLS = ("http/protobuf", "grpc")

_DESCRIPTION = """\
Makes spans from real threads at a steady rate, sends them through a pipeline, and reports what became of
them: sent, exported, dropped and why, CPU time a span, and how long a span took the thread that made it.

Without --endpoint they go to a sink that counts, in another process on this machine. Nothing is sent
anywhere else unless --endpoint says so: OTEL_EXPORTER_OTLP_*_ENDPOINT and a spool of yours are left alone.
"""
_EPILOG = """\
examples:
  otlpfast load                                        10 s of 1,000 spans/s
  otlpfast load --rate 20000 --threads 4 --events 2    more, from four threads
  otlpfast load --rate 0 --duration 3                  as fast as this machine can
  otlpfast load --pipeline sdk                         the same through the stock SDK, to compare
  otlpfast load --svg latency.svg --json > load.json   a chart and the figures
  otlpfast load --endpoint http://localhost:4318       to a collector of yours

OTEL_BSP_* (queue, batch, delay), OTEL_SPAN_*_LIMIT, OTEL_EXPORTER_OTLP_COMPRESSION and, with --endpoint,
the exporter's headers and certificates hold as they do in your application.

exit status: 0 if every span was delivered, 1 otherwise; 130 after Ctrl-C, which reports what there is so far
"""


def _number(kind: Any, least: float, most: float) -> Any:
    def parse(text: str) -> Any:
        value = kind(text)
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{text} is not from {least:g} to {most:,g}")
        return value

    parse.__name__ = f"number from {least:g} to {most:,g}"
    return parse


_NUMBERS: tuple[tuple[str, Any, float, str], ...] = (
    ("--rate", _number(float, 0, 1e7), 1000.0, "spans/s of all threads together, 0: no limit"),
    ("--threads", _number(int, 1, 256), 1, "threads that make them"),
    ("--attributes", _number(int, 0, 1000), 10, "attributes of each span"),
    ("--events", _number(int, 0, 1000), 1, "events of each span"),
    ("--burst", _number(int, 1, 10_000), 1, "spans that a thread makes in one go"),
    ("--duration", _number(float, 0.01, 86_400), 10.0, "how long"),
)


def add_parser(subcommands: _Subcommands) -> None:
    """Adds ``load`` to the command line."""
    parser = subcommands.add_parser(
        "load",
        help="spans at a steady rate through a pipeline: account, CPU, latency",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    for option, kind, default, what in _NUMBERS:
        text = f"{what} (default {default:g})"
        metavar = "SECONDS" if option == "--duration" else "N"
        parser.add_argument(option, type=kind, default=default, metavar=metavar, help=text)
    add = parser.add_argument
    add("--endpoint", metavar="URL", help="send to this collector, not to a sink of this command")
    add("--protocol", choices=PROTOCOLS, default=PROTOCOLS[0], help=f"OTLP over (default {PROTOCOLS[0]})")
    add(
        "--pipeline",
        choices=("otlpfast", "processor", "sdk"),
        default="otlpfast",
        help="otlpfast: all of it (default); processor: its processor on the SDK's provider; sdk: stock",
    )
    add("--svg", metavar="FILE", help="write the latencies as a chart")
    add("--png", metavar="FILE", help="the same as PNG; takes Pillow, that is: pip install 'otlpfast[png]'")
    add("--json", action="store_true", help="print the figures as JSON instead of text")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Runs the load and prints the report; returns the exit status."""
    from otlpfast.cli import raster

    if arguments.png and raster.missing():
        return _lacks("'otlpfast[png]'")
    _keep_to_ourselves(bool(arguments.endpoint))
    from . import report
    from .pipelines import missing
    from .running import LoadError, run_load

    if package := missing(arguments.pipeline, arguments.protocol):
        return _lacks(package)
    try:
        result = run_load(arguments)
        print(report.as_json(result) if arguments.json else report.as_text(result))
        if arguments.svg:
            with open(arguments.svg, "w", encoding="utf-8") as file:
                file.write(report.chart(result).svg())
        if arguments.png:
            raster.write_png(report.chart(result), arguments.png)
    except (LoadError, OSError) as error:
        print(f"otlpfast load: {error}", file=sys.stderr)
        return 1
    return 130 if result.interrupted else 0 if result.delivered else 1


def _lacks(package: str) -> int:
    command = f"{sys.executable} -m pip install {package}"
    print(f"otlpfast load: to install what is missing:\n  {command}", file=sys.stderr)
    return 1


def _keep_to_ourselves(endpoint_given: bool) -> None:
    """Takes out of the environment what would send these spans elsewhere, or an application's spans here."""
    for name in list(os.environ):
        meant_for_a_collector = name.startswith("OTEL_EXPORTER_OTLP_") and not name.endswith("_COMPRESSION")
        if (
            name in ("OTEL_SDK_DISABLED", "OTLPFAST_DISABLED")
            or name.startswith("OTLPFAST_SPOOL")
            or (name.startswith("OTEL_EXPORTER_OTLP_") and name.endswith(("_ENDPOINT", "_PROTOCOL")))
            or (meant_for_a_collector and not endpoint_given)
        ):
            del os.environ[name]
    if not endpoint_given:
        os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1"

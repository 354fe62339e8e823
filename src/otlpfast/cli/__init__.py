"""The ``otlpfast`` command. Each subcommand is a module here with ``add_parser(subcommands)``."""

from __future__ import annotations

import argparse
import importlib
import io
import os
import sys
from collections.abc import Sequence
from contextlib import suppress

COMMANDS = ("bench", "demo", "doctor", "load", "profile", "redact", "run", "spool")

_EPILOG = """\
first minute:
  otlpfast demo                                     stock and otlpfast side by side, on a real web service
  otlpfast demo --collector http://localhost:4318   the same, sent to your collector
  otlpfast run app.py                               your program, unchanged, with its spans
  otlpfast run --web app.py                         the same, with a live page of them
  otlpfast doctor                                   whether they would arrive
  otlpfast profile app.py                           what your program spends its CPU time on
  otlpfast redact                                   what of your spans can be hidden, and how it looks

in your program, one line switches it on:
  import otlpfast; otlpfast.configure()

environment:
  OTLPFAST_IMPL=auto|c|py            the compiled implementation, the plain-Python one, or either (auto)
  OTLPFAST_DISABLED=true             the SDK's stock classes in place of otlpfast's
  OTEL_EXPORTER_OTLP_*, OTEL_BSP_*   as in the OpenTelemetry specification
"""


class _Version(argparse.Action):
    """Prints the version, and which implementation runs."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        import otlpfast

        print(f"otlpfast {otlpfast.__version__} ({otlpfast.IMPLEMENTATION})")
        parser.exit()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="otlpfast",
        description="The OpenTelemetry span pipeline for Python, fast: tools to try it and to look into it.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--version", action=_Version, nargs=0, help="print the version and the implementation, and exit"
    )
    subcommands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name in COMMANDS:
        importlib.import_module(f"otlpfast.cli.{name}").add_parser(subcommands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command and returns its exit status: 0 success, 1 failure, 130 Ctrl-C.

    Wrong usage raises SystemExit(2), ``--help`` and ``--version`` SystemExit(0), as argparse does.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # A terminal without "µ" is no reason to fail.
    arguments = _parser().parse_args(argv)
    try:
        status: int = arguments.run(arguments)
        if sys.stdout is not None:
            sys.stdout.flush()
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # whoever reads, `head` say, has seen enough; the interpreter writes no more
        with suppress(OSError, ValueError, AttributeError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return status

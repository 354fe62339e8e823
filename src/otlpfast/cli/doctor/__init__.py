"""``otlpfast doctor``: what is configured here, whether spans arrive, and what to do where they do not."""

from __future__ import annotations

import argparse

from ..seconds import seconds

_EPILOG = """\
Run it where the application runs, with the same variables: in its container, as its user. It sends one empty
export, which collectors answer and forget. The exit status is 1 if there is a problem.
"""
_SECONDS = seconds("a number of seconds above 0, at most 600,", lambda value: 0 < value <= 600)


def add_parser(subcommands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the ``doctor`` command to the command line."""
    parser = subcommands.add_parser(
        "doctor",
        help="check the configuration and whether the collector can be reached",
        description="Shows the configuration and where each value is from, checks it, and says what to do.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--endpoint", metavar="URL", help="of the collector, in place of what variables say")
    parser.add_argument("--protocol", metavar="NAME", help="http/protobuf or grpc, in place of the same")
    parser.add_argument(
        "--timeout", type=_SECONDS, default=5.0, metavar="SECONDS", help="for the collector to answer (5)"
    )
    parser.add_argument("--json", action="store_true", help="write one JSON object")
    parser.set_defaults(run=run, parser=parser)


def run(arguments: argparse.Namespace) -> int:
    """Examines, reports, and returns 1 if a problem was found."""
    from .examination import WrongArgument, examine
    from .report import as_json, as_text

    try:
        examination = examine(arguments.endpoint, arguments.protocol, arguments.timeout)
    except WrongArgument as error:
        arguments.parser.error(str(error))
    print(as_json(examination) if arguments.json else as_text(examination))
    return 1 if examination.problems else 0

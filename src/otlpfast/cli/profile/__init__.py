"""``otlpfast profile``: of a program from its start, of a process, of a server; and what was saved."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from ...profiling.config import KINDS
from ..seconds import seconds

if TYPE_CHECKING:
    from .output import Output

FULL = "full"
_SNAPSHOTS = ("heap", "threads", "tasks")
_DEFAULT_SECONDS = 30.0
_SECONDS = seconds("a number of seconds above 0, at most 86400,", lambda value: 0 < value <= 86_400)

_DESCRIPTION = """\
Takes a profile and prints its table of functions, or writes it to a file: of a program that it starts (until
that ends), of a process that runs (--pid), or of a server with /debug/pprof (--url), in Python or in Go.
"""
_EPILOG = """\
examples:
  otlpfast profile app.py                                     what it spent its CPU time on
  otlpfast profile --kind wall -o wall.svg -m myapp           also waiting, as a flame graph
  otlpfast profile --seconds 60 -o cpu.pb.gz -- gunicorn app:app
  otlpfast profile -- otlpfast run app.py                     with spans: samples carry trace ids
  otlpfast profile --pid 4242 --seconds 10
  otlpfast profile --url http://localhost:6060 --kind heap
  otlpfast profile --url http://localhost:6060 --trace 4bf92f3577b34da6a3ce929d0e0e4736
  otlpfast profile --kind full -o full.zip --pid 4242         all kinds at once; begin with its summary.txt
  otlpfast profile show cpu.pb.gz --diff before.pb.gz         a saved one, against another

kinds:
  cpu      where CPU time goes                  threads   what each thread does now
  wall     the same with waiting                tasks     what each asyncio task awaits now
  heap     who allocated memory that is in use  block     waits for queues, events, conditions
  full     all of them, over the same seconds   mutex     waits for locks

Ctrl-C ends a profile early; what there is by then is written. A second one gives up. The suffix of FILE
says the format: .pb.gz (pprof), .svg (flame graph), .speedscope.json, .folded, .txt; .zip for --kind full.
go tool pprof FILE.pb.gz opens them too. The exit status is that of the program. Processes that a program
forks or starts are in its profile.
"""

_SHOW_EPILOG = """\
examples:
  otlpfast profile show cpu.pb.gz                              the table of functions
  otlpfast profile show cpu.pb.gz -o cpu.svg                   a flame graph
  otlpfast profile show heap.pb.gz --type alloc_space --cum
  otlpfast profile show after.pb.gz --diff before.pb.gz        what has become more or less
  otlpfast profile show full.zip                               the summary of a full profile
  otlpfast profile show full.zip --kind wall --top 40
"""


def add_parser(subcommands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the ``profile`` command to the command line."""
    parser = subcommands.add_parser(
        "profile",
        help="profile a program, a process or a server; look at saved profiles",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="otlpfast profile [options] (PROGRAM [ARGUMENT ...] | -m MODULE … | --pid PID | --url URL)\n"
        "       otlpfast profile show [options] FILE",
    )
    parser.add_argument(
        "--kind", choices=(*KINDS, FULL), default="cpu", metavar="KIND", help="which profile (cpu); see below"
    )
    parser.add_argument(
        "--seconds",
        type=_SECONDS,
        metavar="N",
        help="how long (30; of a program that is started: until it ends; heap, threads, tasks: a look now)",
    )
    parser.add_argument(
        "--frequency",
        type=_frequency,
        default=100,
        metavar="HZ",
        help="samples a second of each thread (100)",
    )
    parser.add_argument("--pid", type=int, help="a Python process of yours that runs")
    parser.add_argument("--url", help="of a server with /debug/pprof; user:password@ is sent to it")
    parser.add_argument(
        "--token", help="for the server, as its OTLPFAST_PPROF_TOKEN (default: that variable)"
    )
    parser.add_argument("-m", dest="module", action="store_true", help="PROGRAM is a module, as in python -m")
    _add_output(parser)
    parser.add_argument(
        "command", nargs=argparse.REMAINDER, metavar="PROGRAM", help="a script, a module or a program on PATH"
    )
    parser.set_defaults(run=run, parser=parser)


def _add_output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-o", "--output", metavar="FILE", help="write it there instead of printing a table")
    parser.add_argument(
        "--top", type=_rows, metavar="N", help="rows of the table (20); also where a file is written"
    )
    parser.add_argument("--trace", metavar="ID", help="only what belongs to this trace")
    parser.add_argument("--diff", metavar="BASE", help="what is more or less than in a saved profile")


def _frequency(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 1000:
        raise argparse.ArgumentTypeError(f"a whole number from 1 to 1000 is allowed, not {text!r}")
    return int(text)


def _rows(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 100_000:
        raise argparse.ArgumentTypeError(f"a whole number from 1 to 100000 is allowed, not {text!r}")
    return int(text)


def run(arguments: argparse.Namespace) -> int:
    """Takes a profile and shows or writes it; returns the exit status, which may be a program's."""
    words = list(arguments.command)
    if words[:1] == ["show"] and not arguments.module:
        return _show(arguments, words[1:])
    if words[:1] == ["--"]:
        del words[0]
    _check(arguments, words)
    output = _output(arguments)
    if words:
        from .program import profile_program

        return profile_program(arguments, words, output)
    if arguments.pid is not None:
        from .attach import profile_process

        return profile_process(arguments, output)
    from .remote import profile_server

    return profile_server(arguments, output)


def seconds_of(arguments: argparse.Namespace) -> float | None:
    """What --seconds says, or is taken without; None for a look now."""
    if arguments.seconds is not None:
        return float(arguments.seconds)
    return None if arguments.kind in _SNAPSHOTS else _DEFAULT_SECONDS


def _check(arguments: argparse.Namespace, words: list[str]) -> None:
    """Ends with a message where it is not clear what is to be profiled."""
    targets = [bool(words), arguments.pid is not None, arguments.url is not None]
    if sum(targets) > 1:
        arguments.parser.error("one of PROGRAM, --pid and --url can be profiled at a time")
    if not any(targets):
        arguments.parser.error(
            "what is to be profiled? A PROGRAM, --pid PID or --url URL; --help has examples"
        )
    if arguments.module and not words:
        arguments.parser.error("-m needs the name of a module")
    if arguments.token is not None and arguments.url is None:
        arguments.parser.error("--token is for --url")


def _output(arguments: argparse.Namespace) -> Output:
    from .output import Output

    try:
        return Output(
            arguments.kind, arguments.output, top=arguments.top, trace=arguments.trace, base=arguments.diff
        )
    except ValueError as error:
        parser: argparse.ArgumentParser = arguments.parser
        parser.error(str(error))


def _show(arguments: argparse.Namespace, words: list[str]) -> int:
    """``otlpfast profile show``."""
    from .show import show

    parser = argparse.ArgumentParser(
        prog="otlpfast profile show",
        description="Prints a saved profile as a table, converts it, or compares it with another.",
        epilog=_SHOW_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", metavar="FILE", help=".pb.gz or another pprof file; .zip of a full profile")
    parser.add_argument(
        "--kind", choices=KINDS, metavar="KIND", help="which profile of a .zip; default: its summary"
    )
    parser.add_argument(
        "--type", metavar="TYPE", help="which values, such as alloc_space; default: the profile's own"
    )
    parser.add_argument("--cum", action="store_true", help="by what functions cost with what they call")
    _add_output(parser)
    return show(parser, parser.parse_args(words))


def fail(text: object) -> int:
    """Says what went wrong, and what to do; returns the exit status."""
    print(f"otlpfast profile: {text}", file=sys.stderr)
    return 1

"""``otlpfast run``: a program, unchanged, with otlpfast configured before it starts.

Imports nothing of OpenTelemetry: that is for the program's own process.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
from collections.abc import Sequence

from otlpfast.autostart import FOLDER

NOT_FOUND, NOT_EXECUTABLE = 127, 126  # as a shell has it
_DEFAULTS = {"OTEL_PYTHON_CONFIGURATOR": "otlpfast", "OTEL_PYTHON_DISTRO": "otlpfast"}

_ADDRESSES = {"--web": "OTLPFAST_WEB", "--pprof": "OTLPFAST_PPROF"}
_ANY_PORT = "127.0.0.1:0"
_ADDRESS = r"(?:(?:\[[0-9A-Fa-f:.%\w]+\]|[\w.-]+):)?[0-9]{1,5}"

_EPILOG = """\
examples:
  otlpfast run app.py --port 8000
  otlpfast run -m celery -A tasks worker
  otlpfast run gunicorn -w 4 app:app
  otlpfast run --web app.py                                     spans on a live page, see docs/web.md
  otlpfast run --pprof app.py                                   profiles while it runs, see docs/profiling.md
  OTEL_TRACES_EXPORTER=otlpfast_console otlpfast run app.py     spans on the terminal

What is installed of opentelemetry-instrumentation-* is switched on, as by opentelemetry-instrument
(pip install otlpfast[auto]); without it, the tracer provider is configured and nothing else. Python
processes that the program starts are configured in the same way. OTEL_* variables say what is recorded and
where it goes.
"""


def add_parser(subcommands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the ``run`` command to the command line."""
    parser = subcommands.add_parser(
        "run",
        help="run a program with otlpfast switched on",
        description="Runs a Python program, unchanged, with otlpfast configured and libraries instrumented.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="otlpfast run [-h] [--web [HOST:PORT]] [--pprof [HOST:PORT]] [-m] PROGRAM [ARGUMENT ...]",
    )
    for option, what in (
        ("--web", "a live page of the program's spans"),
        ("--pprof", "profiles of the program, for go tool pprof and browsers"),
    ):
        parser.add_argument(
            option,
            nargs=argparse.REMAINDER,  # the address may be left out, and what follows is the program's
            metavar="HOST:PORT",
            help=f"serve {what}, at HOST:PORT or any free port of 127.0.0.1 ({_ADDRESSES[option]})",
        )
    parser.add_argument("-m", dest="module", action="store_true", help="PROGRAM is a module, as in python -m")
    parser.add_argument(
        "command", nargs=argparse.REMAINDER, metavar="PROGRAM", help="a script, a module or a program on PATH"
    )
    parser.set_defaults(run=run, parser=parser)


def run(arguments: argparse.Namespace) -> int:
    """Becomes the program, so that signals and the exit status are its own; returns only if that fails."""
    words = list(arguments.command)
    served = _take_addresses(arguments, words)
    if words[:1] == ["--"]:
        del words[0]
    if not words:
        arguments.parser.error("what is to be run? A script, -m and a module, or a program on PATH")
    command = find_command(words, module=arguments.module)
    if command is None:
        print(f"otlpfast run: {not_found(words[0], 'run')}", file=sys.stderr)
        return NOT_FOUND
    sys.stdout.flush()
    sys.stderr.flush()
    if (ordered := sys.modules.get("otlpfast.profiling._ordered")) is not None:
        ordered.abandon()  # `otlpfast profile` is interested in what this process becomes
    try:
        os.execve(command[0], command, _environment(served))
    except OSError as error:
        print(f"otlpfast run: {command[0]!r} can't be run: {error.strerror}", file=sys.stderr)
    return NOT_EXECUTABLE


def _take_addresses(arguments: argparse.Namespace, words: list[str]) -> dict[str, str]:
    """Variables for --web and --pprof; what else came after these is put before the words."""
    served = {}
    for option in _ADDRESSES:
        given = getattr(arguments, option[2:])
        rest = [] if given is None else [option, *given]
        while rest and (name := rest[0].partition("=")[0]) in _ADDRESSES:
            _, equals, address = rest.pop(0).partition("=")
            if not equals:
                has_address = rest and re.fullmatch(_ADDRESS, rest[0], re.ASCII)
                address = rest.pop(0) if has_address else _ANY_PORT
            served[_ADDRESSES[name]] = address
        if rest[:1] == ["-m"]:
            arguments.module = True
            del rest[0]
        words[:0] = rest
    return served


def not_found(name: str, command: str) -> str:
    """What there is to say where ``find_command`` found none."""
    return (
        f"{name!r} was not found, neither as a file nor as a program on PATH "
        f"(a module? otlpfast {command} -m {name})"
    )


def find_command(words: Sequence[str], *, module: bool) -> list[str] | None:
    """A Python script, or a program as a shell finds it; None without either. A module is not looked for."""
    if module:
        return [sys.executable, "-m", *words]
    name = words[0]
    is_path = os.path.dirname(name) != ""
    if os.path.exists(name) and (
        name.endswith((".py", ".pyz", ".pyw"))
        or os.path.isfile(os.path.join(name, "__main__.py"))
        or (is_path and not os.access(name, os.X_OK))
    ):
        return [sys.executable, *words]
    beside = os.path.dirname(sys.executable)  # where it is called by its path, its environment is not on PATH
    program = shutil.which(name) or (None if is_path else shutil.which(name, path=beside))
    if program is not None:
        return [program, *words[1:]]
    return [sys.executable, *words] if os.path.isfile(name) else None


def _environment(served: dict[str, str]) -> dict[str, str]:
    environment = {**os.environ, **served}
    for name, value in _DEFAULTS.items():
        if not environment.get(name):
            environment[name] = value
    put_first(environment, FOLDER)
    return environment


def put_first(environment: dict[str, str], folder: str) -> None:
    """Has Python processes import from that folder before all others."""
    given = environment.get("PYTHONPATH", "")
    path = given.split(os.pathsep) if given else []  # an empty entry is the current directory
    environment["PYTHONPATH"] = os.pathsep.join([folder, *(name for name in path if name != folder)])

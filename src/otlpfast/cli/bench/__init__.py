"""``otlpfast bench``: half a minute of measuring on the user's own machine."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from ..seconds import seconds

if TYPE_CHECKING:
    _Subcommands = argparse._SubParsersAction[argparse.ArgumentParser]

_DESCRIPTION = """\
Measures on this machine, in about half a minute, what calls of the API cost with the SDK and with otlpfast,
and what a span costs from its start to its arrival at a sink in another process.
"""
_EPILOG = """\
examples:
  otlpfast bench                  half a minute
  otlpfast bench --seconds 120    steadier figures
  otlpfast bench --json           the figures as JSON

exit status: 0 if every span arrived, 1 otherwise
"""
_PIPELINES = {"sdk": "SDK", "processor": "otlpfast processor", "otlpfast": "otlpfast"}
_RATE = 4_000  # spans/s: what the SDK keeps up with
_SECONDS = seconds("a number of seconds from 1 to 3600", lambda value: 1 <= value <= 3600)
BIAS = (
    "calls: CPU time of the thread, the best of many rounds, caches warm: in a service all of it costs more",
    "calls: otlpfast encodes as a span ends; the SDK's worker does it later, which is not in these figures",
    "pipeline: CPU time of the whole process less that of the load generator, which was measured before",
)


def add_parser(subcommands: _Subcommands) -> None:
    """Adds ``bench`` to the command line."""
    parser = subcommands.add_parser(
        "bench",
        help="half a minute of measuring here: the SDK against otlpfast",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--seconds", type=_SECONDS, default=30.0, metavar="N", help="about how long it takes (default 30)"
    )
    parser.add_argument("--json", action="store_true", help="print the figures as JSON instead of a table")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Measures and prints; returns the exit status."""
    from otlpfast.cli.console import Console
    from otlpfast.cli.demo.runs import environment

    # What is set for an application here must not tilt a comparison of defaults.
    wanted = environment(None, os.environ)
    os.environ.clear()
    os.environ.update(wanted)
    console = Console()
    try:
        calls = _calls(arguments.seconds / 3, console)
        pipelines = {name: _pipeline(name, arguments.seconds / 6, console) for name in _PIPELINES}
    finally:
        console.clear()
    print(_as_json(calls, pipelines) if arguments.json else _as_text(calls, pipelines))
    return 0 if all(found is None or found["delivered"] for found in pipelines.values()) else 1


def _calls(seconds: float, console: Any) -> dict[str, dict[str, float]]:
    from .operations import measure

    console.step("measuring calls of the API")
    least: dict[str, dict[str, float]] = {}
    for number, operations in enumerate(measure(seconds), 1):
        console.update(f"round {number}")
        least = {operation.name: operation.least for operation in operations}
    return least


def _pipeline(name: str, seconds: float, console: Any) -> dict[str, Any] | None:
    """What ``otlpfast load`` finds, in a process of its own; None where a package is missing."""
    from otlpfast.cli.load.pipelines import HTTP, missing

    if package := missing(name, HTTP):
        console.note(f"{_PIPELINES[name]} is left out: {sys.executable} -m pip install {package}")
        return None
    console.step(f"measuring the pipeline: {_PIPELINES[name]}")
    # In bursts: what the load generator takes must not be more than what is measured.
    options = {
        "--pipeline": name,
        "--rate": _RATE,
        "--burst": _RATE // 100,
        "--duration": seconds,
        "--events": 0,
    }
    given = [str(part) for pair in options.items() for part in pair]
    command = [sys.executable, "-m", "otlpfast.cli", "load", "--json", *given]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", timeout=seconds + 120)
    if not done.stdout:
        raise RuntimeError(f"otlpfast load ended with code {done.returncode}: {done.stderr.strip()}")
    found: dict[str, Any] = json.loads(done.stdout)
    found["tracing"] = max(
        found["cpu_microseconds_a_span"] - found["load_generator_microseconds_a_span"], 0.0
    )
    return found


def _as_text(calls: dict[str, dict[str, float]], pipelines: dict[str, dict[str, Any] | None]) -> str:
    from otlpfast.cli.circumstances import busy, circumstances

    rows = [["a call of the API, µs", "SDK", "otlpfast", "SDK ÷ otlpfast"]]
    for name, least in calls.items():
        sdk, ours = least["SDK"], least["otlpfast"]
        rows.append([name, f"{sdk * 1e6:.2f}", f"{ours * 1e6:.3f}", f"{sdk / ours:.3g}×" if ours else "-"])
    heading = ["the whole pipeline, 10 attributes", "CPU, µs a span", "received", "SDK ÷ this"]
    rows += [[""] * len(heading), heading]
    stock = pipelines["sdk"]
    for name, found in pipelines.items():
        if found:
            cpu, sent = found["tracing"], found["sent"]
            ratio = f"{stock['tracing'] / cpu:.3g}×" if stock and cpu else "-"
            rows.append([_PIPELINES[name], f"{cpu:.2f}", f"{found['received']:,} of {sent:,}", ratio])
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    lines = [
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip() for row in rows
    ]
    facts = {**circumstances(), "busy": busy()}
    notes = [*(f"{name}: {value}" for name, value in facts.items()), *(f"bias: {text}" for text in BIAS)]
    return "\n".join([*lines, "", *notes])


def _as_json(calls: dict[str, dict[str, float]], pipelines: dict[str, dict[str, Any] | None]) -> str:
    from otlpfast.cli.circumstances import busy, circumstances

    kept = ("sent", "received", "account", "delivered", "latency_microseconds")
    return json.dumps(
        {
            "calls_seconds": calls,
            "pipelines": {
                name: found
                and {**{key: found[key] for key in kept}, "cpu_microseconds_a_span": found["tracing"]}
                for name, found in pipelines.items()
            },
            "circumstances": {**circumstances(), "busy": busy()},
            "bias": list(BIAS),
        },
        indent=2,
        ensure_ascii=False,
    )

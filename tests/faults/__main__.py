"""Runs every fault on otlpfast and on the stock SDK, and writes docs/reliability.md with what was found.

    python -m tests.faults                 all rows, both pipelines, outages as long as real ones
    python -m tests.faults --row 4b        one row, or several, to the standard output
    python -m tests.faults --quick         outages as short as in the test suite

Ends with 1 where otlpfast broke a promise that is not known to be open.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path

from bench.soak import report

import otlpfast
from otlpfast.cli.console import Console
from tests.faults import SIDES, Fault, Outcome, Pipeline
from tests.faults.table import FAULTS, missing

HERE = Path(__file__).parents[2]
PAGE = HERE / "docs" / "reliability.md"
SOAK = HERE / "build" / "soak.json"  # what `make soak` leaves, where it ran

_HEAD = """\
# Reliability

What becomes of spans where something goes wrong, with otlpfast and with the stock SDK in one run. Each row is
a scenario in `tests/faults`, with real sockets, processes and signals; the test suite has otlpfast keep every
promise of this table. `make reliability` wrote this page; `python -m tests.faults --row 19` runs one row.
✓ says that what is promised was kept in this run, ✗ that it was not; a process that hung was killed.

{circumstances}.

| | fault | what is promised | otlpfast | SDK |
|---|---|---|---|---|
"""
_TAIL = """
otlpfast kept {kept[otlpfast]} of {count} promises in this run, the SDK {kept[SDK]}. What is lost is counted
in `processor.stats()`; the SDK keeps no account, which is held against it only where spans were lost.

Both sides have the same settings. Spans go out when a batch is full, when a flush asks for them, and at the
end: the timer is set so that it does not come, but every 0.05 or 0.1 s in rows 1, 4b, 5, 14, 16 and 16b.
These and 30c have a `spool_dir`, rows 15 and 15b `OTLPFAST_FLUSH_ON_SIGTERM=true`, row 35 a `max_queue_bytes`
of 16 MiB. Time-outs of exporters are 10 s, the default, or between 3 and 20 s; 60 s in row 35.
"""
_SOAK = """
## Soak

What `make soak` found: an application with a `spool_dir` that makes spans at a steady rate, and a collector
that is killed, hangs and resets connections, by turns with one that is well. Whatever else the machine did
meets both alike.

{found}"""


def _circumstances() -> str:
    exporters = ("opentelemetry-exporter-otlp-proto-http", "opentelemetry-exporter-otlp-proto-grpc")
    packages = ("opentelemetry-sdk", *exporters, "grpcio")
    return ", ".join(
        [
            f"otlpfast {otlpfast.__version__} ({otlpfast.IMPLEMENTATION})",
            *(f"{package} {version(package)}" for package in packages),
            f"{platform.python_implementation()} {platform.python_version()}",
            f"{platform.system()} {platform.machine()}",
            f"{os.cpu_count()} cores",
        ]
    )


def _cell(outcome: Outcome | None) -> str:
    if outcome is None:
        return "not run"
    return ("✗ " if outcome.broken else "✓ ") + outcome.text.replace("|", "\\|")


def _run(fault: Fault, console: Console, thorough: bool) -> dict[str, Outcome | None]:
    """What each side did; None where something is not installed here."""
    found: dict[str, Outcome | None] = {}
    for side in SIDES:
        console.step(f"{fault.row:>3} {fault.title}: {side}")
        absent = missing(fault)
        if absent:
            console.note(f"    not run: {absent} is not installed")
            found[side] = None
            continue
        begun = time.monotonic()
        outcome = found[side] = fault.scenario(Pipeline(side, thorough))
        console.note(f"    {time.monotonic() - begun:.1f} s: {_cell(outcome)}")
        if side == "otlpfast":
            for promise in outcome.broken:
                console.note(f"    BROKEN: {promise}")
    console.clear()
    return found


def _page(rows: dict[str, dict[str, Outcome | None]]) -> Iterable[str]:
    yield _HEAD.format(circumstances=_circumstances())
    for row, found in rows.items():
        fault = FAULTS[row]
        cells = (fault.row, fault.title, fault.promised, *(_cell(found[side]) for side in SIDES))
        yield f"| {' | '.join(cells)} |\n"
    kept = {
        side: sum(outcome is not None and not outcome.broken for outcome in (f[side] for f in rows.values()))
        for side in SIDES
    }
    yield _TAIL.format(kept=kept, count=len(rows))
    if SOAK.exists() and len(rows) == len(FAULTS):
        yield _SOAK.format(found=report.text(json.loads(SOAK.read_text())))


def main() -> int:
    assert __doc__
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__.partition("\n")[0])
    parser.add_argument("--row", action="append", choices=list(FAULTS), metavar="ROW", help="only this row")
    parser.add_argument("--quick", action="store_true", help="with short outages")
    arguments = parser.parse_args()
    console, rows = Console(), {}
    for row in arguments.row or FAULTS:
        rows[row] = _run(FAULTS[row], console, thorough=not arguments.quick)
    text = "".join(_page(rows))
    if arguments.row:
        sys.stdout.write(text)
    else:
        PAGE.write_text(text, encoding="utf-8")
        console.note(f"written: {PAGE}")
    failed = [row for row, found in rows.items() if (mine := found["otlpfast"]) is not None and mine.broken]
    if failed:
        console.note(f"otlpfast broke a promise in {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

"""How long spans take and how late other threads get, for the SDK and for otlpfast, in one run.

    python -m bench.latency                         about five minutes
    python -m bench.latency --seconds 15 --repeats 10

Three measurements, each in a process of its own, with the exports going to a sink in another process: a span
in 1 to 8 threads that do nothing else, with the export on and off; the lateness of a thread that sleeps 1 ms;
full garbage collections with 100,000 spans in the queue. The tables go into docs/benchmarks.md, all figures
into build/latency.json.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from otlpfast.cli.circumstances import busy
from otlpfast.cli.console import Console
from otlpfast.cli.demo.children import Child, Deadline
from otlpfast.cli.demo.runs import environment

from . import page
from .latency_worker import MEASUREMENTS, QUEUED

TITLES = {"nothing": "no tracing", "sdk": "SDK", "processor": "otlpfast processor", "native": "otlpfast"}
THREADS = (1, 2, 4, 8)
RATES = (1_000, 4_000)

Key = tuple[Any, ...]
Figures = dict[Key, list[dict[str, Any]]]

_SPANS = """\
**A span** (made current, 10 attributes, 1 event) in threads that do nothing else, µs. Export on: to a sink in
another process, as fast as the worker can. Export off: the same provider and processor with an exporter that
forgets. Where threads share a GIL, the slowest spans are those that lost it in the middle: 5 ms for each
thread that was before them.
"""
_LATE = """\
**An unrelated thread** that sleeps 1 ms: how late it wakes up, µs, beside a thread that makes such spans at a
steady rate and the export of these.
"""
_GC = """\
**A full garbage collection** with {queued:,} ended spans of 10 attributes in the queue: what it takes, how
many objects it looks at, and what the process grew by for each span.
"""


def steps(repeats: int, queued: int) -> Iterator[tuple[Key, dict[str, Any]]]:
    """What is measured, by turns: a key, and the worker's arguments."""
    for _ in range(repeats):
        for threads in THREADS:
            for pipeline in ("sdk", "native"):
                for export in ("on", "off"):
                    yield (
                        ("spans", threads, pipeline, export),
                        {"measure": "spans", "pipeline": pipeline, "threads": threads, "export": export},
                    )
        for rate in RATES:
            for pipeline in TITLES:
                arguments = {"measure": "lateness", "pipeline": pipeline, "rate": rate, "export": "on"}
                yield ("lateness", rate, pipeline), arguments
        for pipeline in ("nothing", "sdk", "native"):
            arguments = {"measure": "collections", "pipeline": pipeline, "queued": queued, "export": "off"}
            yield ("collections", pipeline), arguments


def measure(todo: list[tuple[Key, dict[str, Any]]], seconds: float, console: Console) -> Figures:
    """Runs all steps; the figures by key, one for each repeat."""
    figures: Figures = defaultdict(list)
    variables = environment(None, os.environ)
    deadline = Deadline(120 + (2 * seconds + 120) * len(todo))
    with Child("otlpfast.cli.receiver", (), variables, deadline, bare=True) as sink:
        base = f"http://127.0.0.1:{sink.answer()['port']}"
        console.step("measuring")
        for number, (key, arguments) in enumerate(todo):
            console.update(f"{number} of {len(todo)}: {', '.join(map(str, key))}")
            path = f"/{number}/v1/traces"
            export = arguments.pop("export") == "on" and arguments["pipeline"] != "nothing"
            arguments |= {"seconds": seconds, "endpoint": base + path if export else ""}
            found = _child(arguments, variables)
            found["received"] = sink.ask("account", path=path)["spans"] if export else None
            figures[key].append(found)
    return figures


def _child(arguments: dict[str, Any], variables: dict[str, str]) -> dict[str, Any]:
    command = [sys.executable, "-m", "bench.latency_worker"]
    command += [f"--{name}={value}" for name, value in arguments.items()]
    here = Path(__file__).parents[1]
    done = subprocess.run(
        command, cwd=here, env=variables, stdout=subprocess.PIPE, text=True, check=True, timeout=600
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def tables(figures: Figures, queued: int) -> str:
    """All tables, as markdown."""
    parts = {
        "spans": (_SPANS, _spans),
        "lateness": (_LATE, _late),
        "collections": (_GC.format(queued=queued), lambda found: _collections(found, queued)),
    }
    measured = {key[0] for key in figures}
    return "\n".join(f"{text}\n{made(figures)}\n" for name, (text, made) in parts.items() if name in measured)


def _row(repeats: list[dict[str, Any]]) -> list[str]:
    shown = {"p50": 1, "p99": 0, "p99.9": 0}
    spreads = [
        page.spread([repeat[name] for repeat in repeats], decimals) for name, decimals in shown.items()
    ]
    return [*spreads, f"{max(repeat['max'] for repeat in repeats):,.0f}"]


def _spans(figures: Figures) -> str:
    rows = []
    for key, repeats in figures.items():
        if key[0] == "spans":
            _, threads, pipeline, export = key
            sent, received = (sum(repeat[name] or 0 for repeat in repeats) for name in ("sent", "received"))
            arrived = f"{received / sent:.0%}" if export == "on" else "-"
            rate = f"{sent / sum(repeat['seconds'] for repeat in repeats):,.0f}"
            rows.append([f"{TITLES[pipeline]}, export {export}", str(threads), *_row(repeats), rate, arrived])
    return page.table(["", "threads", "p50", "p99", "p99.9", "max", "spans/s", "arrived"], rows)


def _late(figures: Figures) -> str:
    rows = [
        [TITLES[key[2]], f"{key[1]:,}", *_row(repeats)]
        for key, repeats in figures.items()
        if key[0] == "lateness"
    ]
    return page.table(["", "spans/s", "p50", "p99", "p99.9", "max"], rows)


def _collections(figures: Figures, queued: int) -> str:
    rows = []
    for key, repeats in figures.items():
        if key[0] == "collections":
            pauses = page.spread([repeat["milliseconds"] for repeat in repeats])
            objects = page.spread([repeat["objects"] for repeat in repeats], 0)
            grown = [repeat["grown"] / queued for repeat in repeats]
            each = "-" if key[1] == "nothing" or not any(grown) else page.spread(grown, 0)
            rows.append([TITLES[key[1]], pauses, objects, each])
    return page.table(["", "pause, ms", "objects", "bytes a span"], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seconds", type=float, default=1.5, help="of each measurement (default 1.5)")
    parser.add_argument("--repeats", type=int, default=3, help="of each measurement (default 3)")
    parser.add_argument("--only", choices=MEASUREMENTS, help="one of the measurements")
    parser.add_argument("--queued", type=int, default=QUEUED, help="spans (default 100,000)")
    parser.add_argument("--out", type=Path, default=page.PAGE, help="the page to write the tables into")
    parser.add_argument("--json", type=Path, default=Path("build/latency.json"), help="all figures")
    arguments = parser.parse_args()
    console, before = Console(), busy()
    todo = list(steps(arguments.repeats, arguments.queued))
    if arguments.only:
        todo = [step for step in todo if step[0][0] == arguments.only]
    figures = measure(todo, arguments.seconds, console)
    console.clear()
    note = f"{arguments.seconds:g} s a measurement, {arguments.repeats} repeats"
    note = f"{note}: median (least to most); max: of all"
    text = f"{tables(figures, arguments.queued)}\n\n{page.conditions(note, before=before)}"
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps({", ".join(map(str, key)): found for key, found in figures.items()}))
    page.put("latency", text, arguments.out)
    print(text)


if __name__ == "__main__":
    main()

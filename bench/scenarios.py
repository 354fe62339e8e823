"""The specification's scenarios (performance-benchmark.md), for the SDK, otlpfast and its rivals, in one run.

    python -m bench.scenarios                about five minutes: 3 repeats of 1.5 s
    python -m bench.scenarios --full         as the specification asks: 10 repeats of 15 s, some hours
    python -m bench.scenarios --no-rivals    the SDK and otlpfast only, nothing is installed
    python -m bench.scenarios --only SDK --only otlpfast

Each measurement is a process of its own (bench/worker.py); the pipelines take turns, and a sink in another
process counts what arrives. The rivals get an environment that is thrown away, with the same SDK. The tables
go into docs/benchmarks.md, all figures into build/scenarios.json.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import venv
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from otlpfast.cli.circumstances import busy, version_of
from otlpfast.cli.console import Console
from otlpfast.cli.demo.children import Child, Deadline
from otlpfast.cli.demo.runs import environment

from . import page
from .scenario_tables import short, tables

WORKER = Path(__file__).with_name("worker.py")
RIVALS = ("fastotel", "honeycomb-pycpp", "otlp-proto", "ddtrace")
SAME = ("opentelemetry-api", "opentelemetry-sdk", "opentelemetry-exporter-otlp-proto-http", "protobuf")
STEADY, BUSY = 4_000, 10_000  # spans/s: what the SDK keeps up with, and what the specification asks for

Figures = dict[tuple[str, str], list[dict[str, Any]]]
"""By pipeline and load: what each repeat came to."""


@dataclass(frozen=True)
class Pipeline:
    """What is measured, by which code of the worker, and the package that has to be installed for it."""

    title: str
    worker: str
    compression: str = "none"
    package: str = ""
    loads: tuple[str, ...] = ("cost", "flat_out", "steady", "busy")


PIPELINES = (
    Pipeline("pacing alone", "nothing", loads=("steady", "busy")),
    Pipeline("SDK", "sdk", loads=("cost", "flat_out", "steady", "busy", "encode")),
    Pipeline("SDK, gzip", "sdk", "gzip", loads=("steady",)),
    Pipeline("otlpfast processor", "processor"),
    Pipeline("otlpfast processor, gzip", "processor", "gzip", loads=("steady",)),
    Pipeline("otlpfast", "native", loads=("cost", "flat_out", "steady", "busy", "encode")),
    Pipeline("otlpfast, gzip", "native", "gzip", loads=("steady",)),
    Pipeline("fastotel", "fastotel", package="fastotel"),
    Pipeline("fastotel, gzip", "fastotel", "gzip", "fastotel", ("steady",)),
    Pipeline("honeycomb-pycpp", "pycpp", package="honeycomb-pycpp"),
    Pipeline("ddtrace", "ddtrace", package="ddtrace", loads=("cost",)),
    Pipeline("otlp-proto", "otlp_proto", package="otlp-proto", loads=("encode",)),
)
_RATES = {"steady": STEADY, "busy": BUSY}


@dataclass
class Rivals:
    """An environment with the rivals: ``versions`` of those that can be had, ``refused`` the others."""

    python: str
    versions: dict[str, str]
    refused: list[str]

    @classmethod
    def install(cls, folder: Path, console: Console) -> Rivals:
        console.step("installing the rivals into an environment of their own")
        venv.create(folder, with_pip=True)
        python = str(folder / ("Scripts" if os.name == "nt" else "bin") / "python")
        constraints = folder / "same-versions.txt"
        constraints.write_text("".join(f"{name}=={version_of(name)}\n" for name in SAME))
        pip = [
            python,
            "-m",
            "pip",
            "--disable-pip-version-check",
            "install",
            "--quiet",
            "-c",
            str(constraints),
        ]
        subprocess.run([*pip, *SAME], check=True)
        refused = []
        for name in RIVALS:
            console.update(name)
            done = subprocess.run([*pip, "--only-binary", ":all:", name], capture_output=True, text=True)
            if done.returncode:
                refused.append(name)
                console.note(f"{name} can't be installed here: {done.stderr.strip().splitlines()[-1]}")
        return cls(
            python, {name: _installed(python, name) for name in RIVALS if name not in refused}, refused
        )


def _installed(python: str, name: str) -> str:
    code = "import importlib.metadata, sys; print(importlib.metadata.version(sys.argv[1]))"
    return subprocess.run(
        [python, "-c", code, name], capture_output=True, text=True, check=True
    ).stdout.strip()


class Scenarios:
    """Runs all pipelines under all loads, by turns."""

    def __init__(
        self,
        pipelines: Sequence[Pipeline],
        seconds: float,
        repeats: int,
        rivals: Rivals | None,
        console: Console,
    ) -> None:
        self._pipelines = pipelines
        self._seconds = seconds
        self._repeats = repeats
        self._rivals = rivals
        self._console = console
        self._environment = environment(None, os.environ)
        self.figures: Figures = defaultdict(list)
        self.failures: dict[str, str] = {}

    def run(self) -> None:
        steps = list(self._steps())
        deadline = Deadline(120 + (self._seconds * 3 + 60) * len(steps))
        with Child("otlpfast.cli.receiver", (), self._environment, deadline, bare=True) as sink:
            base = f"http://127.0.0.1:{sink.answer()['port']}"
            # ddtrace sends to an agent, and here there is none: what it sends is thrown away.
            self._environment["DD_TRACE_AGENT_URL"] = base
            self._environment["DD_INSTRUMENTATION_TELEMETRY_ENABLED"] = "false"
            self._console.step("measuring")
            for number, (pipeline, load) in enumerate(steps):
                self._console.update(f"{number} of {len(steps)}: {pipeline.title}, {load}")
                path = f"/{number}/v1/traces"
                found = self._measure(pipeline, load, base + path)
                if found:
                    found["received"] = sink.ask("account", path=path)
                    self.figures[pipeline.title, load].append(found)

    def _steps(self) -> Iterator[tuple[Pipeline, str]]:
        known = self._rivals.versions if self._rivals else {}
        for _ in range(self._repeats):
            for load in ("encode", "cost", "steady", "busy", "flat_out"):
                for pipeline in self._pipelines:
                    if load in pipeline.loads and (not pipeline.package or pipeline.package in known):
                        yield pipeline, load

    def _measure(self, pipeline: Pipeline, load: str, endpoint: str) -> dict[str, Any] | None:
        python = self._rivals.python if self._rivals and pipeline.package else sys.executable
        arguments = {
            "--pipeline": pipeline.worker,
            "--load": "paced" if load in _RATES else load,
            "--endpoint": endpoint,
            "--compression": pipeline.compression,
            "--seconds": self._seconds,
            "--rate": _RATES.get(load, 0),
        }
        command = [python, str(WORKER), *(str(part) for pair in arguments.items() for part in pair)]
        try:
            done = subprocess.run(
                command,
                env=self._environment,
                capture_output=True,
                text=True,
                timeout=self._seconds * 3 + 60,
                check=True,
            )
            found: dict[str, Any] = json.loads(done.stdout)
            return found
        except (subprocess.SubprocessError, ValueError) as failure:
            said = (getattr(failure, "stderr", None) or str(failure)).strip().splitlines()
            self.failures[pipeline.title] = said[-1] if said else "it said nothing"
            self._console.note(f"{pipeline.title}, {load}: {self.failures[pipeline.title]}")
            return None


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value <= 3600:
        raise argparse.ArgumentTypeError(f"{text} is not above 0 and at most 3600")
    return value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seconds", type=_positive, help="of each measurement (default 1.5)")
    parser.add_argument("--repeats", type=int, help="of each measurement (default 3)")
    parser.add_argument("--full", action="store_true", help="15 s and 10 repeats, if not said otherwise")
    titles = [pipeline.title for pipeline in PIPELINES]
    parser.add_argument("--only", action="append", choices=titles, metavar="TITLE", help=", ".join(titles))
    parser.add_argument("--no-rivals", action="store_true", help="install nothing")
    parser.add_argument("--out", type=Path, default=page.PAGE, help="the page to write the tables into")
    parser.add_argument(
        "--readme", type=Path, help="the page for the short table (README.md for a whole run)"
    )
    parser.add_argument("--json", type=Path, default=Path("build/scenarios.json"), help="all figures")
    arguments = parser.parse_args()
    seconds = arguments.seconds or (15.0 if arguments.full else 1.5)
    repeats = arguments.repeats or (10 if arguments.full else 3)
    only = arguments.only or titles
    pipelines = [pipeline for pipeline in PIPELINES if pipeline.title in only]
    console, before = Console(), busy()
    with ExitStack() as opened:
        rivals = None
        if not arguments.no_rivals and any(pipeline.package for pipeline in pipelines):
            folder = opened.enter_context(tempfile.TemporaryDirectory(prefix="otlpfast-rivals-"))
            rivals = Rivals.install(Path(folder), console)
        scenarios = Scenarios(pipelines, seconds, repeats, rivals, console)
        scenarios.run()
    console.clear()
    versions = rivals.versions if rivals else {}
    notes = [f"{seconds:g} s a measurement, {repeats} repeats: median (least to most)"]
    notes += (
        [f"rivals: {', '.join(f'{name} {version}' for name, version in versions.items())}"]
        if versions
        else []
    )
    notes += (
        [f"could not be installed here: {', '.join(rivals.refused)}"] if rivals and rivals.refused else []
    )
    notes += [f"failed here: {title} ({reason})" for title, reason in scenarios.failures.items()]
    text = f"{tables(scenarios.figures)}\n\n{page.conditions(*notes, before=before)}"
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    kept = {f"{title}: {load}": found for (title, load), found in scenarios.figures.items()}
    arguments.json.write_text(json.dumps(kept, indent=1))
    page.put("scenarios", text, arguments.out)
    readme = arguments.readme or (None if arguments.only or arguments.no_rivals else page.README)
    if readme:
        page.put("rivals", short(scenarios.figures), readme)
    print(text)


if __name__ == "__main__":
    main()

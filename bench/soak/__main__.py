"""Spans at a steady rate for a long time, to a collector that is killed, hung, reset and restarted at random.

    python -m bench.soak --seconds 600 --rate 20000
    python -m bench.soak --seconds 10 --rate 2000 --seed 7 --json build/soak.json

Phases with a healthy collector and phases with one in trouble take turns, so that whatever else the machine
does meets them alike; the time that what was spooled takes to be delivered belongs to the trouble. At the end
all has to be accounted for and delivered. Ends with 1 where that is not so; latencies are only reported.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import otlpfast
from bench.soak import report
from bench.soak.troubles import TROUBLES, CollectorProcess, Troubles
from otlpfast.cli.console import Console

_HERE = Path(__file__).parents[2]
_PATIENCE = 240.0  # seconds for the application to deliver the rest


class ApplicationProcess:
    """The application, and what it says once a second."""

    def __init__(self, endpoint: str, rate: float, settings: dict[str, Any]) -> None:
        command = [sys.executable, "-m", "bench.soak.application", "--endpoint", endpoint]
        command += ["--rate", str(rate), "--settings", json.dumps(settings)]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
        self._process = subprocess.Popen(
            command,
            cwd=_HERE,
            env={**environment, "NO_PROXY": "*", "OTLPFAST_IMPL": otlpfast.IMPLEMENTATION},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.words: list[dict[str, Any]] = []
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def _listen(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            self.words.append(json.loads(line))

    def turn_to(self, phase: str) -> None:
        assert self._process.stdin
        self._process.stdin.write(phase + "\n")
        self._process.stdin.flush()

    @property
    def last(self) -> dict[str, Any]:
        return self.words[-1] if self.words else {}

    def finish(self) -> int:
        """Has it deliver the rest and end; its return code."""
        self.turn_to("finish")
        try:
            code = self._process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        self._listener.join()
        return code

    def kill(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()


class Soak:
    def __init__(self, seconds: float, rate: float, seed: int, console: Console) -> None:
        self._seconds = seconds
        self._rate = rate
        # Four turns of each at least; none shorter than takes to tell anything, none longer than a minute.
        self._turn = min(60.0, seconds / 8)
        self._troubles = Troubles(seed, scale=min(8.0, self._turn / 2))
        self._console = console

    def run(self, settings: dict[str, Any]) -> dict[str, Any]:
        """All of it; the figures, as `report` has them."""
        with tempfile.TemporaryDirectory(prefix="otlpfast-soak-") as folder:
            ids = Path(folder, "ids")
            settings = {"spool_dir": str(Path(folder, "spool")), **settings}
            collector = CollectorProcess(ids)
            application = ApplicationProcess(collector.endpoint, self._rate, settings)
            try:
                self._take_turns(application, collector)
                self._console.step("delivering the rest")
                code = application.finish()
            finally:
                application.kill()
                collector.kill()
            self._console.step("counting what arrived")
            return report.figures(application.words, code, ids, self._troubles.counts)

    def _take_turns(self, application: ApplicationProcess, collector: CollectorProcess) -> None:
        begun = time.monotonic()
        end = begun + self._seconds
        while (now := time.monotonic()) < end:
            application.turn_to("healthy")
            self._console.step(f"{now - begun:.0f} s: the collector is well")
            time.sleep(min(self._turn, end - now))
            application.turn_to("in trouble")
            over = min(time.monotonic() + self._turn, end)
            while time.monotonic() < over:
                name, lasts, pause = self._troubles.next()
                self._console.step(f"{time.monotonic() - begun:.0f} s: {name} for {lasts:.1f} s")
                TROUBLES[name](collector, lasts)
                time.sleep(pause)
            self._recover(application)

    def _recover(self, application: ApplicationProcess) -> None:
        """Waits until nothing is spooled, as far as can be told from what is said once a second."""
        deadline, since = time.monotonic() + _PATIENCE, len(application.words)
        while time.monotonic() < deadline:
            new = application.words[since + 1 :]  # what was said before says nothing
            if new and not new[-1]["stats"]["spooled"]:
                return
            time.sleep(0.1)


def main() -> int:
    assert __doc__
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=600, help="how long spans are made (600)")
    parser.add_argument("--rate", type=float, default=20_000, help="spans a second (20000)")
    parser.add_argument("--seed", type=int, default=random.randrange(10_000), help="of the troubles")
    parser.add_argument("--settings", type=json.loads, default={}, help="of the processor, as JSON")
    parser.add_argument("--json", type=Path, help="a file for the figures")
    arguments = parser.parse_args()
    console = Console()
    console.note(f"{arguments.rate:g} spans a second for {arguments.seconds:g} s, seed {arguments.seed}")
    found = Soak(arguments.seconds, arguments.rate, arguments.seed, console).run(arguments.settings)
    console.clear()
    found |= {
        "seed": arguments.seed,
        "rate": arguments.rate,
        "otlpfast": f"{otlpfast.__version__} ({otlpfast.IMPLEMENTATION})",
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
    }
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(found, indent=2) + "\n")
    sys.stdout.write(report.text(found))
    return 0 if all(found["checks"].values()) else 1


if __name__ == "__main__":
    sys.exit(main())

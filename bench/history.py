"""Keeps what a run of the benchmarks came to, one line of JSON a run: ``make bench HISTORY=1`` does it.

python -m bench.history build/bench.json
"""

from __future__ import annotations

import argparse
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HISTORY = Path(__file__).with_name("history.jsonl")

Entry = dict[str, Any]


def commit() -> str:
    """The commit of this source tree, with a "+" where it has changes; "unknown" outside of git."""
    command = ["git", "describe", "--always", "--abbrev=10", "--dirty=+"]
    here = Path(__file__).parent
    try:
        done = subprocess.run(command, cwd=here, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return done.stdout.strip()


def entry(report: Entry, at: str) -> Entry:
    """What is kept of pytest-benchmark's report: costs by operation, reference first, in seconds or bytes."""
    found = report["ratios"]
    return {
        "date": report["datetime"],
        "commit": at,
        "circumstances": found["circumstances"],
        "costs": {
            pair["operation"]: [pair["cost"]["reference"], pair["cost"]["otlpfast"]]
            for pair in found["pairs"]
            if pair["ratio"] is not None
        },
    }


def entries(history: Path = HISTORY) -> Iterator[Entry]:
    """The kept runs, oldest first."""
    if history.exists():
        for line in history.read_text(encoding="utf-8").splitlines():
            yield json.loads(line)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("report", type=Path, help="the JSON of pytest-benchmark")
    parser.add_argument("--history", type=Path, default=HISTORY)
    arguments = parser.parse_args()
    kept = entry(json.loads(arguments.report.read_text(encoding="utf-8")), commit())
    if not kept["costs"]:
        parser.exit(1, "no benchmark ran on both sides: nothing to keep\n")
    with arguments.history.open("a", encoding="utf-8") as file:
        file.write(json.dumps(kept, ensure_ascii=False) + "\n")
    print(f"{len(kept['costs'])} operations kept in {arguments.history}")


if __name__ == "__main__":
    main()

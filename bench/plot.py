"""Draws the history of the benchmarks: how many times cheaper than the reference, run by run.

python -m bench.plot                              the operations that most code calls
python -m bench.plot --operation encode           those with "encode" in their names
python -m bench.plot --cost --out cost.svg        nanoseconds of otlpfast, not ratios
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from otlpfast.cli.chart import Axis, Chart, Point

from .history import HISTORY, Entry, entries

USUAL = (
    "start_span + end",
    "with start_as_current_span, child",
    "set_attribute, str",
    "add_event, 2 attributes",
    "with, 5 × set_attribute, add_event",
    "encode a span, 10 attributes, 1 event",
)
_MOST_LINES, _MOST_MARKS = 8, 8


def chart(kept: list[Entry], operations: list[str], cost: bool) -> Chart:
    """Lines of these operations over the runs that have them."""
    lines: list[tuple[str, Sequence[Point]]] = []
    for operation in operations:
        points: list[Point] = []
        for number, entry in enumerate(kept, 1):
            if operation in entry["costs"]:
                reference, ours = entry["costs"][operation]
                points.append((number, ours * 1e9 if cost else reference / ours))
        lines.append((operation, points))
    values = [y for _, points in lines for _, y in points]
    return Chart(
        "otlpfast, ns an operation" if cost else "times cheaper than the reference, in the same run",
        "; ".join(sorted({entry["circumstances"]["python"] for entry in kept})),
        Axis("run (commit)", _marks(kept)),
        Axis.decades("ns" if cost else "reference ÷ otlpfast", values),
        lines,
    )


def _marks(kept: list[Entry]) -> list[tuple[float, str]]:
    step = -(-len(kept) // _MOST_MARKS)
    marks = [(float(n), entry["commit"][:8]) for n, entry in enumerate(kept, 1) if (n - 1) % step == 0]
    return [(0.0, ""), *marks, (len(kept) + 1.0, "")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--operation", action="append", default=[], metavar="TEXT", help="part of a name")
    parser.add_argument("--cost", action="store_true", help="what otlpfast costs, not the ratio")
    parser.add_argument("--history", type=Path, default=HISTORY)
    parser.add_argument("--out", type=Path, default=Path("build/history.svg"))
    arguments = parser.parse_args()
    kept = list(entries(arguments.history))
    names = list(dict.fromkeys(name for entry in kept for name in entry["costs"]))
    chosen = [name for name in names if any(text in name for text in arguments.operation)]
    chosen = (chosen if arguments.operation else [name for name in USUAL if name in names])[:_MOST_LINES]
    if not chosen:
        parser.exit(1, f"{arguments.history} has no such operation: make bench HISTORY=1 adds a run\n")
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(chart(kept, chosen, arguments.cost).svg(), encoding="utf-8")
    print(f"{len(chosen)} operations of {len(kept)} runs drawn in {arguments.out}")


if __name__ == "__main__":
    main()

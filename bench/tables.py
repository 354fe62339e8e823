"""The tables of what calls cost, from a whole run of the benchmarks; ``make bench`` without ARGS does it.

    python -m bench.tables build/bench.json

All operations go into docs/benchmarks.md, the usual ones into README.md and docs/performance.md, those of
compression into docs/configuration.md.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import page
from .history import commit

CONFIGURATION = page.PAGE.with_name("configuration.md")
PERFORMANCE = page.PAGE.with_name("performance.md")

Pairs = dict[str, dict[str, Any]]
"""By operation, as bench/conftest.py saves them."""

# What a row of README.md is called, and which operations it has.
USUAL: dict[str, tuple[str, ...]] = {
    "`start_span`, `end` (the SDK's are not encoded)": ("start_span + end",),
    "`with start_as_current_span`, root; child": (
        "with start_as_current_span, root",
        "with start_as_current_span, child",
    ),
    "the same with 5 attributes and an event": ("with, 5 × set_attribute, add_event",),
    "… and exported to bytes": ("the same and force_flush, to bytes",),
    "`set_attribute`, a text": ("set_attribute, str",),
    "`set_attributes` of 5": ("set_attributes, 5",),
    "`add_event` with 2 attributes": ("add_event, 2 attributes",),
    "`record_exception`, 6 frames": ("record_exception, 6 frames",),
    "W3C trace context, `extract` and `inject`": ("extract + inject, trace context",),
    "`with`, sampled out": ("with start_as_current_span, sampled out, root",),
    "under the SDK's provider: encode a span (10 attributes, 1 event)": (
        "encode a span, 10 attributes, 1 event",
    ),
    "… on_end and the export, to bytes": ("on_end and force_flush, to bytes, early",),
    "memory of a span of 10 attributes, live; waiting": (
        "memory of a live span, 10 attributes",
        "memory of a waiting span, 10 attributes",
    ),
}
TYPES = tuple(f"set_attribute, {kind}" for kind in ("str", "int", "float", "bool"))
CALLS = (
    "start_span + end",
    "with start_as_current_span, root",
    "with start_as_current_span, child",
    *TYPES,
    "set_attributes, 5",
    "add_event, 2 attributes",
)
COMPRESSORS = {"zlib": "gzip by zlib (level 1)", "ISA-L": "gzip by ISA-L", "zstd": "zstd (level 1)"}


def shown(pair: dict[str, Any], side: str) -> str:
    """A cost with its unit, to three digits."""
    cost = pair["cost"][side]
    if pair["unit"] == "bytes":
        return f"{cost:,.0f} B"
    return f"{cost * 1e9:,.3g} ns" if cost < 1e-6 else f"{cost * 1e6:,.3g} µs"


def _ratio(pair: dict[str, Any]) -> str:
    return f"{pair['ratio']:,.3g}×"


def _together(pairs: Pairs, operations: Sequence[str]) -> list[str]:
    """The cells of a row for these operations; "-" where they did not run."""
    there = [pairs[operation] for operation in operations if operation in pairs]
    cells = ([shown(pair, side) for pair in there] for side in ("reference", "otlpfast"))
    return ["; ".join(texts) or "-" for texts in (*cells, [_ratio(pair) for pair in there])]


def usual(pairs: Pairs) -> str:
    """The table of README.md."""
    rows = [[label, *_together(pairs, operations)] for label, operations in USUAL.items()]
    return page.table(["operation", "stock SDK", "otlpfast", "SDK ÷ otlpfast"], rows)


def calls(pairs: Pairs) -> str:
    """The table of docs/performance.md."""
    return page.table(
        ["", "SDK", "otlpfast", "SDK ÷ otlpfast"],
        [[operation, *_together(pairs, [operation])] for operation in CALLS],
    )


def compression(pairs: Pairs) -> str:
    """How much smaller, and what it costs."""
    rows = []
    for name, label in COMPRESSORS.items():
        size = pairs.get(f"bytes of a span in a request, {name}")
        cost = pairs.get(f"compress a span of a request, {'ISA-L' if name == 'zlib' else name}")
        took = shown(cost, "reference" if name == "zlib" else "otlpfast") if cost else "-"
        rows.append([label, _ratio(size) if size else "-", took])
    return page.table(["", "smaller", "CPU a span"], rows)


def everything(pairs: Pairs) -> str:
    """The table of docs/benchmarks.md."""
    rows = [
        [name, pair["reference"], *_together(pairs, [name]), pair["verdict"]] for name, pair in pairs.items()
    ]
    return page.table(["operation", "reference", "its cost", "otlpfast", "ratio", "promise"], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("report", type=Path, help="the JSON of pytest-benchmark")
    places = {"readme": page.README, "configuration": CONFIGURATION, "performance": PERFORMANCE}
    for name, file in {**places, "out": page.PAGE}.items():
        parser.add_argument(f"--{name}", type=Path, default=file, help=f"instead of {file.name}")
    arguments = parser.parse_args()
    report = json.loads(arguments.report.read_text(encoding="utf-8"))
    found = report["ratios"]
    pairs = {pair["operation"]: pair for pair in found["pairs"] if pair["ratio"] is not None}
    if not pairs:
        parser.exit(1, "no benchmark ran on both sides: there is nothing to tell\n")
    facts = {"measured": f"{report['datetime'][:10]}, commit {commit()}", **found["circumstances"]}
    conditions = "\n".join(f"- {name}: {value}" for name, value in facts.items())
    where = "; ".join(f"{name} {value}" for name, value in found["circumstances"].items())
    short = f"Measured {facts['measured']}: {where}."
    page.put("costs", f"{usual(pairs)}\n\n{short}", arguments.readme)
    page.put("compression", compression(pairs), arguments.configuration)
    page.put("calls", f"{calls(pairs)}\n\n{conditions}", arguments.performance)
    page.put("operations", f"{everything(pairs)}\n\n{conditions}", arguments.out)
    print(f"{len(pairs)} operations written into the tables")


if __name__ == "__main__":
    main()

"""docs/benchmarks.md: each command that measures writes its own part of the page, and leaves the others."""

from __future__ import annotations

import re
import statistics
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path

from otlpfast.cli.circumstances import busy, circumstances

from .history import commit

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"
README = Path(__file__).parents[1] / "README.md"


def put(part: str, text: str, page: Path = PAGE) -> None:
    """Replaces what stands between a part's marks; ValueError if the page has no such part."""
    begin, end = f"<!-- {part} -->\n", f"<!-- end of {part} -->\n"
    before = page.read_text(encoding="utf-8")
    head, begun, rest = before.partition(begin)
    _, ended, tail = rest.partition(end)
    if not (begun and ended):
        raise ValueError(f"{page} has no part {part!r}")
    page.write_text(f"{head}{begin}\n{text.strip()}\n\n{end}{tail}", encoding="utf-8")


def table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A markdown table, its first column text and the others figures."""
    marks = ["---", *("---:" for _ in heading[1:])]
    return "\n".join("| " + " | ".join(line) + " |" for line in (heading, marks, *rows))


def spread(values: Sequence[float], decimals: int = 1) -> str:
    """The median, and the least and the most if there are several."""
    if not values:
        return "-"
    middle = f"{statistics.median(values):,.{decimals}f}"
    if len(values) < 2:
        return middle
    return f"{middle} ({min(values):,.{decimals}f} to {max(values):,.{decimals}f})"


def times(reference: Sequence[float], ours: Sequence[float]) -> str:
    """How many times less the second is, by the medians."""
    if not reference or not ours or statistics.median(ours) <= 0:
        return "-"
    return f"{statistics.median(reference) / statistics.median(ours):.3g}×"


def conditions(*more: str, before: str = "") -> str:
    """When, on what, with which versions, and how busy the machine was, as a list."""
    now = datetime.now(timezone.utc)
    load = f"{before} at the start, {busy()} at the end" if before else busy()
    facts = {"measured": f"{now:%Y-%m-%d}, commit {commit()}", **circumstances(), "busy": load}
    lines = [f"- {name}: {re.sub(r'[|<>]', ' ', value)}" for name, value in facts.items()]
    return "\n".join([*lines, *(f"- {line}" for line in more)])

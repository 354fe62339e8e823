"""What a soak came to: the figures, what has to be true of them, and both as text."""

from __future__ import annotations

from pathlib import Path
from statistics import median
from typing import Any

from bench.soak.latency import QUANTILES

_ID = 8  # bytes of a span id
_MIB = 1 << 20
_GROWTH, _SLACK = 1.1, 4 * _MIB  # how much more memory the second half may take, for what a sample may be off


def figures(words: list[dict[str, Any]], code: int, ids: Path, troubles: dict[str, int]) -> dict[str, Any]:
    """From what the application said once a second and at its end, and the file of its collector."""
    last = words[-1]
    stats, settled = last["stats"], last["seconds"]
    data = ids.read_bytes() if ids.exists() else b""
    received = len(data) // _ID
    distinct = len({data[place : place + _ID] for place in range(0, received * _ID, _ID)})
    dropped = sum(stats["dropped"].values())
    balance = stats["exported"] + stats["rejected"] + dropped + stats["spooled"] + stats["queued"]
    memory = _halves([word["rss"] for word in words if "latencies" not in word])
    return {
        "seconds": settled,
        "stats": stats,
        "received": received,
        "distinct": distinct,
        "most_spooled": max(word["stats"]["spooled"] for word in words),
        "rss": memory,
        "cpu": last.get("cpu"),
        "latencies": last.get("latencies", {}),
        "troubles": troubles,
        "checks": {
            "the application ended well": code == 0 and "latencies" in last,
            "the account balances": stats["ended"] == balance,
            "nothing was dropped": dropped == 0 and stats["rejected"] == 0,
            "nothing waits at the end": stats["spooled"] == stats["queued"] == 0,
            "every span arrived": distinct == stats["ended"],
            "memory is flat": memory["second"] <= _GROWTH * memory["first"] + _SLACK,
        },
    }


def _halves(samples: list[int]) -> dict[str, float]:
    """The usual memory of the first and of the second half; the start is not counted."""
    samples = samples[len(samples) // 10 :] or [0]
    middle = max(len(samples) // 2, 1)
    first, second = samples[:middle], samples[middle:] or samples
    return {"first": median(first), "second": median(second), "most": max(samples)}


def text(found: dict[str, Any]) -> str:
    """The figures as a table of Markdown."""
    stats, rss = found["stats"], found["rss"]
    troubles = ", ".join(f"{count} × {name}" for name, count in found["troubles"].items())
    counts = {
        **{name: stats[name] for name in ("ended", "exported", "rejected")},
        "dropped": sum(stats["dropped"].values()),
        **{name: stats[name] for name in ("spooled", "queued")},
        "received": found["distinct"],
        "and again": found["received"] - found["distinct"],
        "most spooled at a time": found["most_spooled"],
    }
    memory = " in the first half, ".join(f"{rss[half] / _MIB:.1f} MiB" for half in ("first", "second"))
    lines = [
        f"- otlpfast {found['otlpfast']}, Python {found['python']}, {found['machine']}",
        f"- {found['rate']:,.0f} spans a second for {found['seconds']:.0f} s, seed {found['seed']}",
        f"- collector: {troubles}",
        f"- memory: {memory} in the second, {rss['most'] / _MIB:.1f} MiB at most",
        "",
        f"| {' | '.join(counts)} |",
        "|---" * len(counts) + "|",
        f"| {' | '.join(format(count, ',') for count in counts.values())} |",
        "",
        *_latencies(found["latencies"]),
        "",
        *(f"- {'✓' if kept else '✗'} {what}" for what, kept in found["checks"].items()),
    ]
    return "\n".join(lines) + "\n"


def _latencies(measured: dict[str, Any]) -> list[str]:
    names = [*QUANTILES, "longest"]
    rows = [f"| µs | collector | spans or bursts | {' | '.join(names)} |", "|---" * (3 + len(names)) + "|"]
    for what, title in (("span", "a span: start, 2 attributes, end"), ("wake", "a sleep of 5 ms: late by")):
        for phase, kept in measured.items():
            found = kept[what]
            cells = " | ".join(f"{found[name] / 1e3:,.1f}" for name in names)
            rows.append(f"| {title} | {phase} | {found['count']:,} | {cells} |")
    return rows

"""The tables that the scenarios make."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from .page import spread, table, times

Repeats = Sequence[dict[str, Any]]
Figures = Mapping[tuple[str, str], Repeats]

_COST = """\
**What a span costs the thread that makes it**: one integer attribute and one event, always sampled; CPU time
of that thread, µs a span. **Encoding**: spans of 10 attributes, by 512, to the bytes of a request; µs and
bytes a span (where these are few, the encoder leaves attributes out).
"""
_PIPELINE = """\
**The whole pipeline** at 4,000 spans/s with 10 attributes (keys and values of 20 characters): CPU of the
whole process, µs for each span that arrived; how many times that of the SDK, both without the pacing; what
arrived; bytes of a request's body for each; the most memory that the process had.
"""
_LOAD = """\
**At 10,000 spans/s**, the same spans: how many came to be, processor time of the process while they were
made, and what arrived. **As many as one thread can make**: spans/s, and what arrived of them (the rest was
dropped).
"""


def tables(figures: Figures) -> str:
    """All tables, as markdown."""
    return "\n".join([_COST, _cost(figures), "", _PIPELINE, _pipeline(figures), "", _LOAD, _load(figures)])


def short(figures: Figures) -> str:
    """The table of README.md: medians, of the pipelines that send spans as they are."""
    rows = []
    for title in _titles(figures, "steady", "flat_out"):
        if title.endswith(", gzip") or title == "pacing alone":
            continue
        steady, flat_out = figures.get((title, "steady"), ()), figures.get((title, "flat_out"), ())
        rows.append(
            [
                title,
                _median(_values(figures.get((title, "cost"), ()), "microseconds"), 2),
                _median(_each(steady), 2),
                _median([repeat["sent"] / repeat["seconds"] for repeat in flat_out], 0),
                _arrived(flat_out),
                _median(_values(steady, "peak_bytes", 1e-6), 1),
            ]
        )
    heading = ["", "a span, µs", "to the collector, µs", "flat out, spans/s", "of these arrived", "peak MB"]
    return table(heading, rows)


def _median(values: Sequence[float], decimals: int) -> str:
    return f"{statistics.median(values):,.{decimals}f}" if values else "-"


def _titles(figures: Figures, *loads: str) -> list[str]:
    return list(dict.fromkeys(title for load in loads for title, of in figures if of == load))


def _values(repeats: Repeats, name: str, factor: float = 1.0) -> list[float]:
    return [repeat[name] * factor for repeat in repeats]


def _arrived(repeats: Repeats) -> str:
    sent = sum(repeat["sent"] for repeat in repeats)
    return f"{sum(repeat['received']['spans'] for repeat in repeats) / sent:.1%}" if sent else "-"


def _cost(figures: Figures) -> str:
    of_sdk = _values(figures.get(("SDK", "cost"), ()), "microseconds")
    encoded_by_sdk = _values(figures.get(("SDK", "encode"), ()), "microseconds")
    rows = []
    for title in _titles(figures, "cost", "encode"):
        cost = _values(figures.get((title, "cost"), ()), "microseconds")
        encode = figures.get((title, "encode"), ())
        took = _values(encode, "microseconds")
        size = f"{encode[0]['bytes']:,.0f}" if encode else "-"
        rows.append(
            [title, spread(cost, 2), times(of_sdk, cost), spread(took, 2), times(encoded_by_sdk, took), size]
        )
    heading = ["", "a span, µs", "SDK ÷ this", "encoding, µs", "SDK ÷ this", "bytes"]
    return table(heading, rows)


def _each(repeats: Repeats) -> list[float]:
    """CPU microseconds for each span that arrived; of the pacing alone, for each that was due."""
    return [
        repeat["cpu_seconds"] / (repeat["received"]["spans"] or repeat["sent"]) * 1e6
        for repeat in repeats
        if repeat["sent"]
    ]


def _without(pacing: Sequence[float], costs: Sequence[float]) -> list[float]:
    return [cost - statistics.median(pacing) for cost in costs] if pacing else list(costs)


def _pipeline(figures: Figures) -> str:
    pacing = _each(figures.get(("pacing alone", "steady"), ()))
    rows = []
    for title in _titles(figures, "steady"):
        repeats = figures[title, "steady"]
        gzip = ", gzip" if title.endswith(", gzip") else ""
        reference = _each(figures.get((f"SDK{gzip}", "steady"), ()))
        spans = sum(repeat["received"]["spans"] for repeat in repeats)
        wire = sum(repeat["received"]["wire_bytes"] for repeat in repeats) / spans if spans else 0
        rows.append(
            [
                title,
                spread(_each(repeats), 2),
                times(_without(pacing, reference), _without(pacing, _each(repeats))) if spans else "-",
                _arrived(repeats) if spans else "-",
                f"{wire:,.0f}" if spans else "-",
                spread(_values(repeats, "peak_bytes", 1e-6)),
            ]
        )
    heading = ["", "CPU, µs a span", "SDK ÷ this", "arrived", "bytes a span", "peak memory, MB"]
    return table(heading, rows)


def _load(figures: Figures) -> str:
    rows = []
    for title in _titles(figures, "busy", "flat_out"):
        busy, flat_out = figures.get((title, "busy"), ()), figures.get((title, "flat_out"), ())
        rows.append(
            [
                title,
                spread([repeat["sent"] / repeat["seconds"] for repeat in busy], 0),
                spread(_values(busy, "cores", 100.0)),
                _arrived(busy) if any(repeat["received"]["spans"] for repeat in busy) else "-",
                spread([repeat["sent"] / repeat["seconds"] for repeat in flat_out], 0),
                _arrived(flat_out),
            ]
        )
    heading = ["", "at 10,000/s: made/s", "% of a core", "arrived", "flat out: made/s", "arrived"]
    return table(heading, rows)

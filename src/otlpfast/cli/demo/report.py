"""What the demo prints on standard output."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from otlpfast.cli.demo.figures import Estimate, Result, Row

Figure = Estimate | float | int | None
_OFFICIAL = ("opentelemetry-sdk", "opentelemetry-exporter-otlp-proto-http")


@dataclass(frozen=True)
class _Column:
    """A column: two lines of heading, the figure, its decimals, and whether the last lines compare it."""

    heading: tuple[str, str]
    figure: Callable[[Result, Row], Figure]
    decimals: int = 0
    compared: bool = False

    def cell(self, result: Result, row: Row) -> str:
        figure = self.figure(result, row)
        if figure is None:
            return "-"
        if not isinstance(figure, Estimate):
            return f"{figure:,.{self.decimals}f}"
        error = "" if figure.error is None else f" ±{figure.error:.{self.decimals}f}"
        return f"{figure.value:,.{self.decimals}f}{error}"


_COLUMNS = [
    _Column(("spans", "made"), lambda _, row: row.made),
    _Column(("spans", "received"), lambda _, row: row.received),
    _Column(("spans", "dropped"), lambda _, row: row.dropped),
    _Column(("CPU µs a span", "whole process"), lambda _, row: row.process, 1, True),
    _Column(("CPU µs a span", "tracing"), Result.tracing, 1, True),
    _Column(("CPU µs a span", "export"), Result.export, 1, True),
    _Column(("encode", "µs a span"), lambda _, row: row.encode_microseconds, 2, True),
    _Column(("bytes on", "the wire"), lambda _, row: row.wire_bytes, 0, True),
    _Column(("peak memory", "MB"), lambda _, row: row.peak_bytes and row.peak_bytes / 1e6, 1, True),
]


def times_cheaper(stock: Figure, fast: Figure) -> tuple[float, bool] | None:
    """How many times cheaper the second is, and whether that is exact or all that can be said for certain.

    A cost within two standard errors of nothing gives no ratio, only a bound.
    """
    exact = True
    if isinstance(stock, Estimate) and isinstance(fast, Estimate):
        least, most = (2 * (figure.error or 0.0) for figure in (stock, fast))
        exact = fast.value > most and stock.value > least
        stock, fast = (stock.value, fast.value) if exact else (stock.value - least, fast.value + most)
    if not isinstance(stock, int | float) or not isinstance(fast, int | float) or stock <= 0 or fast <= 0:
        return None
    return stock / fast, exact


def _compared(column: _Column, result: Result, fast: Row) -> tuple[float, bool] | None:
    return times_cheaper(*(column.figure(result, row) for row in (result.stock, fast)))


def _ratio(column: _Column, result: Result, fast: Row) -> str:
    if not column.compared:
        return ""
    found = _compared(column, result, fast)
    if found is None:
        return "-"
    times, exact = found
    return f"{'' if exact else '> '}{times:.{0 if times >= 10 else 1 if times >= 2 else 2}f}×"


def as_table(result: Result) -> str:
    """The table, the verdict on the payloads, and the conditions, as text."""
    lines = [
        ["", *(_top(place) for place in range(len(_COLUMNS)))],
        ["pipeline", *(column.heading[1] for column in _COLUMNS)],
        *([row.pipeline.title, *(column.cell(result, row) for column in _COLUMNS)] for row in result.rows),
    ]
    ratios = [
        [f"cheaper: {row.pipeline.name}", *(_ratio(column, result, row) for column in _COLUMNS)]
        for row in result.otlpfast
    ]
    widths = [max(map(len, cells)) for cells in zip(*lines, *ratios, strict=True)]
    table, last = (["  ".join(_aligned(line, widths)).rstrip() for line in part] for part in (lines, ratios))
    rule = "-" * max(map(len, table))
    return "\n".join([*table[:2], rule, *table[2:], rule, *last, "", *_verdict(result), *_conditions(result)])


def _top(place: int) -> str:
    """The first line of a heading, once for neighbours that share it."""
    heading = _COLUMNS[place].heading[0]
    return "" if place and heading == _COLUMNS[place - 1].heading[0] else heading


def _aligned(line: list[str], widths: list[int]) -> list[str]:
    return [
        line[0].ljust(widths[0]),
        *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)),
    ]


def _verdict(result: Result) -> list[str]:
    encoded = f"{result.sample:,} real spans as encoded"
    if not result.equal:
        lines = ["payloads equal: no"]
    elif result.collector:
        lines = [f"payloads equal: yes ({encoded}; a collector doesn't say what it received)"]
    else:
        lines = [f"payloads equal: yes ({result.stock.made:,} spans of each as received; {encoded})"]
    for row in result.otlpfast:
        if difference := result.differences.get(row.pipeline.name):
            lines.append(f"  received, stock SDK against {row.pipeline.title}: {difference}")
    if result.encoder_difference:
        lines.append(f"  encoded, stock against otlpfast: {result.encoder_difference}")
    for row in result.rows:
        if row.undelivered:
            what = "not delivered" if row.undelivered > 0 else "received more than once"
            lines.append(f"{what}: {abs(row.undelivered):,} of {row.made:,} spans of {row.pipeline.title}")
    return lines


def _conditions(result: Result) -> list[str]:
    found = conditions(result)
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    sink = result.collector or "a sink in another process"
    load = result.load
    requests = f"{load.requests:,} HTTP requests to each, in {load.rounds} × {load.turns} turns with a flush"
    lines = [
        f"{versions}, {found['python']}, {found['system']}, {found['cpus']} CPUs.",
        f"{requests}, default settings, to {sink}.",
        "CPU: median of the turns ± standard error; tracing: beyond the same turn without an SDK;",
        "export: beyond the same turn with the SDK's spans, not exported. Cheaper: than the stock SDK.",
    ]
    if result.implementation == "py":
        lines.append(
            "The plain-Python implementation ran; the speed is in the compiled one (OTLPFAST_IMPL=c)."
        )
    return lines


def conditions(result: Result) -> dict[str, Any]:
    """What ran, and where: ``versions`` by name, ``python``, ``system``, and the ``cpus`` to be used."""
    versions = {name: importlib.metadata.version(name) for name in _OFFICIAL}
    return {
        "versions": {"otlpfast": f"{result.version} ({result.implementation})", **versions},
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": f"{platform.system()} {platform.machine()}",
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
    }


def as_json(result: Result) -> str:
    """All figures as a JSON object; null for what is unknown."""
    return json.dumps(
        {
            "good": result.good,
            "payloads_equal": result.equal,
            "received_differences": result.differences,
            "encoded_difference": result.encoder_difference,
            "spans_compared_as_encoded": result.sample,
            "load": vars(result.load),
            "collector": result.collector,
            "runs": [_run_as_json(result, row) for row in result.rows],
            "times_cheaper": {row.pipeline.name: _ratios_as_json(result, row) for row in result.otlpfast},
            "conditions": conditions(result),
        },
        indent=2,
        ensure_ascii=False,
    )


def _ratios_as_json(result: Result, fast: Row) -> dict[str, Any]:
    found = {
        " ".join(column.heading): _compared(column, result, fast) for column in _COLUMNS if column.compared
    }
    return {name: ratio and {"times": ratio[0], "at_least": not ratio[1]} for name, ratio in found.items()}


def _run_as_json(result: Result, row: Row) -> dict[str, Any]:
    tracing, export = result.tracing(row), result.export(row)
    return {
        "name": row.pipeline.name,
        "title": row.pipeline.title,
        "spans": {
            "made": row.made,
            "received": row.received,
            "dropped": row.dropped,
            "accepted": row.accepted,
        },
        "cpu_microseconds_a_span": {
            "process": vars(row.process),
            "tracing": tracing and vars(tracing),
            "export": export and vars(export),
            "process_by_round_and_turn": row.cpu,
        },
        "encode_microseconds_a_span": row.encode_microseconds,
        "wire_bytes": row.wire_bytes,
        "peak_memory_bytes": row.peak_bytes,
    }

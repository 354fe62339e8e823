"""Benchmarks are pairs: the same operation by the stock SDK (or another reference) and by otlpfast, one run.

What each pair came to is printed as a table of ratios at the end, and saved under "ratios" where
pytest-benchmark saves its JSON. Nothing fails by the clock: a promised ratio is reported as met or short.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import pytest

import otlpfast
from otlpfast.cli.circumstances import circumstances

# What a reader has to know about these figures.
BIAS = (
    "processor time, best of many rounds, caches warm: both sides look better than they do in a service",
    "a ratio holds for one machine and interpreter: a PGO build of CPython speeds up the SDK more",
    "the SDK's on_end() does not encode, its worker does that later: the rows 'to bytes' include it",
    "spans of tracers end in a batch processor on both sides, except where a row says otherwise",
    "a SpanWrapper ends in the SDK's own set_attributes(), which is most of what it costs",
    "counters: the worst round, for only threads that really run at once fight for a cache line",
)


@dataclass
class Pair:
    """One operation as done by both sides, in seconds or in bytes.

    ``promised`` is the least ratio to be reached, ``at_most`` the most that otlpfast may take.
    """

    operation: str
    unit: str = "seconds"
    reference: str = ""
    cost: dict[str, float] = field(default_factory=dict)
    promised: float | None = None
    at_most: float | None = None

    def add(self, side: str, cost: float) -> None:
        """What a side took: "otlpfast", or the reference by its name."""
        self.cost["otlpfast" if side == "otlpfast" else "reference"] = cost
        if side != "otlpfast":
            self.reference = side

    @property
    def ratio(self) -> float | None:
        """Reference ÷ otlpfast."""
        if set(self.cost) != {"reference", "otlpfast"}:
            return None
        return self.cost["reference"] / self.cost["otlpfast"] if self.cost["otlpfast"] else None

    @property
    def verdict(self) -> str:
        """Whether what was promised of the compiled implementation was reached."""
        if otlpfast.IMPLEMENTATION != "c" or "otlpfast" not in self.cost:
            return ""
        found = []
        if self.promised is not None and self.ratio is not None:
            found.append((self.ratio >= self.promised, f"{self.promised:g}×"))
        if self.at_most is not None:
            found.append((self.cost["otlpfast"] <= self.at_most, f"at most {self.shown(self.at_most)}"))
        return ", ".join(f"{'met' if met else 'short'} (promised {what})" for met, what in found)

    def shown(self, cost: float | None) -> str:
        """A cost with its unit."""
        if cost is None:
            return "-"
        return f"{cost:,.0f} B" if self.unit == "bytes" else _time(cost)


PAIRS: dict[str, Pair] = {}

Measure = Callable[..., Any]


@pytest.fixture
def measure(benchmark: Any) -> Measure:
    """Times one side of a pair.

    Gives a function of the operation, the side ("otlpfast" or the reference's name), the work and how many
    operations one call of it does. ``promised`` and ``at_most`` are a Pair's, ``statistic`` is what is
    compared. With ``setup``, which gives the arguments, each round is one call between it and ``teardown``.
    """

    def run(
        operation: str,
        side: str,
        work: Callable[..., Any],
        operations: int = 1,
        *,
        promised: float | None = None,
        at_most: float | None = None,
        statistic: str = "min",
        setup: Callable[[], Any] | None = None,
        teardown: Callable[..., Any] | None = None,
        rounds: int = 100,
    ) -> Any:
        benchmark.group = operation
        benchmark.extra_info.update(operation=operation, side=side, operations=operations)
        if setup is None:
            result = benchmark(work)
        else:
            result = benchmark.pedantic(work, setup=setup, teardown=teardown, rounds=rounds, warmup_rounds=2)
        if benchmark.stats is not None:  # --benchmark-disable runs the code alone
            pair = _pair(operation, "seconds", promised, at_most)
            pair.add(side, getattr(benchmark.stats.stats, statistic) / operations)
        return result

    return run


@pytest.fixture
def record() -> Measure:
    """Adds bytes to the table: of an operation and a side, with what is promised ``at_most``."""

    def add(operation: str, side: str, nbytes: float, at_most: float | None = None) -> None:
        _pair(operation, "bytes", None, at_most).add(side, nbytes)

    return add


def _pair(operation: str, unit: str, promised: float | None, at_most: float | None) -> Pair:
    pair = PAIRS.setdefault(operation, Pair(operation, unit))
    pair.promised, pair.at_most = promised or pair.promised, at_most or pair.at_most
    return pair


def pytest_report_header() -> list[str]:
    return [f"{name}: {value}" for name, value in circumstances().items()]


def pytest_benchmark_update_json(config: Any, benchmarks: Any, output_json: dict[str, Any]) -> None:
    """Adds the table to the JSON."""
    rows = [{**asdict(pair), "ratio": pair.ratio, "verdict": pair.verdict} for pair in PAIRS.values()]
    output_json["ratios"] = {"pairs": rows, "circumstances": circumstances(), "bias": list(BIAS)}


def _time(seconds: float) -> str:
    return f"{seconds * 1e9:.3g} ns" if seconds < 1e-6 else f"{seconds * 1e6:.2f} µs"


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: Any) -> None:
    if not PAIRS:
        return
    out = terminalreporter
    out.section("reference ÷ otlpfast, in this run")
    out.line(f"{'operation':<50} {'reference':>24} {'otlpfast':>10} {'ratio':>8}")
    for pair in PAIRS.values():
        reference = f"{pair.reference} {pair.shown(pair.cost.get('reference'))}"
        ratio = "-" if pair.ratio is None else f"{pair.ratio:.3g}×"
        ours = pair.shown(pair.cost.get("otlpfast"))
        out.line(f"{pair.operation:<50} {reference:>24} {ours:>10} {ratio:>8}  {pair.verdict}".rstrip())
    out.line("")
    for name, value in circumstances().items():
        out.line(f"{name}: {value}")
    for sentence in BIAS:
        out.line(f"bias: {sentence}")
    if otlpfast.IMPLEMENTATION != "c":
        out.line("the plain-Python implementation ran: promises are made of the compiled one")

"""What the demo found, as figures."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

from otlpfast.cli.demo.pipelines import BASELINE, OTLPFAST, STOCK, Pipeline


@dataclass(frozen=True)
class Estimate:
    """A median, and its standard error as the spread of the values tells it (None for fewer than four)."""

    value: float
    error: float | None

    @classmethod
    def of(cls, values: Sequence[float]) -> Estimate:
        median = statistics.median(values)
        if len(values) < 4:
            return cls(median, None)
        low, _, high = statistics.quantiles(values, n=4)
        # A normal distribution's quartiles are 1.349 standard deviations apart; the error of its median is
        # √(π/2) times that of its mean.
        return cls(median, math.sqrt(math.pi / 2) * (high - low) / 1.349 / math.sqrt(len(values)))


@dataclass
class Row:
    """One pipeline's run. None: not applicable, or not known (a collector doesn't say what it received)."""

    pipeline: Pipeline
    made: int
    accepted: int | None
    cpu_by_turn: list[float]
    """CPU microseconds of the whole service a span, turn by turn."""
    peak_bytes: int | None
    received: int | None = None
    wire_bytes: int | None = None
    encode_microseconds: float | None = None

    @property
    def dropped(self) -> int | None:
        return None if self.received is None else self.made - self.received

    @property
    def process(self) -> Estimate:
        """CPU microseconds a span, of the whole service."""
        return Estimate.of(self.cpu_by_turn)

    def beyond(self, baseline: Row) -> Estimate:
        """CPU microseconds a span that this run costs beyond the baseline: turn against neighbouring turn."""
        return Estimate.of(
            [mine - other for mine, other in zip(self.cpu_by_turn, baseline.cpu_by_turn, strict=True)]
        )


@dataclass
class Result:
    """All that the demo found.

    ``difference``: where the payloads part as received; ``encoder_difference``: as encoded. None if nowhere.
    """

    requests: int
    turns: int
    collector: str | None
    version: str
    implementation: str
    sample: int
    encoder_difference: str | None
    rows: list[Row] = field(default_factory=list)
    traces: int | None = None
    difference: str | None = None

    @property
    def equal(self) -> bool:
        return self.difference is None and self.encoder_difference is None

    @property
    def delivered(self) -> bool:
        """Whether every span arrived: by the sink's count, or else by what the exporters saw accepted."""
        arrived = [(row.made, row.accepted if row.received is None else row.received) for row in self.rows]
        return all(count is None or made == count for made, count in arrived)

    @property
    def good(self) -> bool:
        return self.equal and self.delivered

    def row(self, pipeline: Pipeline) -> Row:
        return next(row for row in self.rows if row.pipeline is pipeline)

    @property
    def baseline(self) -> Row:
        return self.row(BASELINE)

    @property
    def stock(self) -> Row:
        return self.row(STOCK)

    @property
    def otlpfast(self) -> Row:
        return self.row(OTLPFAST)

"""What the demo found, as figures."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from otlpfast.cli.demo.pipelines import BASELINE, OTLPFAST, STOCK, Pipeline


@dataclass(frozen=True)
class Estimate:
    """A median, and its standard error as the spread of the values tells it (None for a few values)."""

    value: float
    error: float | None

    @classmethod
    def of(cls, groups: Sequence[Sequence[float]]) -> Estimate:
        """From values by process: two processes differ by more (where memory lies) than the turns of one."""
        values = [value for group in groups for value in group]
        median = statistics.median(values)
        if len(values) < 4:
            return cls(median, None)
        low, _, high = statistics.quantiles(values, n=4)
        # A normal distribution's quartiles are 1.349 standard deviations apart; the error of its median is
        # √(π/2) times that of its mean.
        of_turns = math.sqrt(math.pi / 2) * (high - low) / 1.349 / math.sqrt(len(values))
        if len(groups) < 2:
            return cls(median, of_turns)
        of_processes = statistics.stdev(map(statistics.median, groups)) / math.sqrt(len(groups))
        return cls(median, max(of_turns, of_processes))


@dataclass
class Row:
    """A pipeline's runs together. None: not applicable, or not known (a collector is silent)."""

    pipeline: Pipeline
    made: int = 0
    accepted: int | None = None
    cpu: list[list[float]] = field(default_factory=list)
    """CPU microseconds of the whole service a span: turn by turn, for each of its processes."""
    peak_bytes: int | None = None
    received: int | None = None
    wire_bytes: int | None = None
    encode_microseconds: float | None = None

    @property
    def dropped(self) -> int | None:
        return None if self.received is None else self.made - self.received

    @property
    def process(self) -> Estimate:
        """CPU microseconds a span, of the whole service."""
        return Estimate.of(self.cpu)

    def beyond(self, baseline: Row) -> Estimate:
        """CPU microseconds a span that this costs beyond the baseline: turn against neighbouring turn."""
        return Estimate.of(
            [
                [mine - other for mine, other in zip(turns, others, strict=True)]
                for turns, others in zip(self.cpu, baseline.cpu, strict=True)
            ]
        )


@dataclass(frozen=True)
class Load:
    """``requests`` to each pipeline, in ``rounds`` with fresh processes, each of several ``turns``."""

    requests: int
    rounds: int
    turns: int

    @classmethod
    def of(cls, requests: int) -> Load:
        rounds = max(1, min(5, requests // 200))
        return cls(requests, rounds, max(1, min(6, requests // rounds // 20)))

    def shares(self, number: int) -> list[int]:
        """How many requests each turn of a round (counted from 0) has."""
        first = number * self.turns
        parts = self.rounds * self.turns
        ends = [self.requests * turn // parts for turn in range(first, first + self.turns + 1)]
        return [end - start for start, end in pairwise(ends)]


@dataclass
class Result:
    """All that the demo found.

    ``difference``: where the payloads part as received; ``encoder_difference``: as encoded. None if nowhere.
    """

    load: Load
    collector: str | None
    version: str
    implementation: str
    sample: int
    encoder_difference: str | None
    rows: list[Row] = field(default_factory=list)
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

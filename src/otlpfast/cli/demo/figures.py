"""What the demo found, as figures."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from otlpfast.cli.demo.pipelines import NO_EXPORT, NO_SDK, OTLPFAST, STOCK, Pipeline


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
    made: int | None = None
    accepted: int | None = None
    cpu: list[list[float]] = field(default_factory=list)
    """CPU microseconds of the whole service a span (without an SDK: a span that the others make): turn by
    turn, for each of its processes."""
    peak_bytes: int | None = None
    received: int | None = None
    wire_bytes: int | None = None
    encode_microseconds: float | None = None

    @property
    def dropped(self) -> int | None:
        return self._missing(self.received)

    @property
    def undelivered(self) -> int | None:
        """How many spans did not arrive: by the sink's count, or else by what the exporters saw accepted."""
        return self._missing(self.accepted if self.received is None else self.received)

    def _missing(self, arrived: int | None) -> int | None:
        return None if self.made is None or arrived is None else self.made - arrived

    @property
    def process(self) -> Estimate:
        """CPU microseconds a span, of the whole service."""
        return Estimate.of(self.cpu)

    def beyond(self, baseline: Row) -> Estimate:
        """CPU microseconds a span that this costs beyond another: turn against neighbouring turn."""
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

    @property
    def longest(self) -> int:
        """The most requests that a round has."""
        return max(sum(self.shares(number)) for number in range(self.rounds))

    def shares(self, number: int) -> list[int]:
        """How many requests each turn of a round (counted from 0) has."""
        first = number * self.turns
        parts = self.rounds * self.turns
        ends = [self.requests * turn // parts for turn in range(first, first + self.turns + 1)]
        return [end - start for start, end in pairwise(ends)]


@dataclass
class Result:
    """All that the demo found.

    ``differences``: by pipeline, where the payloads part from the stock SDK's as received;
    ``encoder_difference``: as encoded. None if nowhere.
    """

    load: Load
    collector: str | None
    version: str
    implementation: str
    sample: int
    encoder_difference: str | None
    rows: list[Row] = field(default_factory=list)
    differences: dict[str, str | None] = field(default_factory=dict)

    @property
    def equal(self) -> bool:
        return self.encoder_difference is None and not any(self.differences.values())

    @property
    def delivered(self) -> bool:
        """Whether every span arrived, and once."""
        return not any(row.undelivered for row in self.rows)

    @property
    def good(self) -> bool:
        return self.equal and self.delivered

    def row(self, pipeline: Pipeline) -> Row:
        return next(row for row in self.rows if row.pipeline is pipeline)

    @property
    def stock(self) -> Row:
        return self.row(STOCK)

    @property
    def otlpfast(self) -> list[Row]:
        return [self.row(pipeline) for pipeline in OTLPFAST]

    def tracing(self, row: Row) -> Estimate | None:
        """CPU microseconds a span of all that tracing does: beyond the service without an SDK."""
        return None if row.pipeline is NO_SDK else row.beyond(self.row(NO_SDK))

    def export(self, row: Row) -> Estimate | None:
        """CPU microseconds a span of the export alone: beyond the service with the same spans, not exported.

        None for spans that are not the SDK's: theirs are never without the export.
        """
        plain = self.row(NO_EXPORT)
        same = row.pipeline.provider is plain.pipeline.provider
        return row.beyond(plain) if same and row.pipeline.exports else None

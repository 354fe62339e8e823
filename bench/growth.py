"""How costs grow with what a span has and what waits, for the SDK and for otlpfast, in one run.

    python -m bench.growth                        about a minute and a half
    python -m bench.growth --only events --seconds 60

Each cost is CPU time of the one thread that makes the spans and puts their bytes together: the SDK's spans
are encoded by the official encoder, otlpfast's as they end. Sides and sizes take turns, and the least of all
rounds counts. A line is fitted through each (least squares). The table goes into docs/benchmarks.md, the
charts into docs/growth, all figures into build/growth.json.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans as official_encode

from otlpfast.cli.bench.operations import SIDES
from otlpfast.cli.chart import Axis, Chart, Point
from otlpfast.cli.circumstances import busy
from otlpfast.cli.console import Console

from . import page
from .spans import BATCH, LARGE, Keep, provider, some_attributes, traced

CHARTS = page.PAGE.parent / "growth"
_SPANS = 100  # of a round
_FACTORS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000)  # by which the SDK is drawn smaller
_TEXT = """\
What one more costs, µs, by a line fitted through the points (least squares), the base being where that line
starts; R² is 1 where all points are on it. Both sides from the start of the spans to their bytes, CPU time of
the one thread, the least of many rounds; of the queue, only what the thread takes that makes the spans. In
the charts the SDK's times are divided by the number that is said there.
"""


@dataclass(frozen=True)
class Pipeline:
    """Tracers of one side, and what makes bytes of the spans that have ended and forgets them."""

    tracers: list[Any]
    finish: Callable[[], None]

    @classmethod
    def of(cls, side: str, scopes: int = 1) -> Pipeline:
        names = [f"bench.scope.{number}" for number in range(scopes)]
        if side == "SDK":
            keep = Keep()
            source: Any = provider(keep)

            def finish() -> None:
                official_encode(keep.ended).SerializeToString()
                keep.started.clear()
                keep.ended.clear()
        else:
            processor = traced(side).processor
            source, queue = provider(processor, side=side), processor._queue

            def finish() -> None:
                taken = queue.take()
                queue.done(taken[1], taken[2])

        return cls([source.get_tracer(name, "1.0") for name in names], finish)


Round = Callable[[int], Iterator[tuple[int, float]]]
"""Does what is measured once, at one size or at all: sizes, and CPU seconds of each."""


def timed(size: int, work: Callable[[], None], count: int) -> Iterator[tuple[int, float]]:
    before = time.thread_time()
    work()
    yield size, (time.thread_time() - before) / count


def attributes(side: str) -> Round:
    pipeline = Pipeline.of(side)

    def run(size: int) -> Iterator[tuple[int, float]]:
        given = some_attributes(size)

        def work() -> None:
            (tracer,) = pipeline.tracers
            for _ in range(_SPANS):
                span = tracer.start_span("span")
                for key, value in given.items():
                    span.set_attribute(key, value)
                span.end()
            pipeline.finish()

        return timed(size, work, _SPANS)

    return run


def events(side: str) -> Round:
    pipeline, given = Pipeline.of(side), {"app.rows": 17, "app.table": "items"}

    def run(size: int) -> Iterator[tuple[int, float]]:
        def work() -> None:
            (tracer,) = pipeline.tracers
            for _ in range(_SPANS):
                span = tracer.start_span("span")
                for _ in range(size):
                    span.add_event("loaded", given)
                span.end()
            pipeline.finish()

        return timed(size, work, _SPANS)

    return run


def value_sizes(side: str) -> Round:
    pipeline = Pipeline.of(side)

    def run(size: int) -> Iterator[tuple[int, float]]:
        value = "x" * size * 1024

        def work() -> None:
            (tracer,) = pipeline.tracers
            for _ in range(_SPANS):
                span = tracer.start_span("span")
                span.set_attribute("app.text", value)
                span.end()
            pipeline.finish()

        return timed(size, work, _SPANS)

    return run


def scopes(side: str) -> Round:
    pipelines = {size: Pipeline.of(side, size) for size in SCOPES.sizes}

    def run(size: int) -> Iterator[tuple[int, float]]:
        pipeline = pipelines[size]

        def work() -> None:
            for number in range(BATCH):
                pipeline.tracers[number % size].start_span("span").end()
            pipeline.finish()

        return timed(size, work, 1)

    return run


def queue_depth(side: str) -> Round:
    """All sizes in one go: the queue fills, and each size is the time until then."""
    most = DEPTH.sizes[-1]

    def run(_: int) -> Iterator[tuple[int, float]]:
        room = {**LARGE, "max_queue_size": 2 * most, "max_export_batch_size": 2 * most}
        of = traced(side, room=room)
        tracer, begun = of.tracer, time.thread_time()
        for number in range(1, most + 1):
            tracer.start_span("span").end()
            if number % DEPTH.sizes[0] == 0:
                yield number, time.thread_time() - begun
        of.drain()
        of.processor.shutdown()

    return run


@dataclass
class Growth:
    """What grows: at which ``sizes``, and what is measured of which unit."""

    name: str
    of: str
    more: str
    sizes: Sequence[int]
    make: Callable[[str], Round]
    at_once: bool = False  # one round has all sizes
    least: dict[str, dict[int, float]] = field(default_factory=dict)

    def measure(self, seconds: float) -> None:
        """Rounds for so long, three at least."""
        rounds = {side: self.make(side) for side in SIDES}
        end, done = time.monotonic() + seconds, 0
        while done < 3 or time.monotonic() < end:
            for size in self.sizes[:1] if self.at_once else self.sizes:
                for side, run in rounds.items():
                    least = self.least.setdefault(side, {})
                    # The first after the other side, or another size, finds nothing of its own in the caches.
                    for _ in range(1 if self.at_once else 3):
                        for at, cost in run(size):
                            least[at] = min(cost, least.get(at, cost))
            done += 1

    def line(self, side: str) -> Line:
        return Line.through([(size, self.least[side][size] * 1e6) for size in self.sizes])


@dataclass(frozen=True)
class Line:
    """A fitted line, and R²."""

    base: float
    slope: float
    r2: float

    @classmethod
    def through(cls, points: Sequence[Point]) -> Line:
        xs, ys = zip(*points, strict=True)
        slope, base = statistics.linear_regression(xs, ys)
        return cls(base, slope, statistics.correlation(xs, ys) ** 2)

    def at(self, x: float) -> float:
        return self.base + self.slope * x


DEPTH = Growth(
    "queue depth",
    "filling a queue that nobody empties",
    "span",
    range(4_000, 40_001, 4_000),
    queue_depth,
    at_once=True,
)
SCOPES = Growth("scopes", f"a batch of {BATCH} spans", "scope", (1, 16, 32, 64, 96, 128), scopes)
GROWTHS = (
    Growth("attributes", "a span", "attribute", (0, 8, 16, 32, 48, 64, 80, 96, 112, 128), attributes),
    Growth("events", "a span", "event of 2 attributes", (0, 8, 16, 32, 48, 64, 80, 96, 112, 128), events),
    Growth("value sizes", "a span with one text", "KiB", (0, 1, 2, 4, 6, 8, 10, 12, 14, 16), value_sizes),
    DEPTH,
    SCOPES,
)


def table(growths: Sequence[Growth]) -> str:
    """The fitted lines, as markdown."""
    rows = []
    for growth in growths:
        lines = {side: growth.line(side) for side in SIDES}
        name = f"{growth.of}: {growth.name}, {growth.sizes[0]:,} to {growth.sizes[-1]:,}"
        figures = [text for line in lines.values() for text in _figures(line)]
        slopes = [line.slope for line in lines.values()]
        ratio = f"{slopes[0] / slopes[1]:.3g}×" if min(slopes) > 0 else "-"
        rows.append([name, growth.more, *figures, ratio])
    heading = ["", "one more"]
    heading += [f"{side}: {what}" for side in SIDES for what in ("base", "each", "R²")]
    return page.table([*heading, "SDK ÷ otlpfast, each"], rows)


def _figures(line: Line) -> tuple[str, str, str]:
    return f"{line.base:,.3g}", f"{line.slope:.3g}", f"{line.r2:.4f}"


def chart(growth: Growth) -> Chart:
    """Both sides' points and lines."""
    ours = [(float(size), growth.least["otlpfast"][size] * 1e6) for size in growth.sizes]
    most = max(growth.least["SDK"].values()) * 1e6
    factor = next((by for by in _FACTORS if most / by <= 2 * max(y for _, y in ours)), _FACTORS[-1])
    stock = [(float(size), growth.least["SDK"][size] * 1e6 / factor) for size in growth.sizes]
    drawn: list[tuple[str, Sequence[Point]]] = [("otlpfast", ours), (f"SDK ÷ {factor:,}", stock)]
    ends = (growth.sizes[0], growth.sizes[-1])
    for side, by in (("otlpfast", 1), ("SDK", factor)):
        line = growth.line(side)
        drawn.append((f"{side}: {line.base:.3g} + {line.slope:.3g} n", [(x, line.at(x) / by) for x in ends]))
    return Chart(
        f"{growth.of[:1].upper()}{growth.of[1:]}: {growth.name}",
        "CPU time of the thread, least of many rounds; lines by least squares",
        Axis.linear(f"n: {growth.name}", [float(size) for size in growth.sizes]),
        Axis.linear("µs", [y for _, points in drawn for _, y in points]),
        drawn,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seconds", type=float, default=15.0, help="for each (default 15)")
    names = [growth.name for growth in GROWTHS]
    parser.add_argument("--only", action="append", choices=names, metavar="NAME", help=", ".join(names))
    parser.add_argument("--out", type=Path, default=page.PAGE, help="the page to write the table into")
    parser.add_argument("--charts", type=Path, default=CHARTS, help="the folder for the charts")
    parser.add_argument("--json", type=Path, default=Path("build/growth.json"), help="all figures")
    arguments = parser.parse_args()
    growths = [growth for growth in GROWTHS if growth.name in (arguments.only or names)]
    console, before = Console(), busy()
    for growth in growths:
        console.step(f"measuring: {growth.name}")
        growth.measure(arguments.seconds)
    console.clear()
    arguments.charts.mkdir(parents=True, exist_ok=True)
    images = []
    for growth in growths:
        file = arguments.charts / f"{growth.name.replace(' ', '-')}.svg"
        file.write_text(chart(growth).svg(), encoding="utf-8")
        images.append(f"![{growth.of}, by {growth.name}]({arguments.charts.name}/{file.name})")
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps({growth.name: growth.least for growth in growths}, indent=1))
    note = f"{arguments.seconds:g} s for each"
    text = "\n\n".join([_TEXT + "\n" + table(growths), *images, page.conditions(note, before=before)])
    page.put("growth", text, arguments.out)
    print(text)


if __name__ == "__main__":
    main()

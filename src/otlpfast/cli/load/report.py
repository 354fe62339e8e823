"""What the load command found, as text, as JSON and as a chart."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from otlpfast.cli.chart import Axis, Chart, Point
from otlpfast.cli.circumstances import busy, circumstances

from .histogram import Histogram
from .pipelines import TITLES

BIAS = (
    "the load generator shares its processor time and its GIL with the pipeline, and the sink, if there is "
    "one, the machine"
)
_BAR = 40  # characters
_CHARTED = (0, 50, 75, 90, 95, 99, 99.5, 99.9, 99.95, 99.99, 99.995, 99.999)


@dataclass
class Result:
    """A run. ``received`` is None where a collector of the user's took the spans: it doesn't say."""

    settings: dict[str, Any]
    interrupted: bool
    seconds: float
    sent: int
    account: dict[str, Any]
    received: int | None
    cpu_seconds: float
    pacing_seconds: float
    measuring_seconds: float
    latency: Histogram
    complaints: list[str]

    @property
    def delivered(self) -> bool:
        """Whether everything that was sent was exported, and arrived as far as that is known."""
        exported: int = self.account["exported"]
        return exported == self.sent and self.received in (None, self.sent)

    @property
    def cpu(self) -> float:
        """CPU microseconds a span, of the whole process."""
        return self.cpu_seconds / self.sent * 1e6 if self.sent else 0.0

    @property
    def tracing(self) -> float:
        """The same without what the load generator takes, as far as that could be measured."""
        return max(self.cpu - self.pacing_seconds * 1e6, 0.0)

    @property
    def rate(self) -> float:
        return self.sent / self.seconds if self.seconds else 0.0


def as_text(result: Result) -> str:
    """The report."""
    settings = result.settings
    begun = "interrupted after" if result.interrupted else "load for"
    begun = f"{begun} {result.seconds:.1f} s from {_number(settings['threads'], 'thread')}"
    kind = f"{_number(settings['attributes'], 'attribute')}, {_number(settings['events'], 'event')}"
    measuring = result.measuring_seconds * 1e6
    cpu = f"{result.tracing:.2f} µs a span: all of this process ({result.cpu:.2f}) without the load generator"
    lines = [
        f"{begun}: {TITLES[settings['pipeline']]}, {settings['protocol']} to {settings['endpoint']}",
        "",
        f"  sent      {result.sent:,} spans ({kind})",
        f"  account   {_account(result)}",
        f"  rate      {result.rate:,.0f} spans/s{_wanted(result)}",
        f"  CPU       {cpu} ({result.pacing_seconds * 1e6:.2f})",
        "",
        f"  a span in the thread that makes it; measuring that takes {measuring:.2f} µs more:",
        *(f"  {line}" for line in _percentiles(result.latency)),
        "",
        *(f"  {line}" for line in _bars(result.latency)),
        "",
        *(f"complaint: {line}" for line in result.complaints),
        *(f"{name}: {value}" for name, value in {**circumstances(), "busy": busy()}.items()),
        f"bias: {BIAS}",
    ]
    return "\n".join(lines)


def _number(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _account(result: Result) -> str:
    account = result.account
    if "ended" not in account:
        lost = result.sent - account["exported"] - account["export_failed"]
        parts = [
            f"{account['exported']:,} exported",
            f"{account['export_failed']:,} failed",
            f"{lost:,} dropped (the SDK keeps no account: what is missing)",
        ]
    else:
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in account["dropped"].items() if count)
        dropped = sum(account["dropped"].values())
        parts = [f"{account[name]:,} {name}" for name in ("ended", "exported", "rejected")]
        parts.append(f"{dropped:,} dropped{f' ({reasons})' if reasons else ''}")
        parts += [f"{account[name]:,} {name}" for name in ("spooled", "queued")]
    received = "a collector doesn't say" if result.received is None else f"{result.received:,}"
    return f"{', '.join(parts)}; received: {received}"


def _wanted(result: Result) -> str:
    wanted = result.settings["rate"]
    if not wanted:
        return " (as fast as possible)"
    short = result.rate < 0.95 * wanted and not result.interrupted
    return f" of {wanted:,g} wanted{': this process could not do more' if short else ''}"


def _percentiles(latency: Histogram) -> list[str]:
    return [f"{name:>6} {value:>12,.1f} µs" for name, value in latency.figures().items()]


def _bars(latency: Histogram) -> list[str]:
    """A line for each power of two of nanoseconds."""
    octaves: dict[int, int] = {}
    for low, _, count in latency.slots():
        octave = low.bit_length()
        octaves[octave] = octaves.get(octave, 0) + count
    if not octaves:
        return []
    most = max(octaves.values())
    lines = []
    for octave in range(min(octaves), max(octaves) + 1):
        count = octaves.get(octave, 0)
        bar = "#" * round(_BAR * count / most) or ("." if count else "")
        least, below = (1 << octave >> 1) / 1e3, (1 << octave) / 1e3
        lines.append(f"{least:>12,.1f} to {below:>11,.1f} µs {count:>11,}  {bar}".rstrip())
    return lines


def as_json(result: Result) -> str:
    """All figures as a JSON object; null for what is unknown."""
    return json.dumps(
        {
            "settings": result.settings,
            "interrupted": result.interrupted,
            "delivered": result.delivered,
            "seconds": result.seconds,
            "sent": result.sent,
            "spans_per_second": result.rate,
            "account": result.account,
            "received": result.received,
            "cpu_microseconds_a_span": result.cpu,
            "load_generator_microseconds_a_span": result.pacing_seconds * 1e6,
            "measuring_microseconds_a_span": result.measuring_seconds * 1e6,
            "latency_microseconds": result.latency.figures(),
            "latency_nanoseconds_histogram": [list(slot) for slot in result.latency.slots()],
            "complaints": result.complaints,
            "circumstances": {**circumstances(), "busy": busy()},
        },
        indent=2,
        ensure_ascii=False,
    )


def chart(result: Result) -> Chart:
    """Latency by percentile, both on logarithmic scales."""
    settings, latency = result.settings, result.latency
    shown = [percent for percent in _CHARTED if latency.count * (1 - percent / 100) >= 1]
    points: list[Point] = [
        (100 / (100 - percent), max(latency.percentile(percent), 1) / 1e3) for percent in shown
    ]
    points.append((max(latency.count, 2), max(latency.largest, 1) / 1e3))
    marks = [(1.0, "0"), (2.0, "50 %"), (10.0, "90 %"), (1e2, "99 %"), (1e3, "99.9 %"), (1e4, "99.99 %")]
    marks += [(1e5, "99.999 %"), (1e6, "99.9999 %"), (1e9, "")]
    end = next(number for number, (at, _) in enumerate(marks, 1) if at >= points[-1][0])
    return Chart(
        f"A span from start to end: {TITLES[settings['pipeline']]}",
        f"{_number(settings['attributes'], 'attribute')}, {_number(settings['events'], 'event')}, "
        f"{_number(settings['threads'], 'thread')}, {result.rate:,.0f} spans/s for {result.seconds:.0f} s",
        Axis("spans that took no longer", marks[:end], logarithmic=True),
        Axis.decades("µs", [y for _, y in points]),
        [("", points)],
    )

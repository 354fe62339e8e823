"""Line charts as SVG, written by hand: no plotting library is needed to look at a measurement.

As PNG they need Pillow: ``raster.py`` draws the same.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Protocol

Point = tuple[float, float]

WIDTH, HEIGHT = 860, 480
_LEFT, _RIGHT, _TOP, _BOTTOM = 86, 30, 66, 62
_MOST_DOTS = 30  # a line of more points has none
GRID = "#dddddd"
# Okabe and Ito's colours, which people with any colour vision can tell apart.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#999999")


@dataclass(frozen=True)
class Axis:
    """A title, and the values with a mark and a text; the first and the last mark are the ends."""

    title: str
    marks: Sequence[tuple[float, str]]
    logarithmic: bool = False

    def share(self, value: float) -> float:
        """Where between the ends a value lies: 0 to 1."""
        low, high = self._scaled(self.marks[0][0]), self._scaled(self.marks[-1][0])
        return min(max((self._scaled(value) - low) / (high - low), 0.0), 1.0)

    def _scaled(self, value: float) -> float:
        return math.log10(max(value, 1e-12)) if self.logarithmic else value

    @classmethod
    def decades(cls, title: str, values: Sequence[float], unit: str = "") -> Axis:
        """A logarithmic axis from the power of ten below the values to that above them."""
        positive = [value for value in values if value > 0] or [1.0]
        low, high = math.floor(math.log10(min(positive))), math.ceil(math.log10(max(positive)))
        low -= 10.0**low > min(positive)  # a logarithm is rounded, up or down
        high += 10.0**high < max(positive)
        marks = [(10.0**power, f"{10.0**power:,g}{unit}") for power in range(low, max(high, low + 1) + 1)]
        return cls(title, marks, logarithmic=True)

    @classmethod
    def linear(cls, title: str, values: Sequence[float]) -> Axis:
        """An axis from 0 to a round number above the values."""
        most = max(values, default=0.0) or 1.0
        step = 10.0 ** math.floor(math.log10(most))
        step *= next(factor for factor in (0.2, 0.5, 1.0, 2.0) if most / (step * factor) <= 6)
        return cls(title, [(step * n, f"{step * n:,g}") for n in range(math.ceil(most / step) + 1)])


class Canvas(Protocol):
    """What a chart is drawn on, WIDTH by HEIGHT, from the upper left corner."""

    def text(
        self, x: float, y: float, text: str, anchor: str = "start", size: int = 13, fill: str = "#111111"
    ) -> None:
        """A line of text on the base line y; x is its start, middle or end, as ``anchor`` says."""

    def sideways(self, x: float, y: float, text: str) -> None:
        """A text that is read upwards, with x as base line and y in its middle."""

    def rule(self, x1: float, y1: float, x2: float, y2: float) -> None:
        """A line of the grid."""

    def path(self, points: Sequence[Point], colour: str) -> None:
        """A line through all points."""

    def dot(self, x: float, y: float, colour: str) -> None:
        """A mark around a point."""

    def swatch(self, x: float, y: float, colour: str) -> None:
        """The sign of a line in the legend, from its upper left corner."""


class SVG:
    """A canvas that writes SVG."""

    def __init__(self) -> None:
        self.shapes: list[str] = []

    def text(
        self, x: float, y: float, text: str, anchor: str = "start", size: int = 13, fill: str = "#111111"
    ) -> None:
        place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
        self.shapes.append(f'<text {place} font-size="{size}" fill="{fill}">{escape(text)}</text>')

    def sideways(self, x: float, y: float, text: str) -> None:
        self.shapes.append(f'<g transform="rotate(-90 {x:g} {y:g})">')
        self.text(x, y, text, anchor="middle")
        self.shapes.append("</g>")

    def rule(self, x1: float, y1: float, x2: float, y2: float) -> None:
        ends = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
        self.shapes.append(f'<line {ends} stroke="{GRID}"/>')

    def path(self, points: Sequence[Point], colour: str) -> None:
        through = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        self.shapes.append(f'<polyline points="{through}" fill="none" stroke="{colour}" stroke-width="2"/>')

    def dot(self, x: float, y: float, colour: str) -> None:
        self.shapes.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>')

    def swatch(self, x: float, y: float, colour: str) -> None:
        self.shapes.append(f'<rect x="{x:g}" y="{y:g}" width="14" height="9" fill="{colour}"/>')


@dataclass
class Chart:
    """Lines in a frame. ``lines`` has a label and points for each."""

    title: str
    subtitle: str
    x: Axis
    y: Axis
    lines: list[tuple[str, Sequence[Point]]] = field(default_factory=list)

    def svg(self) -> str:
        """The chart as an SVG document."""
        canvas = SVG()
        self.draw(canvas)
        size = f'viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}"'
        return "\n".join(
            [
                f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif">',
                f"<title>{escape(self.title)}</title>",
                f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
                *canvas.shapes,
                "</svg>\n",
            ]
        )

    def draw(self, canvas: Canvas) -> None:
        """Puts the chart onto a canvas that is white."""
        self._frame(canvas)
        for place in range(len(self.lines)):
            self._line(canvas, place)

    def _frame(self, canvas: Canvas) -> None:
        right, bottom = WIDTH - _RIGHT, HEIGHT - _BOTTOM
        canvas.text(_LEFT, 26, self.title, size=17)
        canvas.text(_LEFT, 46, self.subtitle, fill="#555555")
        canvas.text((_LEFT + right) / 2, HEIGHT - 14, self.x.title, anchor="middle")
        canvas.sideways(18, (_TOP + bottom) / 2, self.y.title)
        for value, text in self.x.marks:
            at = self._x(value)
            canvas.rule(at, _TOP, at, bottom)
            canvas.text(at, bottom + 20, text, anchor="middle")
        for value, text in self.y.marks:
            at = self._y(value)
            canvas.rule(_LEFT, at, right, at)
            canvas.text(_LEFT - 8, at + 4, text, anchor="end")

    def _line(self, canvas: Canvas, place: int) -> None:
        label, points = self.lines[place]
        colour = _COLOURS[place % len(_COLOURS)]
        at = [(self._x(x), self._y(y)) for x, y in points]
        canvas.path(at, colour)
        if len(at) <= _MOST_DOTS:
            for x, y in at:
                canvas.dot(x, y, colour)
        if label:
            top = _TOP + 18 + 19 * place
            canvas.swatch(_LEFT + 12, top - 9, colour)
            canvas.text(_LEFT + 32, top, label)

    def _x(self, value: float) -> float:
        return _LEFT + self.x.share(value) * (WIDTH - _LEFT - _RIGHT)

    def _y(self, value: float) -> float:
        return HEIGHT - _BOTTOM - self.y.share(value) * (HEIGHT - _TOP - _BOTTOM)

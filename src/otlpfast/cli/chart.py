"""Line charts as SVG, written by hand: no plotting library is needed to look at a measurement."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape

Point = tuple[float, float]

WIDTH, HEIGHT = 860, 480
_LEFT, _RIGHT, _TOP, _BOTTOM = 86, 30, 66, 62
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
        shapes = [*self._frame(), *(shape for place in range(len(self.lines)) for shape in self._line(place))]
        size = f'viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}"'
        return "\n".join(
            [
                f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif">',
                f"<title>{escape(self.title)}</title>",
                f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
                *shapes,
                "</svg>\n",
            ]
        )

    def _frame(self) -> list[str]:
        right, bottom = WIDTH - _RIGHT, HEIGHT - _BOTTOM
        middle = (_TOP + bottom) / 2
        y_title = _text(18, middle, self.y.title, anchor="middle")
        shapes = [
            _text(_LEFT, 26, self.title, size=17),
            _text(_LEFT, 46, self.subtitle, fill="#555"),
            _text((_LEFT + right) / 2, HEIGHT - 14, self.x.title, anchor="middle"),
            f'<g transform="rotate(-90 18 {middle:g})">{y_title}</g>',
        ]
        for value, text in self.x.marks:
            at = self._x(value)
            shapes += [_rule(at, _TOP, at, bottom), _text(at, bottom + 20, text, anchor="middle")]
        for value, text in self.y.marks:
            at = self._y(value)
            shapes += [_rule(_LEFT, at, right, at), _text(_LEFT - 8, at + 4, text, anchor="end")]
        return shapes

    def _line(self, place: int) -> list[str]:
        label, points = self.lines[place]
        colour = _COLOURS[place % len(_COLOURS)]
        path = " ".join(f"{self._x(x):.1f},{self._y(y):.1f}" for x, y in points)
        top = _TOP + 18 + 19 * place
        shapes = [f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>']
        if len(points) <= 30:
            shapes += [
                f'<circle cx="{self._x(x):.1f}" cy="{self._y(y):.1f}" r="3" fill="{colour}"/>'
                for x, y in points
            ]
        if label:
            shapes += [
                f'<rect x="{_LEFT + 12}" y="{top - 9}" width="14" height="9" fill="{colour}"/>',
                _text(_LEFT + 32, top, label),
            ]
        return shapes

    def _x(self, value: float) -> float:
        return _LEFT + self.x.share(value) * (WIDTH - _LEFT - _RIGHT)

    def _y(self, value: float) -> float:
        return HEIGHT - _BOTTOM - self.y.share(value) * (HEIGHT - _TOP - _BOTTOM)


def _text(x: float, y: float, text: str, anchor: str = "start", size: int = 13, fill: str = "#111") -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f'<text {place} font-size="{size}" fill="{fill}">{escape(text)}</text>'


def _rule(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="#ddd"/>'

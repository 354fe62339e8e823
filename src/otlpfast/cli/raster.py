"""Charts as PNG, drawn by Pillow, which the extra ``png`` installs."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path

from .chart import GRID, HEIGHT, WIDTH, Chart, Point

_PIXELS = 2  # of the file, for each unit of a chart
_FINER = 2  # times as many are drawn and averaged: Pillow's lines have steps
_SCALE = _PIXELS * _FINER
# The font that comes with Pillow knows ASCII only.
_SPELLED = str.maketrans({"µ": "u", "÷": "/", "×": "x", "²": "2", "…": "..."})
_ANCHORS = {"start": "ls", "middle": "ms", "end": "rs"}


def missing() -> bool:
    """Whether there is no Pillow here."""
    return importlib.util.find_spec("PIL") is None


def write_png(chart: Chart, file: str | Path) -> None:
    """Draws a chart into a file; ModuleNotFoundError without Pillow."""
    from PIL import Image

    canvas = _Raster()
    chart.draw(canvas)
    size = (WIDTH * _PIXELS, HEIGHT * _PIXELS)
    canvas.image.resize(size, Image.Resampling.LANCZOS).save(file, format="PNG", optimize=True)


class _Raster:
    """A canvas of pixels."""

    def __init__(self, width: int = WIDTH, height: int = HEIGHT) -> None:
        from PIL import Image, ImageDraw, ImageFont

        self.image = Image.new("RGB", (width * _SCALE, height * _SCALE), "#ffffff")
        self._draw = ImageDraw.Draw(self.image)
        self._font = ImageFont.load_default

    def text(
        self, x: float, y: float, text: str, anchor: str = "start", size: int = 13, fill: str = "#111111"
    ) -> None:
        font, spelled = self._font(size * _SCALE), text.translate(_SPELLED)
        self._draw.text((x * _SCALE, y * _SCALE), spelled, fill=fill, font=font, anchor=_ANCHORS[anchor])

    def sideways(self, x: float, y: float, text: str) -> None:
        from PIL import Image

        strip = _Raster(HEIGHT, 24)
        strip.text(HEIGHT - y, 18, text, anchor="middle")
        upright = strip.image.transpose(Image.Transpose.ROTATE_90)
        self.image.paste(upright, (round((x - 18) * _SCALE), 0))

    def rule(self, x1: float, y1: float, x2: float, y2: float) -> None:
        self._draw.line(_scaled([(x1, y1), (x2, y2)]), fill=GRID, width=_SCALE)

    def path(self, points: Sequence[Point], colour: str) -> None:
        self._draw.line(_scaled(points), fill=colour, width=2 * _SCALE, joint="curve")

    def dot(self, x: float, y: float, colour: str) -> None:
        self._draw.ellipse(_scaled([(x - 3, y - 3), (x + 3, y + 3)]), fill=colour)

    def swatch(self, x: float, y: float, colour: str) -> None:
        self._draw.rectangle(_scaled([(x, y), (x + 14, y + 9)]), fill=colour)


def _scaled(points: Sequence[Point]) -> list[Point]:
    return [(x * _SCALE, y * _SCALE) for x, y in points]

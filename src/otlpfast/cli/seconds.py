"""A number of seconds among the arguments of a command."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable


def seconds(allowed: str, fits: Callable[[float], bool]) -> Callable[[str], float]:
    """A type for argparse, which says what is allowed where a text is no number that fits."""

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not fits(value):
            raise argparse.ArgumentTypeError(f"{allowed} is allowed, not {text!r}")
        return value

    return read

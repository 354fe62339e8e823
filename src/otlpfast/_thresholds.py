"""Consistent probability sampling: thresholds, and where they lie in a tracestate.

Specification: trace/tracestate-probability-sampling.md and trace/tracestate-handling.md. Thresholds and
randomness are of 56 bits: a span is kept where its randomness is not below the threshold.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import NamedTuple

from opentelemetry.trace import TraceState

KEY = "ot"
NEVER = 1 << 56
RANDOMNESS = NEVER - 1

_DIGITS = 14  # hexadecimal, of 56 bits
_LONGEST = 256  # characters of the entry
_threshold = re.compile("[0-9a-f]{1,14}").fullmatch
_randomness = re.compile("[0-9a-f]{14}").fullmatch


def threshold_of(ratio: float, precision: int) -> int:
    """The threshold that keeps so large a share, with so many digits after leading ``f``; ``NEVER`` for 0."""
    if not ratio:
        return NEVER
    leading = math.frexp(ratio)[1] // -4
    step = 1 << 4 * max(_DIGITS - precision - leading, 0)
    exact = NEVER - round(ratio * NEVER)
    return min((exact + step // 2) // step * step, NEVER - step)


def shown(threshold: int) -> str:
    """The threshold as an entry has it: trailing zeros are left out."""
    return f"{threshold:014x}".rstrip("0") or "0"


class Entry(NamedTuple):
    """What OpenTelemetry's entry of a tracestate holds; None for what is not there, or not valid."""

    threshold: int | None = None
    randomness: int | None = None
    rest: Sequence[str] = ()

    @classmethod
    def of(cls, state: TraceState | None) -> Entry:
        """That of a tracestate."""
        text = state.get(KEY, "") if state else ""
        if not text or len(text) > _LONGEST:
            return cls()
        threshold = randomness = None
        rest = []
        for member in text.split(";"):
            key, _, value = member.partition(":")
            if key == "th":
                threshold = int(value.ljust(_DIGITS, "0"), 16) if _threshold(value) else None
            elif key == "rv":
                randomness = int(value, 16) if _randomness(value) else None
            else:
                rest.append(member)
        return cls(threshold, randomness, rest)

    def __str__(self) -> str:
        members = [] if self.threshold is None else [f"th:{shown(self.threshold)}"]
        if self.randomness is not None:
            members.append(f"rv:{self.randomness:014x}")
        return ";".join((*members, *self.rest))


def with_threshold(state: TraceState | None, threshold: int | None) -> TraceState | None:
    """The tracestate with this threshold, or with none; entries of others are kept."""
    before = Entry.of(state)
    text = str(before._replace(threshold=threshold))
    if len(text) > _LONGEST:
        text = str(before._replace(threshold=threshold, rest=()))
    if not state:
        return TraceState([(KEY, text)]) if text else state
    if state.get(KEY, "") == text:
        return state
    return state.update(KEY, text) if text else state.delete(KEY)

"""The parameters of a profile's URL; whatever is wrong is refused, with what is allowed."""

from __future__ import annotations

import math
import re
from typing import NamedTuple
from urllib.parse import parse_qsl

from .request import Refused

FORMATS = ("pprof", "svg", "speedscope", "folded", "top", "page")


class Parameters(NamedTuple):
    """How a profile is to be taken, and in which form it is wanted."""

    seconds: float | None = None
    """None: a snapshot, or as long as is usual."""
    debug: int = 0
    """0: pprof; 1: text, equal stacks together; 2: a full dump, where there is one."""
    gc: bool = False
    form: str = "pprof"
    trace_id: str | None = None


def parse(query: str, max_seconds: float) -> Parameters:
    """The parameters of a query string; of one that is there twice the last. Others are ignored, as by Go."""
    given = dict(parse_qsl(query, keep_blank_values=True))
    seconds = _seconds(given["seconds"], max_seconds) if given.get("seconds") else None
    debug = given.get("debug") or "0"
    if debug not in ("0", "1", "2"):
        raise Refused(400, 'invalid value for "debug" - allowed: 0 (pprof), 1 (text), 2 (full dump)')
    gc = given.get("gc") or "0"
    if gc not in ("0", "1"):
        raise Refused(400, 'invalid value for "gc" - allowed: 0, or 1 to collect garbage before')
    form = given.get("format") or "pprof"
    if form not in FORMATS:
        raise Refused(400, f'invalid value for "format" - allowed: {", ".join(FORMATS[:-1])}')
    if form != "pprof" and debug != "0":
        raise Refused(400, "format and debug params are incompatible")
    trace_id = given.get("trace_id", "").lower() or None
    if trace_id is not None and not re.fullmatch("[0-9a-f]{32}", trace_id):
        raise Refused(400, 'invalid value for "trace_id" - must be 32 hexadecimal digits')
    return Parameters(seconds, int(debug), gc == "1", form, trace_id)


def _seconds(text: str, most: float) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise Refused(400, 'invalid value for "seconds" - must be a positive number')
    if seconds > most:
        raise Refused(
            400, f"profile duration exceeds server's WriteTimeout: at most {most:g} seconds are allowed here"
        )
    return seconds

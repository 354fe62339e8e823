"""The functions of a profile by what they cost, as ``go tool pprof -top`` shows them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Literal, NamedTuple

from ._stacks import per_frame
from ._units import amount, common_scale, percentage
from .profile import Frame, Profile, ValueType

By = Literal["flat", "cum"]
Granularity = Literal["functions", "lines"]


class TopRow(NamedTuple):
    """One function, or one line of it."""

    flat: int
    """What was counted in it while it ran itself."""
    flat_percent: float
    """Of the total, without a sign; like the two below from 0 to 100."""
    sum_percent: float
    """The same of this row and those before it."""
    cum: int
    """What was counted in it and in what it had called, once where it had called itself."""
    cum_percent: float
    function: str
    """With its module: ``app.views.Orders.get``."""
    filename: str
    line: int
    """The function's first; by lines, the one that ran or called."""


@dataclass(frozen=True)
class Top:
    """A table; ``str()`` of it is what ``go tool pprof -top`` prints, with the place of each function."""

    rows: tuple[TopRow, ...]
    value_type: ValueType
    total: int
    """The sum of all values, which percentages are of; without their signs in a difference."""
    functions: int
    """How many there are, shown here or not; by lines, how many lines."""
    heading: tuple[str, ...]
    """Lines above the table."""

    def __str__(self) -> str:
        unit = self.value_type.unit
        scale = common_scale((row.flat or row.cum for row in self.rows), self.total, unit)
        shown = sum(row.flat for row in self.rows)
        share, whole = percentage(shown, self.total).strip(), amount(self.total, unit, scale)
        lines = [
            *self.heading,
            f"Showing nodes accounting for {amount(shown, unit, scale)}, {share} of {whole} total",
        ]
        if len(self.rows) < self.functions:
            lines.append(f"Showing top {len(self.rows)} nodes out of {self.functions}")
        lines.append(f"{'flat':>10} {'flat%':>6} {'sum%':>6} {'cum':>10} {'cum%':>6}")
        so_far = 0
        for row in self.rows:
            so_far += row.flat
            shares = [percentage(value, self.total) for value in (row.flat, so_far, row.cum)]
            flat, cum = amount(row.flat, unit, scale), amount(row.cum, unit, scale)
            place = f" {row.filename}:{row.line}" if row.filename else ""
            lines.append(f"{flat:>10} {shares[0]} {shares[1]} {cum:>10} {shares[2]}  {row.function}{place}")
        return "\n".join(map(_one_line, lines))


def top(profile: Profile, n: int, value: str | None, by: By, granularity: Granularity) -> Top:
    """See ``Profile.top``."""
    if by not in ("flat", "cum"):
        raise ValueError(f'by={by!r}: "flat" or "cum" is allowed')
    if granularity not in ("functions", "lines"):
        raise ValueError(f'granularity={granularity!r}: "functions" or "lines" is allowed')
    index = profile.value_index(value)
    flat, cum, places, total = _sums(profile, index, granularity)
    first = flat if by == "flat" else cum
    counted = [at for at in range(len(places)) if flat[at] or cum[at]]  # a difference can come to nothing
    order = sorted(counted, key=lambda at: (-abs(first[at]), -abs(flat[at]), -abs(cum[at]), places[at]))
    rows: list[TopRow] = []
    so_far = 0
    for at in order[: max(n, 0)]:
        so_far += flat[at]
        shares = [abs(part) / total * 100 if total else 0.0 for part in (flat[at], so_far, cum[at])]
        rows.append(TopRow(flat[at], shares[0], shares[1], cum[at], shares[2], *places[at]))
    value_type = profile.value_types[index]
    return Top(tuple(rows), value_type, total, len(order), _heading(profile, value_type, total))


def _sums(
    profile: Profile, index: int, granularity: Granularity
) -> tuple[list[int], list[int], list[tuple[str, str, int]], int]:
    """Of each function flat, cum and place; and the total."""
    numbers: dict[tuple[str, str, int], int] = {}

    def number(frame: Frame) -> int:
        line = frame.first_line if granularity == "functions" else frame.line
        return numbers.setdefault((frame.name, frame.filename, line), len(numbers))

    counted = [sample for sample in profile.samples if sample.values[index]]
    of_frame = per_frame(counted, number)
    flat, cum = [0] * len(numbers), [0] * len(numbers)
    total = 0
    for sample in counted:
        value = sample.values[index]
        total += abs(value)
        if sample.stack:
            flat[of_frame[id(sample.stack[0])]] += value
            for at in set(map(of_frame.__getitem__, map(id, sample.stack))):
                cum[at] += value
    return flat, cum, list(numbers), total


def _heading(profile: Profile, value_type: ValueType, total: int) -> tuple[str, ...]:
    lines = [*profile.comments, f"Type: {value_type.type}"]
    if profile.time_unix_nano:
        begun = datetime.fromtimestamp(profile.time_unix_nano / 1e9, timezone.utc)
        lines.append(f"Time: {begun:%Y-%m-%d %H:%M:%S} UTC")
    if duration := profile.duration_nanos:
        samples = f"Total samples = {amount(total, value_type.unit)}"
        if value_type.unit == "nanoseconds" and total:
            samples += f" ({percentage(total, duration).strip()})"
        lines.append(f"Duration: {amount(duration, 'nanoseconds')}, {samples}")
    return tuple(lines)


def _one_line(text: str) -> str:
    """Whatever a program calls its functions, a table stays a table."""
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)

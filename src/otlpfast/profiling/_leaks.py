"""What there is more of than before: threads and tasks that pile up."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from .profile import Profile, Stack


@dataclass(frozen=True)
class Leak:
    """A stack that more threads, or tasks, have than before."""

    stack: Stack
    before: int
    after: int
    kind: str = "threads"

    @property
    def growth(self) -> int:
        """How many more there are."""
        return self.after - self.before

    def __str__(self) -> str:
        lines = [f"+{self.growth} {self.kind} ({self.before} before, {self.after} after)"]
        lines += [f"    {frame.function} {frame.filename}:{frame.line}" for frame in self.stack]
        return "\n".join(lines)


def leaks(before: Profile, after: Profile, least: int = 1) -> tuple[Leak, ...]:
    """The stacks whose count grew from one profile to the next, those that grew most first.

    Args:
        before, after: two profiles of ``threads()``, or two of ``tasks()``. Of other kinds, such as heap,
            the values of the default type are compared.
        least: by how much a count has to grow.

    Raises:
        ValueError: profiles of two kinds.
    """
    if before.kind != after.kind:
        raise ValueError(f"profiles of one kind can be compared, not {before.kind} and {after.kind}")
    counts, grown = _by_stack(before), _by_stack(after)
    found = [Leak(stack, counts[stack], count, after.kind) for stack, count in grown.items()]
    return tuple(sorted((leak for leak in found if leak.growth >= least), key=lambda leak: -leak.growth))


def _by_stack(profile: Profile) -> Counter[Stack]:
    # Whatever a thread is called: names may have numbers, or letters, that count up.
    shown = profile.value_index()
    counts: Counter[Stack] = Counter()
    for sample in profile.samples:
        counts[sample.stack] += sample.values[shown]
    return counts

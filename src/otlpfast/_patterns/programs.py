"""Programs for automata over the bytes of UTF-8.

A program is a graph of nodes. TAKE goes on with one byte, the others without any: FORK to the first of two
that leads to a match, EDGE where the place is of its kind, MARK notes where a secret begins or ends, MATCH is
the end.

A text is first read from its start, by all patterns at once and with no notice of edges: that tells which of
them may match anywhere. Each of those then reads it from its end. Which TAKE and MATCH nodes lead to a match
from a place is a set, and the set for a place follows from that of the next one and the byte between them.
Where a match starts, it is followed by the first way that leads on. Sets that were met are kept as states of
automata: each byte is looked at a few times, whatever the pattern is.
"""

from __future__ import annotations

from dataclasses import dataclass

FORK, TAKE, EDGE, MARK, MATCH = range(5)
EDGES = (
    *("start", "line start", "end", "end or last newline", "line end"),
    *("word", "no word", "ascii", "no ascii"),
)

# What stands on one side of a place.
OTHER, LETTER, WIDE, NEW_LINE, LAST_NEW_LINE, OUTSIDE = range(6)
SIDES = 6


def _holds(edge: str, before: int, after: int) -> bool:
    if edge.startswith("no "):
        return not _holds(edge[3:], before, after)
    if edge in ("word", "ascii"):
        words = (LETTER, WIDE) if edge == "word" else (LETTER,)
        return (before in words) != (after in words)
    if edge in ("start", "line start"):
        return before == OUTSIDE or (edge == "line start" and before == NEW_LINE)
    return (
        after
        in {
            "end": (OUTSIDE,),
            "end or last newline": (OUTSIDE, LAST_NEW_LINE),
            "line end": (OUTSIDE, LAST_NEW_LINE, NEW_LINE),
        }[edge]
    )


HOLDS = bytes(
    _holds(edge, before, after) for edge in EDGES for before in range(SIDES) for after in range(SIDES)
)
"""Whether an edge is at a place, by ``(edge * SIDES + before) * SIDES + after``."""


@dataclass(frozen=True)
class Program:
    """What is run; sets of bits are ints."""

    kinds: bytes
    """Of each node."""
    nexts: tuple[int, ...]
    """Where each node goes on; FORK: what it prefers."""
    others: tuple[int, ...]
    """FORK: the second choice; TAKE, MATCH: its bit; EDGE: which; MARK: 0 begins a secret, 1 ends it."""
    above: tuple[tuple[int, ...], ...]
    """Of each node, those that lead to it without a byte."""
    entries: tuple[int, ...]
    """The first node of each pattern."""
    nodes_of_bits: tuple[int, ...]
    matching: int
    """The bits of MATCH nodes: of each pattern the first bit, which those of its other nodes follow."""
    classes: bytes
    """Of each byte: bytes of a class are alike to every pattern."""
    takers: tuple[int, ...]
    """Of each class, the bits of the nodes that take its bytes."""
    sides: bytes
    """Of each class, what it is beside a place; empty where no pattern has an edge."""
    least: int
    """How many bytes the shortest match takes."""
    holds: bytes = HOLDS

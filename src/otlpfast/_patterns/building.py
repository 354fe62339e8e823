"""Makes a program of trees."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import reduce
from operator import or_

from .characters import BEYOND_ASCII, NEWLINE, WORD, Bytes, Ranges, byte_sequences, span_of_bytes
from .programs import EDGE, EDGES, FORK, LETTER, MARK, MATCH, NEW_LINE, OTHER, TAKE, WIDE, Program
from .trees import Characters, Choice, Edge, Repeat, Secret, Tree, least_width
from .trees import Sequence as Row

MAX_NODES = 16_000
"""Of all patterns of a program together."""
MATCHED: Bytes = 1 << 256
"""What a MATCH takes: no byte."""

# Characters beyond ASCII, for texts that are known to be UTF-8: sets of first bytes, and how many come after.
_CONTINUED = span_of_bytes(0x80, 0xBF)
_WIDE_STARTS = (
    (span_of_bytes(0xC2, 0xDF), 1),
    (span_of_bytes(0xE0, 0xEF), 2),
    (span_of_bytes(0xF0, 0xF4), 3),
)


class _Builder:
    """Builds from the end: every part is told where to go on."""

    def __init__(self) -> None:
        self.kinds = bytearray()
        self.nexts: list[int] = []
        self.others: list[int] = []
        self.sets: list[Bytes] = []  # of each bit; MATCHED of a MATCH
        self.nodes_of_bits: list[int] = []

    def new(self, kind: int, goes_on: int = 0, other: int = 0) -> int:
        if len(self.kinds) >= MAX_NODES:
            raise ValueError(f"more than {MAX_NODES} steps: repeat less, or have fewer patterns")
        self.kinds.append(kind)
        self.nexts.append(goes_on)
        self.others.append(other)
        return len(self.kinds) - 1

    def take(self, accepted: Bytes, goes_on: int, kind: int = TAKE) -> int:
        node = self.new(kind, goes_on, len(self.sets))
        self.sets.append(accepted)
        self.nodes_of_bits.append(node)
        return node

    def above(self) -> tuple[tuple[int, ...], ...]:
        found: list[list[int]] = [[] for _ in self.kinds]
        for node, kind in enumerate(self.kinds):
            if kind not in (TAKE, MATCH):
                found[self.nexts[node]].append(node)
            if kind == FORK:
                found[self.others[node]].append(node)
        return tuple(map(tuple, found))

    def bits_of_sets(self) -> dict[Bytes, int]:
        found: dict[Bytes, int] = {}
        for bit, accepted in enumerate(self.sets):
            found[accepted] = found.get(accepted, 0) | 1 << bit
        return found

    def fork(self, choices: Sequence[int]) -> int:
        node = choices[-1]
        for choice in reversed(choices[:-1]):
            node = self.new(FORK, choice, node)
        return node

    def build(self, tree: Tree, goes_on: int) -> int:
        if isinstance(tree, Characters):
            return self.characters(tree.ranges, goes_on)
        if isinstance(tree, Row):
            for item in reversed(tree.items):
                goes_on = self.build(item, goes_on)
            return goes_on
        if isinstance(tree, Choice):
            return self.fork([self.build(item, goes_on) for item in tree.items])
        if isinstance(tree, Edge):
            return self.new(EDGE, goes_on, EDGES.index(tree.kind))
        if isinstance(tree, Secret):
            return self.new(MARK, self.build(tree.item, self.new(MARK, goes_on, 1)), 0)
        return self.repeat(tree, goes_on)

    def repeat(self, tree: Repeat, goes_on: int) -> int:
        least = tree.least
        if tree.most is None:
            # What may match nothing is left after it did: only its end leads back to its start.
            loop = self.new(FORK)
            body = self.build(tree.item, loop)
            self.set_fork(loop, tree, body, goes_on)
            if least:
                entry, least = body, least - 1
            else:
                entry = self.new(FORK)
                self.set_fork(entry, tree, body, goes_on)
        else:
            entry = goes_on
            for _ in range(tree.most - least):
                body = self.build(tree.item, entry)
                entry = self.new(FORK)
                self.set_fork(entry, tree, body, goes_on)
        for _ in range(least):
            entry = self.build(tree.item, entry)
        return entry

    def set_fork(self, fork: int, tree: Repeat, body: int, goes_on: int) -> None:
        choices = (body, goes_on) if tree.greedy else (goes_on, body)
        self.nexts[fork], self.others[fork] = choices

    def characters(self, ranges: Ranges, goes_on: int) -> int:
        choices: list[int] = []
        if ranges and ranges[-1][1] == BEYOND_ASCII[0][1] and ranges[-1][0] <= BEYOND_ASCII[0][0]:
            after = [goes_on]
            for _ in range(3):
                after.append(self.take(_CONTINUED, after[-1]))
            choices = [self.take(starts, after[more]) for starts, more in _WIDE_STARTS]
            ranges = tuple((low, min(high, 0x7F)) for low, high in ranges if low < 0x80)
        made: dict[tuple[Bytes, ...], int] = {(): goes_on}
        sequences = byte_sequences(ranges)
        choices = [self.take(first, self.tail(rest, made)) for first, rest in sequences] + choices
        return self.fork(choices) if choices else self.take(0, goes_on)

    def tail(self, sets: tuple[Bytes, ...], made: dict[tuple[Bytes, ...], int]) -> int:
        if sets not in made:
            made[sets] = self.take(sets[0], self.tail(sets[1:], made))
        return made[sets]


def _classes(sets: Iterable[Bytes]) -> list[Bytes]:
    """The bytes in parts, so that each set has all of a part or nothing of it."""
    parts = [span_of_bytes(0, 255)]
    for each in sets:
        parts = [part for whole in parts for part in (whole & each, whole & ~each) if part]
    return parts


def program_of(trees: Sequence[Tree]) -> Program:
    """The program of some patterns.

    Raises:
        ValueError: they are too large together.
    """
    made = _Builder()
    entries = tuple(made.build(tree, made.take(MATCHED, 0, MATCH)) for tree in trees)
    looks = EDGE in made.kinds
    letters = sum(span_of_bytes(low, high) for low, high in WORD)
    newline, wide = span_of_bytes(*NEWLINE[0]), span_of_bytes(0x80, 0xFF)
    bits_of_sets = made.bits_of_sets()
    parts = _classes([*bits_of_sets, *((letters, newline, wide) if looks else ())])
    classes = bytearray(256)
    for number, part in enumerate(parts):
        for byte in range(256):
            if part >> byte & 1:
                classes[byte] = number
    sides = bytes(
        LETTER if part & letters else WIDE if part & wide else NEW_LINE if part & newline else OTHER
        for part in parts
    )
    return Program(
        kinds=bytes(made.kinds),
        nexts=tuple(made.nexts),
        others=tuple(made.others),
        above=made.above(),
        entries=entries,
        nodes_of_bits=tuple(made.nodes_of_bits),
        matching=bits_of_sets.get(MATCHED, 0),
        classes=bytes(classes),
        takers=tuple(
            reduce(or_, (bits for each, bits in bits_of_sets.items() if each & part), 0) for part in parts
        ),
        sides=sides if looks else b"",
        least=min(map(least_width, trees), default=0),
    )

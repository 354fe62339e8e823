"""Runs the programs of ``_patterns``: every match in a text, in linear time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from .._patterns.programs import (
    EDGE,
    FORK,
    LAST_NEW_LINE,
    MARK,
    NEW_LINE,
    OUTSIDE,
    SIDES,
    TAKE,
    Program,
)

MAX_STATES = 4096
"""So many are kept; then they are forgotten and found anew."""


class _State:
    """The nodes that lead to a match from a place, and what comes after it."""

    __slots__ = ("after", "alive", "before")

    def __init__(self, alive: frozenset[int], after: int) -> None:
        self.alive = alive
        self.after = after
        self.before: dict[int, tuple[_State, bool]] = {}
        """By the class of the byte before it: the state there, and whether a match starts here."""


class Match(NamedTuple):
    """Where a pattern matches, and what of it is secret."""

    start: int
    end: int
    secret_start: int
    secret_end: int
    pattern: int


class Automaton:
    """A program at work."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._takers = [self._nodes(bits) for bits in program.takers]
        self._matching = frozenset(self._nodes(program.matching))
        self._states: dict[tuple[frozenset[int], int], _State] = {}
        self.steps = 0
        """Bytes read and nodes visited so far."""

    def _nodes(self, bits: int) -> list[int]:
        return [node for bit, node in enumerate(self._program.nodes_of_bits) if bits >> bit & 1]

    def _state(self, alive: frozenset[int], after: int) -> _State:
        if len(self._states) >= MAX_STATES:
            self._states.clear()
        found = self._states.get((alive, after))
        if found is None:
            found = self._states[alive, after] = _State(alive, after)
        return found

    def _side(self, of_class: int, after: int = -1) -> int:
        """What a byte of that class is beside a place; before the end of the text, with ``after`` given."""
        sides = self._program.sides
        if not sides:
            return 0
        last = sides[of_class] == NEW_LINE and after == OUTSIDE
        return LAST_NEW_LINE if last else sides[of_class]

    def _leading(self, state: _State, before: int) -> set[int]:
        """Every node that leads to one that is alive, at a place with that before it."""
        program = self._program
        found = list(state.alive)
        seen = set(found)
        while found:
            for node in program.above[found.pop()]:
                if node not in seen and (
                    program.kinds[node] != EDGE or self._holds(node, before, state.after)
                ):
                    seen.add(node)
                    found.append(node)
        self.steps += len(seen)
        return seen

    def _holds(self, edge: int, before: int, after: int) -> int:
        program = self._program
        return program.holds[(program.others[edge] * SIDES + before) * SIDES + after]

    def _step(self, state: _State, of_class: int) -> tuple[_State, bool]:
        """Over a byte of the class, or the text's start (-1), to the left."""
        program = self._program
        leading = self._leading(state, OUTSIDE if of_class < 0 else self._side(of_class))
        starts = any(entry in leading for entry in program.entries)
        if of_class < 0:
            made = state, starts
        else:
            alive = self._matching.union(
                node for node in self._takers[of_class] if program.nexts[node] in leading
            )
            made = self._state(alive, self._side(of_class, state.after)), starts
        state.before[of_class] = made
        return made

    def _read(self, data: bytes) -> tuple[list[_State], list[int]]:
        """The state of each place, and where matches start, the last one first."""
        program = self._program
        state = self._state(self._matching, OUTSIDE if program.sides else 0)
        states, starting = [state], []
        for read, of_class in enumerate(reversed(data.translate(program.classes))):
            before, starts = state.before.get(of_class) or self._step(state, of_class)
            if starts:
                starting.append(len(data) - read)
            state = before
            states.append(state)
        if (state.before.get(-1) or self._step(state, -1))[1]:
            starting.append(0)
        states.reverse()
        self.steps += len(data)
        return states, starting

    def _follow(self, data: bytes, states: list[_State], start: int, pattern: int) -> Match | None:
        """The match of a pattern that starts there, the first in the order of its choices."""
        program = self._program
        node, place, secret = program.entries[pattern], start, (-1, -1)
        while True:
            found = self._choose(data, states, node, place, secret)
            if found is None:
                return None
            node, secret = found
            if program.kinds[node] != TAKE:
                inside = secret if secret[0] < secret[1] else (start, place)
                return Match(start, place, *inside, pattern)
            node, place = program.nexts[node], place + 1

    def _choose(
        self, data: bytes, states: list[_State], node: int, place: int, secret: tuple[int, int]
    ) -> tuple[int, tuple[int, int]] | None:
        """The first node from there that leads to a match; and the secret, as it is known there."""
        program, state = self._program, states[place]
        before = self._side(program.classes[data[place - 1]]) if place else OUTSIDE
        seen: set[int] = set()
        stack = [(node, secret)]
        while stack:
            node, secret = stack.pop()
            if node in seen:
                continue
            seen.add(node)
            self.steps += 1
            kind = program.kinds[node]
            if kind == FORK:
                stack.append((program.others[node], secret))
                stack.append((program.nexts[node], secret))
            elif kind == MARK:
                secret = (secret[0], place) if program.others[node] else (place, -1)
                stack.append((program.nexts[node], secret))
            elif kind == EDGE:
                if self._holds(node, before, state.after):
                    stack.append((program.nexts[node], secret))
            elif node in state.alive:
                return node, secret
        return None

    def matches(self, data: bytes, check: Callable[[int, bytes, int], int]) -> Iterator[Match]:
        """All of them from left to right: at a place, the first pattern that matches has it.

        ``check(pattern, data, start)`` says where the match of a pattern has to end: -1, as it did; 0, it is
        none.
        """
        states, starting = self._read(data) if data else ([], [])
        free = 0
        while starting:
            start = starting.pop()
            for pattern in range(len(self._program.entries) if start >= free else 0):
                match = self._follow(data, states, start, pattern)
                end = check(pattern, data, start) if match else 0
                if match and end:
                    yield match if end < 0 else Match(start, end, start, end, pattern)
                    free = match.end if end < 0 else end
                    break

    def first(self, data: bytes) -> int:
        """The first pattern that matches at the start; -1 for none."""
        states, _ = self._read(data)
        leading = self._leading(states[0], OUTSIDE)
        return next((n for n, entry in enumerate(self._program.entries) if entry in leading), -1)

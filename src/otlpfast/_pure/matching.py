"""Runs the programs of ``_patterns``: every match in a text, in linear time."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from .._patterns.programs import (
    EDGE,
    FORK,
    LAST_NEW_LINE,
    MARK,
    MATCH,
    NEW_LINE,
    OUTSIDE,
    SIDES,
    TAKE,
    Program,
)

MAX_STATES = 4096
"""So many are kept of an automaton; then they are forgotten and found anew."""


def _nodes(program: Program, bits: int) -> list[int]:
    return [node for bit, node in enumerate(program.nodes_of_bits) if bits >> bit & 1]


class Match(NamedTuple):
    """Where a pattern matches, and what of it is secret."""

    start: int
    end: int
    secret_start: int
    secret_end: int


class _Threads:
    """The nodes that may take the next byte, and the patterns that have matched with the last one."""

    __slots__ = ("matching", "nexts", "nodes")

    def __init__(self, nodes: frozenset[int], matching: frozenset[int]) -> None:
        self.nodes = nodes
        self.matching = matching
        self.nexts: dict[int, _Threads] = {}
        """By the class of the next byte."""


class Sieve:
    """All patterns of a program at once: which of them may match in a text, with no notice of edges."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._takers = [frozenset(_nodes(program, bits)) for bits in program.takers]
        self._patterns = self._patterns_of_nodes()
        self._known: dict[tuple[frozenset[int], frozenset[int]], _Threads] = {}
        self._start = _Threads(frozenset(self._reach(program.entries)), frozenset())
        self.steps = 0
        """Bytes read and nodes visited so far."""

    def _patterns_of_nodes(self) -> dict[int, int]:
        """The pattern of each node that takes a byte or is the end: each begins with its end."""
        found, pattern = {}, -1
        for node in self._program.nodes_of_bits:
            pattern += self._program.kinds[node] == MATCH
            found[node] = pattern
        return found

    def _reach(self, nodes: Iterable[int]) -> list[int]:
        """The nodes that take a byte next, or are the end."""
        program = self._program
        found, seen, stack = [], set(), list(nodes)
        while stack:
            node = stack.pop()
            if node in seen:
                continue
            seen.add(node)
            if program.kinds[node] in (TAKE, MATCH):
                found.append(node)
                continue
            stack.append(program.nexts[node])
            if program.kinds[node] == FORK:
                stack.append(program.others[node])
        return found

    def _step(self, threads: _Threads, of_class: int) -> _Threads:
        program = self._program
        taking = threads.nodes & self._takers[of_class]
        found = self._reach([program.nexts[node] for node in taking])
        self.steps += len(taking) + len(found)
        matching = frozenset(self._patterns[node] for node in found if program.kinds[node] == MATCH)
        # They have nothing more to tell.
        left = frozenset(node for node in found if self._patterns[node] not in matching)
        if len(self._known) >= MAX_STATES:
            self._known.clear()
            self._start = _Threads(self._start.nodes, frozenset())
        key = left | self._start.nodes, matching
        made = self._known.get(key)
        if made is None:
            made = self._known[key] = _Threads(*key)
        threads.nexts[of_class] = made
        return made

    def sift(self, data: bytes) -> list[int]:
        """The patterns that may match, in their order."""
        if len(data) < self._program.least:
            return []
        wanted: set[int] = set()
        threads = self._start
        self.steps += len(data)
        for of_class in data.translate(self._program.classes):
            threads = threads.nexts.get(of_class) or self._step(threads, of_class)
            if threads.matching:
                wanted |= threads.matching
        return sorted(wanted)


class _State:
    """The nodes that lead to a match from a place, and what comes after it."""

    __slots__ = ("after", "alive", "before")

    def __init__(self, alive: frozenset[int], after: int) -> None:
        self.alive = alive
        self.after = after
        self.before: dict[int, tuple[_State, bool]] = {}
        """By the class of the byte before it: the state there, and whether a match starts here."""


class Automaton:
    """A program at work."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._takers = [_nodes(program, bits) for bits in program.takers]
        self._matching = frozenset(_nodes(program, program.matching))
        self._states: dict[tuple[frozenset[int], int], _State] = {}
        self.steps = 0
        """Bytes read and nodes visited so far."""

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

    def read(self, data: bytes) -> tuple[list[_State], list[int]]:
        """The state of each place, and where matches start: the last one first."""
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

    def follow(self, data: bytes, states: list[_State], start: int) -> Match:
        """The match that starts there: the first in the order of its choices."""
        program = self._program
        node, place, secret = program.entries[0], start, (-1, -1)
        while True:
            node, secret = self._choose(data, states, node, place, secret)
            if program.kinds[node] == MATCH:
                return Match(start, place, *(secret if secret[0] < secret[1] else (start, place)))
            node, place = program.nexts[node], place + 1

    def _choose(
        self, data: bytes, states: list[_State], node: int, place: int, secret: tuple[int, int]
    ) -> tuple[int, tuple[int, int]]:
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
        raise AssertionError("a match starts here, but none does")

    def first(self, data: bytes) -> int:
        """The first pattern that matches at the start; -1 for none."""
        states, _ = self.read(data)
        leading = self._leading(states[0], OUTSIDE)
        return next((n for n, entry in enumerate(self._program.entries) if entry in leading), -1)


class Search:
    """The matches of a pattern in a text, from left to right."""

    def __init__(self, automaton: Automaton, data: bytes) -> None:
        self._automaton = automaton
        self._data = data
        self._states, self._starting = automaton.read(data)

    @property
    def start(self) -> int:
        """Where the next one starts; -1: there is none."""
        return self._starting[-1] if self._starting else -1

    def match(self) -> Match:
        """That one."""
        return self._automaton.follow(self._data, self._states, self.start)

    def go_on(self, place: int) -> None:
        """Leaves out those that start before it."""
        while self._starting and self._starting[-1] < place:
            self._starting.pop()

"""Regular expressions and globs as trees, for programs.

Python's own parser reads the expressions, so that they mean what they mean to ``re``, but for ``\\w`` and
``\\d``: ``\\w`` is any character beyond ASCII too, ``\\d`` is 0 to 9. What takes more than linear time has no
tree: references to groups, looking ahead and behind, atomic groups.
"""

from __future__ import annotations

import importlib
import re
import sys
from dataclasses import dataclass
from typing import Any

from .characters import (
    ASCII_SPACE,
    BEYOND_ASCII,
    DIGITS,
    EVERY,
    NEWLINE,
    SPACE,
    WORD,
    Ranges,
    both_cases,
    complement,
    union,
)

_parser: Any = importlib.import_module("re._parser" if sys.version_info >= (3, 11) else "sre_parse")

EDGES = (
    "start",
    "line start",
    "end",
    "end or last newline",
    "line end",
    *("word", "no word"),
    *("ascii", "no ascii"),
)


@dataclass(frozen=True)
class Characters:
    """One of them."""

    ranges: Ranges


@dataclass(frozen=True)
class Sequence:
    """One after the other."""

    items: tuple[Tree, ...]


@dataclass(frozen=True)
class Choice:
    """The first that matches."""

    items: tuple[Tree, ...]


@dataclass(frozen=True)
class Repeat:
    """So many times; as often as can be, or as seldom."""

    item: Tree
    least: int
    most: int | None
    greedy: bool = True


@dataclass(frozen=True)
class Edge:
    """Nothing, at a place of that kind; one of programs.EDGES."""

    kind: str


@dataclass(frozen=True)
class Secret:
    """What alone of a match is to be replaced."""

    item: Tree


Tree = Characters | Sequence | Choice | Repeat | Edge | Secret

NOTHING = Sequence(())
ANYTHING = Repeat(Characters(EVERY), 0, None, greedy=False)

_REFUSED = {
    "ASSERT": "looking ahead or behind",
    "ASSERT_NOT": "looking ahead or behind",
    "GROUPREF": "a reference to a group",
    "GROUPREF_EXISTS": "a condition on a group",
    "ATOMIC_GROUP": "an atomic group",
    "POSSESSIVE_REPEAT": "a possessive repetition",
}
_CATEGORIES = {
    "DIGIT": (DIGITS, DIGITS),
    "SPACE": (SPACE, ASCII_SPACE),
    "WORD": (union(WORD, BEYOND_ASCII), WORD),
}


class _Reader:
    def __init__(self, pattern: str | re.Pattern[str]) -> None:
        text, flags = (pattern, 0) if isinstance(pattern, str) else (pattern.pattern, pattern.flags)
        self.parsed = _parser.parse(text, flags & ~re.DEBUG)
        self.secret = self.parsed.state.groupdict.get("secret")

    def tree(self, items: Any, flags: int) -> Tree:
        found = [self.node(kind.name, argument, flags) for kind, argument in items]
        return found[0] if len(found) == 1 else Sequence(tuple(found))

    def node(self, kind: str, argument: Any, flags: int) -> Tree:
        if kind in _REFUSED:
            raise ValueError(f"{_REFUSED[kind]} can't be matched in linear time: say it without")
        if kind == "LITERAL":
            return Characters(_cases(((argument, argument),), flags))
        if kind == "NOT_LITERAL":
            return Characters(complement(_cases(((argument, argument),), flags)))
        if kind == "ANY":
            return Characters(EVERY if flags & re.DOTALL else complement(NEWLINE))
        if kind == "IN":
            return Characters(_members(argument, flags))
        if kind == "BRANCH":
            return Choice(tuple(self.tree(items, flags) for items in argument[1]))
        if kind == "SUBPATTERN":
            return self.group(argument, flags)
        if kind in ("MAX_REPEAT", "MIN_REPEAT"):
            least, most, items = argument
            item = self.tree(items, flags)
            return _repeat(item, least, None if most == _parser.MAXREPEAT else most, kind == "MAX_REPEAT")
        if kind == "AT":
            return Edge(_edge(argument.name, flags))
        raise ValueError(f"{kind.lower()} is not known here: say it without")

    def group(self, argument: Any, flags: int) -> Tree:
        number, more, less, items = argument
        if more & (re.ASCII | re.UNICODE):
            flags &= ~(re.ASCII | re.UNICODE)
        found = self.tree(items, (flags | more) & ~less)
        return Secret(found) if number is not None and number == self.secret else found


def _repeat(item: Tree, least: int, most: int | None, greedy: bool) -> Tree:
    return NOTHING if item == NOTHING else Repeat(item, least, most, greedy)


def _cases(ranges: Ranges, flags: int) -> Ranges:
    return both_cases(ranges, bool(flags & re.ASCII)) if flags & re.IGNORECASE else ranges


def _members(items: Any, flags: int) -> Ranges:
    plain: list[tuple[int, int]] = []
    categories: list[Ranges] = []
    negated = False
    for kind, argument in items:
        if kind.name == "NEGATE":
            negated = True
        elif kind.name == "CATEGORY":
            categories.append(_category(argument.name, flags))
        else:
            plain.append(argument if kind.name == "RANGE" else (argument, argument))
    found = union(_cases(union(plain), flags), *categories)
    return complement(found) if negated else found


def _category(name: str, flags: int) -> Ranges:
    words = name.split("_")  # CATEGORY_NOT_DIGIT
    found = _CATEGORIES[words[-1]][bool(flags & re.ASCII)]
    return complement(found) if "NOT" in words else found


def _edge(name: str, flags: int) -> str:
    if name == "AT_BEGINNING":
        return "line start" if flags & re.MULTILINE else "start"
    if name == "AT_END":
        return "line end" if flags & re.MULTILINE else "end or last newline"
    word = "ascii" if flags & re.ASCII else "word"
    return {
        "AT_BEGINNING_STRING": "start",
        "AT_END_STRING": "end",
        "AT_BOUNDARY": word,
        "AT_NON_BOUNDARY": f"no {word}",
    }[name]


def tree_of(pattern: str | re.Pattern[str]) -> Tree:
    """A regular expression, compiled or not. What a group named ``secret`` matches is marked.

    Raises:
        TypeError: it is one of bytes.
        ValueError: it has what can't be matched in linear time.
    """
    if isinstance(pattern, re.Pattern) and not isinstance(pattern.pattern, str):
        raise TypeError(f"{pattern.pattern!r}: a regular expression of text, not of bytes")
    reader = _Reader(pattern)
    return reader.tree(reader.parsed, reader.parsed.state.flags)


def least_width(tree: Tree) -> int:
    """How many characters it matches at least."""
    if isinstance(tree, Characters):
        return 1
    if isinstance(tree, Sequence):
        return sum(map(least_width, tree.items))
    if isinstance(tree, Choice):
        return min(map(least_width, tree.items))
    if isinstance(tree, Repeat):
        return tree.least * least_width(tree.item)
    return least_width(tree.item) if isinstance(tree, Secret) else 0


def glob_tree(glob: str) -> Tree:
    """A glob for a whole text, in any case: ``*``, ``?``, ``[…]`` and ``[!…]``."""
    items: list[Tree] = []
    at = 0
    while at < len(glob):
        character = glob[at]
        end = glob.find("]", at + 2 + (glob[at + 1 : at + 2] == "!")) if character == "[" else -1
        if character == "*":
            items.append(Repeat(Characters(EVERY), 0, None))
        elif character == "?":
            items.append(Characters(EVERY))
        elif end > 0:
            items.append(Characters(_bracket(glob[at + 1 : end])))
            at = end
        else:
            items.append(Characters(both_cases(((ord(character), ord(character)),), ascii_only=False)))
        at += 1
    return Sequence(tuple(items))


def _bracket(members: str) -> Ranges:
    negated, members = members.startswith("!"), members.removeprefix("!")
    found: list[tuple[int, int]] = []
    at = 0
    while at < len(members):
        low = ord(members[at])
        is_range = members[at + 1 : at + 2] == "-" and at + 2 < len(members)
        high = ord(members[at + 2]) if is_range else low
        if low > high:
            raise ValueError(f"[{members}]: {chr(low)!r} comes after {chr(high)!r}")
        found.append((low, high))
        at += 3 if is_range else 1
    ranges = both_cases(union(found), ascii_only=False)
    return complement(ranges) if negated else ranges


def whole(tree: Tree) -> Tree:
    """The tree, for a text of which nothing is left."""
    return Sequence((tree, Edge("end")))


def anywhere(tree: Tree) -> Tree:
    """The tree, for a text that has it somewhere."""
    return Sequence((ANYTHING, tree, ANYTHING, Edge("end")))

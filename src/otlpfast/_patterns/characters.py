"""Sets of characters as ranges of code points, and the bytes that they take in UTF-8."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache

Ranges = tuple[tuple[int, int], ...]
"""Ordered, apart from each other, both ends included."""
Bytes = int
"""A set of bytes: a bit for each."""

LAST = 0x10FFFF
BEYOND_ASCII: Ranges = ((0x80, LAST),)
EVERY: Ranges = ((0, LAST),)
DIGITS: Ranges = ((0x30, 0x39),)
WORD: Ranges = ((0x30, 0x39), (0x41, 0x5A), (0x5F, 0x5F), (0x61, 0x7A))
ASCII_SPACE: Ranges = ((0x09, 0x0D), (0x20, 0x20))
# As str.isspace() has it.
SPACE: Ranges = (
    *((0x09, 0x0D), (0x1C, 0x20), (0x85, 0x85), (0xA0, 0xA0), (0x1680, 0x1680), (0x2000, 0x200A)),
    *((0x2028, 0x2029), (0x202F, 0x202F), (0x205F, 0x205F), (0x3000, 0x3000)),
)
NEWLINE: Ranges = ((0x0A, 0x0A),)

_SURROGATES = (0xD800, 0xDFFF)
_LAST_CASED = 0x1F000
# What `re` takes for a letter beside its other case: K's sign, long s, the Turkish i's.
_ALIKE = {"k": 0x212A, "s": 0x17F, "i": 0x131, "I": 0x130}


def union(*sets: Iterable[tuple[int, int]]) -> Ranges:
    """What is in any of them."""
    found: list[tuple[int, int]] = []
    for low, high in sorted(pair for each in sets for pair in each):
        if found and low <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(found[-1][1], high))
        else:
            found.append((low, high))
    return tuple(found)


def complement(ranges: Ranges) -> Ranges:
    """What is not in it."""
    edges = [-1, *(edge for pair in ranges for edge in pair), LAST + 1]
    between = zip(edges[::2], edges[1::2], strict=True)
    return tuple((low + 1, high - 1) for low, high in between if low + 1 < high)


@lru_cache(maxsize=1024)
def both_cases(ranges: Ranges, ascii_only: bool) -> Ranges:
    """The set with the other case of each letter, as ``re.IGNORECASE`` has it."""
    letters = [chr(code) for low, high in ranges for code in range(max(low, 0x41), min(high, 0x7A) + 1)]
    letters = [letter for letter in letters if letter.isalpha()]
    more = [ord(letter.swapcase()) for letter in letters]
    if not ascii_only:
        more += [code for letter, code in _ALIKE.items() if {letter, letter.swapcase()} & {*letters}]
        if ranges and ranges[-1][1] >= 0x80:
            for group in _cased():
                if any(low <= code <= high for low, high in ranges for code in group):
                    more += group
    return union(ranges, ((code, code) for code in more))


def _single(text: str, otherwise: str) -> str:
    return text if len(text) == 1 else otherwise


def _lower(letter: str) -> str:
    return _single(letter.lower(), letter)


@lru_cache(maxsize=1)
def _cased() -> list[list[int]]:
    """Letters that differ in case only."""
    groups: dict[str, list[int]] = {}
    for letter in map(chr, range(0x41, _LAST_CASED)):
        small = _lower(letter)
        folded = _lower(_single(small.upper(), small))
        if folded != letter or _single(letter.upper(), letter) != letter:
            groups.setdefault(folded, []).append(ord(letter))
    return [group for group in groups.values() if len(group) > 1]


def span_of_bytes(low: int, high: int) -> Bytes:
    """The bytes from one to another."""
    return (1 << (high + 1)) - (1 << low)


@lru_cache(maxsize=1024)
def byte_sequences(ranges: Ranges) -> tuple[tuple[Bytes, tuple[Bytes, ...]], ...]:
    """The set as sequences of sets of bytes, the first and the rest: a character's UTF-8 fits one of them."""
    found: dict[tuple[Bytes, ...], Bytes] = {}
    for low, high in ranges:
        for start, end in ((low, min(high, _SURROGATES[0] - 1)), (max(low, _SURROGATES[1] + 1), high)):
            for first, *rest in _sequences(start, end) if start <= end else ():
                found[tuple(rest)] = found.get(tuple(rest), 0) | first
    return tuple((first, rest) for rest, first in found.items())


def _sequences(low: int, high: int) -> Iterator[tuple[Bytes, ...]]:
    cut = _cut(low, high)
    if cut is not None:
        yield from _sequences(low, cut)
        yield from _sequences(cut + 1, high)
    else:
        ends = zip(chr(low).encode(), chr(high).encode(), strict=True)
        yield tuple(span_of_bytes(first, last) for first, last in ends)


def _cut(low: int, high: int) -> int | None:
    """Where a range has to be cut, so that each byte of what is left can be told without the others."""
    for most in (0x7F, 0x7FF, 0xFFFF):
        if low <= most < high:
            return most
    if high < 0x80:
        return None
    for bits in (6, 12, 18):
        rest = (1 << bits) - 1
        if low & ~rest != high & ~rest:
            if low & rest:
                return low | rest
            if high & rest != rest:
                return (high & ~rest) - 1
    return None

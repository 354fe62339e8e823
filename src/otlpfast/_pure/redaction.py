"""Redaction of keys and texts by compiled rules."""

from __future__ import annotations

import hmac
from collections.abc import Iterator

from .._patterns.plans import HASH_DIGITS, Plan, Verdict
from .._scopes import ScopeTable
from .buffers import utf8
from .matching import Automaton, Match, Search, Sieve

_MAX_KEYS = 1024
_DIGITS = b"0123456789"
_WORD = _DIGITS + b"ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz"


def _groups(data: bytes, start: int) -> Iterator[bytes]:
    """Groups of digits from there on, one space or dash between them."""
    end = start
    while True:
        first = end
        while data[end : end + 1].isdigit():
            end += 1
        yield data[first:end]
        if data[end : end + 1] not in (b" ", b"-") or not data[end + 1 : end + 2].isdigit():
            return
        end += 1


def card_end(data: bytes, start: int) -> int:
    """Where the longest card number ends that starts there; 0 for none.

    13 to 19 digits by Luhn's formula, in groups of three or more but for the last, and no word goes on.
    """
    digits, end, found = b"", start - 1, 0
    for group in _groups(data, start):
        digits += group
        end += 1 + len(group)
        if len(digits) > 19:
            break
        if len(digits) >= 13 and (end == len(data) or data[end] not in _WORD) and _luhn(digits):
            found = end
        if len(group) < 3:
            break
    return found


def _luhn(digits: bytes) -> bool:
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = (digit - 0x30) * (1 + place % 2)
        total += value - 9 * (value > 9)
    return total % 10 == 0


def _check_text(name: str, text: object) -> None:
    if not isinstance(text, str):
        raise TypeError(f"{name}={text!r}: a str is allowed")


class Redactor:
    """Says what becomes of attributes, and cleans texts; made by ``RedactionRules.redactor()``.

    Nothing here raises for whatever text it is given, and the time it takes is linear in its length.
    """

    def __init__(self, plan: Plan) -> None:
        self.span_names, self.events, self.exceptions = plan.span_names, plan.events, plan.exceptions
        self.statuses, self.links = plan.statuses, plan.links
        self.mask = plan.mask
        self._plan = plan
        self._mask = utf8(plan.mask)
        self._keys = Automaton(plan.keys)
        self._sieve = Sieve(plan.texts)
        self._patterns = [Automaton(program) for program in plan.patterns]
        self._known: dict[str, int] = {}
        self.otherwise = plan.otherwise
        self.scope_table: ScopeTable | None = None  # see queue.py

    @property
    def steps(self) -> int:
        """Bytes read and nodes visited so far: what the time is proportional to."""
        return self._sieve.steps + sum(each.steps for each in (self._keys, *self._patterns))

    def action(self, key: str) -> int:
        """The Verdict for an attribute's key."""
        found = self.rule(key)
        return self.otherwise if found == Verdict.OTHER else found

    def rule(self, key: str) -> int:
        """The same, but OTHER where no rule names the key."""
        _check_text("key", key)
        key = str.__str__(key)
        found = self._known.get(key)
        if found is None:
            if len(self._known) >= _MAX_KEYS:
                self._known.clear()
            octets = utf8(key)
            rule = self._keys.first(octets)
            found = Verdict.OTHER if rule < 0 else self._plan.verdicts[rule]
            # A key in which a pattern finds something goes, whatever its value is.
            if found != Verdict.KEEP and self.finds(octets):
                found = Verdict.DROP
            self._known[key] = found
        return found

    def clean(self, text: str) -> str:
        """The text without what the patterns find in it."""
        _check_text("text", text)
        return self.clean_bytes(utf8(text)).decode("utf-8", "replace")

    def clean_bytes(self, data: bytes) -> bytes:
        """The same of UTF-8."""
        parts, end = [], 0
        for match, pattern in self._matches(data):
            parts += [data[end : match.secret_start], self._instead(data, match, pattern)]
            end = match.secret_end
        return b"".join([*parts, data[end:]]) if parts else data

    def finds(self, data: bytes) -> bool:
        """Whether a pattern finds something in that UTF-8."""
        return next(self._matches(data), None) is not None

    def _matches(self, data: bytes) -> Iterator[tuple[Match, int]]:
        """All of them from left to right: at a place the first pattern that matches has it."""
        searches = {pattern: Search(self._patterns[pattern], data) for pattern in self._sieve.sift(data)}
        while True:
            starts = [(search.start, pattern) for pattern, search in searches.items() if search.start >= 0]
            if not starts:
                return
            start, pattern = min(starts)
            match = searches[pattern].match()
            if self._plan.checks[pattern]:
                end = card_end(data, start)
                if not end:
                    searches[pattern].go_on(start + 1)
                    continue
                match = Match(start, end, start, end)
            yield match, pattern
            for search in searches.values():
                search.go_on(match.end)

    def hash(self, value: str | bytes) -> str:
        """The keyed hash of a text, or of bytes: 16 hexadecimal digits of HMAC-SHA256."""
        data = utf8(value) if isinstance(value, str) else bytes(value)
        return hmac.new(self._plan.hash_key, data, "sha256").hexdigest()[:HASH_DIGITS]

    def _instead(self, data: bytes, match: Match, pattern: int) -> bytes:
        action = self._plan.actions[pattern]
        if action == Verdict.HASH:
            return self.hash(data[match.secret_start : match.secret_end]).encode()
        return self._mask if action == Verdict.MASK else b""

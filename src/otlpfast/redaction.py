"""Redaction: what must not leave the process in a span, and what stands in its place.

    from otlpfast.redaction import RedactionRules

    rules = RedactionRules.default(keys=[("user.id", "hash"), "acme.*.pin"])

docs/redaction.md has the language of the rules, and how they are switched on.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ._patterns.building import program_of
from ._patterns.detectors import DETECTORS, KEYS
from ._patterns.plans import SWITCHES, Plan, Verdict
from ._patterns.trees import Tree, anywhere, glob_tree, least_width, tree_of, whole
from ._redaction_files import arguments_of
from ._rule_files import read_json

if TYPE_CHECKING:
    from ._impl import Redactor

__all__ = ["RedactionRules", "Verdict"]

Pattern = str | re.Pattern[str]
Rule = Pattern | tuple[Pattern, str]
"""A pattern, and what is done where it matches; without that, what ``action`` of the rules says."""

KEY_ACTIONS = ("keep", "scan", "mask", "hash", "drop")
ACTIONS = ("mask", "hash", "drop")

_random_key = os.urandom(32)


@dataclass(frozen=True)
class RedactionRules:
    """What is redacted, and how.

    Args:
        keys: rules for attributes, by their keys: names and globs (``*``, ``?``, ``[…]``), of any case and
            for the whole key, or compiled regular expressions, to be found in it. The first that matches
            decides. "mask", "hash" and "drop" are for the whole value; "scan" leaves it to ``patterns``, as
            where no rule matches; "keep" leaves it as it is.
        allow: keys that may stay, likewise; where it is given, ``action`` is for all others. Their values are
            searched for ``patterns``.
        patterns: what is replaced within texts: the names "email", "card" and "token", or regular
            expressions, compiled or not. Of a match, what a group named ``secret`` has is replaced, or all of
            it where there is none. What one pattern has found is not searched by others.
        action: "mask", "hash" or "drop", where a rule says nothing else. A hash is the first 16 hexadecimal
            digits of HMAC-SHA256: equal values stay equal. An attribute that is dropped counts among the
            dropped attributes of its span, event or link; of a text, "drop" leaves the rest.
        mask: stands in the place of what is masked.
        hash_key: of hashes; without one it is random, and hashes of two processes can't be compared.
        span_names: whether names of spans are searched for ``patterns``.
        events: whether attributes of events are redacted and their names searched, but for exceptions.
        exceptions: whether those of exceptions are: messages and stack traces among them.
        statuses: whether descriptions of statuses are searched.
        links: whether attributes of links are redacted.

    Raises:
        TypeError: an argument is of another type.
        ValueError: a pattern can't be read, or takes more than linear time, or matches where nothing is, or
            is too large; an action is not known. The text says which.
    """

    keys: Sequence[Rule] = ()
    allow: Sequence[Pattern] | None = None
    patterns: Sequence[Rule] = ()
    action: str = "mask"
    mask: str = "[REDACTED]"
    hash_key: str | bytes | None = field(default=None, repr=False)
    span_names: bool = True
    events: bool = True
    exceptions: bool = True
    statuses: bool = True
    links: bool = True
    _plan: Plan = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name in ("keys", "allow", "patterns"):
            given = getattr(self, name)
            if given is not None or name != "allow":
                object.__setattr__(self, name, _sequence(name, given))
        if not isinstance(self.mask, str):
            raise TypeError(f"mask: a str, not {type(self.mask).__name__}")
        if self.hash_key is not None and not isinstance(self.hash_key, (str, bytes)):
            raise TypeError(f"hash_key: a str or bytes, not {type(self.hash_key).__name__}")
        if self.hash_key is not None and not self.hash_key:
            raise ValueError("hash_key: it is empty, anybody could try it; without one it is random")
        for name in SWITCHES:
            if not isinstance(getattr(self, name), bool):
                raise TypeError(f"{name}: a bool, not {type(getattr(self, name)).__name__}")
        object.__setattr__(self, "_plan", self._compiled(_action("action", self.action, ACTIONS)))

    def _compiled(self, action: Verdict) -> Plan:
        keys = [_key_rule(f"keys[{n}]", rule, action) for n, rule in enumerate(self.keys)]
        allowed = [_key_tree(f"allow[{n}]", key) for n, key in enumerate(self.allow or ())]
        texts = [
            found for n, rule in enumerate(self.patterns) for found in _texts(f"patterns[{n}]", rule, action)
        ]
        hash_key = _random_key if self.hash_key is None else self.hash_key
        return Plan(
            keys=_program("keys", [*(tree for tree, _ in keys), *allowed]),
            verdicts=bytes([*(verdict for _, verdict in keys), *[Verdict.SCAN] * len(allowed)]),
            otherwise=Verdict.SCAN if self.allow is None else action,
            texts=_program("patterns", [tree for tree, _, _ in texts]),
            patterns=tuple(program_of([tree]) for tree, _, _ in texts),
            actions=bytes(verdict for _, verdict, _ in texts),
            checks=bytes(check for _, _, check in texts),
            mask=self.mask,
            hash_key=hash_key.encode() if isinstance(hash_key, str) else hash_key,
            **{name: getattr(self, name) for name in SWITCHES},
        )

    def redactor(self) -> Redactor:
        """What applies the rules: each caller gets one of its own."""
        from ._impl import Redactor  # rules are read where nothing native is to be loaded, too

        return Redactor(self._plan)

    @classmethod
    def default(cls, **arguments: Any) -> RedactionRules:
        """Keys such as ``*password*``, ``*token*`` and ``*cookie*``, and all patterns that have names.

        Takes the arguments of the class; what ``keys`` and ``patterns`` have comes first, and wins.
        """
        keys = (*_sequence("keys", arguments.pop("keys", ())), *KEYS)
        patterns = (*_sequence("patterns", arguments.pop("patterns", ())), *DETECTORS)
        return cls(keys=keys, patterns=patterns, **arguments)

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> RedactionRules:
        """The rules that a JSON file has; docs/redaction.md has its form.

        Raises:
            OSError: the file can't be read.
            ValueError: it is no JSON, or not of that form; the text says where.
        """
        return cls.from_dict(read_json(path), os.fspath(path))

    @classmethod
    def from_dict(cls, found: Mapping[str, Any], where: str = "rules") -> RedactionRules:
        """The rules of what a file has, as json.load() gives it.

        Raises:
            ValueError: it is not of that form; the text says where.
        """
        extends, arguments = arguments_of(found, where)
        try:
            return cls.default(**arguments) if extends else cls(**arguments)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{where}: {error}") from None


def _sequence(name: str, given: Any) -> tuple[Any, ...]:
    if isinstance(given, (str, bytes, Mapping)) or not isinstance(given, Iterable):
        raise TypeError(f"{name}: a sequence of patterns, not {type(given).__name__}")
    return tuple(given)


def _action(where: str, action: object, allowed: tuple[str, ...]) -> Verdict:
    if action not in allowed:
        raise ValueError(f"{where}: {action!r:.100} is not known; allowed: {', '.join(allowed)}")
    return Verdict[str(action).upper()]


def _split(where: str, rule: Rule, action: Verdict, allowed: tuple[str, ...]) -> tuple[Pattern, Verdict]:
    if not isinstance(rule, tuple):
        return rule, action
    if len(rule) != 2:
        raise ValueError(f"{where}: a pattern, or a pattern and an action, not {rule!r:.200}")
    return rule[0], _action(where, rule[1], allowed)


def _key_rule(where: str, rule: Rule, action: Verdict) -> tuple[Tree, Verdict]:
    pattern, verdict = _split(where, rule, action, KEY_ACTIONS)
    return _key_tree(where, pattern), verdict


def _key_tree(where: str, pattern: Pattern) -> Tree:
    try:
        return whole(glob_tree(pattern)) if isinstance(pattern, str) else anywhere(_expression(pattern))
    except (TypeError, ValueError, RecursionError) as error:
        raise type(error)(f"{where}: {error}") from None


def _expression(pattern: re.Pattern[str]) -> Tree:
    if not isinstance(pattern, re.Pattern):
        raise TypeError(f"a str or a compiled regular expression, not {type(pattern).__name__}")
    try:
        return tree_of(pattern)
    except ValueError as error:
        raise ValueError(f"{pattern.pattern!r:.200}: {error}") from None


def _texts(where: str, rule: Rule, action: Verdict) -> Iterable[tuple[Tree, Verdict, bool]]:
    """What a pattern searches: its trees, and whether what they find has to be a card number."""
    pattern, verdict = _split(where, rule, action, ACTIONS)
    if isinstance(pattern, str):
        if pattern in DETECTORS:
            return [(tree_of(each), verdict, pattern == "card") for each in DETECTORS[pattern]]
        pattern = _compiled(where, pattern)
    try:
        tree = _expression(pattern)
        if not least_width(tree):
            raise ValueError(f"{pattern.pattern!r:.200} also matches nothing, which every text has")
    except (TypeError, ValueError, RecursionError) as error:
        raise type(error)(f"{where}: {error}") from None
    return [(tree, verdict, False)]


def _compiled(where: str, pattern: str) -> re.Pattern[str]:
    if re.fullmatch("[a-z_]*", pattern):
        # More likely a name that is not known than a word to be found.
        known = f"{', '.join(DETECTORS)}, a regular expression, or a word as re.compile({pattern!r})"
        raise ValueError(f"{where}: {pattern!r} is not known; allowed: {known}")
    try:
        return re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"{where}: {pattern!r:.200} is no regular expression: {error}") from None


def _program(where: str, trees: Sequence[Tree]) -> Any:
    try:
        return program_of(trees)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None

"""Rules of RuleBasedSampler, and how they are read from a file."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import translate
from typing import Any

from opentelemetry.sdk.trace.sampling import Sampler
from opentelemetry.trace import SpanKind

from ._plain import plain_text
from ._rule_files import kind_named, read_json

Pattern = str | re.Pattern[str]
"""A glob for the whole text (``*``, ``?``, ``[…]``), or a regular expression to be found in it."""

Match = Callable[[Any], Any]
Plan = tuple[Sampler, SpanKind | None, tuple[Any, Match] | None, list[tuple[str, Any, Match | None]]]
_KEYS = ("name", "kind", "attributes", "scope", "ratio", "per_second")


@dataclass(frozen=True)
class SamplingRule:
    """What a span has to be like, all of it, for a sampler to be asked.

    Args:
        sampler: that sampler.
        name: of the span; None is any, here and below.
        kind: of the span.
        attributes: patterns for attributes that the span is started with; a value that is no text is compared
            with its equal, or as text with a pattern. Each of them has to be there.
        scope: of the instrumentation scope's name. Only otlpfast's own provider knows it.

    Raises:
        TypeError: the sampler is none.
    """

    sampler: Sampler
    name: Pattern | None = None
    kind: SpanKind | None = None
    attributes: Mapping[str, Pattern | bool | int | float] = field(default_factory=dict)
    scope: Pattern | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.sampler, Sampler):
            raise TypeError(f"sampler: a Sampler, not {type(self.sampler).__name__}")
        object.__setattr__(self, "_name", None if self.name is None else _matcher(self.name))
        object.__setattr__(self, "_scope", None if self.scope is None else _matcher(self.scope))
        checks = [(key, wanted, _value_matcher(wanted)) for key, wanted in self.attributes.items()]
        object.__setattr__(self, "_attributes", checks)

    _name: Match | None = field(init=False, repr=False, compare=False)
    _scope: Match | None = field(init=False, repr=False, compare=False)
    _attributes: list[tuple[str, Any, Match]] = field(init=False, repr=False, compare=False)

    @property
    def has_attributes(self) -> bool:
        """Whether it wants any."""
        return bool(self._attributes)

    def matches(self, name: str, kind: SpanKind | None, attributes: Mapping[str, Any] | None) -> bool:
        """Whether a span does, but for its scope."""
        return self.matches_name(name, kind) and self.matches_attributes(attributes)

    def matches_name(self, name: str, kind: SpanKind | None) -> bool:
        """Whether spans of that name and kind may match."""
        if self.kind is not None and (kind or SpanKind.INTERNAL) is not self.kind:
            return False
        return self._name is None or bool(self._name(name))

    def matches_attributes(self, attributes: Mapping[str, Any] | None) -> bool:
        """Whether spans that are started with these attributes may match."""
        given = attributes or {}
        return all(key in given and check(given[key]) for key, _, check in self._attributes)

    def matches_scope(self, name: str) -> bool:
        """Whether spans of a scope of that name may match."""
        return self._scope is None or bool(self._scope(name))

    def plan(self) -> Plan:
        """All but the scope, for the compiled core: each pattern with the method that matches it."""
        name = None if self._name is None else (self.name, self._name)
        attributes = [
            (key, wanted, _matcher(wanted) if isinstance(wanted, (str, re.Pattern)) else None)
            for key, wanted, _ in self._attributes
        ]
        return self.sampler, self.kind, name, attributes

    def __str__(self) -> str:
        kind = self.kind.name.lower() if self.kind is not None else None
        parts = {"name": self.name, "kind": kind, "scope": self.scope, **self.attributes}
        wanted = [f"{key}={_text(value)}" for key, value in parts.items() if value is not None]
        return f"{' & '.join(wanted) or 'any'}: {self.sampler.get_description()}"


def _text(wanted: object) -> str:
    return f"/{wanted.pattern}/" if isinstance(wanted, re.Pattern) else str(wanted)


def _matcher(wanted: Pattern) -> Match:
    if isinstance(wanted, re.Pattern):
        return wanted.search
    if not isinstance(wanted, str):
        raise TypeError(f"a pattern: a str or a compiled regular expression, not {type(wanted).__name__}")
    return re.compile(translate(wanted)).match


def _value_matcher(wanted: Any) -> Match:
    if isinstance(wanted, (str, re.Pattern)):
        match = _matcher(wanted)
        return lambda value: match(value if isinstance(value, str) else plain_text(value))
    return lambda value: type(value) is type(wanted) and value == wanted


SamplerOf = Callable[[float | None, float | None], Sampler]


def read_rules(path: str, sampler_of: SamplerOf) -> tuple[list[SamplingRule], Sampler]:
    """The rules of a JSON file, and its default."""
    found = read_json(path)
    if not isinstance(found, dict) or not isinstance(found.get("rules", []), list):
        raise ValueError(f'{path}: an object with a list "rules" and a "default" is expected')
    unknown = set(found) - {"rules", "default"}
    if unknown:
        raise ValueError(f'{path}: {sorted(unknown)} are not known, "rules" and "default" are')
    rules = [_rule(f"{path}: rule {n}", item, sampler_of) for n, item in enumerate(found.get("rules", []), 1)]
    default = found.get("default", {})
    return rules, _rule(f"{path}: default", default, sampler_of).sampler


def _rule(where: str, item: Any, sampler_of: SamplerOf) -> SamplingRule:
    if not isinstance(item, dict) or set(item) - set(_KEYS):
        raise ValueError(f"{where}: an object with some of {', '.join(_KEYS)} is expected, not {item!r:.200}")
    kind = kind_named(where, item.get("kind"))
    try:
        sampler = sampler_of(item.get("ratio"), item.get("per_second"))
        return SamplingRule(sampler, item.get("name"), kind, item.get("attributes", {}), item.get("scope"))
    except (TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"{where}: {error}") from None

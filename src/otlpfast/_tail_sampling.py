"""Tail sampling: which traces of this process are kept, by what has become of them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import SpanKind

from ._checks import whole_number
from ._rule_files import kind_named, read_json
from ._sampling_rules import Pattern, SamplingRule
from ._thresholds import threshold_of

_PRECISION = 4  # of thresholds, as ConsistentProbabilitySampler has it: both keep the same traces
_MAX_SHAPES = 4096
_MOST_REMEMBERED = 1 << 28
_LONGEST = 10 * 365 * 86_400.0  # seconds; an int64 holds them as nanoseconds

_Made = TypeVar("_Made")

Match = Callable[[Any, bool, Callable[[Any], Any]], int]
"""Of a span, whether it is a local root, and what gives its attributes: the first rule's number, or -1."""

Candidate = tuple[int, SamplingRule | None]
"""A rule's number, and what its attributes still have to match."""


@dataclass(frozen=True)
class TailRule:
    """What a span has to be like, all of it, for the share of traces that is kept to be another.

    Args:
        name: of the span, as in ``SamplingRule``: a glob for all of it, or a regular expression that is
            found in it; None is any, here and below.
        kind: of the span.
        attributes: patterns for the span's attributes, as in ``SamplingRule``, when it has ended.
        scope: of the instrumentation scope's name.
        root: True is for local roots alone: spans without a parent in this process.
        ratio: the share of the traces with such a span that is kept, from 0 to 1.

    Raises:
        TypeError, ValueError: an argument of the wrong kind or out of range.
    """

    name: Pattern | None = None
    kind: SpanKind | None = None
    attributes: Mapping[str, Pattern | bool | int | float] = field(default_factory=dict)
    scope: Pattern | None = None
    root: bool = False
    ratio: float = 1.0

    _shape: SamplingRule = field(init=False, repr=False, compare=False)
    _values: SamplingRule | None = field(init=False, repr=False, compare=False)
    threshold: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.kind is not None and not isinstance(self.kind, SpanKind):
            raise TypeError(f"kind={self.kind!r}: a SpanKind or None is allowed")
        if not isinstance(self.attributes, Mapping):
            raise TypeError(f"attributes={self.attributes!r}: a mapping is allowed")
        _check_bool("root", self.root)
        object.__setattr__(self, "threshold", _threshold("ratio", self.ratio))
        object.__setattr__(self, "_shape", SamplingRule(ALWAYS_ON, self.name, self.kind, {}, self.scope))
        values = SamplingRule(ALWAYS_ON, attributes=dict(self.attributes)) if self.attributes else None
        object.__setattr__(self, "_values", values)

    def candidate(self, number: int, name: str, kind: SpanKind, scope: str, is_root: bool) -> list[Candidate]:
        """This rule, if a span may match it: but for attributes."""
        if (self.root and not is_root) or not self._shape.matches_scope(scope):
            return []
        return [(number, self._values)] if self._shape.matches(name, kind, None) else []


@dataclass(frozen=True)
class TailSampler:
    """Keeps a trace for what became of it: an error, a slow root, a rule, or as one of a share of the others.

    Give it to a ``BatchSpanProcessor`` or to ``configure()``. The spans of a trace wait in the process,
    encoded, until its local root and all its other spans here have ended; then they are exported, or dropped
    and counted as ``sampled_out``. Spans that end later follow the decision; but one that is a reason to keep
    its trace is exported, and those after it are. Decisions are those of one process: where a trace goes
    through several, each decides on its part. What head sampling has left out never gets here.

    Args:
        errors: traces with a span whose status is an error are kept.
        slow_seconds: traces whose local root took as long are kept; None is none.
        rules: of those, the first that a span of the trace matches says what share of such traces is kept.
        ratio: the share of all other traces that is kept, from 0 to 1. It is decided by the trace's
            randomness, so that all services that keep the same share keep the same traces of it
            (specification: trace/tracestate-probability-sampling.md).
        max_bytes: how many bytes traces may take that wait. Where more would be needed, it is decided on the
            oldest as if they had ended.
        decision_seconds: how long spans wait for the end of their trace.
        remembered_traces: on how many traces the decision is remembered.

    Raises:
        TypeError, ValueError: an argument of the wrong kind or out of range; the message names it.
    """

    errors: bool = True
    slow_seconds: float | None = 1.0
    rules: Sequence[TailRule] = ()
    ratio: float = 0.1
    max_bytes: int = 32 * 1024 * 1024
    decision_seconds: float = 30.0
    remembered_traces: int = 16_384

    threshold: int = field(init=False, repr=False, compare=False)
    match: Match | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _check_bool("errors", self.errors)
        if self.slow_seconds is not None:
            _check_number("slow_seconds", self.slow_seconds, 0, _LONGEST)
        if isinstance(self.rules, TailRule) or not isinstance(self.rules, Sequence):
            raise TypeError(f"rules={self.rules!r}: a sequence of TailRule is allowed")
        for rule in self.rules:
            if not isinstance(rule, TailRule):
                raise TypeError(f"rules: TailRule objects are allowed, not {type(rule).__name__}")
        whole_number("max_bytes", self.max_bytes, 1, sys.maxsize)
        _check_number("decision_seconds", self.decision_seconds, 1e-3, _LONGEST)
        whole_number("remembered_traces", self.remembered_traces, 1, _MOST_REMEMBERED)
        object.__setattr__(self, "rules", tuple(self.rules))
        object.__setattr__(self, "threshold", _threshold("ratio", self.ratio))
        object.__setattr__(self, "match", _Matcher(self.rules) if self.rules else None)

    @property
    def rules_are_of_roots(self) -> bool:
        """Whether no other span has to be shown to them."""
        return all(rule.root for rule in self.rules)

    @property
    def slow_nanoseconds(self) -> int:
        """``slow_seconds``, or what nothing reaches."""
        return 2**63 - 1 if self.slow_seconds is None else int(self.slow_seconds * 1e9)

    @property
    def decision_nanoseconds(self) -> int:
        """``decision_seconds``."""
        return int(self.decision_seconds * 1e9)

    def __str__(self) -> str:
        """For the start-up line."""
        kept = ["errors"] if self.errors else []
        if self.slow_seconds is not None:
            kept.append(f"{self.slow_seconds:g} s")
        if self.rules:
            kept.append(f"{len(self.rules)} rules")
        return ", ".join([*kept, f"{self.ratio:g} of the rest" if kept else f"{self.ratio:g} of all"])


class _Matcher:
    """Which rule a span matches first. What its name, kind and scope say is remembered."""

    def __init__(self, rules: Sequence[TailRule]) -> None:
        self._rules = tuple(enumerate(rules))
        # By the identity of the kind, of which there are six: the hash of an enumeration's member is slow.
        self._known: dict[tuple[str, int, str, bool], list[Candidate]] = {}

    def __call__(self, span: Any, is_root: bool, attributes_of: Callable[[Any], Any]) -> int:
        """The rule's number, -1 for none; a span that can't be read matches none."""
        try:
            name, kind, scope = span.name, span.kind, span.instrumentation_scope
            scope_name = scope.name if scope is not None else ""
            shape = (name, id(kind), scope_name, is_root)
            candidates = self._known.get(shape)
            if candidates is None:
                found = (rule.candidate(n, name, kind, scope_name, is_root) for n, rule in self._rules)
                candidates = self._learn(shape, [candidate for each in found for candidate in each])
            for number, values in candidates:
                if values is None or values.matches(name, kind, attributes_of(span)):
                    return number
        except Exception:
            pass
        return -1

    def _learn(self, shape: tuple[str, int, str, bool], found: list[Candidate]) -> list[Candidate]:
        if len(self._known) >= _MAX_SHAPES:
            self._known = {}
        self._known[shape] = found
        return found


def _check_bool(name: str, value: object) -> None:
    if not isinstance(value, bool):
        raise TypeError(f"{name}={value!r}: a bool is allowed")


def _check_number(name: str, value: object, least: float, most: float) -> None:
    allowed = f"a number from {least:g} to {most:g} is allowed"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name}={value!r}: {allowed}")
    if not least <= value <= most:
        raise ValueError(f"{name}={value!r}: {allowed}")


def _threshold(name: str, ratio: object) -> int:
    _check_number(name, ratio, 0, 1)
    assert isinstance(ratio, (int, float))
    return threshold_of(ratio, _PRECISION)


def tail_sampler_of(text: str) -> TailSampler:
    """``default``, or the tail sampler that a JSON file describes, with the names of the arguments::

        {"errors": true, "slow_seconds": 0.5, "ratio": 0.05,
         "rules": [{"name": "GET /health*", "root": true, "ratio": 0},
                   {"kind": "server", "attributes": {"tenant": "gold"}, "ratio": 1}]}

    Raises:
        OSError: the file can't be read.
        ValueError: it is no JSON, or not of this form; the text says where.
    """
    if text == "default":
        return TailSampler()
    settings = _settings(text, read_json(text), TailSampler)
    rules = settings.pop("rules", [])
    if not isinstance(rules, list):
        raise ValueError(f'{text}: "rules" is a list')
    made = [_rule(f"{text}: rule {number}", item) for number, item in enumerate(rules, 1)]
    return _made(text, TailSampler, {**settings, "rules": made})


def _rule(where: str, item: object) -> TailRule:
    settings = _settings(where, item, TailRule)
    return _made(where, TailRule, {**settings, "kind": kind_named(where, settings.get("kind"))})


def _settings(where: str, item: object, kind: type[Any]) -> dict[str, Any]:
    allowed = [each.name for each in fields(kind) if each.init]
    if not isinstance(item, dict) or set(item) - set(allowed):
        text = f"an object with some of {', '.join(allowed)} is expected"
        raise ValueError(f"{where}: {text}, not {item!r:.200}")
    return dict(item)


def _made(where: str, kind: type[_Made], settings: Mapping[str, Any]) -> _Made:
    try:
        return kind(**settings)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{where}: {error}") from None

"""Samplers beyond the SDK's own, for otlpfast's provider and for the SDK's.

    from opentelemetry.sdk.trace.sampling import ParentBased
    from otlpfast.sampling import RateLimitingSampler

    TracerProvider(sampler=ParentBased(RateLimitingSampler(100)))

Or by ``OTEL_TRACES_SAMPLER``; docs/sampling.md has the names.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from typing import Any

from opentelemetry.context import Context
from opentelemetry.sdk.trace.sampling import Decision, ParentBased, Sampler, SamplingResult
from opentelemetry.trace import Link, SpanKind, TraceState, get_current_span
from opentelemetry.util.types import Attributes

from ._impl import NATIVE_SAMPLERS, RateLimiter
from ._sampling_rules import Plan, SamplingRule, read_rules
from ._tail_sampling import TailRule, TailSampler
from ._thresholds import NEVER, RANDOMNESS, Entry, shown, threshold_of, with_threshold

__all__ = [
    "ConsistentProbabilitySampler",
    "RateLimitingSampler",
    "RuleBasedSampler",
    "SamplingRule",
    "TailRule",
    "TailSampler",
]

_MAX_KNOWN, _MAX_KNOWN_NAME = 1024, 256  # names and kinds of which a rule-based sampler remembers the rules


def _result(sampled: bool, attributes: Attributes, state: TraceState | None) -> SamplingResult:
    decision = Decision.RECORD_AND_SAMPLE if sampled else Decision.DROP
    return SamplingResult(decision, attributes if sampled else None, state)


def _state_above(context: Context | None) -> TraceState | None:
    above = get_current_span(context).get_span_context()
    return above.trace_state if above is not None and above.is_valid else None


class ConsistentProbabilitySampler(Sampler):
    """Keeps a share of all traces; services that keep different shares keep the same traces of them.

    What one with a smaller share keeps, one with a larger share keeps too: both compare the trace's
    randomness with a threshold, which they note in the tracestate (``ot=th:…``), so that a backend knows how
    many spans each stands for. For roots use it within ``ParentBased``; on its own it decides for each span
    (specification: trace/tracestate-probability-sampling.md).

    Args:
        ratio: from 0 to 1.
        precision: hexadecimal digits of the threshold, 1 to 14; small ratios get more.

    Raises:
        ValueError: an argument is out of its range.
    """

    def __init__(self, ratio: float, precision: int = 4) -> None:
        if not 0 <= ratio <= 1:
            raise ValueError(f"ratio={ratio!r}: from 0 to 1")
        if not 1 <= precision <= 14:
            raise ValueError(f"precision={precision!r}: from 1 to 14")
        self.ratio = ratio
        self.threshold = threshold_of(ratio, precision)
        """Of 56 bits; 2**56 for a ratio of 0."""
        self._of_root = with_threshold(None, self.threshold) if ratio else None

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        """See ``opentelemetry.sdk.trace.sampling.Sampler.should_sample()``."""
        state = _state_above(parent_context)
        randomness = Entry.of(state).randomness
        sampled = (trace_id & RANDOMNESS if randomness is None else randomness) >= self.threshold
        return _result(sampled, attributes, with_threshold(state, self.threshold if sampled else None))

    def get_description(self) -> str:
        """The name, the ratio and the threshold."""
        threshold = "never" if self.threshold == NEVER else shown(self.threshold)
        return f"ConsistentProbabilitySampler{{{self.ratio},th:{threshold}}}"


class RateLimitingSampler(Sampler):
    """Keeps so many traces a second, whatever comes; each process has its own limit.

    Use it within ``ParentBased``; on its own it limits spans, and cuts traces to pieces.

    Args:
        traces_per_second: any positive number; 0.1 is one in ten seconds.
        burst: traces that are kept at once after a quiet time; by default those of 0.1 s, or one.

    Raises:
        ValueError: an argument is not positive.
    """

    def __init__(self, traces_per_second: float, burst: float | None = None) -> None:
        if not 0 < traces_per_second <= 1e9:
            raise ValueError(f"traces_per_second={traces_per_second!r}: more than 0, at most 1e9")
        if burst is not None and not 1 <= burst <= 1e9:
            raise ValueError(f"burst={burst!r}: from 1 to 1e9")
        self.traces_per_second = traces_per_second
        self._limiter = RateLimiter(traces_per_second, burst or max(1.0, traces_per_second / 10))

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        """See ``opentelemetry.sdk.trace.sampling.Sampler.should_sample()``."""
        # By what probability a span was kept is not known: there is no threshold.
        state = with_threshold(_state_above(parent_context), None)
        return _result(self._limiter.allow(), attributes, state)

    def get_description(self) -> str:
        """The name and the rate."""
        return f"RateLimitingSampler{{{self.traces_per_second:g}/s}}"


class RuleBasedSampler(Sampler):
    """Asks the sampler of the first rule that a span matches.

    Args:
        rules: in the order in which they are tried.
        default: asked where none matches.

    Raises:
        TypeError: what is given is no rule, or no sampler.
    """

    def __init__(self, rules: Sequence[SamplingRule], default: Sampler) -> None:
        for rule in rules:
            if not isinstance(rule, SamplingRule):
                raise TypeError(f"rules: SamplingRule objects, not {type(rule).__name__}")
        if not isinstance(default, Sampler):
            raise TypeError(f"default: a Sampler, not {type(default).__name__}")
        self._default = default
        self._take(rules, None)

    @property
    def rules(self) -> tuple[SamplingRule, ...]:
        """In the order in which they are tried. Other rules take another sampler."""
        return self._rules

    @property
    def default(self) -> Sampler:
        """Asked where no rule matches."""
        return self._default

    def _take(self, rules: Sequence[SamplingRule], scope: str | None) -> None:
        self._rules, self._scope = tuple(rules), scope
        self._tried = [rule for rule in self._rules if rule.scope is None or scope is not None]
        self._known: dict[tuple[str, SpanKind | None], list[SamplingRule]] = {}
        self._tables: dict[int, object] = {}  # the compiled core's

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_known": {}, "_tables": {}}  # a copy looks names up itself

    def of_scope(self, name: str) -> RuleBasedSampler:
        """This one for the spans of an instrumentation scope: otlpfast's tracers ask for it.

        Under the SDK's provider nobody does, and rules with a scope match no span.
        """
        if not any(rule.scope is not None for rule in self.rules):
            return self
        rules = [rule for rule in self.rules if rule.matches_scope(name)]
        made = copy.copy(self)
        made._take(rules, name)
        return made

    def _plan(self) -> list[Plan] | None:
        # For the compiled core, which decides as should_sample() does; None where it can't.
        kinds = (None, *SpanKind)
        if any(type(rule) is not SamplingRule or rule.kind not in kinds for rule in self._tried):
            return None
        return [*(rule.plan() for rule in self._tried), (self._default, None, None, [])]

    def _candidates(self, name: str, kind: SpanKind | None) -> Iterable[SamplingRule]:
        # The rules that spans of that name and kind may match, up to the first that they match anyhow.
        if type(name) is not str or not (kind is None or type(kind) is SpanKind):
            return (rule for rule in self._tried if rule.matches_name(name, kind))
        found = self._known.get((name, kind))
        if found is None:
            found = []
            for rule in self._tried:
                if rule.matches_name(name, kind):
                    found.append(rule)
                    if not rule.has_attributes:
                        break
            if len(name) <= _MAX_KNOWN_NAME:
                if len(self._known) >= _MAX_KNOWN:
                    self._known.clear()
                self._known[name, kind] = found
        return found

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        """See ``opentelemetry.sdk.trace.sampling.Sampler.should_sample()``."""
        sampler = self._default
        for rule in self._candidates(name, kind):
            if rule.matches_attributes(attributes):
                sampler = rule.sampler
                break
        return sampler.should_sample(parent_context, trace_id, name, kind, attributes, links, trace_state)

    def get_description(self) -> str:
        """The rules, in order, and the default."""
        rules = "; ".join(map(str, self.rules))
        return f"RuleBasedSampler{{{rules}; else {self.default.get_description()}}}"


NATIVE_SAMPLERS.update(
    {ConsistentProbabilitySampler: "threshold", RateLimitingSampler: "rate", RuleBasedSampler: "rules"}
)


def _number(text: str | None, what: str) -> float:
    try:
        return float(text or "")
    except ValueError:
        raise ValueError(f"{text!r} is no number: {what}") from None


# --- by OTEL_TRACES_SAMPLER; the argument is OTEL_TRACES_SAMPLER_ARG


def consistent_probability(argument: str | None) -> Sampler:
    """``otlpfast_consistent_probability``: the ratio for each span."""
    return ConsistentProbabilitySampler(_number(argument or "1", "the share of traces, from 0 to 1"))


def parentbased_consistent_probability(argument: str | None) -> Sampler:
    """``otlpfast_parentbased_consistent_probability``: the ratio for roots."""
    return ParentBased(consistent_probability(argument))


def rate_limiting(argument: str | None) -> Sampler:
    """``otlpfast_rate_limiting``: spans a second."""
    return RateLimitingSampler(_number(argument, "spans a second"))


def parentbased_rate_limiting(argument: str | None) -> Sampler:
    """``otlpfast_parentbased_rate_limiting``: traces a second."""
    return ParentBased(RateLimitingSampler(_number(argument, "traces a second")))


def parentbased_rules(argument: str | None) -> Sampler:
    """``otlpfast_parentbased_rules``: a JSON file with rules for roots."""
    if not argument:
        raise ValueError("the path of a JSON file with rules is missing")
    return ParentBased(rules_of_file(argument))


def rules_of_file(path: str) -> RuleBasedSampler:
    """The sampler that a JSON file describes::

        {"rules": [{"name": "GET /health*", "ratio": 0},
                   {"kind": "server", "attributes": {"url.path": "/pay*"}, "ratio": 1},
                   {"scope": "*.redis", "per_second": 5}],
         "default": {"ratio": 0.1}}

    Raises:
        OSError: the file can't be read.
        ValueError: it is no JSON, or not of this form; the text says where.
    """
    rules, default = read_rules(path, _sampler_of)
    return RuleBasedSampler(rules, default)


def _sampler_of(ratio: float | None, per_second: float | None) -> Sampler:
    made: Any = RateLimitingSampler(per_second) if per_second is not None else None
    return made or ConsistentProbabilitySampler(1.0 if ratio is None else ratio)

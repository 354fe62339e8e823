"""Rules of a RuleBasedSampler: a tracer decides as the sampler's own ``should_sample()`` does."""

from __future__ import annotations

import copy
import gc
import re
import sys
import tracemalloc
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from opentelemetry.context import Context
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ALWAYS_ON,
    Decision,
    ParentBased,
    Sampler,
    SamplingResult,
    TraceIdRatioBased,
)
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    TraceFlags,
    TraceState,
    set_span_in_context,
)

import otlpfast
from otlpfast import TracerProvider
from otlpfast.sampling import (
    ConsistentProbabilitySampler,
    RateLimitingSampler,
    RuleBasedSampler,
    SamplingRule,
)


class Asked(Sampler):
    """Somebody's own: records, and says so in the tracestate."""

    def should_sample(self, *arguments: Any, **options: Any) -> SamplingResult:
        return SamplingResult(Decision.RECORD_ONLY, {"own": 1}, TraceState([("own", "1")]))

    def get_description(self) -> str:
        return "Asked"


class Text(str):
    """A text with a class of its own."""


class Shown:
    """What is matched by its text."""

    def __str__(self) -> str:
        return "ab"


texts = st.one_of(
    st.text("ab/é😀", max_size=4), st.sampled_from(["GET /a", "*", "a?", "[a]", "a\n", "True", "1"])
)
globs = st.one_of(
    st.text("ab*?é", max_size=5),
    st.sampled_from(["GET *", "[ab]*", "[!a]", "[a", "*[é😀]", "a*b*a", "**", "?\n", "[*]", "T*", "1"]),
    st.sampled_from(["^a", "b$", "é|😀", ".", "^$", "(a|b)+$"]).map(re.compile),
)
values = st.one_of(
    texts,
    st.booleans(),
    st.integers(-2, 2),
    st.sampled_from([1.0, 0.5, None, b"a", [1, 2], Text("ab"), Shown()]),
)
wanted = st.one_of(globs, st.booleans(), st.integers(-2, 2), st.sampled_from([1.0, 0.5, float("nan")]))
plain_samplers = st.sampled_from(
    [
        ALWAYS_ON,
        ALWAYS_OFF,
        TraceIdRatioBased(0.5),
        ConsistentProbabilitySampler(0.5),
        ConsistentProbabilitySampler(0),
        RateLimitingSampler(1e9, burst=1e9),
        ParentBased(ALWAYS_ON, local_parent_sampled=ALWAYS_OFF),
        ParentBased(ConsistentProbabilitySampler(0.5), remote_parent_not_sampled=ALWAYS_ON),
        Asked(),
    ]
)
kinds = st.sampled_from([None, *SpanKind])


def rules_with(samplers: st.SearchStrategy[Sampler]) -> st.SearchStrategy[Sampler]:
    rule = st.builds(
        SamplingRule,
        samplers,
        name=st.none() | globs,
        kind=kinds,
        attributes=st.dictionaries(st.sampled_from(["k", "m"]), wanted, max_size=2),
        scope=st.sampled_from([None, None, "tests", "te*", "other"]),
    )
    return st.builds(RuleBasedSampler, st.lists(rule, max_size=4), samplers)


rule_samplers = rules_with(plain_samplers | rules_with(plain_samplers))
given_attributes = st.none() | st.dictionaries(st.sampled_from(["k", "m", "other"]), values, max_size=3)


def remote(state: str, flags: int) -> Context:
    pairs = [tuple(entry.split("=", 1)) for entry in state.split(",") if entry]
    parent = SpanContext(0xABC << 64 | 0xDEF, 1, True, TraceFlags(flags), TraceState(pairs))  # type: ignore[arg-type]
    return set_span_in_context(NonRecordingSpan(parent), Context())


def local(sampler: Sampler) -> Context:
    provider = TracerProvider(sampler=sampler, shutdown_on_exit=False)
    return set_span_in_context(provider.get_tracer("above").start_span("above"), Context())


parents = st.sampled_from(
    [
        Context(),
        Context(),
        remote("a=1,ot=rv:ffffffffffffff", 1),
        remote("ot=th:8;rv:00000000000000", 0),
        local(ALWAYS_ON),
        local(ALWAYS_OFF),
    ]
)


def tracer_of(sampler: Sampler) -> Any:
    return TracerProvider(sampler=sampler, shutdown_on_exit=False).get_tracer("tests")


@given(
    sampler=rule_samplers,
    at_root=st.booleans(),
    parent=parents,
    spans=st.lists(st.tuples(texts, kinds, given_attributes), min_size=1, max_size=4),
)
@example(
    sampler=RuleBasedSampler([SamplingRule(ALWAYS_OFF, attributes={"k": "a*"})], ALWAYS_ON),
    at_root=True,
    parent=Context(),
    spans=[("x", None, {"k": "a" * 1000}), ("x", None, {"k": Shown()}), ("x", None, {"k": Text("a")})],
)
def test_a_tracer_decides_as_the_sampler(
    sampler: RuleBasedSampler,
    at_root: bool,
    parent: Context,
    spans: list[tuple[str, SpanKind | None, dict[str, Any] | None]],
) -> None:
    tracer = tracer_of(ParentBased(sampler) if at_root else sampler)
    decides = tracer.sampler
    for name, kind, attributes in [*spans, *spans]:  # the second time it knows the names
        given = {} if kind is None else {"kind": kind}
        span = tracer.start_span(name, parent, attributes=attributes, **given)
        found = span.get_span_context()
        expected = decides.should_sample(parent, found.trace_id, name, kind, attributes)
        assert span.is_recording() == expected.decision.is_recording()
        assert found.trace_flags.sampled == expected.decision.is_sampled()
        assert list(found.trace_state.items()) == list((expected.trace_state or TraceState()).items())
        if span.is_recording():
            twin = tracer_of(ALWAYS_ON).start_span(name, attributes=expected.attributes)
            assert dict(span.attributes) == dict(twin.attributes)


@given(
    glob=st.text("ab*?", max_size=8),
    text=st.text("ab", max_size=12) | st.text("abé😀\n*?", max_size=6),
)
def test_globs_are_those_of_fnmatch(glob: str, text: str) -> None:
    rule = SamplingRule(ALWAYS_ON, attributes={"k": glob})
    tracer = tracer_of(RuleBasedSampler([rule], ALWAYS_OFF))
    kept = tracer.start_span("x", attributes={"k": text}).is_recording()
    assert kept == rule.matches("x", None, {"k": text})


def quick_rules() -> list[SamplingRule]:
    return [
        SamplingRule(ALWAYS_OFF, name="GET /health*"),
        SamplingRule(ALWAYS_ON, kind=SpanKind.SERVER, attributes={"url.path": "/pay*", "retry": True}),
        SamplingRule(ALWAYS_ON, kind=SpanKind.SERVER, attributes={"url.path": re.compile("^/buy/")}),
        SamplingRule(RateLimitingSampler(1e9), name="job-?"),
    ]


@pytest.mark.skipif(otlpfast.IMPLEMENTATION != "c", reason="the pure implementation is Python code")
def test_no_python_code_runs_where_rules_are_plain() -> None:
    tracer = tracer_of(ParentBased(RuleBasedSampler(quick_rules(), ConsistentProbabilitySampler(0.5))))
    asked: list[str] = []

    def note(frame: Any, event: str, argument: object) -> None:
        if event == "call":
            asked.append(frame.f_code.co_qualname if sys.version_info >= (3, 11) else frame.f_code.co_name)

    spans = [
        ("GET /healthz", SpanKind.INTERNAL, None),
        ("POST", SpanKind.SERVER, {"url.path": "/pay/now", "retry": True}),
        ("POST", SpanKind.SERVER, {"url.path": "/buy/now", "retry": 17}),
        ("job-1", SpanKind.INTERNAL, {"a": "b"}),
        ("else", SpanKind.CLIENT, None),
    ]
    gc.disable()  # finalisers of others are Python code too
    sys.setprofile(note)
    try:
        for _ in range(2):
            for name, kind, attributes in spans:
                tracer.start_span(name, None, kind, attributes)
    finally:
        sys.setprofile(None)
        gc.enable()
    assert asked == []


def test_only_so_many_names_are_remembered() -> None:
    sampler = RuleBasedSampler(quick_rules(), ALWAYS_OFF)
    tracer = tracer_of(sampler)

    def start(first: int, count: int) -> None:
        for number in range(first, first + count):
            tracer.start_span(f"GET /user/{number}")
            tracer.start_span("x" * 10_000 + str(number))

    start(0, 2_000)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        start(2_000, 5_000)
        assert tracemalloc.get_traced_memory()[0] - before < 1_000_000  # of 50 MB
    finally:
        tracemalloc.stop()


class Key:
    """Takes the place of an attribute's key, and has something done whenever it is compared."""

    def __init__(self, then: Any) -> None:
        self.then = then

    def __hash__(self) -> int:
        return hash("k")

    def __eq__(self, other: object) -> bool:
        self.then()
        return False


class TestUserCode:
    def test_that_comes_back_to_the_tracer_finds_it_whole(self) -> None:
        rules = [SamplingRule(ALWAYS_ON, attributes={"k": "v*"}), SamplingRule(ALWAYS_OFF, name="a*")]
        tracer = tracer_of(RuleBasedSampler(rules, ALWAYS_ON))

        def come_back() -> None:
            for number in range(600):
                tracer.start_span(f"again {number}")
            tracer.sampler = RuleBasedSampler(rules[1:], ALWAYS_OFF)
            gc.collect()

        attributes: Any = {Key(come_back): "v"}
        tracer.start_span("first", attributes=attributes)
        assert not tracer.start_span("second").is_recording()

    def test_a_value_whose_text_raises_matches_as_its_placeholder(self) -> None:
        class Silent:
            def __str__(self) -> str:
                raise LookupError("no text")

        rules = [SamplingRule(ALWAYS_OFF, attributes={"k": "<unprintable*"})]
        tracer = tracer_of(RuleBasedSampler(rules, ALWAYS_ON))
        assert not tracer.start_span("x", attributes={"k": Silent()}).is_recording()
        assert not tracer.start_span("x", attributes={"k": 10**5000}).is_recording()

    @pytest.mark.parametrize("name", [17, None, Text("GET /health")], ids=repr)
    def test_a_name_that_is_no_plain_text_is_what_the_sampler_says(self, name: Any) -> None:
        tracer = tracer_of(RuleBasedSampler([SamplingRule(ALWAYS_OFF, name="GET*")], ALWAYS_ON))
        assert not tracer.start_span(name).is_recording()

    @pytest.mark.parametrize("attributes", [{}, [], 17, "k"], ids=repr)
    def test_attributes_that_are_none_match_nothing(self, attributes: Any) -> None:
        tracer = tracer_of(RuleBasedSampler([SamplingRule(ALWAYS_OFF, attributes={"k": "*"})], ALWAYS_ON))
        assert tracer.start_span("x", attributes=attributes).is_recording()

    def test_mappings_of_any_kind_are_looked_at(self) -> None:
        class Own(Mapping[str, str]):
            def __getitem__(self, key: str) -> str:
                return {"k": "v"}[key]

            def __iter__(self) -> Any:
                return iter(["k"])

            def __len__(self) -> int:
                return 1

        tracer = tracer_of(RuleBasedSampler([SamplingRule(ALWAYS_OFF, attributes={"k": "v"})], ALWAYS_ON))
        assert not tracer.start_span("x", attributes=Own()).is_recording()

    def test_a_rule_of_somebodys_own_class_is_asked(self) -> None:
        class Never(SamplingRule):
            def matches_name(self, name: str, kind: SpanKind | None) -> bool:
                return False

        tracer = tracer_of(RuleBasedSampler([Never(ALWAYS_OFF)], ALWAYS_ON))
        assert tracer.start_span("x").is_recording()


def test_one_that_is_changed_later_takes_the_new_rules() -> None:
    tracer = tracer_of(RuleBasedSampler([SamplingRule(ALWAYS_OFF, name="a")], ALWAYS_ON))
    assert not tracer.start_span("a").is_recording()
    tracer.sampler = RuleBasedSampler([SamplingRule(ALWAYS_OFF, name="b")], ALWAYS_ON)
    assert tracer.start_span("a").is_recording() and not tracer.start_span("b").is_recording()


def test_one_that_is_in_use_can_be_copied() -> None:
    sampler = RuleBasedSampler(quick_rules()[:3], ALWAYS_ON)
    for twin in (sampler, copy.copy(sampler), copy.deepcopy(sampler)):
        tracer = tracer_of(ParentBased(twin))
        assert not tracer.start_span("GET /health").is_recording() and tracer.start_span("x").is_recording()
        assert twin.get_description() == sampler.get_description()
    tracer.sampler = sampler
    assert not tracer.start_span("GET /health").is_recording()


def test_its_rules_stay_what_they_are() -> None:
    """A tracer has made its own of them."""
    sampler = RuleBasedSampler([], ALWAYS_OFF)
    for name in ("rules", "default"):
        with pytest.raises(AttributeError):
            setattr(sampler, name, ALWAYS_ON)
    assert (sampler.rules, sampler.default) == ((), ALWAYS_OFF)

"""Samplers beyond the SDK's own: what they keep, and what they say about it."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.context import Context
from opentelemetry.sdk.trace import TracerProvider as StockProvider
from opentelemetry.sdk.trace._sampling_experimental import (
    composable_traceid_ratio_based,
    composite_sampler,
)
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, Decision, ParentBased, Sampler
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    TraceFlags,
    Tracer,
    TraceState,
    set_span_in_context,
)

from otlpfast import TracerProvider
from otlpfast._impl import RateLimiter
from otlpfast._thresholds import Entry, with_threshold
from otlpfast.sampling import (
    ConsistentProbabilitySampler,
    RateLimitingSampler,
    RuleBasedSampler,
    SamplingRule,
    rules_of_file,
)

from .forks import in_child
from .starting import python

NewTracer = Callable[..., Tracer]


@pytest.fixture(name="tracer", params=[TracerProvider, StockProvider], ids=["own", "stock"])
def tracer_fixture(request: pytest.FixtureRequest) -> NewTracer:
    """Tracers of either provider, with a sampler."""

    def new(sampler: Sampler, scope: str = "tests") -> Tracer:
        provider = request.param(sampler=sampler, shutdown_on_exit=False)
        request.addfinalizer(provider.shutdown)
        tracer: Tracer = provider.get_tracer(scope)
        return tracer

    return new


def below(state: str, trace_id: int = 0xABC, sampled: bool = True) -> Context:
    """The context of a remote parent with this tracestate."""
    entries = [tuple(entry.split("=", 1)) for entry in state.split(",") if entry]
    flags = TraceFlags(TraceFlags.SAMPLED if sampled else 0)
    parent = SpanContext(trace_id, 0x1, True, flags, TraceState(entries))  # type: ignore[arg-type]
    return set_span_in_context(NonRecordingSpan(parent), Context())


def state_of(span: Any) -> str:
    return str(span.get_span_context().trace_state.to_header())


class TestThresholds:
    # Specification: trace/tracestate-probability-sampling.md, the table of 1-in-N and precision 3, 4 and 5.
    @pytest.mark.parametrize(
        ("one_in", "shown"),
        [
            (1, "0 0 0"),
            (2, "8 8 8"),
            (3, "aab aaab aaaab"),
            (4, "c c c"),
            (5, "ccd cccd ccccd"),
            (8, "e e e"),
            (10, "e66 e666 e6666"),
            (16, "f f f"),
            (100, "fd71 fd70a fd70a4"),
            (1000, "ffbe7 ffbe77 ffbe76d"),
            (10000, "fff972 fff9724 fff97247"),
            (100000, "ffff584 ffff583a ffff583a5"),
            (1000000, "ffffef4 ffffef39 ffffef391"),
        ],
    )
    def test_are_those_of_the_specification(self, one_in: int, shown: str) -> None:
        found = [ConsistentProbabilitySampler(1 / one_in, precision) for precision in (3, 4, 5)]
        assert [str(sampler._of_root and sampler._of_root["ot"]) for sampler in found] == [
            f"th:{threshold}" for threshold in shown.split()
        ]

    @pytest.mark.parametrize("ratio", [-0.1, 1.1, float("nan"), float("inf")])
    def test_a_ratio_out_of_range_is_refused(self, ratio: float) -> None:
        with pytest.raises(ValueError, match="from 0 to 1"):
            ConsistentProbabilitySampler(ratio)
        with pytest.raises(ValueError, match="from 1 to 14"):
            ConsistentProbabilitySampler(0.5, precision=0)

    @given(st.text("ot:;=thrv0189af", max_size=40))
    def test_whatever_is_in_the_entry_is_read_and_what_is_not_ours_is_kept(self, text: str) -> None:
        state = TraceState([("ot", text)]) if text and "=" not in text else TraceState()
        entry = Entry.of(state)
        assert entry.threshold is None or 0 <= entry.threshold < 1 << 56
        changed = Entry.of(with_threshold(state, 0x80 << 48))
        assert changed.threshold == 0x80 << 48
        assert (changed.randomness, list(changed.rest)) == (entry.randomness, list(entry.rest))

    def test_an_entry_that_would_grow_too_long_loses_what_is_not_known(self) -> None:
        state = TraceState([("ot", "x:" + "y" * 250)])
        assert with_threshold(state, 1 << 55) == TraceState([("ot", "th:8")])


class TestConsistentProbability:
    @given(
        st.sampled_from([0.0, 1e-6, 0.01, 0.1, 0.25, 1 / 3, 0.5, 0.999, 1.0]),
        st.integers(1, (1 << 128) - 1),
        st.sampled_from(
            [
                "",
                "ot=th:8",
                "ot=rv:fffffffffffff0",
                "ot=rv:00000000000001;th:c",
                "a=b,ot=th:0;x:y",
                "ot=th:zz",
            ]
        ),
    )
    def test_it_decides_as_the_composite_sampler_of_the_sdk(
        self, ratio: float, trace_id: int, state: str
    ) -> None:
        # Which takes all 56 bits of the threshold.
        stock = composite_sampler(composable_traceid_ratio_based(ratio))
        own = ConsistentProbabilitySampler(ratio, precision=14)
        context = below(state, trace_id)
        given_state = TraceState([tuple(e.split("=", 1)) for e in state.split(",") if e])  # type: ignore[misc]
        expected = stock.should_sample(context, trace_id, "x", trace_state=given_state)
        found = own.should_sample(context, trace_id, "x")
        assert found.decision is expected.decision
        kept = {k: v for k, v in (expected.trace_state or {}).items() if k != "ot"}
        assert {k: v for k, v in (found.trace_state or {}).items() if k != "ot"} == kept
        if found.decision is Decision.RECORD_AND_SAMPLE:
            assert Entry.of(found.trace_state) == Entry.of(expected.trace_state)
        else:
            assert Entry.of(found.trace_state).threshold is None

    @pytest.mark.parametrize("ratio", [0.01, 0.1, 0.5])
    def test_it_keeps_its_share(self, tracer: NewTracer, ratio: float) -> None:
        started = tracer(ParentBased(ConsistentProbabilitySampler(ratio)))
        count = 20_000
        kept = sum(started.start_span("root").is_recording() for _ in range(count))
        # Six standard deviations: one failure in five hundred million runs.
        assert abs(kept - count * ratio) < 6 * (count * ratio * (1 - ratio)) ** 0.5

    def test_two_services_keep_the_same_traces(self, tracer: NewTracer) -> None:
        front = tracer(ParentBased(ConsistentProbabilitySampler(0.1)))
        # Deciding anew, and by a larger share.
        back = tracer(ConsistentProbabilitySampler(0.2))
        kept = 0
        for _ in range(2_000):
            root = front.start_span("root")
            remote = set_span_in_context(NonRecordingSpan(root.get_span_context()), Context())
            child = back.start_span("child", context=remote)
            if root.is_recording():
                kept += 1
                assert child.is_recording() and state_of(child) == "ot=th:cccd"
                assert state_of(root) == "ot=th:e666"
            else:
                assert state_of(root) == ""
        assert kept

    def test_children_have_the_threshold_of_their_root(self, tracer: NewTracer) -> None:
        started = tracer(ParentBased(ConsistentProbabilitySampler(1.0)))
        with started.start_as_current_span("root") as root:
            child = started.start_span("child")
        assert state_of(root) == state_of(child) == "ot=th:0"

    def test_randomness_that_was_given_decides_and_entries_of_vendors_are_kept(
        self, tracer: NewTracer
    ) -> None:
        started = tracer(ConsistentProbabilitySampler(0.5))
        low = started.start_span("x", context=below("a=1,ot=rv:00000000000001,b=2", (1 << 128) - 1))
        high = started.start_span("x", context=below("a=1,ot=rv:ffffffffffffff;k:v,b=2", 1 << 64))
        assert not low.is_recording() and high.is_recording()
        assert state_of(high) == "ot=th:8;rv:ffffffffffffff;k:v,a=1,b=2"
        assert state_of(low) == "a=1,ot=rv:00000000000001,b=2"

    def test_what_is_native_decides_as_what_is_not(self) -> None:
        sampler = ConsistentProbabilitySampler(0.3)
        provider = TracerProvider(sampler=ParentBased(sampler), shutdown_on_exit=False)
        started = provider.get_tracer("tests")
        for _ in range(1000):
            span = started.start_span("root")
            context = span.get_span_context()
            result = sampler.should_sample(Context(), context.trace_id, "root")
            assert span.is_recording() == result.decision.is_recording()
            assert state_of(span) == (result.trace_state or TraceState()).to_header()
        provider.shutdown()


def saturate(allow: Callable[[], bool], seconds: float) -> tuple[int, float, float]:
    """How often it was allowed, in how long, and for how long nobody asked in time to be allowed."""
    begun = last = time.monotonic()
    allowed, missed = 0, 0.0
    while last - begun < seconds:
        allowed += allow()
        now = time.monotonic()
        missed += max(now - last - 0.05, 0.0)
        last = now
    return allowed, last - begun, missed


class TestRateLimiting:
    def test_it_keeps_its_rate_over_a_second(self, tracer: NewTracer) -> None:
        started = tracer(ParentBased(RateLimitingSampler(500, burst=50)))
        kept, took, missed = saturate(lambda: started.start_span("root").is_recording(), 1.5)
        assert 500 * (took - missed) * 0.95 <= kept <= 500 * took + 51

    def test_threads_share_a_rate(self, tracer: NewTracer) -> None:
        started = tracer(ParentBased(RateLimitingSampler(1000, burst=50)))
        counts: list[tuple[int, float, float]] = []
        gate = threading.Barrier(4)

        def work() -> None:
            gate.wait()
            counts.append(saturate(lambda: started.start_span("root").is_recording(), 0.5))

        threads = [threading.Thread(target=work) for _ in range(4)]
        begun = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        took = time.monotonic() - begun
        assert sum(kept for kept, _, _ in counts) <= 1000 * took + 51

    def test_a_burst_after_a_quiet_time(self) -> None:
        limiter = RateLimiter(0.001, burst=5)
        assert [limiter.allow() for _ in range(7)] == [True] * 5 + [False] * 2
        for rate, burst in ((0, 1), (-1, 1), (1, 0.5), (float("nan"), 1)):
            with pytest.raises(ValueError, match="more than 0"):
                RateLimiter(rate, burst)

    def test_each_process_has_its_own(self) -> None:
        sampler = RateLimitingSampler(0.001)
        provider = TracerProvider(sampler=ParentBased(sampler), shutdown_on_exit=False)
        started = provider.get_tracer("tests")
        # The child's copy has been used up as little as the parent's.
        assert in_child(lambda: [started.start_span("x").is_recording() for _ in range(2)]) == [True, False]
        assert [started.start_span("x").is_recording() for _ in range(2)] == [True, False]

    def test_children_follow_and_on_its_own_it_takes_the_threshold_away(self, tracer: NewTracer) -> None:
        started = tracer(ParentBased(RateLimitingSampler(1e-3)))
        with started.start_as_current_span("root") as root:
            assert root.is_recording() and started.start_span("child").is_recording()
        assert not started.start_span("second").is_recording()
        alone = tracer(RateLimitingSampler(100)).start_span("x", context=below("a=b,ot=th:8"))
        assert alone.is_recording() and state_of(alone) == "a=b"

    @pytest.mark.parametrize("rate", [0, -1, float("nan"), float("inf")])
    def test_a_rate_that_is_none_is_refused(self, rate: float) -> None:
        with pytest.raises(ValueError, match="more than 0"):
            RateLimitingSampler(rate)
        with pytest.raises(ValueError, match="from 1"):
            RateLimitingSampler(1, burst=0.5)


class TestRules:
    def test_the_first_that_matches_decides(self, tracer: NewTracer) -> None:
        rules = [
            SamplingRule(ALWAYS_OFF, name="GET /health*"),
            SamplingRule(ALWAYS_ON, kind=SpanKind.SERVER, attributes={"url.path": "/pay*"}),
            SamplingRule(ALWAYS_OFF, kind=SpanKind.SERVER, attributes={"http.response.status_code": 200}),
            SamplingRule(ALWAYS_ON, name=re.compile("^job-[0-9]+$")),
        ]
        started = tracer(ParentBased(RuleBasedSampler(rules, ALWAYS_OFF)))

        def keeps(name: str, **settings: Any) -> bool:
            return started.start_span(name, **settings).is_recording()

        server = {"kind": SpanKind.SERVER}
        assert not keeps("GET /healthz", attributes={"url.path": "/pay"}, **server)
        assert keeps("POST /pay", attributes={"url.path": "/pay/now"}, **server)
        assert not keeps("POST /pay", attributes={"url.path": "/pay/now"})
        assert not keeps("x", attributes={"http.response.status_code": 200}, **server)
        assert keeps("job-12") and not keeps("job-x") and not keeps("get /HEALTH")

    def test_values_are_compared_by_type_or_as_text(self) -> None:
        rule = SamplingRule(ALWAYS_ON, attributes={"a": True, "b": "4*", "c": 1.5})
        assert rule.matches("x", None, {"a": True, "b": 42, "c": 1.5})
        assert not rule.matches("x", None, {"a": 1, "b": 42, "c": 1.5})
        assert not rule.matches("x", None, {"a": True, "c": 1.5})
        assert not rule.matches("x", None, None)

    def test_scopes_are_known_to_otlpfasts_provider(self) -> None:
        rules = [SamplingRule(ALWAYS_OFF, scope="noisy.*"), SamplingRule(ALWAYS_OFF, scope="b", name="x")]
        sampler = ParentBased(RuleBasedSampler(rules, ALWAYS_ON))
        own = TracerProvider(sampler=sampler, shutdown_on_exit=False)
        stock = StockProvider(sampler=sampler, shutdown_on_exit=False)
        for provider, kept in ((own, [False, False, True, True]), (stock, [True] * 4)):
            asked = [("noisy.redis", "x"), ("b", "x"), ("b", "y"), ("quiet", "x")]
            assert [provider.get_tracer(s).start_span(n).is_recording() for s, n in asked] == kept
            assert provider.sampler is sampler
            provider.shutdown()

    def test_what_a_user_makes_of_it_is_asked(self) -> None:
        class Own(RuleBasedSampler):
            def should_sample(self, *arguments: Any, **settings: Any) -> Any:
                asked.append("own")
                return super().should_sample(*arguments, **settings)

        class Wrapper(Sampler):
            def __init__(self, inner: Sampler) -> None:
                self.inner = inner

            def __getattr__(self, name: str) -> Any:
                return getattr(self.inner, name)

            def should_sample(self, *arguments: Any, **settings: Any) -> Any:
                asked.append("wrapper")
                return self.inner.should_sample(*arguments, **settings)

            def get_description(self) -> str:
                return "wrapper"

        class Bare(ParentBased):
            def __init__(self) -> None:
                pass  # and so has none of its parts

            def should_sample(self, *arguments: Any, **settings: Any) -> Any:
                asked.append("bare")
                return ALWAYS_ON.should_sample(*arguments, **settings)

            def get_description(self) -> str:
                return "bare"

        rules = [SamplingRule(ALWAYS_OFF, scope="other")]
        asked: list[str] = []
        for sampler, name in (
            (Own(rules, ALWAYS_ON), "own"),
            (Wrapper(RuleBasedSampler(rules, ALWAYS_ON)), "wrapper"),
            (Bare(), "bare"),
        ):
            asked.clear()
            provider = TracerProvider(sampler=sampler, shutdown_on_exit=False)
            assert provider.get_tracer("tests").start_span("x").is_recording()
            assert asked == [name]
            provider.shutdown()

    def test_the_description_says_all_of_it(self) -> None:
        rules = [
            SamplingRule(ALWAYS_OFF, name="a*", kind=SpanKind.CLIENT),
            SamplingRule(ALWAYS_ON, attributes={"k": re.compile("v")}),
            SamplingRule(ALWAYS_ON),
        ]
        assert RuleBasedSampler(rules, ConsistentProbabilitySampler(0.1)).get_description() == (
            "RuleBasedSampler{name=a* & kind=client: AlwaysOffSampler; k=/v/: AlwaysOnSampler; "
            "any: AlwaysOnSampler; else ConsistentProbabilitySampler{0.1,th:e666}}"
        )

    def test_what_is_no_rule_or_sampler_is_refused(self) -> None:
        with pytest.raises(TypeError, match="SamplingRule objects"):
            RuleBasedSampler([ALWAYS_ON], ALWAYS_ON)  # type: ignore[list-item]
        with pytest.raises(TypeError, match="default: a Sampler"):
            RuleBasedSampler([], 0.5)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="sampler: a Sampler"):
            SamplingRule(0.5)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="a pattern"):
            SamplingRule(ALWAYS_ON, name=5)  # type: ignore[arg-type]


class TestFiles:
    def test_rules_of_a_file(self, tmp_path: Path) -> None:
        path = tmp_path / "rules.json"
        text = {
            "rules": [
                {"name": "GET /health*", "ratio": 0},
                {"kind": "server", "attributes": {"url.path": "/pay*"}},
                {"per_second": 5, "scope": "*.redis"},
            ],
            "default": {"ratio": 0.1},
        }
        path.write_text(json.dumps(text))
        assert rules_of_file(str(path)).get_description() == (
            "RuleBasedSampler{name=GET /health*: ConsistentProbabilitySampler{0,th:never}; "
            "kind=server & url.path=/pay*: ConsistentProbabilitySampler{1.0,th:0}; "
            "scope=*.redis: RateLimitingSampler{5/s}; else ConsistentProbabilitySampler{0.1,th:e666}}"
        )

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("{", "is no JSON"),
            ("[]", 'a list "rules"'),
            ('{"rules": 1}', 'a list "rules"'),
            ('{"other": 1}', "'other'] are not known"),
            ('{"rules": [1]}', "rule 1: an object with some of name"),
            ('{"rules": [{}, {"names": "x"}]}', "rule 2: an object with some of name"),
            ('{"rules": [{"kind": "web"}]}', "rule 1: kind 'web' is not known; allowed: internal, server"),
            ('{"rules": [{"ratio": 2}]}', "rule 1: ratio=2: from 0 to 1"),
            ('{"rules": [{"ratio": "x"}]}', "rule 1: "),
            ('{"rules": [{"name": 1}]}', "rule 1: a pattern"),
            ('{"rules": [{"attributes": 1}]}', "rule 1: "),
            ('{"default": {"per_second": 0}}', "default: traces_per_second=0"),
        ],
    )
    def test_what_is_wrong_in_it_is_said(self, tmp_path: Path, text: str, said: str) -> None:
        path = tmp_path / "rules.json"
        path.write_text(text)
        with pytest.raises(ValueError, match=re.escape(said)):
            rules_of_file(str(path))


class TestVariables:
    SHOW = (
        "import otlpfast\n"
        "from opentelemetry import trace\n"
        "otlpfast.configure()\n"
        "print(trace.get_tracer_provider().sampler.get_description().split(',remote')[0])"
    )

    @pytest.mark.parametrize(
        ("name", "argument", "shown"),
        [
            ("consistent_probability", "0.5", "ConsistentProbabilitySampler{0.5,th:8}"),
            ("parentbased_consistent_probability", "", "ParentBased{root:ConsistentProbabilitySampler{1.0"),
            ("rate_limiting", "7", "RateLimitingSampler{7/s}"),
            ("parentbased_rate_limiting", "0.5", "ParentBased{root:RateLimitingSampler{0.5/s}"),
        ],
    )
    def test_each_has_a_name(self, name: str, argument: str, shown: str) -> None:
        variables = {"OTEL_TRACES_SAMPLER": f"otlpfast_{name}", "OTEL_TRACES_SAMPLER_ARG": argument}
        done = python(self.SHOW, OTEL_TRACES_EXPORTER="none", **variables)
        assert done.stdout.startswith(shown), done.stderr

    def test_rules_are_read_and_a_wrong_argument_is_one_line(self, tmp_path: Path) -> None:
        path = tmp_path / "rules.json"
        path.write_text('{"default": {"ratio": 0.5}}')
        name = "otlpfast_parentbased_rules"
        for argument, shown in ((str(path), "ParentBased{root:RuleBased"), ("", "ParentBased{root:AlwaysOn")):
            variables = {"OTEL_TRACES_SAMPLER": name, "OTEL_TRACES_SAMPLER_ARG": argument}
            done = python(self.SHOW, OTEL_TRACES_EXPORTER="none", **variables)
            assert done.stdout.startswith(shown)
            assert ("the path of a JSON file with rules is missing" in done.stderr) == (not argument)

"""Roots on which otlpfast's samplers decide: in Python under the SDK's provider, in C under otlpfast's."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased, Sampler
from opentelemetry.trace import SpanKind

from otlpfast.sampling import (
    ConsistentProbabilitySampler,
    RateLimitingSampler,
    RuleBasedSampler,
    SamplingRule,
)

from .conftest import Measure
from .spans import traced

pytestmark = [
    pytest.mark.benchmark(timer=time.thread_time),
    pytest.mark.parametrize("side", ["SDK", "otlpfast"]),
]

TIMES = 500
RULES = [
    SamplingRule(ALWAYS_OFF, name="GET /health*"),
    SamplingRule(ALWAYS_ON, kind=SpanKind.CLIENT, attributes={"url.path": re.compile("^/pay/")}),
    SamplingRule(ALWAYS_OFF, kind=SpanKind.SERVER, attributes={"url.path": "/static/*"}),
]
SAMPLERS: dict[str, Sampler] = {
    "RateLimitingSampler": RateLimitingSampler(0.001),
    "ConsistentProbabilitySampler": ConsistentProbabilitySampler(0),
    "RuleBasedSampler": RuleBasedSampler(RULES, ALWAYS_OFF),
}


def measure_roots(
    measure: Measure, side: str, sampler: str, what: str, kind: SpanKind, attributes: dict[str, Any] | None
) -> None:
    """Starts roots that are not kept: the cost is that of the decision and of the span's ids."""
    tracer = traced(side, sampler=ParentBased(SAMPLERS[sampler])).tracer
    name = "GET /healthz" if kind is SpanKind.INTERNAL else "GET"

    def work() -> None:
        start_span = tracer.start_span
        for _ in range(TIMES):
            start_span(name, None, kind, attributes)

    measure(f"root sampled out by {what}", side, work, TIMES)


@pytest.mark.parametrize("sampler", ["RateLimitingSampler", "ConsistentProbabilitySampler"])
def test_root(measure: Measure, side: str, sampler: str) -> None:
    measure_roots(measure, side, sampler, sampler, SpanKind.INTERNAL, None)


def test_rule_by_name(measure: Measure, side: str) -> None:
    measure_roots(measure, side, "RuleBasedSampler", "rule, name", SpanKind.INTERNAL, None)


@pytest.mark.parametrize(("kind", "pattern"), [(SpanKind.SERVER, "glob"), (SpanKind.CLIENT, "regex")])
def test_rule_by_attribute(measure: Measure, side: str, kind: SpanKind, pattern: str) -> None:
    attributes = {"url.path": "/static/logo.png"}
    measure_roots(
        measure, side, "RuleBasedSampler", f"rule, kind and attribute ({pattern})", kind, attributes
    )

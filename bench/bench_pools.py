"""Recycled attribute arrays and span wrappers, against a dict and against direct calls on the span."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from otlpfast import SpanPool
from otlpfast._impl import AttributePool

from .conftest import Measure
from .spans import provider

pytestmark = pytest.mark.benchmark(timer=time.thread_time)

TIMES = 1_000
ATTRIBUTES = {
    "http.request.method": "GET",
    "http.route": "/items/{number}",
    "http.response.status_code": 200,
    "app.cache.hit": True,
    "app.seconds": 0.25,
}


def with_dict() -> None:
    for _ in range(TIMES):
        attributes: dict[str, Any] = {}
        for key, value in ATTRIBUTES.items():
            attributes[key] = value
        del attributes


def with_pool(pool: AttributePool) -> None:
    for _ in range(TIMES):
        attributes = pool.acquire()
        for key, value in ATTRIBUTES.items():
            attributes.append(key, value)
        attributes.release()


def one_by_one(span: Any) -> None:
    for _ in range(TIMES):
        for key, value in ATTRIBUTES.items():
            span.set_attribute(key, value)


def in_one_call(span: Any) -> None:
    for _ in range(TIMES):
        attributes: dict[str, Any] = {}
        for key, value in ATTRIBUTES.items():
            attributes[key] = value
        span.set_attributes(attributes)


def wrapped(pool: SpanPool, span: Any) -> None:
    for _ in range(TIMES):
        with pool.wrap(span) as wrapper:
            for key, value in ATTRIBUTES.items():
                wrapper.set_attribute(key, value)


@pytest.mark.parametrize("side", ["dict", "otlpfast"])
def test_attribute_pool(measure: Measure, side: str) -> None:
    pool = AttributePool()
    work: Callable[[], None] = with_dict if side == "dict" else lambda: with_pool(pool)
    measure("take, 5 attributes, give back", side, work, TIMES)


@pytest.mark.parametrize("side", ["SDK", "otlpfast"])
@pytest.mark.parametrize("how", ["one by one", "in one call"])
def test_span_wrapper(measure: Measure, side: str, how: str) -> None:
    span = provider().get_tracer("bench").start_span("span")
    pool = SpanPool()
    direct = one_by_one if how == "one by one" else in_one_call
    work: Callable[[], None] = (lambda: direct(span)) if side == "SDK" else lambda: wrapped(pool, span)
    measure(f"5 attributes on a span (SDK: {how})", side, work, TIMES)

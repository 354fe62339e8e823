"""Warnings at a limited rate: each kind once an interval, with the number held back, in each process anew."""

from __future__ import annotations

import logging
import math
import threading

import pytest
from opentelemetry.sdk.trace import SpanLimits

from otlpfast._attribute_log import warnings_of_full_attributes
from otlpfast._log import RateLimitedLog

from .collector import PATIENCE
from .forks import in_child
from .traced import native

LOGGER = logging.getLogger("otlpfast.tests")


@pytest.fixture(name="clock")
def clock_fixture(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr("otlpfast._log.monotonic", lambda: now[0])
    return now


def test_a_kind_comes_once_an_interval_with_the_number_held_back(
    clock: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    log = RateLimitedLog(LOGGER, 60)
    for number in range(5):
        log.warning("kind", "%d of %s", number, "this kind")
    log.warning("other", "100 % of another")
    clock[0] += 59.9
    log.warning("kind", "%d of %s", 5, "this kind")
    clock[0] += 0.2
    log.warning("kind", "%d of %s", 6, "this kind")
    assert caplog.messages == [
        "0 of this kind",
        "100 % of another",
        "6 of this kind (5 more like this since the last warning)",
    ]


def test_who_asks_first_is_counted_too(clock: list[float], caplog: pytest.LogCaptureFixture) -> None:
    log = RateLimitedLog(LOGGER, 60)
    assert not log.holds_back("kind")
    log.warning("kind", "first")
    assert [log.holds_back("kind") for _ in range(3)] == [True] * 3
    assert not log.holds_back("other")
    clock[0] += 60.1
    assert not log.holds_back("kind")
    log.warning("kind", "second")
    assert caplog.messages == ["first", "second (3 more like this since the last warning)"]


def test_an_attribute_too_many_is_told_of_once_a_minute(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Also where one call brings them all, and where something else is to be told."""
    now = [1000.0]
    monkeypatch.setattr("otlpfast._attribute_log.monotonic", lambda: now[0])
    # As in a process that has told nothing yet: other tests have.
    monkeypatch.setattr(warnings_of_full_attributes, "_due", 0.0)
    monkeypatch.setattr(warnings_of_full_attributes, "_held_back", 0)
    tracer = native(span_limits=SpanLimits(max_span_attributes=2)).get_tracer("tests")
    many = {f"key {number}": number for number in range(12)}
    with tracer.start_as_current_span("span", attributes=many) as span:
        span.set_attributes(many)
        now[0] += 59.9
        span.set_attribute("key", 1)
        span.set_attribute("", 1)
        now[0] += 0.2
        span.set_attribute("another", 1)
    first, other, last = caplog.messages
    assert first.startswith("Attributes dict is full.")
    assert "held" not in first
    assert "non-empty string" in other
    assert last.startswith("Attributes dict is full.")
    # 10 of the start and 12 of the second time, less the first, and one more.
    assert last.endswith("(22 more like this since the last warning)")


def test_a_message_can_have_an_interval_of_its_own(
    clock: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    log = RateLimitedLog(LOGGER, 60)
    for _ in range(3):
        log.warning("once", "only once", interval=math.inf)
        log.warning("often", "often", interval=1)
        clock[0] += 100
    assert sorted(caplog.messages) == ["often"] * 3 + ["only once"]


def test_a_child_does_not_wait_for_what_its_parent_was_logging(caplog: pytest.LogCaptureFixture) -> None:
    log = RateLimitedLog(LOGGER, 60)
    log.warning("kind", "of the parent")
    held, let_go = threading.Event(), threading.Event()

    def hold() -> None:
        with log._lock:
            held.set()
            let_go.wait(PATIENCE)

    thread = threading.Thread(target=hold)
    thread.start()
    assert held.wait(PATIENCE)

    def child() -> list[str]:
        caplog.clear()
        log.warning("kind", "of the child")
        return list(caplog.messages)

    try:
        assert in_child(child) == ["of the child"]
    finally:
        let_go.set()
        thread.join()
    assert caplog.messages == ["of the parent"]

"""Variables that say nothing sensible: a warning, never an error."""

from __future__ import annotations

import logging

import pytest
from opentelemetry.sdk.trace import SpanLimits

from otlpfast import TracerProvider

COUNTS = [
    ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "max_span_attributes"),
    ("OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT", "max_event_attributes"),
    ("OTEL_LINK_ATTRIBUTE_COUNT_LIMIT", "max_link_attributes"),
    ("OTEL_ATTRIBUTE_COUNT_LIMIT", "max_attributes"),
    ("OTEL_SPAN_EVENT_COUNT_LIMIT", "max_events"),
    ("OTEL_SPAN_LINK_COUNT_LIMIT", "max_links"),
]
LENGTHS = [
    ("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "max_attribute_length"),
    ("OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT", "max_span_attribute_length"),
]


def limits() -> SpanLimits:
    return TracerProvider(shutdown_on_exit=False)._span_limits


@pytest.mark.parametrize("value", ["many", "-1", "1.5", "0x10", "12 spans"])
@pytest.mark.parametrize(("variable", "limit"), COUNTS + LENGTHS)
def test_a_limit_that_is_no_number_is_one_warning_and_the_default(
    variable: str, limit: str, value: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(variable, value)
    with caplog.at_level(logging.WARNING):
        found = limits()
    assert getattr(found, limit) == (128 if (variable, limit) in COUNTS else None)
    (record,) = caplog.records
    assert variable in record.getMessage()
    assert repr(value) in record.getMessage()


def test_a_limit_of_more_digits_than_python_reads_is_one_short_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_SPAN_EVENT_COUNT_LIMIT", "9" * 5000)
    monkeypatch.setenv("OTEL_ATTRIBUTE_COUNT_LIMIT", "9" * 5000)
    assert (limits().max_events, limits().max_attributes) == (128, 128)
    assert all(len(record.getMessage()) < 300 for record in caplog.records)


@pytest.mark.parametrize(("variable", "limit"), COUNTS + LENGTHS)
def test_a_limit_that_is_a_number_counts(
    variable: str, limit: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(variable, " 7 ")
    assert getattr(limits(), limit) == 7
    assert not caplog.records


@pytest.mark.parametrize(("variable", "limit"), [COUNTS[0], LENGTHS[1]])
def test_the_limit_for_all_attributes_takes_the_place_of_one_that_is_no_number(
    variable: str, limit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable.replace("SPAN_", ""), "9")
    monkeypatch.setenv(variable, "many")
    assert getattr(limits(), limit) == 9


def test_an_unknown_sampler_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "sometimes")
    tracer = TracerProvider(shutdown_on_exit=False).get_tracer("tests")
    assert tracer.start_span("span").is_recording()
    assert "sometimes" in caplog.text

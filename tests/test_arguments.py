"""Wrong settings of a batch processor: an argument raises and names itself, a variable gets one warning."""

from __future__ import annotations

import logging
import sys
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from otlpfast import BatchSpanProcessor, SimpleSpanProcessor

from .collector import Collector
from .exporting import collector_fixture, make_fixture  # noqa: F401
from .pipeline import Encoded, batching_fixture, end_spans  # noqa: F401
from .spans import provider

QUEUE, DELAY = "OTEL_BSP_MAX_QUEUE_SIZE", "OTEL_BSP_SCHEDULE_DELAY"
BATCH, TIMEOUT = "OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "OTEL_BSP_EXPORT_TIMEOUT"

WHOLE = ["max_queue_size", "max_export_batch_size", "max_queue_bytes"]
MILLIS = ["schedule_delay_millis", "export_timeout_millis"]


def settings(processor: BatchSpanProcessor) -> dict[str, float]:
    queue, worker = processor._queue, processor._worker
    return {
        QUEUE: queue.max_spans,
        DELAY: worker._delay * 1000,
        BATCH: queue.batch_size,
        TIMEOUT: worker._export_timeout * 1000,
        "max_queue_bytes": queue.max_bytes,
    }


DEFAULTS = {QUEUE: 2048, DELAY: 5000, BATCH: 512, TIMEOUT: 30_000, "max_queue_bytes": 64 * 1024 * 1024}


def made_with(**arguments: Any) -> BatchSpanProcessor:
    return BatchSpanProcessor(Encoded(), **arguments)


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    assert all(record.levelno == logging.WARNING for record in caplog.records)
    return [record.getMessage() for record in caplog.records]


def test_the_defaults(caplog: pytest.LogCaptureFixture) -> None:
    assert settings(BatchSpanProcessor(Encoded())) == DEFAULTS
    assert warnings(caplog) == []


def test_positional_arguments_as_the_stock_ones() -> None:
    processor = BatchSpanProcessor(Encoded(), 100, 200.5, 10, 300)
    given = {QUEUE: 100, DELAY: 200.5, BATCH: 10, TIMEOUT: 300}
    assert settings(processor) == {**DEFAULTS, **given}
    with pytest.raises(TypeError):
        BatchSpanProcessor(Encoded(), 100, 200, 10, 300, 1000)  # type: ignore[call-arg]


@pytest.mark.parametrize("value", [0, -1, -(10**30), sys.maxsize + 1, 10**400], ids=str)
@pytest.mark.parametrize("name", WHOLE)
def test_a_number_out_of_range(name: str, value: int) -> None:
    with pytest.raises(ValueError, match=f"{name}={value}: .*whole number"):
        made_with(**{name: value})


@pytest.mark.parametrize("value", [1.5, "512", True, b"1", [1], 2j], ids=lambda value: type(value).__name__)
@pytest.mark.parametrize("name", WHOLE)
def test_no_whole_number(name: str, value: Any) -> None:
    with pytest.raises(TypeError, match=f"{name}=.*whole number") as caught:
        made_with(**{name: value})
    assert repr(value) in str(caught.value)


def test_max_queue_bytes_has_no_variable_and_no_none() -> None:
    with pytest.raises(TypeError, match="max_queue_bytes=None"):
        BatchSpanProcessor(Encoded(), max_queue_bytes=None)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [0, -1, 0.0, -0.5, float("nan"), float("inf")], ids=str)
@pytest.mark.parametrize("name", MILLIS)
def test_milliseconds_out_of_range(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{name}={value}: .*positive number of milliseconds"):
        made_with(**{name: value})


@pytest.mark.parametrize("value", ["5000", False, [1], 2j], ids=lambda value: type(value).__name__)
@pytest.mark.parametrize("name", MILLIS)
def test_no_milliseconds(name: str, value: Any) -> None:
    with pytest.raises(TypeError, match=f"{name}=.*milliseconds") as caught:
        made_with(**{name: value})
    assert repr(value) in str(caught.value)


@pytest.mark.parametrize("kind", [BatchSpanProcessor, SimpleSpanProcessor])
@pytest.mark.parametrize(
    "value", [None, "console", 3, InMemorySpanExporter, object()], ids=lambda value: type(value).__name__
)
def test_no_exporter(kind: Any, value: Any) -> None:
    with pytest.raises(TypeError, match=r"span_exporter=.*SpanExporter") as caught:
        kind(value)
    assert repr(value) in str(caught.value)


@pytest.mark.parametrize("kind", [BatchSpanProcessor, SimpleSpanProcessor])
def test_no_meter_provider(kind: Any) -> None:
    with pytest.raises(TypeError, match=r"meter_provider=3: .*MeterProvider"):
        kind(Encoded(), meter_provider=3)
    kind(Encoded(), meter_provider=MeterProvider())


# --- the batch and the queue


@pytest.mark.parametrize(
    ("queue", "batch"),
    [(100, 101), (1, 512), (None, 2049)],
)
def test_a_batch_larger_than_the_queue(queue: int | None, batch: int) -> None:
    with pytest.raises(
        ValueError, match=f"max_export_batch_size={batch}: .*max_queue_size.* {queue or 2048}"
    ):
        BatchSpanProcessor(Encoded(), max_queue_size=queue, max_export_batch_size=batch)


def test_a_queue_smaller_than_the_usual_batch(caplog: pytest.LogCaptureFixture) -> None:
    processor = BatchSpanProcessor(Encoded(), max_queue_size=100)
    assert settings(processor)[BATCH] == 100
    assert warnings(caplog) == []


@pytest.mark.parametrize("queue_by", ["argument", "variable"])
def test_a_variable_that_makes_the_batch_larger_than_the_queue(
    queue_by: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(BATCH, "300")
    if queue_by == "variable":
        monkeypatch.setenv(QUEUE, "100")
    processor = BatchSpanProcessor(Encoded(), 100 if queue_by == "argument" else None)
    assert settings(processor)[QUEUE] == 100
    assert settings(processor)[BATCH] == 100
    (warning,) = warnings(caplog)
    assert f"{BATCH}=300" in warning
    assert "100" in warning


def test_a_queue_smaller_than_the_batch_that_a_wrong_variable_comes_to(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(BATCH, "lots")
    processor = BatchSpanProcessor(Encoded(), 100)
    assert settings(processor)[BATCH] == 100
    (warning,) = warnings(caplog)
    assert f"{BATCH}='lots'" in warning


# --- variables


def test_variables(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    given = {QUEUE: 1000, DELAY: 2000, BATCH: 30, TIMEOUT: 4000}
    for name, value in given.items():
        monkeypatch.setenv(name, f" {value} ")
    assert settings(BatchSpanProcessor(Encoded())) == {**DEFAULTS, **given}
    assert warnings(caplog) == []


def test_arguments_come_before_variables(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name in (QUEUE, DELAY, BATCH, TIMEOUT):
        monkeypatch.setenv(name, "lots")
    given = {QUEUE: 1000, DELAY: 2000, BATCH: 30, TIMEOUT: 4000}
    assert settings(BatchSpanProcessor(Encoded(), 1000, 2000, 30, 4000)) == {**DEFAULTS, **given}
    assert warnings(caplog) == []


@pytest.mark.parametrize("name", [QUEUE, DELAY, BATCH, TIMEOUT])
@pytest.mark.parametrize(
    "value", ["lots", "0", "-5", "1.5", "1e3", "nan", "9" * 30, "9" * 5000], ids=lambda v: v[:9]
)
def test_a_wrong_variable(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(name, value)
    assert settings(BatchSpanProcessor(Encoded())) == DEFAULTS
    (warning,) = warnings(caplog)
    assert f"{name}='{value[:50]}" in warning
    assert "positive whole number" in warning
    assert f"{DEFAULTS[name]:.0f} is used" in warning
    assert len(warning) < 300


@pytest.mark.parametrize("name", [QUEUE, DELAY, BATCH, TIMEOUT])
@pytest.mark.parametrize("value", ["", "  "])
def test_an_empty_variable_is_none(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(name, value)
    assert settings(BatchSpanProcessor(Encoded())) == DEFAULTS
    assert warnings(caplog) == []


def test_variables_do_what_they_say(monkeypatch: pytest.MonkeyPatch, collector: Collector) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.base)
    monkeypatch.setenv(BATCH, "7")
    monkeypatch.setenv(DELAY, "20")
    from otlpfast import OTLPSpanExporter

    processor = BatchSpanProcessor(OTLPSpanExporter())
    end_spans(provider(processor), 10)
    collector.wait_for_spans(10)
    assert [len(request.spans) for request in collector.requests] == [7, 3]
    processor.shutdown()

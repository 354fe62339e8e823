"""Encoding a batch: spans of the SDK to the bytes of an ExportTraceServiceRequest."""

from __future__ import annotations

import time

import pytest
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans as official_encode
from opentelemetry.sdk.trace import ReadableSpan

from otlpfast import encode_spans

from .conftest import Measure
from .spans import BATCH, plain_spans, stock_spans

pytestmark = pytest.mark.benchmark(timer=time.thread_time, max_time=2.0)

PROMISED = 40
FEW = 64
OPERATION = "encode a span, 10 attributes, 1 event"


@pytest.fixture(scope="module")
def spans() -> list[ReadableSpan]:
    return stock_spans()


def test_official(measure: Measure, spans: list[ReadableSpan]) -> None:
    encoded = measure(OPERATION, "SDK", lambda: official_encode(spans).SerializeToString(), BATCH)
    assert len(encoded) == len(encode_spans(spans))


def test_otlpfast(measure: Measure, spans: list[ReadableSpan]) -> None:
    assert measure(OPERATION, "otlpfast", lambda: encode_spans(spans), BATCH, promised=PROMISED)


@pytest.mark.parametrize("count", [0, 1, 10, 50, 128])
@pytest.mark.parametrize("side", ["SDK", "otlpfast"])
def test_encode_attributes(measure: Measure, side: str, count: int) -> None:
    spans = plain_spans(count, FEW)
    work = (
        (lambda: encode_spans(spans))
        if side == "otlpfast"
        else lambda: official_encode(spans).SerializeToString()
    )
    measure(f"encode a span, {count} attribute{'s' * (count != 1)}", side, work, FEW)

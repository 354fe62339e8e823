"""Encoding a batch: spans of the SDK to the bytes of an ExportTraceServiceRequest."""

from __future__ import annotations

import time

import pytest
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans as official_encode
from opentelemetry.sdk.trace import ReadableSpan

from otlpfast import encode_spans

from .conftest import Measure
from .spans import BATCH, stock_spans

pytestmark = pytest.mark.benchmark(timer=time.thread_time, max_time=2.0)

PROMISED = 40
OPERATION = "encode a span, 10 attributes, 1 event"


@pytest.fixture(scope="module")
def spans() -> list[ReadableSpan]:
    return stock_spans()


def test_official(measure: Measure, spans: list[ReadableSpan]) -> None:
    encoded = measure(OPERATION, "SDK", lambda: official_encode(spans).SerializeToString(), BATCH)
    assert len(encoded) == len(encode_spans(spans))


def test_otlpfast(measure: Measure, spans: list[ReadableSpan]) -> None:
    assert measure(OPERATION, "otlpfast", lambda: encode_spans(spans), BATCH, promised=PROMISED)

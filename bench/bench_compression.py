"""Compressing a request of 512 spans of a web service: zlib, ISA-L and zstd, at the exporter's levels."""

from __future__ import annotations

import random
import time
import zlib
from collections.abc import Callable
from typing import Any

import pytest

from otlpfast import encode_spans
from otlpfast.export import compression
from otlpfast.export.endpoint import Unusable

from .conftest import Measure
from .spans import BATCH, Keep, provider

pytestmark = pytest.mark.benchmark(timer=time.thread_time, max_time=2.0)


def request() -> bytes:
    """What such a service sends: names that come again and again, values that seldom do."""
    keep, values = Keep(), random.Random(17)
    tracer = provider(keep).get_tracer("bench.web", "1.0")
    for _ in range(BATCH):
        with tracer.start_as_current_span("GET /items/{number}") as span:
            span.set_attribute("http.request.method", "GET")
            span.set_attribute("http.route", "/items/{number}")
            span.set_attribute("url.path", f"/items/{values.randrange(10**6)}")
            span.set_attribute("http.response.status_code", values.choice((200, 200, 200, 404)))
            span.set_attribute("client.address", f"192.0.2.{values.randrange(256)}")
            span.set_attribute("client.port", values.randrange(1 << 15, 1 << 16))
            span.set_attribute("session.id", f"{values.getrandbits(64):016x}")
    return encode_spans(keep.ended)


@pytest.fixture(scope="module")
def body() -> bytes:
    return request()


def by_zlib() -> Any:
    return zlib.compressobj(compression._ZLIB_LEVEL, zlib.DEFLATED, compression._WINDOW_BITS["gzip"])


def found(name: str) -> Callable[[], Any]:
    """The exporter's compressor for that; skips what is not installed."""
    if name == "ISA-L":
        pytest.importorskip("isal.isal_zlib")
        return compression.compressor_of("gzip")
    try:
        return compression.compressor_of("zstd")
    except Unusable as missing:
        pytest.skip(str(missing))


@pytest.mark.parametrize("name", ["ISA-L", "zstd"])
@pytest.mark.parametrize("side", ["zlib", "otlpfast"])
def test_compress(measure: Measure, record: Measure, body: bytes, side: str, name: str) -> None:
    make = by_zlib if side == "zlib" else found(name)

    def work() -> bytes:
        compressor = make()
        return bytes(compressor.compress(body) + compressor.flush())

    compressed = measure(f"compress a span of a request, {name}", side, work, BATCH)
    for what in (name, "zlib"):
        record(f"bytes of a span in a request, {what}", "not compressed", len(body) / BATCH)
    record(
        f"bytes of a span in a request, {'zlib' if side == 'zlib' else name}",
        "otlpfast",
        len(compressed) / BATCH,
    )

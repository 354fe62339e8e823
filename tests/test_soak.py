"""A short soak: a collector that is killed, hangs, resets connections and is restarted costs no span."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

import otlpfast

pytest.importorskip("bench.soak", reason="needs the benchmarks, which are not part of what is installed")

from bench.soak.collector import span_ids
from bench.soak.latency import Latencies

from .pipeline import SANITIZED
from .spans import official, stock_spans

HERE = Path(__file__).parents[1]


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
@pytest.mark.skipif(SANITIZED, reason="starts processes that have no sanitizer")
def test_no_span_is_lost(tmp_path: Path) -> None:
    figures = tmp_path / "soak.json"
    # What trouble does to latencies is for a machine that is not shared.
    command = [sys.executable, "-m", "bench.soak", "--seconds", "7", "--rate", "4000", "--seed", "11"]
    done = subprocess.run(
        [*command, "--json", str(figures)],
        cwd=HERE,
        env={**os.environ, "OTLPFAST_IMPL": otlpfast.IMPLEMENTATION},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert figures.exists(), done.stderr
    found: dict[str, Any] = json.loads(figures.read_text())
    assert [what for what, kept in found["checks"].items() if not kept] == [], done.stdout + done.stderr
    assert done.returncode == 0
    assert found["distinct"] == found["stats"]["exported"] >= 7 * 4000
    assert sum(found["troubles"].values()) >= 2
    assert set(found["latencies"]) == {"healthy", "in trouble"}


def test_ids_are_found_without_decoding() -> None:
    request = official(stock_spans(7))
    expected = [
        span.span_id
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]
    assert span_ids(request.SerializeToString()) == b"".join(expected)
    assert span_ids(ExportTraceServiceRequest().SerializeToString()) == b""


@pytest.mark.parametrize("body", [b"\x08\x01", b"\x0a\x06\x12\x04\x12\x02\x0a\x00"])
def test_what_is_no_request_of_spans_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"field|ids"):
        span_ids(body)


def test_quantiles_are_right_to_three_percent() -> None:
    latencies = Latencies()
    for value in range(1, 100_001):
        latencies.add(value)
    for share in (0.001, 0.5, 0.99, 0.999, 1):
        assert latencies.quantile(share) == pytest.approx(share * 100_000, rel=0.035)
    assert latencies.figures()["longest"] == 100_000
    assert Latencies().quantile(0.5) == 0

"""``otlpfast bench``: what a user sees of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import otlpfast
from otlpfast.cli.load import pipelines


def run_bench(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "otlpfast.cli", "bench", "--seconds", "1", *arguments],
        capture_output=True,
        text=True,
        timeout=200,
        encoding="utf-8",
        env={**os.environ, "PYTHONIOENCODING": "utf-8", **variables},
    )


def test_both_sides_are_measured_and_every_span_arrives() -> None:
    done = run_bench("--json", OTEL_SDK_DISABLED="true", OTEL_BSP_MAX_QUEUE_SIZE="1")
    assert done.returncode in (0, 1), done.stderr
    found = json.loads(done.stdout)
    for cost in found["calls_seconds"].values():
        assert set(cost) == {"SDK", "otlpfast"} and min(cost.values()) > 0
    for pipeline in ("sdk", "processor", "otlpfast"):
        measured = found["pipelines"][pipeline]
        assert 0 < measured["received"] <= measured["sent"]
        assert measured["delivered"] is (measured["received"] == measured["sent"])
    assert (done.returncode == 0) is all(each["delivered"] for each in found["pipelines"].values())


def test_the_table_names_machine_versions_and_bias() -> None:
    done = run_bench()
    assert done.returncode in (0, 1), done.stderr
    for expected in ("start_span + end", "SDK ÷ otlpfast", "machine:", "opentelemetry-sdk:", "bias:"):
        assert expected in done.stdout
    assert f"implementation {otlpfast.IMPLEMENTATION!r}" in done.stdout


def test_what_the_stock_side_lacks_is_named() -> None:
    assert pipelines.missing("otlpfast", pipelines.HTTP) is None
    assert pipelines.missing("sdk", pipelines.HTTP) is None, "the test environment has it"
    assert pipelines.missing("sdk", pipelines.GRPC) in (None, "opentelemetry-exporter-otlp-proto-grpc")

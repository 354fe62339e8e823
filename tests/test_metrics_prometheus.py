"""All of otlpfast's metrics as the official Prometheus exporter gives them, scraped by HTTP."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from opentelemetry.sdk.trace.export import SpanExporter

from otlpfast import BatchSpanProcessor, OTLPSpanExporter, SpanMetricsProcessor, SpanPool, TracerProvider
from otlpfast.export import retry
from otlpfast.sampling import TailSampler

from .collector import Collector, Reply
from .exporting import batch, collector_fixture, spans  # noqa: F401
from .metering import Scrape, enabled_fixture, prometheus  # noqa: F401
from .pipeline import NEVER_MILLIS, Encoded, end_spans

DOCUMENTATION = Path(__file__).parents[1] / "docs" / "metrics.md"

pytestmark = pytest.mark.usefixtures("enabled")


@pytest.fixture(name="scrape")
def scrape_fixture() -> Iterator[Scrape]:
    with prometheus() as scrape:
        yield scrape


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "FIRST_PAUSE", 0.02)
    monkeypatch.setattr(retry, "LONGEST_PAUSE", 0.05)


Samples = dict[str, list[tuple[dict[str, str], float]]]
_OF_SCOPES = re.compile(r"otel_scope_")


def rows(samples: Samples, name: str, *labels: str) -> dict[tuple[str, ...], float]:
    """Values by some labels."""
    found = {tuple(each.get(label, "") for label in labels): value for each, value in samples[name]}
    assert len(found) == len(samples[name]), f"{labels} do not tell {name} apart"
    return found


def labels_of(samples: Samples, name: str) -> set[str]:
    return {label for each, _ in samples[name] for label in each if not _OF_SCOPES.match(label)}


@pytest.fixture(name="served")
def served_fixture(
    scrape: Scrape, collector: Collector, tmp_path: Path, request: pytest.FixtureRequest
) -> Callable[[], Samples]:
    """What can be scraped of a pipeline that uses everything, after a failed and a delivered batch."""
    exporter = OTLPSpanExporter(collector.endpoint, meter_provider=scrape.provider)
    processor = BatchSpanProcessor(
        exporter,
        schedule_delay_millis=NEVER_MILLIS,
        spool_dir=tmp_path / "spool",
        tail_sampler=TailSampler(ratio=1),
        meter_provider=scrape.provider,
    )
    traced = TracerProvider(meter_provider=scrape.provider, shutdown_on_exit=False)
    traced.add_span_processor(SpanMetricsProcessor(scrape.provider))
    traced.add_span_processor(processor)
    request.addfinalizer(traced.shutdown)
    pool = SpanPool(scrape.provider.get_meter("tests"))
    request.addfinalizer(lambda: pool)  # it lives as long
    collector.script(Reply(400))
    for count in (2, 3):
        end_spans(traced, count)
        processor.force_flush()
    with pool.wrap(traced.get_tracer("tests").start_span("live")) as wrapper:
        wrapper.set_attribute("a", 1)
    return scrape


def test_exporter_and_processor(served: Callable[[], Samples]) -> None:
    found = served()
    exported = rows(found, "otel_sdk_exporter_span_exported_total", "error_type")
    assert exported == {("",): 3, ("rejected",): 0, ("400",): 2}
    assert labels_of(found, "otel_sdk_exporter_span_exported_total") == {
        "otel_component_name",
        "otel_component_type",
        "server_address",
        "server_port",
        "error_type",
    }
    durations = "otel_sdk_exporter_operation_duration_seconds"
    by = ("error_type", "http_response_status_code")
    assert rows(found, f"{durations}_count", *by) == {("", "200"): 1, ("400", "400"): 1}
    assert ("", "200") in rows(found, f"{durations}_sum", *by)
    bucket = {labels["le"] for labels, _ in found[f"{durations}_bucket"]}
    assert {"0.001", "10.0", "+Inf"} <= bucket
    assert found["otel_sdk_exporter_span_inflight"][0][1] == 0
    processed = rows(found, "otel_sdk_processor_span_processed_total", "error_type")
    assert processed[("",)] == 5
    assert processed[("queue_full",)] == processed[("already_shutdown",)] == 0
    (labels, value), *_ = found["otel_sdk_processor_span_queue_capacity"]
    assert (labels["otel_component_type"], value) == ("batching_span_processor", 2048)


def test_every_documented_metric_is_there(served: Callable[[], Samples]) -> None:
    if not DOCUMENTATION.exists():
        pytest.skip("the documentation is not here")
    documented = set(
        re.findall(r"`((?:otel|otlpfast|traces)_\w+)`", DOCUMENTATION.read_text(encoding="utf-8"))
    )
    found = {re.sub(r"_(bucket|sum|count)$", "", name) for name in served()}
    ours = {name for name in found if name.startswith(("otel_sdk_", "otlpfast_", "traces_"))}
    assert ours == documented - {"traces_span_metrics_duration_milliseconds"}


def test_labels_stay_with_their_values_beside_the_sdk_s_own_exporter(
    scrape: Scrape, collector: Collector
) -> None:
    # Two scopes with a metric in common, of which one has more attributes than the other.
    module = importlib.import_module("opentelemetry.exporter.otlp.proto.http.trace_exporter")
    official: SpanExporter = module.OTLPSpanExporter(collector.endpoint, meter_provider=scrape.provider)
    ours = OTLPSpanExporter(collector.endpoint, meter_provider=scrape.provider)
    collector.script(Reply(400), Reply(400))
    official.export(spans())
    ours.export_batch(batch())
    official.export(spans())
    found = scrape()
    for name in (
        "otel_sdk_exporter_span_exported_total",
        "otel_sdk_exporter_operation_duration_seconds_count",
    ):
        for labels, _ in found[name]:
            assert labels["otel_component_type"] == "otlp_http_span_exporter"
            assert labels["server_port"] == str(collector.port)
            assert labels["otel_scope_name"] in ("otlpfast", "opentelemetry-sdk")
            assert labels.get("error_type", "") in ("", "rejected", "400", "HTTPError")
    official.shutdown()
    ours.shutdown()


def test_labels_stay_with_their_values_with_two_processors(scrape: Scrape) -> None:
    kept = [
        BatchSpanProcessor(Encoded(), schedule_delay_millis=NEVER_MILLIS, meter_provider=scrape.provider)
        for _ in range(2)
    ]
    for late, processor in enumerate(kept, 1):
        traced = TracerProvider(shutdown_on_exit=False)
        traced.add_span_processor(processor)
        processor.shutdown()
        end_spans(traced, late)
    found = scrape()["otel_sdk_processor_span_processed_total"]
    dropped = {
        labels["otel_component_name"]: value
        for labels, value in found
        if labels["error_type"] == "already_shutdown"
    }
    assert sorted(dropped.values()) == [1, 2]
    assert all(name.startswith("batching_span_processor/") for name in dropped)


def test_rate_errors_and_durations_of_spans(served: Callable[[], Samples]) -> None:
    found = served()
    by = ("span_name", "span_kind", "status_code")
    calls = rows(found, "traces_span_metrics_calls_total", *by)
    assert calls[("span 0", "SPAN_KIND_INTERNAL", "STATUS_CODE_UNSET")] == 2
    assert labels_of(found, "traces_span_metrics_calls_total") == {
        "service_name",
        "span_name",
        "span_kind",
        "status_code",
    }
    counts = rows(found, "traces_span_metrics_duration_seconds_count", *by)
    assert counts == calls

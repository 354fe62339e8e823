"""What the tests of metrics share: a meter provider, what it collects, and what Prometheus would scrape."""

from __future__ import annotations

import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.parser import text_string_to_metric_families

from .collector import PATIENCE


@pytest.fixture(name="enabled")
def enabled_fixture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED", "true")


class Meters:
    """A meter provider with its reader."""

    def __init__(self, **settings: Any) -> None:
        self.reader = InMemoryMetricReader()
        self.provider = MeterProvider([self.reader], shutdown_on_exit=False, **settings)

    def collect(self) -> dict[str, Any]:
        """Every metric by its name."""
        data = self.reader.get_metrics_data()
        return {
            metric.name: metric
            for resource in (data.resource_metrics if data else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }

    def points(self, name: str) -> list[Any]:
        metric = self.collect().get(name)
        return [] if metric is None else list(metric.data.data_points)

    def values(self, name: str, by: str = "error.type") -> dict[Any, float]:
        """Values by one attribute, "" where a point has it not."""
        return {point.attributes.get(by, ""): point.value for point in self.points(name)}


@pytest.fixture(name="meters")
def meters_fixture(request: pytest.FixtureRequest) -> Callable[..., Meters]:
    """Meter providers that are shut down after the test."""

    def new(**settings: Any) -> Meters:
        made = Meters(**settings)
        request.addfinalizer(made.provider.shutdown)
        return made

    return new


NewMeters = Callable[..., Meters]


class Scrape:
    """A meter provider whose metrics can be had by HTTP, as Prometheus has them."""

    def __init__(self, port: int, provider: MeterProvider) -> None:
        self.provider = provider
        self._url = f"http://127.0.0.1:{port}/metrics"

    def __call__(self) -> dict[str, list[tuple[dict[str, str], float]]]:
        """Labels and values of every sample, by the name."""
        with urllib.request.urlopen(self._url, timeout=PATIENCE) as answer:
            text = answer.read().decode()
        found: dict[str, list[tuple[dict[str, str], float]]] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                found.setdefault(sample.name, []).append((sample.labels, sample.value))
        return found


@contextmanager
def prometheus() -> Iterator[Scrape]:
    registry = CollectorRegistry()
    provider = MeterProvider([PrometheusMetricReader(registry=registry)], shutdown_on_exit=False)
    server, thread = start_http_server(0, "127.0.0.1", registry)
    try:
        yield Scrape(server.server_port, provider)
    finally:
        server.shutdown()
        server.server_close()
        thread.join(PATIENCE)
        provider.shutdown()

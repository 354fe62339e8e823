"""What exporters tell of their exports, through any meter provider."""

from __future__ import annotations

import gc
import importlib
import tempfile
import threading
import weakref
from collections.abc import Callable
from typing import Any

import grpc
import pytest
from opentelemetry.sdk.trace.export import SpanExporter

from otlpfast import OTLPSpanExporter
from otlpfast.export import retry

from . import grpc_collector
from .collector import PATIENCE, Collector, Reply
from .exporting import Make, Silent, batch, collector_fixture, make_fixture, spans  # noqa: F401
from .forks import in_child
from .grpc_collector import GRPCCollector
from .metering import Meters, NewMeters, enabled_fixture, meters_fixture  # noqa: F401

EXPORTED, INFLIGHT = "otel.sdk.exporter.span.exported", "otel.sdk.exporter.span.inflight"
DURATION = "otel.sdk.exporter.operation.duration"

pytestmark = pytest.mark.usefixtures("enabled")


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "FIRST_PAUSE", 0.02)
    monkeypatch.setattr(retry, "LONGEST_PAUSE", 0.05)


@pytest.fixture(name="exporter")
def exporter_fixture(make: Make) -> Exporter:
    """Exporters whose metrics go where the test says, and that live as long as the test does."""
    return lambda target, metered, **settings: make(target, meter_provider=metered.provider, **settings)


Exporter = Callable[..., OTLPSpanExporter]


def durations(metered: Meters) -> list[tuple[int, str, Any]]:
    """Count, error type and status of each series."""
    return sorted(
        (
            point.count,
            point.attributes.get("error.type", ""),
            point.attributes.get(
                "http.response.status_code", point.attributes.get("rpc.response.status_code")
            ),
        )
        for point in metered.points(DURATION)
    )


def test_a_delivered_batch(exporter: Exporter, collector: Collector, meters: NewMeters) -> None:
    metered = meters()
    assert exporter(collector, metered).export_batch(batch()).exported == 3
    seen = metered.collect()
    assert [seen[name].unit for name in (EXPORTED, INFLIGHT, DURATION)] == ["{span}", "{span}", "s"]
    (point,) = seen[DURATION].data.data_points
    who = {
        "otel.component.type": "otlp_http_span_exporter",
        "otel.component.name": point.attributes["otel.component.name"],
        "server.address": "127.0.0.1",
        "server.port": collector.port,
    }
    assert who["otel.component.name"].rpartition("/")[2].isdigit()
    assert point.attributes == {**who, "http.response.status_code": 200}
    assert (point.count, point.sum >= 0) == (1, True)
    assert {p.attributes.get("error.type", ""): p.value for p in seen[EXPORTED].data.data_points} == {
        "": 3,
        "rejected": 0,
    }
    assert seen[EXPORTED].data.is_monotonic
    assert [(dict(p.attributes), p.value) for p in seen[INFLIGHT].data.data_points] == [(who, 0)]


def test_nothing_where_nobody_asked(
    exporter: Exporter, collector: Collector, meters: NewMeters, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED")
    metered = meters()
    assert exporter(collector, metered).export_batch(batch()).exported == 3
    assert metered.collect() == {}


def test_spans_that_are_handed_over_count_as_well(
    exporter: Exporter, collector: Collector, meters: NewMeters
) -> None:
    metered = meters()
    exporter(collector, metered).export(spans())
    assert metered.values(EXPORTED)[""] == 3


@pytest.mark.parametrize(
    ("reply", "error", "status"),
    [
        (Reply(400), "400", 400),
        (Reply(302, headers={"Location": "http://127.0.0.1/"}), "302", 302),
        (Reply(500), "500", 500),
        (Reply(raw=b"nonsense\r\n\r\n"), "BadStatusLine", None),
    ],
)
def test_a_batch_that_is_not_taken(
    exporter: Exporter, reply: Reply, error: str, status: int | None, collector: Collector, meters: NewMeters
) -> None:
    metered = meters()
    collector.script(then=reply)
    exporter(collector, metered).export_batch(batch())
    assert metered.values(EXPORTED) == {"": 0, "rejected": 0, error: 3}
    assert durations(metered) == [(1, error, status)]


def test_attempts_of_one_export_are_one_operation(
    exporter: Exporter, collector: Collector, meters: NewMeters
) -> None:
    metered = meters()
    collector.script(Reply(503), Reply(hang_up=True), Reply(429))
    assert exporter(collector, metered, timeout=PATIENCE).export_batch(batch()).exported == 3
    assert len(collector.requests) == 4
    assert metered.values(EXPORTED) == {"": 3, "rejected": 0}
    assert durations(metered) == [(1, "", 200)]


def test_the_last_attempt_is_the_cause(exporter: Exporter, collector: Collector, meters: NewMeters) -> None:
    metered = meters()
    collector.script(Reply(503), then=Reply(400))
    exporter(collector, metered, timeout=PATIENCE).export_batch(batch())
    assert durations(metered) == [(1, "400", 400)]


def test_a_partial_success(exporter: Exporter, collector: Collector, meters: NewMeters) -> None:
    metered = meters()
    collector.script(Reply.partial_success(2))
    exporter(collector, metered).export_batch(batch())
    assert metered.values(EXPORTED) == {"": 1, "rejected": 2}
    assert durations(metered) == [(1, "rejected", 200)]


def test_a_batch_of_which_one_span_is_too_large(
    exporter: Exporter, collector: Collector, meters: NewMeters
) -> None:
    metered = meters()
    exporter(collector, metered, max_request_bytes=1).export_batch(batch())
    assert metered.values(EXPORTED) == {"": 0, "rejected": 0, "too_large": 3}
    assert durations(metered) == [(1, "too_large", None)]


def test_a_socket_that_is_not_there(exporter: Exporter, meters: NewMeters) -> None:
    metered = meters()
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/none"
        exporter(f"unix://{path}", metered, timeout=0.3).export_batch(batch())
    ((count, error, status),) = durations(metered)
    assert (count, status) == (1, None)
    assert error in ("FileNotFoundError", "timeout")  # the latter on a machine that is busy
    assert metered.values(EXPORTED)[error] == 3
    (point,) = metered.points(INFLIGHT)
    assert point.attributes["server.address"] == path
    assert "server.port" not in point.attributes


def test_a_collector_that_does_not_answer(exporter: Exporter, meters: NewMeters) -> None:
    metered = meters()
    with Silent() as silent:
        exporter(silent.endpoint, metered, timeout=0.2).export_batch(batch())
    assert metered.values(EXPORTED) == {"": 0, "rejected": 0, "timeout": 3}
    assert durations(metered) == [(1, "timeout", None)]


def test_an_export_under_way_is_in_flight(
    exporter: Exporter, collector: Collector, meters: NewMeters
) -> None:
    metered = meters()
    collector.script(Reply(delay=float("inf")))
    sender = exporter(collector, metered, timeout=PATIENCE)
    thread = threading.Thread(target=sender.export_batch, args=(batch(),))
    thread.start()
    collector.wait_for_request()
    assert metered.values(INFLIGHT) == {"": 3}
    assert metered.values(EXPORTED) == {"": 0, "rejected": 0}
    collector.close()
    sender.shutdown(0)
    thread.join(PATIENCE)
    assert metered.values(INFLIGHT) == {"": 0}
    assert sum(metered.values(EXPORTED).values()) == 3


def test_more_exports_than_are_added_up_at_a_time(
    exporter: Exporter, collector: Collector, meters: NewMeters, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("otlpfast.export.operations._MANY", 2)
    metered = meters()
    sender = exporter(collector, metered)
    for _ in range(5):
        sender.export_batch(batch())
    assert metered.values(EXPORTED)[""] == 15
    assert durations(metered) == [(5, "", 200)]
    sender.export_batch(batch())
    assert metered.values(EXPORTED)[""] == 18
    assert durations(metered) == [(6, "", 200)]


def test_two_exporters_are_told_apart(exporter: Exporter, collector: Collector, meters: NewMeters) -> None:
    metered = meters()
    kept = [exporter(collector, metered) for _ in range(2)]
    for sender in kept:
        sender.export_batch(batch())
    sent = [p for p in metered.points(EXPORTED) if "error.type" not in p.attributes]
    assert [p.value for p in sent] == [3, 3]
    assert len({p.attributes["otel.component.name"] for p in sent}) == 2


def test_metrics_do_not_keep_an_exporter_alive(collector: Collector, meters: NewMeters) -> None:
    metered = meters()
    sender = OTLPSpanExporter(collector.endpoint, meter_provider=metered.provider)
    sender.export_batch(batch())
    gone = weakref.ref(sender)
    sender.shutdown()
    assert metered.points(EXPORTED)
    del sender
    gc.collect()
    assert gone() is None
    assert metered.points(EXPORTED) == []


def _child_counts(sender: OTLPSpanExporter, metered: Meters) -> None:
    # Nothing of the parent's: neither what it has sent nor what it is sending.
    assert metered.values(INFLIGHT) == {"": 0}
    assert metered.values(EXPORTED) == {"": 0, "rejected": 0}
    assert sender.export_batch(batch()).exported == 3
    assert metered.values(EXPORTED) == {"": 3, "rejected": 0}


def test_a_forked_child_counts_its_own(exporter: Exporter, collector: Collector, meters: NewMeters) -> None:
    metered = meters()
    sender = exporter(collector, metered)
    sender.export_batch(batch())
    in_child(lambda: _child_counts(sender, metered))
    assert metered.values(EXPORTED) == {"": 3, "rejected": 0}


# --- gRPC


@pytest.mark.parametrize(
    ("answer", "exported", "operation"),
    [
        (None, {"": 3, "rejected": 0}, (1, "", "OK")),
        (grpc_collector.partial(2), {"": 1, "rejected": 2}, (1, "rejected", "OK")),
        (
            grpc_collector.Failure(grpc.StatusCode.INVALID_ARGUMENT),
            {"": 0, "rejected": 0, "INVALID_ARGUMENT": 3},
            (1, "INVALID_ARGUMENT", "INVALID_ARGUMENT"),
        ),
    ],
)
def test_exports_over_grpc(
    exporter: Exporter, answer: Any, exported: dict[str, int], operation: tuple[Any, ...], meters: NewMeters
) -> None:
    metered = meters()
    with GRPCCollector() as collector:
        if answer is not None:
            collector.script(answer)
        sender = exporter(collector.endpoint, metered, protocol="grpc", timeout=PATIENCE)
        sender.export_batch(batch())
        assert metered.values(EXPORTED) == exported
        assert durations(metered) == [operation]
        (point,) = metered.points(INFLIGHT)
        assert point.attributes["otel.component.type"] == "otlp_grpc_span_exporter"
        assert point.attributes["server.port"] == collector.port
        sender.shutdown()


# --- beside the official exporter


def _described(metered: Meters, name: str) -> set[tuple[str, frozenset[str]]]:
    """Component type and names of attributes."""
    return {
        (point.attributes["otel.component.type"], frozenset(point.attributes))
        for point in metered.points(name)
        if point.attributes.get("error.type") != "rejected"
    }


@pytest.mark.parametrize("status", [200, 400])
def test_the_official_exporter_says_the_same(
    exporter: Exporter, status: int, collector: Collector, meters: NewMeters
) -> None:
    theirs, ours = meters(), meters()
    module = importlib.import_module("opentelemetry.exporter.otlp.proto.http.trace_exporter")
    official: SpanExporter = module.OTLPSpanExporter(collector.endpoint, meter_provider=theirs.provider)
    collector.script(then=Reply(status))
    official.export(spans())
    official.shutdown()
    exporter(collector, ours).export(spans())
    seen, expected = ours.collect(), theirs.collect()
    for name in (EXPORTED, INFLIGHT, DURATION):
        assert type(seen[name].data) is type(expected[name].data)
        assert seen[name].unit == expected[name].unit
        assert {p.attributes["otel.component.type"] for p in seen[name].data.data_points} == {
            p.attributes["otel.component.type"] for p in expected[name].data.data_points
        }
    # What the conventions have and it has not: a status also of success, an error type also of a status.
    more = {frozenset(("http.response.status_code",)), frozenset(("error.type",)), frozenset()}
    ((kind, names),), ((_, own_names),) = _described(theirs, DURATION), _described(ours, DURATION)
    assert kind == "otlp_http_span_exporter"
    assert own_names >= names
    assert own_names - names in more

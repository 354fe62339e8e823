"""Runtime statistics, and the alerts that go by them."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider as StockProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor as StockProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from otlpfast import TracerProvider, _tap
from otlpfast.profiling import Alert, Alerts, RuntimeSnapshot, RuntimeStatistics, Threshold

from .collector import PATIENCE, Collector
from .exporting import collector_fixture, make_fixture  # noqa: F401
from .forks import in_child
from .metering import NewMeters, meters_fixture  # noqa: F401
from .pipeline import Batching, batching_fixture  # noqa: F401
from .starting import python

FAST = 0.05  # seconds, the shortest interval


@pytest.fixture(name="statistics")
def statistics_fixture(request: pytest.FixtureRequest) -> Callable[..., RuntimeStatistics]:
    """Statistics that run, and are stopped after the test."""

    def new(**settings: Any) -> RuntimeStatistics:
        made = RuntimeStatistics(**{"interval": FAST, **settings})
        request.addfinalizer(made.stop)
        return made.start()

    return new


NewStatistics = Callable[..., RuntimeStatistics]


@pytest.fixture(name="spans")
def spans_fixture() -> Iterator[tuple[StockProvider, InMemorySpanExporter]]:
    exporter = InMemorySpanExporter()
    provider = StockProvider(shutdown_on_exit=False)
    provider.add_span_processor(StockProcessor(exporter))
    yield provider, exporter
    provider.shutdown()


def wait_for(condition: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.005)
    raise AssertionError(f"not seen in {PATIENCE} s: {what}")


def next_reading(statistics: RuntimeStatistics) -> RuntimeSnapshot:
    before = statistics.latest
    wait_for(lambda: statistics.latest is not before, "another reading")
    assert statistics.latest is not None
    return statistics.latest


class TestReadings:
    def test_a_snapshot_can_be_had_without_starting_anything(self) -> None:
        threads = threading.active_count()
        snapshot = RuntimeStatistics().snapshot()
        assert threading.active_count() == threads == snapshot.python_threads
        assert snapshot.usage.cpu_user > 0
        assert snapshot.usage.memory_usage > 1 << 20
        assert snapshot.usage.threads >= threads
        assert snapshot.uptime > 0
        assert snapshot.allocated_blocks > 1000
        assert len(snapshot.generations) == len(gc.get_stats())
        assert snapshot.cpu_utilization is None and snapshot.loop_lag_max is None

    def test_rates_are_since_the_reading_before(self, statistics: NewStatistics) -> None:
        running = statistics()
        next_reading(running)
        stop = threading.Event()
        thread = threading.Thread(target=lambda: [gc.collect(0) for _ in iter(stop.is_set, True)])
        thread.start()
        try:
            wait_for(lambda: (next_reading(running).gc_rate or 0) > 0, "collections")
            found = next_reading(running)
            assert found.cpu_utilization is not None and found.cpu_utilization > 0
        finally:
            stop.set()
            thread.join()

    def test_pauses_are_counted_while_it_runs_and_only_then(self, statistics: NewStatistics) -> None:
        callbacks = len(gc.callbacks)
        running = statistics()
        assert len(gc.callbacks) == callbacks + 1
        gc.collect()
        found = running.snapshot()
        assert found.gc_pauses >= 1 and found.gc_pause_total > 0
        running.stop()
        assert len(gc.callbacks) == callbacks
        count = running.snapshot().gc_pauses
        gc.collect()
        assert running.snapshot().gc_pauses == count

    def test_starting_and_stopping_twice_is_once(self, statistics: NewStatistics) -> None:
        running = statistics()
        threads, callbacks = threading.active_count(), len(gc.callbacks)
        assert running.start() is running
        assert threading.active_count() == threads and len(gc.callbacks) == callbacks
        running.stop()
        running.stop()
        with running:
            next_reading(running)

    def test_too_short_an_interval_is_refused(self) -> None:
        for interval in (0, -1, 0.01, float("nan")):
            with pytest.raises(ValueError, match=r"0\.05 seconds or more"):
                RuntimeStatistics(interval=interval)

    def test_a_child_has_readings_of_its_own(self, statistics: NewStatistics) -> None:
        running = statistics()
        next_reading(running)

        def child() -> list[Any]:
            next_reading(running)
            return [running._process._pid == os.getpid(), threading.active_count()]

        assert in_child(child) == [True, 2]

    def test_without_psutil_one_line_says_what_is_missing(self) -> None:
        code = (
            "import sys; sys.modules['psutil'] = None\n"
            "from otlpfast.profiling import RuntimeStatistics\n"
            "usage = RuntimeStatistics().snapshot().usage\n"
            "print(usage.memory_usage, usage.threads, usage.cpu_user > 0)"
        )
        done = python(code)
        assert done.stdout == "None None True\n"
        assert done.stderr.count("pip install 'otlpfast[profiling]'") == 1

    def test_the_interpreter_ends_at_once_while_it_runs(self) -> None:
        code = (
            "from otlpfast.profiling import Alerts, RuntimeStatistics\n"
            "RuntimeStatistics(interval=0.05, alerts=Alerts()).start()\n"
        )
        done = python(code)
        assert (done.stdout, done.stderr) == ("", "")

    def test_importing_it_starts_nothing(self) -> None:
        code = (
            "import gc, threading\n"
            "import otlpfast.profiling\n"
            "print(threading.active_count(), len(gc.callbacks))"
        )
        assert python(code).stdout == "1 0\n"


class TestLoops:
    def test_lag_and_tasks_of_a_loop(self, statistics: NewStatistics) -> None:
        async def main() -> RuntimeSnapshot:
            running = statistics()  # in the loop: it is watched
            sleeping = [asyncio.create_task(asyncio.sleep(3 * PATIENCE)) for _ in range(5)]
            await asyncio.sleep(0)
            # The loop is stuck until somebody has seen that it is.
            wait_for(lambda: (next_reading(running).loop_lag_max or 0) > 4 * FAST, "a lag")
            found = running.latest
            assert found is not None
            for task in sleeping:
                task.cancel()
            return found

        found = asyncio.run(main())
        assert (found.loops, found.tasks) == (1, 6)
        assert found.threads_and_tasks == found.python_threads + 6

    def test_a_loop_of_another_thread_until_it_is_closed(self, statistics: NewStatistics) -> None:
        running = statistics()
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever)
        thread.start()
        running.watch_loop(loop)
        wait_for(lambda: next_reading(running).loops == 1, "the loop")
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
        wait_for(lambda: next_reading(running).loops == 0, "its end")


class TestMetrics:
    def test_names_and_attributes_are_those_of_the_conventions(
        self, statistics: NewStatistics, meters: NewMeters
    ) -> None:
        made = meters()
        running = statistics(meter_provider=made.provider, alerts=Alerts())
        next_reading(running)
        gc.collect()
        wait_for(lambda: "otlpfast.gc.pause" in made.collect(), "a pause")
        next_reading(running)
        found = made.collect()
        assert {name: metric.unit for name, metric in found.items()} == {
            "process.cpu.time": "s",
            "process.cpu.utilization": "1",
            "process.memory.usage": "By",
            "process.memory.virtual": "By",
            "process.thread.count": "{thread}",
            "process.unix.file_descriptor.count": "{file_descriptor}",
            "process.context_switches": "{context_switch}",
            "process.paging.faults": "{fault}",
            "process.uptime": "s",
            "cpython.gc.collections": "{collection}",
            "cpython.gc.collected_objects": "{object}",
            "cpython.gc.uncollectable_objects": "{object}",
            "otlpfast.heap.blocks": "{block}",
            "otlpfast.thread.count": "{thread}",
            "otlpfast.gc.pause": "s",
            "otlpfast.alert.active": "{alert}",
            "otlpfast.alert.raised": "{alert}",
        }
        assert set(made.values("process.cpu.time", "cpu.mode")) == {"user", "system"}
        by_generation = made.values("cpython.gc.collections", "cpython.gc.generation")
        assert list(by_generation) == list(range(len(gc.get_stats())))
        kinds = set(made.values("process.context_switches", "process.context_switch.type"))
        assert kinds == {"voluntary", "involuntary"}
        faults = set(made.values("process.paging.faults", "system.paging.fault.type"))
        assert faults == {"major", "minor"}
        alerts = made.values("otlpfast.alert.active", "otlpfast.alert.name")
        assert alerts == {"threads_and_tasks": 0, "memory": 0, "gc_rate": 0, "latency_p99": 0}

    def test_what_is_stopped_is_not_shown_and_what_is_started_later_is(
        self, statistics: NewStatistics, meters: NewMeters
    ) -> None:
        made = meters()
        first = statistics(meter_provider=made.provider)
        next_reading(first)
        assert made.points("process.cpu.time")
        first.stop()
        assert not made.points("process.cpu.time")
        next_reading(statistics(meter_provider=made.provider))
        assert made.points("process.cpu.time")

    def test_the_lag_of_a_loop_is_a_histogram(self, statistics: NewStatistics, meters: NewMeters) -> None:
        made = meters()

        async def main() -> None:
            statistics(meter_provider=made.provider)
            deadline = time.monotonic() + PATIENCE
            while not made.points("otlpfast.asyncio.loop.lag"):
                assert time.monotonic() < deadline
                await asyncio.sleep(FAST)

        asyncio.run(main())
        (point,) = made.points("otlpfast.asyncio.loop.lag")
        assert point.count >= 1 and point.explicit_bounds[0] == 0.0001


def reading(**fields: Any) -> RuntimeSnapshot:
    """A snapshot with these fields, made by hand."""
    usage = RuntimeStatistics().snapshot().usage
    return RuntimeSnapshot(
        **{
            "time_unix_nano": 1,
            "uptime": 1.0,
            "usage": usage,
            "generations": (),
            "python_threads": 1,
            "allocated_blocks": 1,
            **fields,
        }
    )


class TestAlerts:
    def test_the_defaults(self) -> None:
        found = {threshold.name: threshold.above for threshold in Alerts().thresholds}
        assert found == {
            "threads_and_tasks": 10_000,
            "memory": 1 << 30,
            "gc_rate": 200.0,
            "latency_p99": 0.1,
        }
        assert (
            Alerts(memory=None, latency_p99=None, gc_rate=None, threads_and_tasks=5).thresholds[0].above == 5
        )

    def test_one_begins_after_three_readings_and_ends_well_below(
        self, spans: tuple[StockProvider, InMemorySpanExporter], caplog: pytest.LogCaptureFixture
    ) -> None:
        told: list[Alert] = []
        provider, exporter = spans
        alerts = Alerts(on_alert=told.append, tracer_provider=provider)

        def check(rate: float | None) -> list[bool]:
            return [alert.active for alert in alerts.check(reading(gc_rate=rate))]

        with caplog.at_level(logging.INFO, "otlpfast.profiling.alerts"):
            assert [check(300.0), check(300.0)] == [[], []]
            assert check(150.0) == []  # not in a row
            assert [check(300.0), check(None), check(300.0)] == [[], [], []]  # None is no reading
            assert check(250.0) == [True]
            assert alerts.active() == ("gc_rate",)
            assert [check(190.0) for _ in range(9)] == [[]] * 9  # between the two
            assert [check(100.0), check(300.0)] == [[], []]
            assert [check(100.0), check(100.0), check(100.0)] == [[], [], [False]]
        assert alerts.active() == () and alerts.states()["gc_rate"] == (False, 1)
        assert [str(alert) for alert in told] == [
            "gc_rate is 250 collections/s, above 200",
            "gc_rate is 100 collections/s, again below 180",
        ]
        assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
        assert [record.message for record in caplog.records] == [str(alert) for alert in told]
        raised, cleared = exporter.get_finished_spans()
        assert raised.name == cleared.name == "otlpfast.alert" and raised.parent is None
        assert [event.name for span in (raised, cleared) for event in span.events] == [
            "otlpfast.alert.raised",
            "otlpfast.alert.cleared",
        ]
        assert dict(raised.events[0].attributes or {}) == {
            "otlpfast.alert.name": "gc_rate",
            "otlpfast.alert.value": 250.0,
            "otlpfast.alert.threshold": 200.0,
        }

    def test_more_thresholds_and_wrong_ones(self) -> None:
        blocks = Threshold("blocks", lambda s: s.allocated_blocks, 10, readings=1, unit="blocks")
        alerts = Alerts(more=[blocks])
        assert [alert.name for alert in alerts.check(reading(allocated_blocks=11))] == ["blocks"]
        with pytest.raises(ValueError, match="two thresholds have the same name"):
            Alerts(more=[blocks, blocks])
        with pytest.raises(ValueError, match="1 or more"):
            Threshold("x", lambda s: 0, 1, readings=0)
        with pytest.raises(ValueError, match="where it begins"):
            Threshold("x", lambda s: 0, 1, below=2)

    def test_what_a_threshold_or_a_callback_raises_is_one_line(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        def broken(_: object) -> float:
            raise KeyError("gone")

        more = [
            Threshold("broken", broken, 1, readings=1),
            Threshold("fine", lambda s: 2, 1, readings=1),
        ]
        alerts = Alerts(more=more, on_alert=broken)
        for _ in range(3):
            alerts.check(reading())
        assert alerts.active() == ("fine",)
        lines = [record.message for record in caplog.records]
        assert lines[0] == "alert broken can't be read: KeyError: 'gone'"
        assert lines[-1] == "whoever is told of the alert fine raised KeyError: 'gone'"
        assert len(lines) == 3

    def test_latencies_of_requests_are_those_of_spans_that_go_by(
        self, statistics: NewStatistics, batching: Batching, collector: Collector
    ) -> None:
        told: list[Alert] = []
        processor = batching(collector)
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(processor)
        running = statistics(alerts=Alerts(on_alert=told.append))
        assert next_reading(running).latency_p99 is None
        tracer = provider.get_tracer("tests")
        second = 1_000_000_000

        def end(name: str, took: float, **settings: Any) -> None:
            tracer.start_span(name, start_time=second, **settings).end(second + int(took * second))

        end("request", 0.25, kind=SpanKind.SERVER)
        end("otlpfast.profile", 30)  # not a request of anybody's
        with tracer.start_as_current_span("root", start_time=second, end_on_exit=False) as root:
            end("slow part", 20)
        root.end(second + 1)
        assert processor.force_flush()
        wait_for(lambda: told, "the alert")
        assert (told[0].name, told[0].value, told[0].unit) == ("latency_p99", 0.25, "s")
        running.stop()
        assert not _tap.is_attached()


def test_gc_pauses_do_not_deadlock_with_the_metrics_of_the_code_they_interrupt() -> None:
    # A collection may begin while any lock of the metrics SDK is held; nothing is recorded there.
    code = (
        "import gc, sys\n"
        "from opentelemetry.sdk.metrics import MeterProvider\n"
        "from opentelemetry.sdk.metrics.export import InMemoryMetricReader\n"
        "from otlpfast.profiling import RuntimeStatistics\n"
        "reader = InMemoryMetricReader()\n"
        "provider = MeterProvider([reader])\n"
        "gc.set_threshold(1, 1, 1)\n"
        "with RuntimeStatistics(interval=0.05, meter_provider=provider):\n"
        "    for _ in range(200): reader.get_metrics_data()\n"
        "print('ended')"
    )
    assert python(code).stdout == "ended\n"


def test_a_signal_handler_may_ask_for_a_snapshot(statistics: NewStatistics) -> None:
    running = statistics()
    asked: list[RuntimeSnapshot] = []
    with running._reading:  # as if it had interrupted a reading of its own thread
        asked.append(running.snapshot())
    assert asked


def test_statistics_that_were_started_before_there_was_a_meter_provider_go_on() -> None:
    code = (
        "import time\n"
        "from opentelemetry import metrics\n"
        "from opentelemetry.sdk.metrics import MeterProvider\n"
        "from opentelemetry.sdk.metrics.export import InMemoryMetricReader\n"
        "from otlpfast.profiling import RuntimeStatistics\n"
        "first = RuntimeStatistics(interval=0.05).start()\n"
        "reader = InMemoryMetricReader()\n"
        "metrics.set_meter_provider(MeterProvider([reader]))\n"
        "def uptimes():\n"
        "    data = reader.get_metrics_data()\n"
        "    scopes = [s for r in data.resource_metrics for s in r.scope_metrics] if data else []\n"
        "    found = [m for s in scopes for m in s.metrics]\n"
        "    return [m.data.data_points[0].value for m in found if m.name == 'process.uptime']\n"
        "deadline = time.monotonic() + 20\n"
        "while not uptimes() and time.monotonic() < deadline: time.sleep(0.05)\n"
        "first.stop()\n"
        "print(len(uptimes()))\n"
        "second = RuntimeStatistics(interval=0.05).start()\n"
        "while not uptimes() and time.monotonic() < deadline: time.sleep(0.05)\n"
        "print(len(uptimes()))"
    )
    assert python(code).stdout == "0\n1\n"


def test_a_threshold_that_can_not_be_compared_is_a_line_and_no_more(caplog: pytest.LogCaptureFixture) -> None:
    more = [
        Threshold("odd", lambda s: "many", 1, readings=1),  # type: ignore[arg-type, return-value]
        Threshold("fine", lambda s: 2, 1, readings=1),
    ]
    alerts = Alerts(more=more)
    assert [alert.name for alert in alerts.check(reading())] == ["fine"]
    assert "alert odd can't be read: TypeError" in caplog.text

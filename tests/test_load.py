"""``otlpfast load``: what arrives, what it reports, and that spans go nowhere they were not sent to."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otlpfast.cli import main
from otlpfast.cli.chart import Axis
from otlpfast.cli.load import report
from otlpfast.cli.load.histogram import Histogram
from otlpfast.cli.load.pacing import Paced, attributes

from .collector import PATIENCE, Collector, Reply

SHORT = ("load", "--duration", "0.3", "--rate", "500")

# A suite that runs in the background of a shell has its interrupts ignored, and its children inherit that.
INTERRUPTIBLE = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from otlpfast.cli import main
sys.exit(main())
"""


def run_load(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "otlpfast.cli", *SHORT, *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        encoding="utf-8",
        env={**os.environ, "PYTHONIOENCODING": "utf-8", **variables},
    )


def figures(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("pipeline", ["otlpfast", "processor", "sdk"])
def test_what_is_sent_arrives(pipeline: str, tmp_path: Path) -> None:
    chart = tmp_path / "latency.svg"
    done = run_load("--pipeline", pipeline, "--threads", "2", "--json", "--svg", str(chart))
    assert done.returncode == 0, done.stdout + done.stderr
    found = figures(done)
    sent = found["sent"]
    assert 0 < sent <= 0.3 * 500 + 2, "no more than the rate"
    assert found["received"] == found["account"]["exported"] == sent and found["delivered"] is True
    assert sum(count for _, _, count in found["latency_nanoseconds_histogram"]) == sent
    assert 0 < found["latency_microseconds"]["p50"] <= found["latency_microseconds"]["max"]
    assert found["cpu_microseconds_a_span"] > 0 and found["measuring_microseconds_a_span"] > 0
    assert found["load_generator_microseconds_a_span"] > 0
    drawn = ElementTree.parse(chart).getroot()
    assert drawn.find("{*}polyline") is not None and "2 threads" in chart.read_text(encoding="utf-8")


def test_the_chart_is_a_png_where_there_is_pillow(tmp_path: Path) -> None:
    pillow = pytest.importorskip("PIL.Image")
    chart = tmp_path / "latency.png"
    done = run_load("--png", str(chart))
    assert done.returncode == 0, done.stdout + done.stderr
    with pillow.open(chart) as drawn:
        assert (drawn.format, drawn.size) == ("PNG", (1720, 960))
        assert len(drawn.convert("RGB").getcolors(1 << 20)) > 10, "text, lines and what is between"


def test_a_png_without_pillow_is_refused_before_the_load(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    chart = tmp_path / "latency.png"
    assert main(["load", "--duration", "80000", "--png", str(chart)]) == 1
    assert "pip install 'otlpfast[png]'" in capsys.readouterr().err
    assert not chart.exists()


def test_grpc_goes_to_a_sink_of_its_own_as_well() -> None:
    done = run_load("--protocol", "grpc", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert figures(done)["received"] == figures(done)["sent"] > 0


def test_the_report_tells_account_cpu_and_latency() -> None:
    done = run_load("--attributes", "3", "--events", "0")
    assert done.returncode == 0, done.stderr
    for expected in ("3 attributes, 0 events", "0 dropped", "µs a span", "p99.9", "machine:", "bias:"):
        assert expected in done.stdout
    assert "load for 0.3 s" in done.stderr, "progress"


def test_a_collector_gets_the_spans_that_were_asked_for() -> None:
    with Collector() as collector:
        done = run_load("--endpoint", f"http://me:secret@127.0.0.1:{collector.port}", "--attributes", "4")
        spans = collector.spans
    assert done.returncode == 0, done.stderr
    assert f"sent      {len(spans)} spans" in done.stdout and "a collector doesn't say" in done.stdout
    assert {attribute.key for span in spans for attribute in span.attributes} == set(attributes(4))
    assert {len(span.events) for span in spans} == {1}
    assert "secret" not in done.stdout + done.stderr


def test_nothing_goes_where_the_command_line_does_not_say(tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    with Collector() as collector:
        done = run_load(
            "--json",
            OTEL_EXPORTER_OTLP_ENDPOINT=collector.base,
            OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=collector.endpoint,
            OTEL_EXPORTER_OTLP_PROTOCOL="grpc",
            HTTP_PROXY=collector.base,
            OTLPFAST_SPOOL_DIR=str(spool),
            OTEL_TRACES_SAMPLER="always_off",
        )
        assert collector.requests == []
    assert done.returncode == 0, done.stderr
    assert figures(done)["received"] == figures(done)["sent"] > 0
    assert not spool.exists()


def test_spans_that_are_not_delivered_make_it_fail() -> None:
    with Collector() as collector:
        collector.script(then=Reply(404))
        done = run_load("--endpoint", collector.base)
    assert done.returncode == 1
    assert " ended, 0 exported, " in done.stdout and "404" in done.stdout


def test_a_collector_that_is_not_there_is_said() -> None:
    with Collector() as collector:
        endpoint = collector.base
    done = run_load("--endpoint", endpoint)
    assert done.returncode == 1
    assert "nothing answers" in done.stderr and "--endpoint" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(os.name != "posix", reason="sends POSIX signals")
def test_an_interruption_gives_the_report_so_far() -> None:
    with Collector() as collector:
        arguments = ["load", "--duration", "600", "--endpoint", collector.base, "--json"]
        running = subprocess.Popen(
            [sys.executable, "-c", INTERRUPTIBLE, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OTEL_BSP_SCHEDULE_DELAY": "50"},
        )
        with running:
            collector.wait_for_request()
            running.send_signal(signal.SIGINT)
            printed, rest = running.communicate(timeout=3 * PATIENCE)
        assert running.returncode == 130, rest
        assert "Traceback" not in rest
        found: dict[str, Any] = json.loads(printed)
        assert found["interrupted"] is True and found["seconds"] < 600
        assert len(collector.spans) == found["sent"] == found["account"]["exported"] > 0


@pytest.mark.parametrize(
    ("option", "wrong"),
    [("--rate", "-1"), ("--threads", "0"), ("--duration", "nan"), ("--duration", "0"), ("--events", "many")],
)
def test_a_wrong_number_is_refused(option: str, wrong: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refusal:
        main(["load", option, wrong])
    assert refusal.value.code == 2
    assert option in capsys.readouterr().err


def test_the_command_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as leaving:
        main(["load", "--help"])
    assert leaving.value.code == 0
    assert "otlpfast load --rate 20000 --threads 4" in capsys.readouterr().out


# --- its parts

durations = st.lists(st.integers(0, 1 << 39), min_size=1, max_size=200)


@given(durations, durations)
def test_a_histogram_knows_percentiles_to_three_percent(first: list[int], second: list[int]) -> None:
    together = Histogram()
    for values in (first, second):
        histogram = Histogram()
        for value in values:
            histogram.record(value)
        together.add(histogram)
    ordered = sorted(first + second)
    assert together.count == len(ordered) and together.largest == ordered[-1]
    assert together.total == sum(ordered)
    for percent in (0.001, 25, 50, 90, 99, 99.9, 100):
        exact = ordered[max(-int(-len(ordered) * percent // 100), 1) - 1]
        assert exact <= together.percentile(percent) <= exact + exact // 32
    for low, high, _ in together.slots():
        assert any(low <= value <= high for value in ordered)


def test_bursts_keep_the_rate() -> None:
    calls = 0

    def work() -> None:
        nonlocal calls
        calls += 1

    paced = Paced(work, rate=100, threads=1, seconds=0.2, burst=10)
    paced.start()
    paced.join()
    assert calls == paced.stop().count
    assert calls in (10, 20), "none of the third burst, and the first however busy the machine is"


def test_an_empty_histogram_and_one_of_hours_are_no_trouble() -> None:
    histogram = Histogram()
    assert set(histogram.figures().values()) == {0.0}
    histogram.record(1 << 45)
    assert histogram.percentile(50) <= histogram.largest == 1 << 45


def test_threads_share_a_rate_and_stop_when_told() -> None:
    made: queue.SimpleQueue[None] = queue.SimpleQueue()
    paced = Paced(lambda: made.put(None), rate=1, threads=3, seconds=3600)
    paced.start()
    made.get(timeout=PATIENCE)
    assert paced.running and paced.remaining > 3000
    assert paced.stop().count == made.qsize() + 1 == paced.count
    assert not paced.running


@given(st.lists(st.floats(1e-3, 1e12), min_size=1, max_size=20))
def test_an_axis_has_room_for_its_values(values: list[float]) -> None:
    for axis in (Axis.linear("x", values), Axis.decades("x", values)):
        first, last = axis.marks[0][0], axis.marks[-1][0]
        assert first <= min(values) * (1 + 1e-9) and max(values) <= last * (1 + 1e-9)
        assert 2 <= len(axis.marks) <= 17
        assert axis.share(first) == 0 and axis.share(last) == 1


def test_a_chart_of_no_spans_is_a_chart() -> None:
    settings = {"pipeline": "otlpfast", "attributes": 1, "events": 1, "threads": 1}
    empty = report.Result(settings, True, 0.0, 0, {"exported": 0}, 0, 0.0, 0.0, 0.0, Histogram(), [])
    assert ElementTree.fromstring(report.chart(empty).svg()) is not None

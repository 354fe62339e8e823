"""The commands of bench/ that write history, charts and docs/benchmarks.md: what they tell."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from otlpfast import IMPLEMENTATION

from .collector import Collector

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.skipif(not (ROOT / "bench").is_dir(), reason="needs the source tree")


def run(module: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", module, *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        encoding="utf-8",
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
        timeout=300,
    )


def report(ratio: float) -> dict[str, Any]:
    """What pytest-benchmark and bench/conftest.py save."""
    pair = {"operation": "start_span + end", "cost": {"reference": 1e-5, "otlpfast": 1e-5 / ratio}}
    alone = {"operation": "one side only", "cost": {"otlpfast": 1e-6}, "ratio": None}
    found = {"pairs": [{**pair, "ratio": ratio}, alone], "circumstances": {"python": "CPython"}}
    return {"datetime": "2026-01-01T00:00:00", "ratios": found}


def test_each_run_is_a_line_of_the_history_and_a_point_of_the_chart(tmp_path: Path) -> None:
    history, chart = tmp_path / "history.jsonl", tmp_path / "build" / "history.svg"
    for ratio in (40.0, 60.0):
        (tmp_path / "bench.json").write_text(json.dumps(report(ratio)))
        done = run("bench.history", tmp_path / "bench.json", "--history", history)
        assert done.returncode == 0, done.stderr
    first, second = map(json.loads, history.read_text(encoding="utf-8").splitlines())
    assert first["costs"] == {"start_span + end": [1e-5, 1e-5 / 40]}
    assert first["commit"] and second["date"] == "2026-01-01T00:00:00"
    done = run("bench.plot", "--history", history, "--out", chart)
    assert done.returncode == 0, done.stderr
    assert len(ElementTree.parse(chart).getroot().findall("{*}circle")) == 2


def test_a_chart_of_nothing_says_how_to_get_something(tmp_path: Path) -> None:
    done = run("bench.plot", "--history", tmp_path / "none.jsonl", "--out", tmp_path / "none.svg")
    assert done.returncode == 1 and "make bench HISTORY=1" in done.stderr


@pytest.fixture
def page(tmp_path: Path) -> Path:
    """A copy of docs/benchmarks.md."""
    copy = tmp_path / "benchmarks.md"
    copy.write_text((ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8"), encoding="utf-8")
    return copy


def test_scenarios_count_what_arrives_and_write_their_part_of_the_page(page: Path, tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    options = ("--only", "otlpfast", "--only", "SDK, gzip", "--seconds", "0.1", "--repeats", "1")
    readme = tmp_path / "README.md"
    readme.write_text("<!-- rivals -->\n<!-- end of rivals -->\n")
    done = run("bench.scenarios", *options, "--out", page, "--readme", readme, "--json", figures)
    assert done.returncode == 0, done.stderr
    found = json.loads(figures.read_text())
    (steady,) = found["otlpfast: steady"]
    assert 0 < steady["received"]["spans"] <= steady["sent"] <= 0.1 * 4_000 + 1
    assert steady["cpu_seconds"] > 0
    assert found["otlpfast: cost"][0]["microseconds"] > 0 and found["otlpfast: encode"][0]["bytes"] > 400
    short = readme.read_text(encoding="utf-8")
    assert "| otlpfast |" in short and "gzip" not in short
    text = page.read_text(encoding="utf-8")
    for expected in (
        "| otlpfast |",
        "| SDK, gzip |",
        f"implementation {IMPLEMENTATION!r}",
        "<!-- latency -->",
    ):
        assert expected in text


def test_latency_tells_what_a_collection_has_to_look_at(page: Path, tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    options = ("--only", "collections", "--queued", "8000", "--repeats", "1")
    done = run("bench.latency", *options, "--out", page, "--json", figures)
    assert done.returncode == 0, done.stderr
    found = json.loads(figures.read_text())
    stock, ours = (found[f"collections, {name}"][0]["objects"] for name in ("sdk", "native"))
    assert stock - ours > 5 * 8000, "ended spans are bytes"
    assert "8,000 ended spans" in page.read_text(encoding="utf-8")


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc, and hands a socket to gunicorn")
@pytest.mark.parametrize(("name", "spans"), [("fastapi", 3), ("flask", 1)])
def test_a_service_that_was_measured_has_exported_all_of_its_spans(name: str, spans: int) -> None:
    pytest.importorskip("gunicorn")
    from bench.service import cpu_seconds, service

    with Collector() as collector:
        with service(name, "otlpfast", collector.endpoint, dict(os.environ)) as (url, pid):
            for _ in range(4):
                assert json.load(urllib.request.urlopen(url))["number"] == 17
            assert cpu_seconds(pid) > 0
        assert len(collector.spans) == spans * 5, "with that of the request which waited for it"


def test_growth_fits_a_line_and_draws_it(page: Path, tmp_path: Path) -> None:
    charts, figures = tmp_path / "growth", tmp_path / "figures.json"
    options = ("--only", "attributes", "--only", "scopes", "--seconds", "0.1")
    done = run("bench.growth", *options, "--out", page, "--charts", charts, "--json", figures)
    assert done.returncode == 0, done.stderr
    found = json.loads(figures.read_text())
    assert set(found) == {"attributes", "scopes"}
    for least in found["attributes"].values():
        assert least["128"] > least["0"] > 0
    for name in found:
        drawn = ElementTree.parse(charts / f"{name}.svg").getroot()
        assert len(drawn.findall("{*}polyline")) == 4, "both sides and their lines"
        assert f"](growth/{name}.svg)" in page.read_text(encoding="utf-8")


def test_a_line_through_points_on_a_line_is_that_line() -> None:
    from bench.growth import Line

    line = Line.through([(x, 3 + 0.25 * x) for x in (0, 8, 64, 128)])
    assert (line.base, line.slope, line.r2) == pytest.approx((3, 0.25, 1))


def test_a_run_of_the_benchmarks_is_told_in_all_its_places(page: Path, tmp_path: Path) -> None:
    from bench import tables

    saved = report(40.0)
    for pair in saved["ratios"]["pairs"]:
        pair.update(unit="seconds", reference="SDK", verdict="met (promised 30×)")
    (tmp_path / "bench.json").write_text(json.dumps(saved))
    files = {
        "readme": tables.page.README,
        "configuration": tables.CONFIGURATION,
        "performance": tables.PERFORMANCE,
    }
    copies = {name: tmp_path / file.name for name, file in files.items()}
    for name, file in files.items():
        copies[name].write_text(file.read_text(encoding="utf-8"), encoding="utf-8")
    places = [text for name, copy in copies.items() for text in (f"--{name}", copy)]
    done = run("bench.tables", tmp_path / "bench.json", *places, "--out", page)
    assert done.returncode == 0, done.stderr
    for file in (copies["readme"], copies["performance"], page):
        assert "| 10 µs | 250 ns | 40× |" in file.read_text(encoding="utf-8")
    assert "| start_span + end | SDK | 10 µs | 250 ns | 40× | met (promised 30×) |" in page.read_text(
        encoding="utf-8"
    )


def pipeline(name: str, process: float, tracing: float | None, export: float | None) -> dict[str, Any]:
    """What `otlpfast demo --json` says of one."""
    costs = {"process": process, "tracing": tracing, "export": export}
    made = None if tracing is None else 100
    return {
        "name": name,
        "title": name,
        "spans": {"made": made, "received": made},
        "cpu_microseconds_a_span": {
            kind: cost if cost is None else {"value": cost, "error": 0.1} for kind, cost in costs.items()
        },
        "peak_memory_bytes": 30_000_000,
    }


def test_the_picture_of_the_demo_has_a_bar_for_each_pipeline(tmp_path: Path) -> None:
    runs = [
        pipeline("no_sdk", 50, None, None),
        pipeline("no_export", 80, 30, None),
        pipeline("stock", 150, 100, 60),
        pipeline("provider", 58, 8, None),
    ]
    conditions = {"versions": {"otlpfast": "1 (c)"}, "python": "CPython", "system": "Linux", "cpus": 2}
    found = {"runs": runs, "load": {"requests": 6000}, "conditions": conditions}
    (tmp_path / "demo.json").write_text(json.dumps(found))
    done = run("bench.picture", "--json", tmp_path / "demo.json", "--out", tmp_path / "demo.svg")
    assert done.returncode == 0, done.stderr
    drawing = ElementTree.parse(tmp_path / "demo.svg").getroot()
    widths = [
        float(bar.attrib["width"]) for bar in drawing.findall("{*}rect") if bar.attrib["height"] == "28"
    ]
    assert [round(width / widths[0] * 50) for width in widths] == [50, 0, 0, 50, 40, 60, 50, 8, 0]
    (told,) = drawing.findall("{*}title")
    assert told.text == ("Tracing adds 100.0 µs of CPU time a span with the stock SDK, 8.0 µs with otlpfast.")
    assert "all 100 spans of each arrived" in "".join(drawing.itertext())


# A process whose first function took 7 by itself and 40 with what it called, in callgrind's format.
DUMP = """\
events: Ir
ob=(1) /lib/libpython3.so
fn=(1) _PyEval_EvalFrameDefault
+3 5
cob=(2) /lib/otlpfast/_core.so
cfn=(2) put_span
calls=1 0
* 33
-1 2

ob=(2)
fn=(2)
0 33
totals: 40
"""


def test_instructions_count_for_the_function_that_they_are_in(tmp_path: Path) -> None:
    from bench.counting import TIMES, _costs
    from bench.layers import layers

    dump = tmp_path / "counts.2"
    dump.write_text(DUMP)
    found = layers(_costs(dump), Counter())
    expected = {"bytecode, and CPython's way to call a C method": 7, "otlpfast: encode, queue, count": 33}
    assert {name: cost * TIMES for name, cost in found.items()} == pytest.approx(expected)


@pytest.mark.parametrize("measurement", ["spans", "lateness"])
def test_latency_of_spans_and_of_other_threads_is_measured(measurement: str) -> None:
    options = ("--pipeline", "native", "--seconds", "0.1", "--threads", "2", "--rate", "500")
    done = run("bench.latency_worker", "--measure", measurement, *options)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["sent"] > 0 and found["p50"] <= found["p99"] <= found["max"]

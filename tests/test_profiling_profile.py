"""What can be done with a profile: tables, focus, difference, sum, and files in each format."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otlpfast.profiling import Profile, Sample
from otlpfast.profiling._names import module_of, place_of
from otlpfast.profiling._units import amount, percentage

from .profiles import (
    CPU,
    DECODE,
    GET,
    HEAP,
    HOSTILE,
    LAMBDA,
    MAIN,
    OTHER_TRACE,
    QUERY,
    RENDER,
    REQUEST,
    SHOP,
    TRACE,
    WALK,
    cpu,
)


def test_a_table_of_functions() -> None:
    assert str(SHOP.top(4)) == (
        "CPU time of each thread.\n"
        "Type: cpu\n"
        "Time: 2025-11-26 01:47:21 UTC\n"
        "Duration: 10s, Total samples = 7.51s (75.10%)\n"
        "Showing nodes accounting for 7400ms, 98.54% of 7510ms total\n"
        "Showing top 4 nodes out of 7\n"
        "      flat  flat%   sum%        cum   cum%\n"
        "    5000ms 66.58% 66.58%     6230ms 82.96%  views.render /srv/shop/views.py:50\n"
        "    1230ms 16.38% 82.96%     1230ms 16.38%  views.<lambda> /srv/shop/views.py:60\n"
        "     770ms 10.25% 93.21%      770ms 10.25%  json.decoder.JSONDecoder.decode "
        "/usr/lib/python3.11/json/decoder.py:330\n"
        "     400ms  5.33% 98.54%      400ms  5.33%  orm.query.Query.all "
        "/srv/venv/lib/python3.11/site-packages/orm/query.py:70"
    )


def test_rows_as_numbers() -> None:
    table = SHOP.top(by="cum")
    assert [row.function for row in table.rows[:3]] == ["manage.main", "views.Orders.get", "views.render"]
    assert (table.total, table.functions, table.value_type) == (SHOP.total(), 7, CPU[1])
    assert table.rows[0].cum_percent == 100
    assert table.rows[0].flat == 20_000_000
    assert SHOP.top(1, "samples").rows[0].flat == 500
    assert SHOP.top(0).rows == ()


def test_a_function_that_calls_itself_counts_once() -> None:
    [row] = [row for row in SHOP.top().rows if row.function == "tree.walk"]
    assert row.flat == row.cum == 90_000_000
    lines = [row for row in SHOP.top(granularity="lines").rows if row.function == "tree.walk"]
    assert [(row.line, row.flat, row.cum) for row in lines] == [
        (9, 90_000_000, 90_000_000),
        (8, 0, 90_000_000),
    ]


def test_what_is_not_there_is_told_of() -> None:
    with pytest.raises(ValueError, match="value='wall': a cpu profile has samples, cpu"):
        SHOP.top(value="wall")
    with pytest.raises(ValueError, match='"flat" or "cum"'):
        SHOP.top(by="name")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match='"functions" or "lines"'):
        SHOP.top(granularity="files")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no regular expression"):
        SHOP.focus("(")


def test_what_a_prompt_shows() -> None:
    assert repr(SHOP) == "<Profile cpu: samples, cpu of 6 stacks>"


def test_totals() -> None:
    assert SHOP.total() == 7_510_000_000
    assert SHOP.total("samples") == 751
    heap = Profile("heap", HEAP, (Sample((MAIN,), (9, 900, 4, 400)),), 1)
    assert heap.total() == 400  # the last type, where none is the default


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0, "nanoseconds", "0"),
        (999, "nanoseconds", "999ns"),
        (1_500, "nanoseconds", "1.50us"),
        (12_345_678, "nanoseconds", "12.35ms"),
        (7_200_000_000_000, "nanoseconds", "2hrs"),
        (-2_000_000, "nanoseconds", "-2ms"),
        (1023, "bytes", "1023B"),
        (524_288, "bytes", "512kB"),
        (3 << 30, "bytes", "3GB"),
        (123_456, "count", "123456"),
        (7, "pages", "7pages"),
    ],
)
def test_amounts(value: int, unit: str, text: str) -> None:
    assert amount(value, unit) == text


def test_percentages() -> None:
    shares = [percentage(value, 1000) for value in (0, 1, 5, 10, 123, 1000, -123)]
    assert [share.strip() for share in shares] == ["0%", "0.1%", "0.5%", "1.00%", "12.30%", "100%", "12.30%"]
    assert percentage(1, 0).strip() == "0%"


def test_modules_by_the_place_of_their_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.path", ["", "/srv", "/srv/shop/app", "/usr/lib/python3.11", 5])
    places = {
        "/usr/lib/python3.11/json/decoder.py": "json.decoder",
        "/x/lib/python3.13t/asyncio/base_events.py": "asyncio.base_events",
        "/x/lib/python3.12/site-packages/flask/__init__.py": "flask",
        "/x/lib/python3.12/lib-dynload/_json.cpython-312-x86_64-linux-gnu.so": "_json",
        "C:\\Python\\Lib\\site-packages\\flask\\app.py": "flask.app",
        "/srv/shop/app/views.py": "views",
        "/srv/shop/manage.py": "shop.manage",
        "/elsewhere/tool.py": "tool",
        "<frozen importlib._bootstrap>": "importlib._bootstrap",
        "<string>": "",
        "<ipython-input-1>": "",
        "": "",
        "main.go": "",
        "/srv/../x/__init__.py": "",
    }
    module_of.cache_clear()
    try:
        for filename, module in list(places.items())[:-1]:
            assert module_of(filename) == module, filename
    finally:
        module_of.cache_clear()


def test_whose_a_file_is() -> None:
    assert [place_of(frame.filename) for frame in (MAIN, QUERY, DECODE)] == [
        "application",
        "library",
        "standard",
    ]
    assert [place_of(name) for name in ("", "<frozen os>", "<string>")] == [
        "standard",
        "standard",
        "application",
    ]


def test_focus_on_a_request() -> None:
    found = SHOP.focus(trace_id=TRACE)
    assert found.samples == SHOP.samples[:2]
    assert found.comments[-1] == f"only samples with trace_id={TRACE}"
    assert SHOP.focus(trace_id=int(TRACE, 16)) == SHOP.focus(trace_id=TRACE.upper()) == found
    assert SHOP.focus(trace_id=OTHER_TRACE, span_name="GET /").samples == SHOP.samples[2:4]
    assert SHOP.focus(trace_id=TRACE, span_name="GET /").samples == ()
    assert SHOP.focus(attempt=3).samples == SHOP.focus(thread="worker").samples == SHOP.samples[4:5]
    assert SHOP.focus() == SHOP


def test_focus_on_a_function() -> None:
    assert SHOP.focus("views.render$").samples == SHOP.samples[:2]
    assert SHOP.focus("site-packages/orm/").samples == SHOP.samples[3:4]
    assert SHOP.focus("Orders", trace_id=OTHER_TRACE).samples == SHOP.samples[2:4]
    assert SHOP.focus("nowhere").top().rows == ()


def test_a_difference_leaves_out_what_stayed() -> None:
    later = cpu(((RENDER, MAIN), 70, REQUEST), ((DECODE, MAIN), 5, ()), ((MAIN,), 3, (("thread", "a"),)))
    other = tuple(sorted({**dict(REQUEST), "trace_id": OTHER_TRACE}.items()))
    earlier = cpu(((RENDER, MAIN), 20, other), ((LAMBDA,), 15, ()), ((MAIN,), 3, (("thread", "b"),)))
    difference = later.diff(earlier)
    by_stack = {sample.stack: sample.values[0] for sample in difference.samples}
    assert by_stack == {(RENDER, MAIN): 50, (DECODE, MAIN): 5, (LAMBDA,): -15}
    # What is of many requests stays, what is of one is gone.
    assert difference.focus(span_name="GET /orders").samples[0].labels == (("span_name", "GET /orders"),)
    assert difference.comments[-1] == "a difference: this minus one of 10 s"
    assert difference.total("samples") == 40
    assert later.diff(later).samples == ()
    assert [row.flat for row in difference.top(value="samples").rows[:2]] == [50, -15]


def test_profiles_of_different_kinds_have_no_difference_and_no_sum() -> None:
    heap = Profile("heap", HEAP, (), 1)
    with pytest.raises(
        ValueError, match=r"different kinds: cpu \(samples/count, cpu/nanoseconds\) and heap \("
    ):
        SHOP.diff(heap)
    with pytest.raises(ValueError, match="different kinds"):
        SHOP.merge(heap)


def test_a_sum() -> None:
    both = SHOP.merge(replace(SHOP, time_unix_nano=5, comments=("another",)), SHOP)
    assert both.total() == 3 * SHOP.total()
    assert len(both.samples) == len(SHOP.samples)
    assert (both.time_unix_nano, both.duration_nanos) == (5, 3 * SHOP.duration_nanos)
    assert both.comments == (*SHOP.comments, "another")
    assert SHOP.merge() == SHOP


def test_collapsed_stacks() -> None:
    lines = SHOP.to_folded("samples").splitlines()
    assert "manage.main;views.Orders.get;views.render 500" in lines
    assert "manage.main;tree.walk;tree.walk;tree.walk 9" in lines
    assert "manage.main 2" in lines
    hostile = SHOP.to_folded() + HOSTILE.to_folded("samples")
    assert all(line.rpartition(" ")[2].lstrip("-").isdigit() for line in hostile.splitlines())


# What https://www.speedscope.app/file-format-schema.json asks of a file of sampled profiles.
SPEEDSCOPE_UNITS = {"none", "nanoseconds", "microseconds", "milliseconds", "seconds", "bytes"}


def check_speedscope(text: str) -> Any:
    made = json.loads(text)
    assert made["$schema"] == "https://www.speedscope.app/file-format-schema.json"
    assert set(made) <= {"$schema", "shared", "profiles", "name", "activeProfileIndex", "exporter"}
    assert set(made["shared"]) == {"frames"}
    for frame in made["shared"]["frames"]:
        assert set(frame) <= {"name", "file", "line", "col"}
        assert isinstance(frame["name"], str) and isinstance(frame.get("file", ""), str)
        assert isinstance(frame.get("line", 0), int)
    assert 0 <= made["activeProfileIndex"] < len(made["profiles"])
    for profile in made["profiles"]:
        assert set(profile) == {"type", "name", "unit", "startValue", "endValue", "samples", "weights"}
        assert profile["type"] == "sampled" and profile["unit"] in SPEEDSCOPE_UNITS
        assert len(profile["samples"]) == len(profile["weights"])
        assert profile["endValue"] - profile["startValue"] == sum(profile["weights"])
        assert all(weight >= 0 for weight in profile["weights"])
        frames = range(len(made["shared"]["frames"]))
        assert all(number in frames for stack in profile["samples"] for number in stack)
    return made


def test_speedscope() -> None:
    made = check_speedscope(SHOP.to_speedscope())
    names = [frame["name"] for frame in made["shared"]["frames"]]
    views = {view["name"]: view for view in made["profiles"]}
    assert [(name, view["unit"]) for name, view in views.items()] == [
        ("samples", "none"),
        ("cpu", "nanoseconds"),
    ]
    assert made["profiles"][made["activeProfileIndex"]]["name"] == "cpu"
    first = [names[number] for number in views["cpu"]["samples"][0]]
    assert first == ["manage.main", "views.Orders.get", "views.render"]  # the outermost first
    assert views["cpu"]["weights"][0] == 5_000_000_000


def test_speedscope_shows_a_difference_as_two_views() -> None:
    difference = cpu(((RENDER,), 5, ())).diff(cpu(((WALK,), 3, ())))
    views = check_speedscope(difference.to_speedscope())["profiles"]
    assert [(view["name"], view["weights"]) for view in views[:2]] == [
        ("samples, more than before", [5]),
        ("samples, less than before", [3]),
    ]


@pytest.mark.parametrize("suffix", [".pb.gz", ".pprof", ".speedscope.json", ".svg", ".txt", ".folded"])
@pytest.mark.parametrize("profile", [SHOP, HOSTILE, cpu()], ids=["shop", "hostile", "empty"])
def test_files_by_their_suffix(tmp_path: Path, suffix: str, profile: Profile) -> None:
    path = profile.save(str(tmp_path / f"profile{suffix}"))
    assert path == tmp_path / f"profile{suffix}"
    assert path.read_bytes() or profile == cpu()
    if suffix in (".pb.gz", ".pprof"):
        assert Profile.load(path).total() == profile.total()
    if suffix == ".speedscope.json":
        check_speedscope(path.read_text("utf-8"))
    if suffix == ".txt":
        assert "\x1b" not in path.read_text("utf-8")


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"profile\.png: a profile can be saved as \*\.pb\.gz, "):
        SHOP.save(tmp_path / "profile.png")
    text = tmp_path / "notes.pb.gz"
    text.write_text("hello")
    with pytest.raises(ValueError, match=r"notes\.pb\.gz: no "):
        Profile.load(text)
    with pytest.raises(FileNotFoundError):
        Profile.load(tmp_path / "nothing.pb.gz")


NUMBERS = st.integers(-(10**6), 10**6)
STACKS = st.lists(st.sampled_from([MAIN, GET, RENDER, LAMBDA, WALK]), max_size=5).map(tuple)
VALUES = st.tuples(NUMBERS, NUMBERS)
SAMPLES = st.lists(st.builds(Sample, STACKS, VALUES, st.just(())), max_size=8).map(tuple)


@given(SAMPLES, SAMPLES)
def test_difference_and_sum_undo_each_other(some: tuple[Sample, ...], others: tuple[Sample, ...]) -> None:
    one, other = (replace(SHOP, samples=samples) for samples in (some, others))
    again = one.diff(other).merge(other)

    def sums(profile: Profile) -> set[Sample]:
        return set(profile.merge().samples)

    assert sums(again) == sums(one)
    for value in ("samples", "cpu"):
        table = one.top(100, value)
        assert sum(row.flat for row in table.rows) == sum(
            sample.values[one.value_index(value)] for sample in one.samples if sample.stack
        )

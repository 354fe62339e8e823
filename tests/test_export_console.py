"""Spans on the terminal: trees, colours where they belong, and bounded memory."""

from __future__ import annotations

import io
import re
from collections.abc import Callable

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.trace import SpanContext, Status, StatusCode, TraceFlags

from otlpfast.export.console import ConsoleSpanExporter

TRACE = 0xABC
TIME = re.compile(r"\d\d:\d\d:\d\d\.\d{3}")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def span(
    name: str,
    number: int,
    parent: int = 0,
    *,
    trace: int = TRACE,
    remote: bool = False,
    error: str | None = None,
) -> ReadableSpan:
    def context(span_id: int, is_remote: bool) -> SpanContext:
        return SpanContext(trace, span_id, is_remote, TraceFlags(1))

    return ReadableSpan(
        name,
        context(number, False),
        parent=context(parent, remote) if parent else None,
        start_time=number * 1_000_000,
        end_time=number * 1_000_000 + 2_500_000,
        status=Status(StatusCode.ERROR, error) if error is not None else Status(),
    )


Shown = Callable[..., list[str]]


def tree(stream: io.StringIO) -> list[str]:
    """The lines without their times."""
    lines = stream.getvalue().splitlines()
    assert all(TIME.match(line) for line in lines)
    return [TIME.sub("", line) for line in lines]


def test_a_trace_is_shown_as_a_tree_once_its_root_has_ended() -> None:
    stream = io.StringIO()
    exporter = ConsoleSpanExporter(stream)
    children = [span("second", 3, 1), span("grandchild", 4, 3), span("first", 2, 1)]
    assert exporter.export(children) is SpanExportResult.SUCCESS
    assert stream.getvalue() == ""
    exporter.export([span("root", 1)])
    assert tree(stream) == [
        f"   2.5 ms  root  (trace {TRACE:032x})",
        "   2.5 ms    first",
        "   2.5 ms    second",
        "   2.5 ms      grandchild",
    ]


def test_a_remote_parent_makes_a_root() -> None:
    stream = io.StringIO()
    ConsoleSpanExporter(stream).export([span("server", 2, 1, remote=True), span("query", 3, 2)])
    assert [line.split()[2] for line in tree(stream)] == ["server", "query"]


def test_errors_are_named() -> None:
    stream = io.StringIO()
    ConsoleSpanExporter(stream).export(
        [span("root", 1, error="ValueError: no\ngood"), span("x", 2, 1, error="")]
    )
    assert tree(stream)[0].startswith("   2.5 ms  root  ERROR  ValueError: no?good  (trace ")
    assert tree(stream)[1] == "   2.5 ms    x  ERROR"


def test_an_error_without_words_is_named_by_its_attributes() -> None:
    stream = io.StringIO()
    failed = span("root", 1, error="")
    failed._attributes = {"error.type": "TimeoutError", "http.response.status_code": 504}
    ConsoleSpanExporter(stream).export([failed])
    assert "root  ERROR  TimeoutError" in tree(stream)[0]


def test_what_ends_after_the_root_is_shown_at_once() -> None:
    stream = io.StringIO()
    exporter = ConsoleSpanExporter(stream)
    exporter.export([span("root", 1)])
    exporter.export([span("late", 2, 1)])
    assert "late" in tree(stream)[1]


def test_spans_whose_parent_never_comes_are_bounded() -> None:
    stream = io.StringIO()
    exporter = ConsoleSpanExporter(stream, max_spans=10)
    for number in range(1, 101):
        exporter.export([span("orphan", number, 999, trace=number)])
        assert exporter._count <= 10
    assert len(tree(stream)) == 90
    assert "its root has not ended" in tree(stream)[0]
    exporter.shutdown()
    assert len(tree(stream)) == 100
    assert exporter._count == 0 and not exporter._waiting


def test_what_is_remembered_of_traces_that_were_shown_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("otlpfast.export.console._REMEMBERED", 2)
    exporter = ConsoleSpanExporter(io.StringIO())
    exporter.export([span("root", 1, trace=trace) for trace in (1, 2, 3)])
    assert list(exporter._shown) == [2, 3]


def test_a_child_does_not_show_what_waits_in_its_parent() -> None:
    stream = io.StringIO()
    exporter = ConsoleSpanExporter(stream)
    exporter.export([span("of the parent", 2, 1)])
    exporter._pid += 1  # as after a fork
    assert exporter.force_flush()
    exporter._pid += 1
    exporter.export([span("of the child", 1)])
    assert [line.split()[2:5] for line in tree(stream)] == [["of", "the", "child"]]


@pytest.mark.parametrize(
    ("nanoseconds", "words"),
    [
        (-1, "0.0 µs"),
        (9_960, "10.0 µs"),
        (123_400, "123 µs"),
        (2_500_000, "2.5 ms"),
        (90_000_000_000, "90.00 s"),
    ],
)
def test_durations(nanoseconds: int, words: str) -> None:
    stream = io.StringIO()
    one = span("root", 1)
    one._end_time = (one.start_time or 0) + nanoseconds
    ConsoleSpanExporter(stream).export([one])
    assert tree(stream)[0].strip().startswith(words)


def test_patience_ends() -> None:
    stream = io.StringIO()
    exporter = ConsoleSpanExporter(stream, patience=0)
    exporter.export([span("orphan", 2, 1)])
    assert "orphan" in tree(stream)[0]


def test_parents_in_a_ring_are_shown_all_the_same() -> None:
    stream = io.StringIO()
    exporter = ConsoleSpanExporter(stream)
    exporter.export([span("root", 1), span("a", 2, 3), span("b", 3, 2)])
    assert sorted(line.split()[2] for line in tree(stream)) == ["a", "b", "root"]


def test_deep_trees_end_at_the_edge() -> None:
    stream = io.StringIO()
    ConsoleSpanExporter(stream).export([span("s", number, number - 1) for number in range(1, 2001)])
    assert len(tree(stream)) == 2000
    assert max(map(len, tree(stream)[1:])) < 80


@pytest.mark.parametrize(
    ("stream", "variables", "coloured"),
    [
        (Terminal(), {}, True),
        (Terminal(), {"NO_COLOR": "1"}, False),
        (Terminal(), {"NO_COLOR": ""}, True),
        (Terminal(), {"TERM": "dumb"}, False),
        (io.StringIO(), {}, False),
    ],
)
def test_colours(
    monkeypatch: pytest.MonkeyPatch, stream: io.StringIO, variables: dict[str, str], coloured: bool
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    ConsoleSpanExporter(stream).export([span("root", 1, error="bad"), span("fine", 2, 1)])
    bad, fine = stream.getvalue().splitlines()
    assert ("\x1b[31mroot  bad\x1b[0m" in bad) is coloured
    assert ("\x1b" in bad + fine) is coloured
    assert "\x1b[31m" not in fine


def test_control_characters_do_not_reach_the_terminal() -> None:
    stream = io.StringIO()
    ConsoleSpanExporter(stream).export([span("\x1b[2Jname\r\n" + "x" * 500, 1, error="\x07")])
    assert stream.getvalue().removesuffix("\n").isprintable()
    assert len(stream.getvalue()) < 300


def test_a_terminal_with_few_characters(tmp_path: object) -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    assert ConsoleSpanExporter(stream).export([span("grün", 1)]) is SpanExportResult.SUCCESS
    assert b"gr?n" in raw.getvalue()


def test_a_program_without_a_console(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr", None)
    assert ConsoleSpanExporter().export([span("root", 1)]) is SpanExportResult.FAILURE


def test_a_closed_stream_is_a_failure_and_no_error() -> None:
    stream = io.StringIO()
    stream.close()
    assert ConsoleSpanExporter(stream).export([span("root", 1)]) is SpanExportResult.FAILURE

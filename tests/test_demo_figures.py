"""How the demo tells equal payloads from unequal ones, and how it shows what it found."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import SpanKind

import otlpfast
from otlpfast.cli.console import Console
from otlpfast.cli.demo.encoders import as_documented
from otlpfast.cli.demo.figures import Estimate, Load, Result, Row
from otlpfast.cli.demo.messages import SpanSet, difference, set_difference
from otlpfast.cli.demo.observer import Observer
from otlpfast.cli.demo.pipelines import OTLPFAST, PIPELINES, PROCESSOR, STOCK, Pipeline
from otlpfast.cli.demo.report import as_table, times_cheaper

# Equality of what was received.


def request(seed: int, change: Callable[[Span], None] = lambda _: None) -> ExportTraceServiceRequest:
    """Two traces: a root and a child that links to the first root. Ids and times come from the seed."""
    message = ExportTraceServiceRequest()
    resource_spans = message.resource_spans.add()
    for key, value in (("service.name", "notes"), ("process.pid", str(seed))):
        resource_spans.resource.attributes.add(key=key).value.string_value = value
    scope_spans = resource_spans.scope_spans.add()
    scope_spans.scope.name = "demo"
    for trace in range(2):
        ids = (seed * 2 + trace).to_bytes(16, "big"), (seed * 4 + trace).to_bytes(8, "big")
        root = scope_spans.spans.add(trace_id=ids[0], span_id=ids[1], name=f"root {trace}", flags=0x100)
        child = scope_spans.spans.add(trace_id=ids[0], span_id=b"child" + ids[1][5:], parent_span_id=ids[1])
        child.name, child.flags = "child", 0x100
        child.attributes.add(key="n").value.int_value = trace
        child.attributes.add(key="net.host.port").value.int_value = seed
        child.links.add(trace_id=(seed * 2).to_bytes(16, "big"), span_id=(seed * 4).to_bytes(8, "big"))
        child.events.add(name="happened", time_unix_nano=seed + 7)
        for span in (root, child):
            span.start_time_unix_nano, span.end_time_unix_nano = seed + 1, seed + 9
    change(scope_spans.spans[-1])
    return message


def parted(change: Callable[[Span], None]) -> str | None:
    return set_difference(SpanSet([request(1)]), SpanSet([request(50, change)]))


def test_ids_times_and_process_attributes_do_not_count() -> None:
    assert parted(lambda span: None) is None


def test_w3c_flags_and_trace_state_of_links_do_not_count() -> None:
    def change(span: Span) -> None:
        span.flags |= 1
        span.links[0].flags |= 1
        span.links[0].trace_state = "a=b"

    assert parted(change) is None


def traced(*tracer_frames: str) -> Callable[[Span], None]:
    """Gives an event the stack trace of an exception that passed these frames of the tracer."""
    trace = (
        "Traceback (most recent call last):\n"
        + "".join(f'  File "/sdk/a.py", line 9, in {frame}\n    yield span\n' for frame in tracer_frames)
        + '  File "/app.py", line 3, in handler\n    work()\n    ^^^^^^\nValueError: none\n'
    )

    def change(span: Span) -> None:
        span.events[0].attributes.add(key="exception.stacktrace").value.string_value = trace

    return change


def test_the_tracers_own_frames_in_a_stack_trace_do_not_count_but_the_applications_do() -> None:
    def found(*frames: str) -> str | None:
        own = SpanSet([request(1, traced("use_span", "start_as_current_span"))])
        return set_difference(own, SpanSet([request(50, traced(*frames))]))

    assert found() is found("start_as_current_span") is None
    said = found("another_function")
    assert said is not None and "another_function" in said


def test_batches_and_their_order_do_not_count() -> None:
    split = [request(1), request(1)]
    del split[0].resource_spans[0].scope_spans[0].spans[2:]
    del split[1].resource_spans[0].scope_spans[0].spans[:2]
    assert set_difference(SpanSet([request(50)]), SpanSet(reversed(split))) is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda span: setattr(span.attributes[0].value, "int_value", 5),
            "attributes[0].value.int_value: 1, 5",
        ),
        (lambda span: setattr(span.attributes[0].value, "string_value", "1"), "string_value: not set, '1'"),
        (lambda span: setattr(span, "flags", 0x300), "flags: 256, 768"),
        (lambda span: setattr(span, "end_time_unix_nano", 0), "end_time_unix_nano: 1, 0"),
        (lambda span: setattr(span.events[0], "name", "other"), "events[0].name: 'happened', 'other'"),
        (lambda span: span.ClearField("events"), "events: 1, 0 of them"),
        (lambda span: setattr(span.links[0], "span_id", b"stranger"), "linked: ('root 0',), ('elsewhere',)"),
        (lambda span: setattr(span, "name", "other"), "one of them is 'child'"),
        (lambda span: setattr(span, "parent_span_id", b""), "put together into other traces"),
        (lambda span: span.MergeFromString(b"\xf8\x07\x01"), "unknown fields differ"),
    ],
)
def test_any_other_difference_is_named(change: Callable[[Span], None], said: str) -> None:
    found = parted(change)
    assert found is not None and said in found


def test_a_span_that_came_twice_or_not_at_all_is_a_difference() -> None:
    def twice(span: Span) -> None:
        again.resource_spans[0].scope_spans[0].spans.add().CopyFrom(span)

    again = request(50)
    twice(again.resource_spans[0].scope_spans[0].spans[0])
    found = set_difference(SpanSet([request(1)]), SpanSet([again]))
    assert found is not None and "0 spans only in the first, 1 only in the second" in found
    again = request(50)
    del again.resource_spans[0].scope_spans[0].spans[-1]
    assert set_difference(SpanSet([request(1)]), SpanSet([again])) is not None


def test_the_encoders_are_compared_with_the_documented_differences_only() -> None:
    provider = TracerProvider(shutdown_on_exit=False)
    tracer = provider.get_tracer("t", attributes={"a": 1})
    with tracer.start_as_current_span("first") as first:
        pass
    span = tracer.start_span("second", links=[otlp_link(first)])
    span.end()
    spans = [first._readable_span(), span._readable_span()]  # type: ignore[attr-defined]
    ours = ExportTraceServiceRequest.FromString(otlpfast.encode_spans(spans))
    assert difference(as_documented(encode_spans(spans), spans), ours) is None
    found = difference(encode_spans(spans), ours)
    flags = 0x100 | first.get_span_context().trace_flags
    assert found == f"resource_spans[0].scope_spans[0].spans[0].flags: 256, {flags}"


def otlp_link(span: Any) -> Any:
    from opentelemetry.trace import Link, SpanContext, TraceState

    context = span.get_span_context()
    state = TraceState([("vendor", "x")])
    return Link(SpanContext(context.trace_id, context.span_id, False, context.trace_flags, state))


def test_the_spans_of_each_request_are_counted_by_its_end() -> None:
    observer = Observer(keep=3)
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(observer)
    tracer = provider.get_tracer("t")
    for children in (2, 0, 1):
        with tracer.start_as_current_span("request", kind=SpanKind.SERVER):
            for number in range(children):
                tracer.start_span(f"{number}").end()
    assert observer.by_request == [3, 4, 6]
    assert [span.name for span in observer.spans] == ["0", "1", "request"]


# The table.


def row(pipeline: Pipeline, cpu: float) -> Row:
    found = Row(pipeline, 100 if pipeline.provider else None, None, [[cpu] * 3], 40_000_000)
    if pipeline.exports:
        found.accepted = found.received = 100
        found.wire_bytes = 5000
    if pipeline in (STOCK, PROCESSOR):
        found.encode_microseconds = cpu / 10
    return found


@pytest.fixture
def result() -> Iterator[Result]:
    found = Result(Load(60, 1, 3), None, "1.2.3", "c", 512, None)
    found.rows = [row(*of) for of in zip(PIPELINES, (60.0, 100.0, 160.0, 103.0, 65.0), strict=True)]
    found.differences = dict.fromkeys(pipeline.name for pipeline in OTLPFAST)
    yield found


def test_the_table_shows_what_was_measured(result: Result) -> None:
    table = as_table(result).splitlines()

    def cells(line: int) -> str:
        return " ".join(table[line].split())

    assert cells(3) == "no SDK - - - 60.0 - - - - 40.0"
    assert cells(4) == "SDK, no export 100 - - 100.0 40.0 - - - 40.0"
    assert cells(5) == "stock SDK 100 100 0 160.0 100.0 60.0 16.00 5,000 40.0"
    assert cells(6) == "otlpfast processor 100 100 0 103.0 43.0 3.0 10.30 5,000 40.0"
    assert cells(7) == "otlpfast provider 100 100 0 65.0 5.0 - - 5,000 40.0"
    assert cells(9) == "cheaper: processor 1.55× 2.3× 20× 1.55× 1.00× 1.00×"
    assert cells(10) == "cheaper: provider 2.5× 20× - - 1.00× 1.00×"
    assert "payloads equal: yes (100 spans of each as received; 512 real spans as encoded)" in table
    assert any(line.startswith("otlpfast 1.2.3 (c), opentelemetry-sdk ") for line in table)
    assert result.good and "plain-Python" not in "".join(table)


def test_the_slow_implementation_is_named(result: Result) -> None:
    result.implementation = "py"
    assert "The plain-Python implementation ran" in as_table(result)


def test_a_loss_is_shown_and_fails(result: Result) -> None:
    result.stock.received = 93
    assert "not delivered: 7 of 100 spans of stock SDK" in as_table(result)
    assert not result.good


@pytest.mark.parametrize("pipeline", OTLPFAST, ids=lambda pipeline: pipeline.name)
def test_spans_that_came_twice_are_shown_and_fail(result: Result, pipeline: Pipeline) -> None:
    result.row(pipeline).received = 102
    assert f"received more than once: 2 of 100 spans of {pipeline.title}" in as_table(result)
    assert not result.good


def test_a_difference_is_shown_and_fails(result: Result) -> None:
    result.encoder_difference = "resource_spans[0].schema_url: 'a', 'b'"
    assert "payloads equal: no\n  encoded, stock against otlpfast: resource_spans[0]" in as_table(result)
    assert not result.good


@pytest.mark.parametrize("pipeline", OTLPFAST, ids=lambda pipeline: pipeline.name)
def test_a_difference_in_what_one_pipeline_sent_names_it_and_fails(
    result: Result, pipeline: Pipeline
) -> None:
    result.differences[pipeline.name] = "span 'a': flags: 1, 2"
    said = f"payloads equal: no\n  received, stock SDK against {pipeline.title}: span 'a': flags: 1, 2"
    assert said in as_table(result) and not result.good


def test_a_cost_that_drowns_in_noise_gives_a_bound_and_no_ratio() -> None:
    assert times_cheaper(Estimate(60.0, 1.0), Estimate(10.0, 1.0)) == (6.0, True)
    assert times_cheaper(Estimate(60.0, 1.0), Estimate(-1.0, 5.0)) == (58.0 / 9.0, False)
    assert times_cheaper(Estimate(60.0, None), Estimate(-1.0, None)) is None
    assert times_cheaper(None, 3) is None


def test_an_estimate_is_the_median_with_its_error() -> None:
    assert Estimate.of([[3.0, 1.0, 2.0]]) == Estimate(2.0, None)
    assert Estimate.of([[5.0] * 9]) == Estimate(5.0, 0.0)
    wide = Estimate.of([[float(n) for n in range(101)]])
    assert wide.value == 50.0 and wide.error == pytest.approx(4.7, abs=0.1)
    processes = Estimate.of([[5.0] * 3, [7.0] * 3])
    assert processes.error == pytest.approx(1.0), "steady turns, but the two processes differ"


@pytest.mark.parametrize("requests", [1, 19, 60, 399, 400, 1203, 6000])
def test_every_request_has_its_turn(requests: int) -> None:
    load = Load.of(requests)
    shares = [load.shares(number) for number in range(load.rounds)]
    assert load.longest == max(map(sum, shares))
    assert sum(map(sum, shares)) == requests
    assert all(len(turns) == load.turns and min(turns) >= 1 for turns in shares)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_is_plain_lines_where_there_is_no_terminal() -> None:
    stream = io.StringIO()
    console = Console(stream)
    console.step("one")
    console.update("50 %")
    console.step("two")
    console.clear()
    assert stream.getvalue() == "one\ntwo\n"


def test_progress_renews_its_line_on_a_terminal_without_colour_if_so_wished(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    for value, coloured in ("1", False), ("", True):
        monkeypatch.setenv("NO_COLOR", value)
        stream = Terminal()
        console = Console(stream)
        console.step("one")
        console.update("50 %")
        console.note("mind this")
        said = stream.getvalue()
        assert "one 50 %" in said and said.endswith("\n") and ("\x1b[33m" in said) is coloured

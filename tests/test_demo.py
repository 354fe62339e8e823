"""``otlpfast demo``: what a user sees, and how it tells equal payloads from unequal ones."""

from __future__ import annotations

import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.sdk.trace import TracerProvider

import otlpfast
from otlpfast.cli import demo, main
from otlpfast.cli.console import Console
from otlpfast.cli.demo.children import Child, Deadline, DemoError
from otlpfast.cli.demo.client import sequence
from otlpfast.cli.demo.encoders import as_documented
from otlpfast.cli.demo.figures import Estimate, Load, Result, Row
from otlpfast.cli.demo.messages import SpanSet, difference, set_difference
from otlpfast.cli.demo.pipelines import BASELINE, OTLPFAST, STOCK
from otlpfast.cli.demo.report import as_table, times_cheaper
from otlpfast.cli.demo.runs import environment, traces_endpoint

from .collector import PATIENCE, Collector, Reply


def run_demo(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "otlpfast.cli", "demo", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, encoding="utf-8")


@pytest.fixture(scope="module")
def finished() -> dict[str, Any]:
    """A demo that ran through, as JSON."""
    done = run_demo("--requests", "60", "--json")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_every_span_arrives_and_the_payloads_are_equal(finished: dict[str, Any]) -> None:
    assert finished["payloads_equal"] is True and finished["received_difference"] is None
    baseline, stock, fast = (run["spans"] for run in finished["runs"])
    assert stock["made"] == fast["made"] == baseline["made"] > 60
    assert stock["received"] == fast["received"] == stock["made"]
    assert stock["dropped"] == fast["dropped"] == 0
    assert stock["accepted"] == fast["accepted"] == stock["made"]
    assert baseline["received"] is None


def test_every_figure_is_measured(finished: dict[str, Any]) -> None:
    baseline, stock, fast = finished["runs"]
    assert finished["load"] == {"requests": 60, "rounds": 1, "turns": 3}
    by_turn = "process_by_round_and_turn"
    assert [run["name"] for run in (baseline, stock, fast)] == ["baseline", "stock", "otlpfast"]
    for run in (stock, fast):
        assert run["encode_microseconds_a_span"] > 0 and run["wire_bytes"] > 10_000
        cpu = run["cpu_microseconds_a_span"]
        (mine,), (others,) = cpu[by_turn], baseline["cpu_microseconds_a_span"][by_turn]
        beyond = sorted(one - other for one, other in zip(mine, others, strict=True))
        assert cpu["pipeline"]["value"] == pytest.approx(beyond[1])
    assert baseline["encode_microseconds_a_span"] is None
    assert finished["spans_compared_as_encoded"] == 512
    assert finished["conditions"]["versions"]["otlpfast"].endswith(f"({otlpfast.IMPLEMENTATION})")


def test_a_real_collector_gets_the_spans_of_both() -> None:
    with Collector() as collector:
        done = run_demo("--requests", "40", "--collector", f"http://me:secret@127.0.0.1:{collector.port}")
        spans = len(collector.spans)
    assert done.returncode == 0, done.stderr
    assert "payloads equal: yes" in done.stdout and "doesn't say what it received" in done.stdout
    assert "to http://***@127.0.0.1" in done.stdout and "secret" not in done.stdout + done.stderr
    row = next(line.split() for line in done.stdout.splitlines() if line.startswith("otlpfast"))
    assert spans == 2 * int(row[1])
    assert row[2:4] == ["-", "-"], "what a collector received is not known"


def test_a_collector_that_refuses_makes_the_demo_fail() -> None:
    with Collector() as collector:
        collector.script(then=Reply(404))
        done = run_demo("--requests", "20", "--collector", collector.base)
    assert done.returncode == 1
    assert "not delivered" in done.stdout and "of stock SDK" in done.stdout and "of otlpfast" in done.stdout
    assert "404" in done.stderr, "what the exporters complained of is shown"


def test_no_collector_is_said_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        assert main(["demo", "--collector", f"http://127.0.0.1:{port}"]) == 1
    assert f"nothing answers at 127.0.0.1, port {port}" in capsys.readouterr().err


@pytest.mark.parametrize("url", ["localhost:4318", "http://localhost:many", "ftp://localhost"])
def test_a_wrong_collector_url_is_named(url: str) -> None:
    with pytest.raises(DemoError, match=r"is not a URL that begins with http:// or https://"):
        traces_endpoint(url)


def test_the_path_for_traces_is_added_once() -> None:
    with Collector() as collector:
        assert traces_endpoint(collector.base) == traces_endpoint(collector.endpoint) == collector.endpoint
        assert traces_endpoint(f"{collector.base}/tenant/") == f"{collector.base}/tenant/v1/traces"


def test_missing_packages_are_named_with_the_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(demo.NEEDS, "opentelemetry.instrumentation.nothing.such", "such-a-package")
    assert main(["demo"]) == 1
    said = capsys.readouterr().err
    assert said.rstrip().endswith("-m pip install such-a-package") and "Traceback" not in said


@pytest.mark.parametrize("number", ["0", "-3", "many", "nan"])
@pytest.mark.parametrize("option", ["--requests", "--timeout"])
def test_a_wrong_number_is_refused(option: str, number: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refusal:
        main(["demo", option, number])
    assert refusal.value.code == 2
    assert option in capsys.readouterr().err


def test_the_command_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, expected in (["--help"], "otlpfast demo"), (["--version"], otlpfast.IMPLEMENTATION):
        with pytest.raises(SystemExit) as leaving:
            main(arguments)
        assert leaving.value.code == 0
        assert expected in capsys.readouterr().out


def started_demo() -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "otlpfast.cli", "demo", "--requests", "1000000", "--timeout", "100"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for(condition: Callable[[], bool]) -> bool:
    end = time.monotonic() + PATIENCE
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)
    return condition()


def alive(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def children_of(running: subprocess.Popen[str]) -> list[psutil.Process]:
    """The sink and the three services."""
    assert running.stderr
    for line in running.stderr:
        if line.startswith("round 1"):
            break
    assert wait_for(lambda: len(psutil.Process(running.pid).children()) == 4)
    found: list[psutil.Process] = psutil.Process(running.pid).children(recursive=True)
    assert len(found) == 4
    return found


@pytest.mark.skipif(os.name != "posix", reason="sends POSIX signals")
@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGKILL])
def test_nothing_remains_after_an_interruption(by: signal.Signals) -> None:
    with started_demo() as running:
        children = children_of(running)
        running.send_signal(by)
        _, rest = running.communicate(timeout=3 * PATIENCE)
    assert running.returncode == (130 if by is signal.SIGINT else -by)
    assert "Traceback" not in rest
    assert wait_for(lambda: not any(map(alive, children)))


def test_a_deadline_ends_it_with_a_reason() -> None:
    done = run_demo("--requests", "1000000", "--timeout", "2")
    assert done.returncode == 1
    assert "not finished after 2 s" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("pipeline", [STOCK, OTLPFAST])
def test_the_stock_pipeline_does_not_carry_otlpfast_in_its_memory(pipeline: Any) -> None:
    arguments = ("--pipeline", pipeline.name, "--endpoint", "http://127.0.0.1:9/v1/traces")
    variables = {**os.environ, "PYTHONPROFILEIMPORTTIME": "1"}
    with Child(
        "otlpfast.cli.demo.service",
        arguments,
        variables,
        Deadline(PATIENCE),
        bare=not pipeline.imports_otlpfast,
    ) as child:
        child.answer()
        imported = {line.rpartition("|")[2].strip() for line in child.complaints()}
    assert "opentelemetry.sdk.trace" in imported
    assert ("otlpfast.processor" in imported) is pipeline.imports_otlpfast


def test_a_child_that_fails_tells_why() -> None:
    with Child("otlpfast.cli.demo.service", ("--nonsense",), os.environ, Deadline(PATIENCE)) as child:
        with pytest.raises(DemoError, match="ended with code 2") as failure:
            child.answer()
        assert "--pipeline" in str(failure.value)


def test_settings_made_for_an_application_do_not_tilt_the_comparison() -> None:
    inherited = {
        "PATH": "/bin",
        "OTEL_SDK_DISABLED": "true",
        "OTEL_BSP_MAX_QUEUE_SIZE": "1",
        "OTEL_EXPORTER_OTLP_HEADERS": "a=b",
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://elsewhere",
        "OTLPFAST_IMPL": "py",
        "OTLPFAST_DISABLED": "true",
        "HTTP_PROXY": "http://proxy",
    }
    own = environment(None, inherited)
    assert not [name for name in own if name.startswith("OTEL_")]
    assert own["OTLPFAST_IMPL"] == "py" and "OTLPFAST_DISABLED" not in own and own["NO_PROXY"] == "127.0.0.1"
    theirs = environment("http://collector", inherited)
    assert [name for name in theirs if name.startswith("OTEL_")] == ["OTEL_EXPORTER_OTLP_HEADERS"]
    assert "NO_PROXY" not in theirs


def test_the_requests_are_the_same_in_every_run() -> None:
    assert list(islice(sequence(), 500)) == list(islice(sequence(), 500))


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


# The table.


def row(pipeline: Any, cpu: list[float], received: int | None = 100) -> Row:
    exports = pipeline is not BASELINE
    found = Row(pipeline, 100, 100 if exports else None, [cpu], 40_000_000)
    if exports:
        found.received, found.wire_bytes, found.encode_microseconds = received, 5000, cpu[0] / 10
    return found


@pytest.fixture
def result() -> Iterator[Result]:
    found = Result(Load(60, 1, 3), None, "1.2.3", "c", 512, None)
    found.rows = [row(BASELINE, [100.0] * 3), row(STOCK, [160.0] * 3), row(OTLPFAST, [103.0] * 3)]
    yield found


def test_the_table_shows_what_was_measured(result: Result) -> None:
    table = as_table(result).splitlines()

    def cells(line: int) -> str:
        return " ".join(table[line].split())

    assert cells(3) == "no export 100 - - 100.0 - - - 40.0"
    assert cells(4) == "stock SDK 100 100 0 160.0 60.0 16.00 5,000 40.0"
    assert cells(5) == "otlpfast 100 100 0 103.0 3.0 10.30 5,000 40.0"
    assert cells(7) == "times cheaper 1.55× 20× 1.55× 1.00× 1.00×"
    assert "payloads equal: yes (100 spans as received; 512 real spans as encoded)" in table
    assert any(line.startswith("otlpfast 1.2.3 (c), opentelemetry-sdk ") for line in table)
    assert result.good and "plain-Python" not in "".join(table)


def test_the_slow_implementation_is_named(result: Result) -> None:
    result.implementation = "py"
    assert "The plain-Python implementation ran" in as_table(result)


def test_a_loss_is_shown_and_fails(result: Result) -> None:
    result.stock.received = 93
    assert "not delivered: 7 of 100 spans of stock SDK" in as_table(result)
    assert not result.good


def test_spans_that_came_twice_are_shown_and_fail(result: Result) -> None:
    result.otlpfast.received = 102
    assert "received more than once: 2 of 100 spans of otlpfast" in as_table(result)
    assert not result.good


def test_a_difference_is_shown_and_fails(result: Result) -> None:
    result.encoder_difference = "resource_spans[0].schema_url: 'a', 'b'"
    assert "payloads equal: no\n  encoded, stock against otlpfast: resource_spans[0]" in as_table(result)
    assert not result.good


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


@pytest.mark.parametrize("requests", [1, 19, 60, 399, 400, 6000])
def test_every_request_has_its_turn(requests: int) -> None:
    load = Load.of(requests)
    shares = [load.shares(number) for number in range(load.rounds)]
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

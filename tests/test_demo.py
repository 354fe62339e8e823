"""``otlpfast demo``: what a user sees, and what is left behind however it ends."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import islice
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest

import otlpfast
from otlpfast.cli import demo, main
from otlpfast.cli.demo.children import Child, Deadline, DemoError
from otlpfast.cli.demo.client import sequence
from otlpfast.cli.demo.pipelines import NO_SDK, OTLPFAST, PIPELINES, STOCK, Pipeline
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
    assert finished["payloads_equal"] is True
    assert finished["received_differences"] == {"processor": None, "provider": None}
    no_sdk, no_export, *exported = (run["spans"] for run in finished["runs"])
    made = no_export["made"]
    assert made > 60
    for spans in exported:
        assert spans == {"made": made, "received": made, "accepted": made, "dropped": 0}
    assert no_sdk == dict.fromkeys(no_sdk)
    assert no_export["received"] is None


def test_every_figure_is_measured(finished: dict[str, Any]) -> None:
    assert finished["load"] == {"requests": 60, "rounds": 1, "turns": 3}
    runs = {run["name"]: run for run in finished["runs"]}
    assert list(runs) == ["no_sdk", "no_export", "stock", "processor", "provider"]
    cpu = {name: run["cpu_microseconds_a_span"] for name, run in runs.items()}
    by_turn = "process_by_round_and_turn"

    def beyond(name: str, other: str) -> Any:
        (mine,), (others,) = cpu[name][by_turn], cpu[other][by_turn]
        return pytest.approx(sorted(one - other for one, other in zip(mine, others, strict=True))[1])

    for name in ("stock", "processor", "provider"):
        assert runs[name]["wire_bytes"] > 10_000
        assert cpu[name]["tracing"]["value"] == beyond(name, "no_sdk")
        assert name in ("stock", *finished["times_cheaper"])
    for name in ("stock", "processor"):
        assert runs[name]["encode_microseconds_a_span"] > 0
        assert cpu[name]["export"]["value"] == beyond(name, "no_export")
    assert cpu["provider"]["export"] is None, "its spans are not those of the service without export"
    assert cpu["no_sdk"]["tracing"] is None and runs["no_export"]["encode_microseconds_a_span"] is None
    assert finished["spans_compared_as_encoded"] == 512
    assert finished["conditions"]["versions"]["otlpfast"].endswith(f"({otlpfast.IMPLEMENTATION})")


def test_a_real_collector_gets_the_spans_of_all() -> None:
    with Collector() as collector:
        done = run_demo("--requests", "40", "--collector", f"http://me:secret@127.0.0.1:{collector.port}")
        spans = len(collector.spans)
    assert done.returncode == 0, done.stderr
    assert "payloads equal: yes" in done.stdout and "doesn't say what it received" in done.stdout
    assert "to http://***@127.0.0.1" in done.stdout and "secret" not in done.stdout + done.stderr
    row = next(line.split() for line in done.stdout.splitlines() if line.startswith("otlpfast provider"))
    assert spans == 3 * int(row[2])
    assert row[3:5] == ["-", "-"], "what a collector received is not known"


def test_a_collector_that_refuses_makes_the_demo_fail() -> None:
    with Collector() as collector:
        collector.script(then=Reply(404))
        done = run_demo("--requests", "20", "--collector", collector.base)
    assert done.returncode == 1
    for pipeline in (STOCK, *OTLPFAST):
        assert re.search(rf"^not delivered: .* spans of {pipeline.title}$", done.stdout, re.MULTILINE)
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


# A suite that runs in the background of a shell has its interrupts ignored, and its children inherit that.
INTERRUPTIBLE = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from otlpfast.cli import main
sys.exit(main())
"""


def started_demo() -> subprocess.Popen[str]:
    command = [sys.executable, "-c", INTERRUPTIBLE, "demo", "--requests", "5000", "--timeout", "100"]
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
    """The sink and the services."""
    assert running.stderr
    for line in running.stderr:
        if line.startswith("round 1"):
            break
    expected = 1 + len(PIPELINES)
    assert wait_for(lambda: len(psutil.Process(running.pid).children()) == expected)
    found: list[psutil.Process] = psutil.Process(running.pid).children(recursive=True)
    assert len(found) == expected
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


@pytest.mark.parametrize("pipeline", PIPELINES, ids=lambda pipeline: pipeline.name)
def test_each_pipeline_carries_in_its_memory_only_what_it_uses(pipeline: Pipeline) -> None:
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
    assert ("opentelemetry.sdk.trace" in imported) is (pipeline is not NO_SDK)
    assert ("otlpfast.processor" in imported) is (pipeline in OTLPFAST)


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

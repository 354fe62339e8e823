"""The life of an OTLP/gRPC exporter: choosing it, deadlines, shutdown, forks, wrong peers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from opentelemetry.sdk.trace.export import SpanExportResult

from otlpfast import OTLPSpanExporter
from otlpfast.batch import ExportOutcome
from otlpfast.export import http, retry
from otlpfast.export.grpc import GRPCSpanExporter
from otlpfast.export.grpc_failure import read_retry_delay

from .collector import PATIENCE, Collector
from .exporting import (  # noqa: F401
    EXPORTED,
    FAILED,
    REJECTED,
    Certificates,
    Silent,
    batch,
    certificates_fixture,
    free_port,
    one_warning,
    spans,
)
from .forks import in_child
from .grpc_collector import HANG, Failure, GRPCCollector, Make, collector_fixture, make_fixture  # noqa: F401
from .pipeline import until

Code = grpc.StatusCode
ROOT = Path(__file__).parent.parent


# --- choosing it


def test_a_variable_chooses_the_protocol(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert isinstance(OTLPSpanExporter()._exporter, http.OTLPSpanExporter)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "gRPC")
    exporter = OTLPSpanExporter()
    assert isinstance(exporter._exporter, GRPCSpanExporter)
    assert exporter._endpoint == "localhost:4317"
    assert "grpc" in repr(exporter)
    assert isinstance(OTLPSpanExporter(protocol="http/protobuf")._exporter, http.OTLPSpanExporter)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/protobuf")
    assert isinstance(OTLPSpanExporter()._exporter, http.OTLPSpanExporter)
    assert not caplog.records
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json")
    assert isinstance(OTLPSpanExporter()._exporter, http.OTLPSpanExporter)
    assert one_warning(caplog) == (
        "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL='http/json' is not known; allowed: http/protobuf, grpc; "
        "using the default, http/protobuf"
    )


def test_a_wrong_protocol_raises() -> None:
    with pytest.raises(ValueError, match=r"protocol='http' is not known; allowed: http/protobuf, grpc"):
        OTLPSpanExporter(protocol="http")
    with pytest.raises(TypeError, match="protocol must be one of"):
        OTLPSpanExporter(protocol=1)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"insecure": "yes"}, TypeError),
        ({"credentials": "x"}, TypeError),
        ({"timeout": "3"}, TypeError),
        ({"timeout": -1}, ValueError),
        ({"compression": "br"}, ValueError),
        ({"compression": 1}, TypeError),
        ({"channel_options": [1]}, TypeError),
        ({"certificate_file": "/nowhere"}, ValueError),
        ({"client_key_file": "/nowhere"}, ValueError),
        ({"colour": "red"}, TypeError),
    ],
)
def test_wrong_arguments_raise(settings: dict[str, Any], error: type[Exception], make: Make) -> None:
    with pytest.raises(error, match=next(iter(settings))):
        make("https://localhost:4317", **settings)


def test_without_grpcio_the_error_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['grpc'] = None\n"
        "import otlpfast\n"
        "otlpfast.OTLPSpanExporter()\n"
        "try: otlpfast.OTLPSpanExporter(protocol='grpc')\n"
        "except ImportError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "the OTLP/gRPC exporter needs grpcio: pip install otlpfast[grpc]"


@pytest.mark.parametrize("wrong", [b"\xff", b"\x1a\x02\x0a", b"\x08\x08", b"\x1a\x00", b""])
def test_a_status_without_a_readable_retry_info_asks_for_no_delay(wrong: bytes) -> None:
    assert read_retry_delay(wrong) is None


# --- deadlines, shutdown, wrong peers


def test_the_deadline_is_kept(collector: GRPCCollector, make: Make, caplog: pytest.LogCaptureFixture) -> None:
    collector.script(HANG)
    start = time.monotonic()
    assert make(collector).export_batch(batch(), timeout=0.3) == FAILED
    assert 0.25 < time.monotonic() - start < PATIENCE
    assert "timed out after 0." in one_warning(caplog)


@pytest.mark.parametrize("timeout", [1e12, 1e300])
def test_a_timeout_beyond_what_grpc_can_count_is_a_long_one(
    timeout: float, collector: GRPCCollector, make: Make
) -> None:
    exporter = make(collector, timeout=timeout)
    assert exporter.export_batch(batch()) == EXPORTED
    assert exporter.export(spans()) is SpanExportResult.SUCCESS


def test_without_time_nothing_is_sent(
    collector: GRPCCollector, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    assert make(collector).export_batch(batch(), timeout=0) == FAILED
    assert collector.requests == []
    assert one_warning(caplog).endswith("no time is left")


@pytest.mark.parametrize("answer", [HANG, Failure(Code.UNAVAILABLE, delay=3000)])
def test_shutdown_interrupts(
    answer: Any, collector: GRPCCollector, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    collector.script(answer)
    exporter = make(collector, timeout=3600)
    done: list[ExportOutcome] = []
    thread = threading.Thread(target=lambda: done.append(exporter.export_batch(batch())))
    thread.start()
    collector.wait_for_request(1)
    exporter.shutdown(0)
    thread.join(PATIENCE)
    assert done == [FAILED]
    assert "cut off by the shutdown" in one_warning(caplog)
    assert exporter.export_batch(batch()) == FAILED
    assert exporter.export(spans()) is SpanExportResult.FAILURE
    assert len(collector.requests) == 1


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs setitimer")
def test_a_signal_handler_may_flush_and_export_and_shut_down_in_the_middle_of_an_export(
    collector: GRPCCollector, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []

    def handle(*_: object) -> None:
        seen.append(hanging.force_flush(60_000))
        seen.append(make(collector).export_batch(batch()))
        hanging.shutdown(60_000)

    with Silent() as silent:
        hanging = make(silent.endpoint, timeout=3600)
        before = signal.signal(signal.SIGALRM, handle)
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.3)
            assert hanging.export_batch(batch()) == FAILED
        finally:
            signal.signal(signal.SIGALRM, before)
    assert seen == [True, EXPORTED]


def test_force_flush_waits_for_the_export_under_way(collector: GRPCCollector, make: Make) -> None:
    collector.script(HANG)
    exporter = make(collector, timeout=3600)
    assert exporter.force_flush(0) is True
    thread = threading.Thread(target=exporter.export_batch, args=(batch(),))
    thread.start()
    collector.wait_for_request(1)
    assert exporter.force_flush(50) is False
    exporter.shutdown(0)
    thread.join(PATIENCE)
    assert exporter.force_flush(0) is True


def test_a_call_is_repeated_at_once_where_another_one_has_hung_up(
    collector: GRPCCollector, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    for pause in "FIRST_PAUSE", "LONGEST_PAUSE":  # beyond the time-out
        monkeypatch.setattr(retry, pause, 86400.0)
    collector.script(HANG, Failure(Code.UNAVAILABLE))
    exporter = make(collector, timeout=3600)
    done: list[ExportOutcome] = []
    thread = threading.Thread(target=lambda: done.append(exporter.export_batch(batch())))
    thread.start()
    collector.wait_for_request(1)
    assert exporter.export_batch(batch()) == FAILED
    thread.join(PATIENCE)
    assert done == [EXPORTED]
    assert len(collector.requests) == 3


# --- wrong peers


def test_a_port_where_nobody_listens_is_said_plainly(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    exporter = make(f"http://127.0.0.1:{free_port()}", timeout=0.5)
    assert exporter.export_batch(batch()) == FAILED
    assert "connection refused (is the collector running and listening there?)" in one_warning(caplog)
    for _ in range(3):
        exporter.export_batch(batch(), timeout=0.1)
    one_warning(caplog)


def test_a_server_of_http_1_is_said_plainly_and_at_once(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    with Collector() as collector:
        assert make(collector.base, timeout=PATIENCE).export_batch(batch()) == FAILED
        assert collector.requests == []
    assert "the answer is not HTTP/2 (is it an OTLP/gRPC port?" in one_warning(caplog)


def test_an_answer_that_is_a_bomb_is_not_unpacked(
    collector: GRPCCollector, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    collector.script(bytes(50 << 20))
    assert make(collector).export_batch(batch()) == REJECTED
    assert "'gzip' is disabled" in one_warning(caplog)


def test_an_answer_that_is_too_large_is_given_up(
    collector: GRPCCollector, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    plain = [("grpc.max_receive_message_length", 1000)]
    collector.script(bytes(2000))
    assert make(collector, channel_options=plain).export_batch(batch()) == REJECTED
    assert len(collector.requests) == 1
    assert "CLIENT: Received message larger than max" in one_warning(caplog)


def test_plain_text_to_a_tls_port_is_said_plainly(
    make: Make, certificates: Certificates, caplog: pytest.LogCaptureFixture
) -> None:
    with Collector(certificates.server()) as collector:
        assert make(f"http://127.0.0.1:{collector.port}", timeout=0.5).export_batch(batch()) == FAILED
    assert "is http:// or https:// right" in one_warning(caplog)


def test_a_host_that_does_not_exist_is_said_plainly(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    assert make("http://nobody.invalid:4317", timeout=1).export_batch(batch()) == FAILED
    text = one_warning(caplog)
    assert "was not found" in text or "timed out" in text  # where the resolver itself does not answer


# --- forks: gRPC servers are other processes here, a fork would break one in this


@pytest.fixture(name="elsewhere")
def elsewhere_fixture() -> Iterator[str]:
    """The endpoint of a collector in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)])}
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.grpc_collector"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
        text=True,
    )
    with process:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        assert process.stdin is not None
        process.stdin.close()


def exported(exporter: OTLPSpanExporter) -> int:
    return exporter.export_batch(batch()).exported


def test_parent_and_children_export_after_a_fork(elsewhere: str, make: Make) -> None:
    exporter = make(elsewhere)
    assert exporter.export_batch(batch()) == EXPORTED
    for _ in range(3):
        grandchild = lambda: [exported(exporter), in_child(lambda: exported(exporter))]  # noqa: E731
        assert in_child(grandchild) == [3, 3]
        assert exporter.export_batch(batch()) == EXPORTED


def test_a_fork_in_the_middle_of_an_export_harms_neither_side(elsewhere: str, make: Make) -> None:
    working = make(elsewhere)
    assert working.export_batch(batch()) == EXPORTED
    done: list[ExportOutcome] = []
    with Silent() as silent:
        hanging = make(silent.endpoint, timeout=3600)
        thread = threading.Thread(target=lambda: done.append(hanging.export_batch(batch())))
        thread.start()
        for _ in range(5):
            until(lambda: bool(hanging._exporter._calls.line()._callers), "a call is under way")  # type: ignore[union-attr]
            assert in_child(lambda: exported(working)) == 3
            assert working.export_batch(batch()) == EXPORTED
        assert done == []  # it goes on
        hanging.shutdown(0)
        thread.join(PATIENCE)
    assert done == [FAILED]


def test_a_child_that_ends_in_the_usual_way_is_fine(elsewhere: str) -> None:
    code = (
        "import os, sys\n"
        "from otlpfast import OTLPSpanExporter\n"
        "from tests.exporting import batch\n"
        "exporter = OTLPSpanExporter(sys.argv[1], protocol='grpc')\n"
        "assert exporter.export_batch(batch()).exported == 3\n"
        "child = os.fork()\n"
        "assert exporter.export_batch(batch()).exported == 3\n"
        "if child:\n"
        "    assert os.waitpid(child, 0)[1] == 0\n"
        "exporter.shutdown()\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)])}
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, elsewhere],
        env=environment,
        timeout=PATIENCE * 2,
        check=True,
    )

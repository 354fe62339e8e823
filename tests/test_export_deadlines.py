"""Deadlines that hold, shutdown and flush, and what a fork leaves alone."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry.sdk.trace.export import SpanExportResult

from otlpfast.batch import ExportOutcome

from .collector import PATIENCE, Collector, Reply
from .exporting import (  # noqa: F401
    EXPORTED,
    FAILED,
    NEVER,
    Certificates,
    Make,
    Pieces,
    Silent,
    batch,
    certificates_fixture,
    collector_fixture,
    free_port,
    make_fixture,
    one_warning,
    spans,
)

# --- deadlines


def test_a_server_that_never_answers_costs_the_timeout_and_no_more(
    collector: Collector, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    collector.script(Reply(delay=NEVER))
    start = time.monotonic()
    assert make(collector, timeout=0.3).export_batch(batch()) == FAILED
    assert 0.29 < time.monotonic() - start < 3
    assert "timed out after 0.3 s waiting for the answer" in one_warning(caplog)


def test_a_server_that_never_reads_costs_the_timeout_and_no_more(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    with Silent() as silent:
        exporter = make(silent.endpoint, timeout=0.3)
        start = time.monotonic()
        assert exporter.export_batch(Pieces((bytes(50_000_000),))) == FAILED  # type: ignore[arg-type]
        assert time.monotonic() - start < 3
    assert "timed out after 0.3 s sending the request" in one_warning(caplog)


def test_a_server_that_never_shakes_hands_costs_the_timeout_and_no_more(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    with Silent() as silent:
        exporter = make(silent.endpoint.replace("http:", "https:"), timeout=0.3)
        start = time.monotonic()
        assert exporter.export_batch(batch()) == FAILED
        assert time.monotonic() - start < 3
    assert "timed out after 0.3 s in the TLS handshake" in one_warning(caplog)


def test_an_answer_that_drips_in_does_not_stretch_the_deadline(
    collector: Collector, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    collector.script(Reply(drip=0.05))
    start = time.monotonic()
    assert make(collector, timeout=0.4).export_batch(batch()) == FAILED
    assert time.monotonic() - start < 3
    assert "timed out after 0.4 s waiting for the answer" in one_warning(caplog)


def test_a_body_that_drips_in_does_not_stretch_the_deadline_and_the_status_stands(
    collector: Collector, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    collector.script(Reply(body=bytes(500), drip_body=0.05))
    exporter = make(collector, timeout=0.4)
    start = time.monotonic()
    assert exporter.export_batch(batch()) == EXPORTED
    assert time.monotonic() - start < 3
    assert "broke off after status 200" in one_warning(caplog)
    assert exporter.export_batch(batch()) == EXPORTED
    assert collector.connections_opened == 2


def test_the_timeout_of_a_call_can_only_shorten(collector: Collector, make: Make) -> None:
    collector.script(then=Reply(delay=NEVER))
    for own, given in ((0.3, 60.0), (60.0, 0.3), (60.0, 0.0), (60.0, -1.0)):
        start = time.monotonic()
        assert make(collector, timeout=own).export_batch(batch(), timeout=given) == FAILED
        assert time.monotonic() - start < 3


def test_a_name_server_that_does_not_answer_costs_the_timeout_and_no_more(
    make: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    answer, lookups, real = threading.Event(), [], socket.getaddrinfo

    def getaddrinfo(host: str, *args: Any, **kwargs: Any) -> Any:
        if kwargs.get("flags", 0) & socket.AI_NUMERICHOST:
            return real(host, *args, **kwargs)
        lookups.append(host)
        answer.wait(PATIENCE)
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    exporter = make("http://collector.invalid:4318/", timeout=0.3)
    start = time.monotonic()
    for _ in range(3):
        assert exporter.export_batch(batch()) == FAILED
    assert time.monotonic() - start < 5
    assert lookups == ["collector.invalid"]  # never two at a time
    assert "timed out after 0.3 s looking up the host name" in one_warning(caplog)
    caplog.clear()
    answer.set()
    assert exporter.export_batch(batch(), timeout=10) == FAILED
    assert "the host name 'collector.invalid' was not found" in one_warning(caplog)


def test_an_address_that_refuses_gives_way_to_the_next(
    collector: Collector, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def getaddrinfo(host: str, port: int, **kwargs: Any) -> Any:
        ports = (free_port(), port)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", p)) for p in ports]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    assert make(f"http://two.example:{collector.port}/").export_batch(batch()) == EXPORTED


# --- shutdown


def test_after_shutdown_export_fails_with_one_warning(
    collector: Collector, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    exporter = make(collector)
    assert exporter.export_batch(batch()) == EXPORTED
    exporter.shutdown()
    exporter.shutdown()
    collector.wait_for_closed_connections(1)
    for _ in range(3):
        assert exporter.export_batch(batch()) == FAILED
        assert exporter.export(spans()) is SpanExportResult.FAILURE
    assert f"the exporter to {collector.endpoint} is shut down" in one_warning(caplog)
    assert len(collector.requests) == 1
    assert exporter.force_flush(100)


@pytest.mark.parametrize("tls", [False, True])
def test_shutdown_cuts_off_an_export_that_outlives_its_time(
    make: Make, caplog: pytest.LogCaptureFixture, certificates: Certificates, tls: bool
) -> None:
    with Collector(certificates.server() if tls else None) as collector:
        exporter = make(collector, timeout=60, certificate_file=certificates.ca)
        assert exporter.export_batch(batch()) == EXPORTED
        collector.script(then=Reply(delay=NEVER))
        outcome: list[ExportOutcome] = []
        thread = threading.Thread(target=lambda: outcome.append(exporter.export_batch(batch())))
        thread.start()
        collector.wait_for_request(2)
        start = time.monotonic()
        exporter.shutdown(200)
        thread.join(PATIENCE)
        assert time.monotonic() - start < 5
        assert outcome == [FAILED]
        assert len(collector.requests) == 2  # not tried again on a new connection


def test_shutdown_lets_an_export_end_in_time(collector: Collector, make: Make) -> None:
    exporter = make(collector)
    collector.script(Reply(delay=0.2))
    outcome: list[ExportOutcome] = []
    thread = threading.Thread(target=lambda: outcome.append(exporter.export_batch(batch())))
    thread.start()
    collector.wait_for_request()
    exporter.shutdown()
    thread.join(PATIENCE)
    assert outcome == [EXPORTED]
    collector.wait_for_closed_connections(1)


def test_force_flush_waits_for_the_export_under_way(collector: Collector, make: Make) -> None:
    exporter = make(collector)
    assert exporter.force_flush()
    collector.script(Reply(delay=0.2))
    outcome: list[ExportOutcome] = []
    thread = threading.Thread(target=lambda: outcome.append(exporter.export_batch(batch())))
    thread.start()
    collector.wait_for_request()
    assert exporter.force_flush(10_000)
    thread.join(PATIENCE)
    assert outcome == [EXPORTED]


# --- fork


def in_child(work: Callable[[], bool]) -> bool:
    """Whether `work` was true in a forked child, which ends without touching the test run."""
    pid = os.fork()
    if pid == 0:
        code = 2
        try:
            code = 0 if work() else 1
        finally:
            os._exit(code)
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status) == 0
        time.sleep(0.01)
    os.kill(pid, 9)
    os.waitpid(pid, 0)
    raise AssertionError("the child hangs")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("tls", [False, True])
def test_a_forked_child_makes_its_own_connection_and_leaves_the_parent_s_alone(
    make: Make, certificates: Certificates, tls: bool
) -> None:
    with Collector(certificates.server() if tls else None) as collector:
        exporter = make(collector, certificate_file=certificates.ca)
        assert exporter.export_batch(batch()) == EXPORTED

        def child() -> bool:
            if exporter.export_batch(batch()) != EXPORTED or exporter.export_batch(batch()) != EXPORTED:
                return False
            grandchild = in_child(lambda: exporter.export_batch(batch()) == EXPORTED)
            exporter.shutdown()
            return grandchild

        assert in_child(child)
        assert exporter.export_batch(batch()) == EXPORTED
        connections = [request.connection for request in collector.requests]
        assert len(connections) == 5
        assert connections[0] == connections[4]
        assert connections[1] == connections[2]
        assert len(set(connections)) == 3


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_child_forked_while_another_thread_exports_does_not_wait_for_it(
    collector: Collector, make: Make
) -> None:
    collector.script(Reply(delay=NEVER))
    exporter = make(collector, timeout=60)
    thread = threading.Thread(target=exporter.export_batch, args=(batch(),))
    thread.start()
    collector.wait_for_request()
    assert in_child(lambda: exporter.export_batch(batch(), timeout=10) == EXPORTED)
    exporter.shutdown(0)
    thread.join(PATIENCE)

"""When an export is tried again, how long it waits for that, and what ends the waiting."""

from __future__ import annotations

import email.utils
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from otlpfast import BatchSpanProcessor, OTLPSpanExporter, TracerProvider
from otlpfast.batch import ExportOutcome
from otlpfast.export import retry
from otlpfast.export.retry import Ending, Retry, Stop, pause_before, read_retry_after

from .collector import PATIENCE, Collector, Reply
from .exporting import (  # noqa: F401
    EXPORTED,
    FAILED,
    REJECTED,
    Certificates,
    Make,
    batch,
    certificates_fixture,
    collector_fixture,
    free_port,
    make_fixture,
    one_warning,
    spans,
    warnings,
)
from .pipeline import NEVER_MILLIS, account, end_spans, soon
from .spans import provider

SOON = {"Retry-After": "0"}
LATER = {"Retry-After": "3000"}


def in_thread(work: Callable[[], ExportOutcome]) -> tuple[threading.Thread, list[ExportOutcome]]:
    outcomes: list[ExportOutcome] = []
    thread = threading.Thread(target=lambda: outcomes.append(work()), daemon=True)
    thread.start()
    return thread, outcomes


# --- what is tried again


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_passing_error_is_tried_again_and_nobody_is_warned(
    collector: Collector, make: Make, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    collector.script(Reply(status, headers=SOON), Reply(status, headers=SOON))
    assert make(collector, compression="gzip").export_batch(batch()) == EXPORTED
    assert len(collector.requests) == 3
    assert len({request.body for request in collector.requests}) == 1
    assert not warnings(caplog)


@pytest.mark.parametrize("status", [301, 307, 400, 401, 404, 408, 422, 500, 501, 505, 599])
def test_other_errors_are_not_tried_again(collector: Collector, make: Make, status: int) -> None:
    collector.script(Reply(status, headers=SOON))
    assert make(collector).export_batch(batch()) in (FAILED, REJECTED)
    assert len(collector.requests) == 1


def test_a_partial_success_is_not_tried_again(collector: Collector, make: Make) -> None:
    collector.script(Reply.partial_success(2, headers=SOON))
    assert make(collector).export_batch(batch()) == ExportOutcome(exported=1, rejected=2)
    assert len(collector.requests) == 1


def test_export_of_spans_is_tried_again_too(collector: Collector, make: Make) -> None:
    collector.script(Reply(503, headers=SOON))
    assert make(collector).export(spans()).name == "SUCCESS"
    assert len(collector.requests) == 2


def test_a_connection_that_breaks_is_tried_again(collector: Collector, make: Make) -> None:
    collector.script(Reply(hang_up=True))
    assert make(collector).export_batch(batch()) == EXPORTED
    assert collector.connections_opened == 2


def test_a_collector_that_starts_late_gets_the_spans(make: Make) -> None:
    port = free_port()
    exporter = make(f"http://127.0.0.1:{port}/v1/traces", timeout=PATIENCE)
    thread, outcomes = in_thread(lambda: exporter.export_batch(batch()))
    with Collector(port=port) as collector:
        thread.join(PATIENCE)
        assert outcomes == [EXPORTED]
        assert len(collector.spans) == 3


def test_a_host_name_that_is_not_found_is_looked_up_again(
    collector: Collector, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    lookups: list[str] = []
    real = socket.getaddrinfo

    def getaddrinfo(host: str, port: int, **more: int) -> object:
        if more.get("flags") or host != "collector.example":
            return real(host, port, **more)
        lookups.append(host)
        if len(lookups) == 1:
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return real("127.0.0.1", port, **more)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    assert make(f"http://collector.example:{collector.port}/").export_batch(batch()) == EXPORTED
    assert len(lookups) == 2


def test_a_certificate_that_is_not_trusted_fails_at_once(
    make: Make, certificates: Certificates, caplog: pytest.LogCaptureFixture
) -> None:
    with Collector(certificates.server()) as collector:
        assert make(collector, timeout=600).export_batch(batch()) == FAILED
        assert collector.connections_opened == 1
    assert "certificate verify failed" in one_warning(caplog)


def test_something_that_is_no_http_fails_at_once(collector: Collector, make: Make) -> None:
    collector.script(Reply(raw=b"SSH-2.0-OpenSSH_9\r\n"))
    assert make(collector, timeout=600).export_batch(batch()) == FAILED
    assert len(collector.requests) == 1


# --- how long it waits


@pytest.mark.parametrize("as_date", [False, True])
def test_the_pause_that_retry_after_asks_for_is_kept(collector: Collector, make: Make, as_date: bool) -> None:
    start = time.monotonic()
    asked = email.utils.formatdate(time.time() + 3, usegmt=True) if as_date else "2"
    collector.script(Reply(503, headers={"Retry-After": asked}))
    assert make(collector, timeout=PATIENCE).export_batch(batch()) == EXPORTED
    assert time.monotonic() - start > 1.9  # a date has whole seconds: 2 to 3 of them
    assert len(collector.requests) == 2


@pytest.mark.parametrize("asked", ["60", email.utils.formatdate(time.time() + 3600, usegmt=True), "9" * 500])
def test_a_retry_beyond_the_deadline_is_not_waited_for(
    collector: Collector, make: Make, caplog: pytest.LogCaptureFixture, asked: str
) -> None:
    collector.script(Reply(429, headers={"Retry-After": asked}))
    start = time.monotonic()
    assert make(collector, timeout=30).export_batch(batch()) == FAILED
    assert time.monotonic() - start < 15
    assert len(collector.requests) == 1
    assert "it asks to come back in " in one_warning(caplog)


def test_the_timeout_of_the_call_bounds_all_attempts(
    collector: Collector, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    collector.script(then=Reply(503, headers=SOON))
    start = time.monotonic()
    assert make(collector, timeout=60).export_batch(batch(), timeout=1) == FAILED
    assert time.monotonic() - start < 10
    assert 2 <= len(collector.requests) <= 10  # it does not spin, though it may come back at once
    assert f"given up after {len(collector.requests)} attempts" in one_warning(caplog)


def test_a_wall_clock_that_jumps_changes_nothing(
    collector: Collector, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    collector.script(Reply(503, headers={"Retry-After": "1"}))
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() - 3600)
    assert make(collector, timeout=PATIENCE).export_batch(batch()) == EXPORTED
    assert len(collector.requests) == 2


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        (" 120 ", 120.0),
        ("Sun, 06 Nov 1994 08:49:37 GMT", 0.0),
        ("Sun, 06 Nov 1994 08:49:37 -0000", 0.0),
        *((text, None) for text in (None, "", "soon", "-1", "1.5", "1e3", "²", "Sun, 99 Nov 1994 99:99:99")),
    ],
)
def test_retry_after_is_read_or_ignored(text: str | None, seconds: float | None) -> None:
    assert read_retry_after(text) == seconds


def test_pauses_double_up_to_half_a_minute_and_differ_from_each_other() -> None:
    for attempt, middle in ((1, 1), (2, 2), (3, 4), (5, 16), (6, 30), (5000, 30)):
        drawn = {pause_before(attempt, None) for _ in range(50)}
        assert len(drawn) > 1
        assert all(0.8 * middle <= pause <= 1.2 * middle for pause in drawn)


# --- what ends the waiting


def test_shutdown_ends_a_pause(collector: Collector, make: Make, caplog: pytest.LogCaptureFixture) -> None:
    collector.script(Reply(503, headers=LATER))
    exporter = make(collector, timeout=5000)
    thread, outcomes = in_thread(lambda: exporter.export_batch(batch()))
    collector.wait_for_request()
    assert not exporter.force_flush(50)  # it waits for what is tried again
    exporter.shutdown()
    thread.join(PATIENCE)
    assert outcomes == [FAILED]
    assert len(collector.requests) == 1
    assert "the exporter is shut down" in one_warning(caplog)


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="needs POSIX signals")
def test_shutdown_in_a_signal_handler_ends_the_pause_of_the_same_thread(
    collector: Collector, make: Make
) -> None:
    collector.script(Reply(503, headers=LATER))
    exporter = make(collector, timeout=5000)
    inner: list[ExportOutcome] = []

    def handler(*_: object) -> None:
        inner.append(exporter.export_batch(batch()))
        exporter.shutdown()

    def interrupt() -> None:
        collector.wait_for_request()
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)

    previous = signal.signal(signal.SIGUSR1, handler)
    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        assert exporter.export_batch(batch()) == FAILED
    finally:
        thread.join(PATIENCE)
        signal.signal(signal.SIGUSR1, previous)
    assert inner == [EXPORTED]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_child_forked_in_a_pause_sends_its_own_spans_and_not_the_parent_s(
    collector: Collector, make: Make
) -> None:
    collector.script(Reply(503, headers=LATER))
    exporter = make(collector, timeout=5000)
    thread, outcomes = in_thread(lambda: exporter.export_batch(batch(3)))
    collector.wait_for_request()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            code = 0 if exporter.export_batch(batch(2), timeout=10) == ExportOutcome(exported=2) else 1
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    exporter.shutdown()
    thread.join(PATIENCE)
    assert outcomes == [FAILED]
    assert [len(request.spans) for request in collector.requests] == [3, 2]


def test_the_flag_wakes_all_who_wait_and_stays_set() -> None:
    stop = Stop()
    assert not stop.wait(0.01)
    woken: list[bool] = []
    threads = [threading.Thread(target=lambda: woken.append(stop.wait(5000))) for _ in range(5)]
    for thread in threads:
        thread.start()
    stop.set()
    stop.set()
    for thread in threads:
        thread.join(PATIENCE)
    assert woken == [True] * 5
    assert stop.wait(5000)


# --- under the batch processor


def test_spans_that_end_during_a_retry_are_taken_in_and_delivered(collector: Collector, make: Make) -> None:
    collector.script(Reply(503, headers={"Retry-After": "1"}))
    processor = BatchSpanProcessor(make(collector, timeout=PATIENCE), schedule_delay_millis=20)
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(processor)
    tracer = provider.get_tracer("scope")
    tracer.start_span("first").end()
    collector.wait_for_request()
    for number in range(100):
        tracer.start_span(f"newer {number}").end()
    assert processor.stats()["queued"] == 101
    assert processor.force_flush(20_000)
    stats = processor.stats()
    assert (stats["ended"], stats["exported"], stats["queued"]) == (101, 101, 0)
    provider.shutdown()


@pytest.mark.parametrize("method", ["force_flush", "shutdown"])
def test_flush_and_shutdown_keep_their_deadline_during_a_retry(
    collector: Collector, make: Make, method: str
) -> None:
    collector.script(then=Reply(503, headers=LATER))
    processor = BatchSpanProcessor(
        make(collector, timeout=5000), schedule_delay_millis=20, export_timeout_millis=5_000_000
    )
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(processor)
    provider.get_tracer("scope").start_span("one").end()
    collector.wait_for_request()
    start = time.monotonic()
    assert getattr(processor, method)(timeout_millis=300) is not True
    assert time.monotonic() - start < 5
    processor.shutdown(timeout_millis=0)


# --- the end is near


@pytest.fixture(name="nobody")
def nobody_fixture() -> Iterator[str]:
    """A port that is taken, on which nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


@pytest.fixture(name="pausing")
def pausing_fixture(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Is set when an export is about to wait for its next attempt: for ages, or for a moment."""
    pausing = threading.Event()

    def ages(attempt: int, asked: float | None) -> float:
        pausing.set()
        return 86400.0

    monkeypatch.setattr(retry, "pause_before", ages)
    monkeypatch.setattr(retry, "FIRST_PAUSE", 0.01)
    return pausing


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_a_collector_that_is_not_there_is_tried_once_more_at_shutdown(
    nobody: str, pausing: threading.Event, protocol: str, caplog: pytest.LogCaptureFixture
) -> None:
    exporter = OTLPSpanExporter(nobody, protocol=protocol, timeout=864_000)
    processor = BatchSpanProcessor(
        exporter, max_export_batch_size=10, schedule_delay_millis=NEVER_MILLIS, export_timeout_millis=864e6
    )
    end_spans(provider(processor), 40)
    assert pausing.wait(PATIENCE)
    with soon():
        processor.shutdown(864e6)
    assert processor.stats() == account(40, export_failed=40)
    said = warnings(caplog)
    assert len(said) == 1 and said[0].endswith("not tried again: the exporter is about to be shut down")


def test_what_answers_is_given_its_time_at_shutdown() -> None:
    ending = Ending()
    ending.haste.set()
    deadline = time.monotonic() + PATIENCE
    for _ in range(3):  # an answer each time, though one that asks to try again
        assert Retry(deadline, ending).pause(0.0) is True
    assert not ending.in_vain


def test_the_last_attempts_are_few() -> None:
    ending = Ending()
    ending.haste.set()
    deadline = time.monotonic() + PATIENCE
    first, second = Retry(deadline, ending), Retry(deadline, ending)
    assert [first.pause(0.0, unreached=True) for _ in range(2)] == [True, False]
    assert second.pause(0.0, unreached=True) is False
    assert "about to be shut down" in second.why_not

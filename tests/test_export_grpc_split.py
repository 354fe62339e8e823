"""OTLP/gRPC requests that are too large, for the collector or by our own limit, are sent in halves."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from typing import Any

import grpc
import pytest

from otlpfast import BatchSpanProcessor
from otlpfast.batch import ExportOutcome

from .collector import PATIENCE
from .exporting import (  # noqa: F401
    EXPORTED,
    FAILED,
    REJECTED,
    SECRET,
    batch,
    one_warning,
    spans,
    warnings,
)
from .grpc_collector import (  # noqa: F401
    HANG,
    Failure,
    GRPCCollector,
    Make,
    Request,
    collector_fixture,
    make_fixture,
    partial,
)
from .pipeline import account, end_spans
from .spans import provider

Code = grpc.StatusCode

# What servers say to a request of 5 MiB: gRPC for Go (two), in C, Java, .NET, Node.js; tonic (two).
WORDS = [
    (Code.RESOURCE_EXHAUSTED, "grpc: received message larger than max (5242880 vs. 4194304)"),
    (Code.RESOURCE_EXHAUSTED, "grpc: message after decompression larger than max (5242880 vs. 4194304)"),
    (Code.RESOURCE_EXHAUSTED, "SERVER: Received message larger than max (5242880 vs. 4194304)"),
    (Code.RESOURCE_EXHAUSTED, "gRPC message exceeds maximum size 4194304: 5242880"),
    (Code.RESOURCE_EXHAUSTED, "Received message exceeds the maximum configured message size."),
    (Code.RESOURCE_EXHAUSTED, "Received message that decompresses to a size larger than 4194304"),
    (
        Code.RESOURCE_EXHAUSTED,
        "Error decompressing: size limit, of 4194304 bytes, exceeded while decompressing",
    ),
    (
        Code.OUT_OF_RANGE,
        "Error, decoded message length too large: found 5242880 bytes, the limit is: 4194304 bytes",
    ),
]


class Limited(GRPCCollector):
    """Fails what it finds too large; keeps the names of the spans that it took."""

    def __init__(self, too_large: Callable[[Request], bool], failure: Failure) -> None:
        self.taken: list[str] = []
        self._too_large, self._failure = too_large, failure
        super().__init__()

    def judge(self, request: Request) -> Any:
        if self._too_large(request):
            return self._failure
        self.taken += request.names
        return b""


def names(count: int) -> list[str]:
    return [f"span {number}" for number in range(count)]


@pytest.mark.parametrize(("code", "words"), WORDS, ids=[words for _, words in WORDS])
def test_a_batch_that_the_collector_finds_too_large_arrives_in_smaller_ones(
    code: grpc.StatusCode, words: str, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    with Limited(lambda request: len(request.names) > 2, Failure(code, words)) as collector:
        sent = batch(13)
        assert make(collector).export_batch(sent) == ExportOutcome(exported=13)
        assert collector.taken == names(13)  # all of them, once, in order
        sent.release()
    assert not warnings(caplog)


@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_a_limit_of_grpc_itself(compression: str, make: Make, caplog: pytest.LogCaptureFixture) -> None:
    with GRPCCollector(options=[("grpc.max_receive_message_length", 5000)]) as collector:
        exporter = make(collector, compression=compression)
        assert exporter.export_batch(batch(16, text="x" * 1000)) == ExportOutcome(exported=16)
        arrived = [name for request in collector.requests for name in request.names]
    assert arrived == names(16)
    assert len(collector.requests) > 1
    assert not warnings(caplog)


def test_export_of_spans_is_split_too(make: Make) -> None:
    with Limited(lambda request: len(request.names) > 2, Failure(*WORDS[0])) as collector:
        assert make(collector).export(spans(7)).name == "SUCCESS"
        assert collector.taken == names(7)


@pytest.mark.parametrize(("code", "words"), [WORDS[0], WORDS[-1]])
def test_a_single_span_that_is_too_large_is_dropped_alone_with_one_warning(
    code: grpc.StatusCode, words: str, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    failure = Failure(code, f"{words} {SECRET}")
    with Limited(lambda request: not {"span 2", "span 5"}.isdisjoint(request.names), failure) as collector:
        exporter = make(collector, headers={"x-key": SECRET})
        for _ in range(2):
            assert exporter.export_batch(batch(8)) == ExportOutcome(exported=6, too_large=2)
        assert collector.taken == [name for name in names(8) if name not in ("span 2", "span 5")] * 2
    text = one_warning(caplog)
    assert "bytes is too large and dropped: " in text
    assert f"answers gRPC {code.name} ({words} ***)" in text


@pytest.mark.parametrize(
    "failure",
    [
        Failure(Code.RESOURCE_EXHAUSTED, "quota exceeded"),
        Failure(Code.RESOURCE_EXHAUSTED, "request rate is too large"),
        Failure(Code.RESOURCE_EXHAUSTED, "too many requests, the limit is 10"),
        Failure(Code.INVALID_ARGUMENT, "the message is too large for my taste"),
    ],
    ids=lambda failure: failure.details,
)
def test_a_refusal_for_another_reason_is_no_reason_to_split(
    failure: Failure, collector: GRPCCollector, make: Make
) -> None:
    collector.script(failure)
    assert make(collector).export_batch(batch()) == REJECTED
    assert len(collector.requests) == 1


def test_a_retry_info_is_followed_whatever_the_words_are(collector: GRPCCollector, make: Make) -> None:
    collector.script(Failure(*WORDS[0], delay=0.05))
    assert make(collector).export_batch(batch()) == EXPORTED
    assert [len(request.names) for request in collector.requests] == [3, 3]


def test_halves_that_meet_other_answers_are_accounted_for_one_by_one(
    collector: GRPCCollector, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    large = Failure(*WORDS[0])
    collector.script(large, large, Failure(Code.INTERNAL), partial(1), Failure(Code.UNAVAILABLE, delay=7200))
    sent = batch(8)
    outcome = make(collector).export_batch(sent)
    assert [len(request.names) for request in collector.requests] == [8, 4, 2, 2, 4]
    assert outcome == ExportOutcome(exported=1, rejected=3, failed=4)
    (piece,) = outcome.remains
    assert Request(bytes(piece), {}).names == names(8)[4:]
    assert len(warnings(caplog)) == 3


def test_the_deadline_holds_for_all_halves_together(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    with Limited(lambda request: len(request.names) > 2, Failure(*WORDS[0])) as collector:
        collector.script(Failure(*WORDS[0]), Failure(*WORDS[0]), b"", HANG)
        outcome = make(collector).export_batch(batch(8), timeout=2)
    assert outcome == ExportOutcome(exported=2, failed=6)
    assert sum(piece.count for piece in outcome.remains) == 6
    assert "timed out after " in warnings(caplog)[0]


def test_the_account_of_the_processor_balances_over_halves(make: Make) -> None:
    with Limited(lambda request: "span 33" in request.names, Failure(*WORDS[0])) as collector:
        processor = BatchSpanProcessor(make(collector), schedule_delay_millis=60_000)
        end_spans(provider(processor), 100)
        assert processor.force_flush() is False
        assert processor.stats() == account(100, exported=99, too_large=1)
        processor.shutdown()
        assert sorted(collector.taken) == sorted(set(names(100)) - {"span 33"})


def test_a_proxy_s_413_is_one_too(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    """HTTP/2 by hand: SETTINGS, then as the answer to stream 1 a HEADERS frame of `:status: 413` alone."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def refuse() -> None:
            connection, _ = server.accept()
            with connection:
                connection.sendall(b"\0\0\0\x04\0\0\0\0\0")
                received = bytearray()
                while b"/opentelemetry" not in received and (data := connection.recv(65536)):
                    received += data
                connection.sendall(b"\0\0\5\x01\x05\0\0\0\1" + b"\x08\x03413")
                while connection.recv(65536):
                    pass

        thread = threading.Thread(target=refuse)
        thread.start()
        exporter = make(f"http://127.0.0.1:{server.getsockname()[1]}")
        assert exporter.export_batch(batch(1)) == ExportOutcome(too_large=1)
        exporter.shutdown(0)
        thread.join(PATIENCE)
    assert "413" in one_warning(caplog)


# --- max_request_bytes


def test_a_batch_beyond_max_request_bytes_is_split_before_it_is_sent(
    collector: GRPCCollector, make: Make
) -> None:
    sent = batch(16, text="x" * 1000)
    limit = sent.nbytes // 3
    assert make(collector, max_request_bytes=limit, compression="gzip").export_batch(sent).exported == 16
    assert [len(request.names) for request in collector.requests] == [4, 4, 4, 4]
    assert max(len(request.body) for request in collector.requests) <= limit
    assert [name for request in collector.requests for name in request.names] == names(16)


def test_by_default_requests_stay_below_the_4_mib_that_servers_take(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    with GRPCCollector() as collector:
        sent = batch(9, text="x" * 600_000)
        assert sent.nbytes > 4 << 20
        assert make(collector).export_batch(sent) == ExportOutcome(exported=9)
        assert [len(request.names) for request in collector.requests] == [4, 5]
    assert not warnings(caplog)


def test_a_span_beyond_max_request_bytes_is_not_sent(
    collector: GRPCCollector, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    exporter = make(collector, max_request_bytes=100)
    assert exporter.export_batch(batch(2, text=SECRET * 100)) == ExportOutcome(too_large=2)
    assert exporter.export(spans(1, text=SECRET * 100)).name == "FAILURE"
    assert collector.requests == []
    assert one_warning(caplog).endswith("is too large and dropped: max_request_bytes is 100")


def test_without_a_limit_the_collector_s_counts(make: Make) -> None:
    with GRPCCollector(options=[("grpc.max_receive_message_length", 8 << 20)]) as collector:
        sent = batch(9, text="x" * 600_000)
        assert make(collector, max_request_bytes=0).export_batch(sent) == ExportOutcome(exported=9)
        assert [len(request.names) for request in collector.requests] == [9]


def test_a_limit_in_the_channel_options_is_kept(
    collector: GRPCCollector, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    exporter = make(collector, channel_options=[("grpc.max_send_message_length", 3000)])
    assert exporter.export_batch(batch(4, text="x" * 1000)) == ExportOutcome(exported=4)
    assert [len(request.names) for request in collector.requests] == [2, 2]
    assert not warnings(caplog)


@pytest.mark.parametrize(
    ("wrong", "error"), [(-1, ValueError), ("64", TypeError), (1.5, TypeError), (True, TypeError)]
)
def test_a_wrong_max_request_bytes_says_what_is_allowed(
    make: Make, wrong: object, error: type[Exception]
) -> None:
    with pytest.raises(error, match=r"max_request_bytes.*0 for no limit"):
        make("http://localhost:4317", max_request_bytes=wrong)

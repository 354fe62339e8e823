"""Requests that are too large, for the collector or by our own limit, are sent in halves."""

from __future__ import annotations

import contextlib
import random
import threading
from collections.abc import Callable

import pytest
from google.rpc.status_pb2 import Status
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otlpfast import BatchSpanProcessor, TracerProvider
from otlpfast.batch import ExportOutcome
from otlpfast.export.pieces import Piece, Sending

from .collector import PATIENCE, Collector, Reply, Request
from .exporting import (  # noqa: F401
    EXPORTED,
    SECRET,
    Make,
    batch,
    collector_fixture,
    make_fixture,
    one_warning,
    spans,
    warnings,
)
from .pipeline import account


class Limited(Collector):
    """Answers 413 to what it finds too large; keeps the names of the spans that it took."""

    def __init__(self, too_large: Callable[[Request], bool], refusal: Reply | None = None) -> None:
        self.taken: list[str] = []
        self._too_large, self._refusal = too_large, refusal or Reply(413)
        super().__init__()

    def record(self, request: Request) -> Reply:
        reply = super().record(request)
        if reply.status != 200:
            return reply
        if self._too_large(request):
            return self._refusal
        self.taken += [span.name for span in request.spans]
        return reply


def names(count: int) -> list[str]:
    return [f"span {number}" for number in range(count)]


def names_in(body: bytes) -> list[str]:
    resources = ExportTraceServiceRequest.FromString(body).resource_spans
    return [span.name for resource in resources for scope in resource.scope_spans for span in scope.spans]


def remaining(outcome: ExportOutcome) -> list[str]:
    return [name for piece in outcome.remains for name in names_in(bytes(piece))]


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 12])
def test_a_batch_that_the_collector_finds_too_large_arrives_in_smaller_ones(
    make: Make, caplog: pytest.LogCaptureFixture, limit: int
) -> None:
    with Limited(lambda request: len(request.spans) > limit) as collector:
        sent = batch(13)
        assert make(collector, compression="gzip").export_batch(sent) == ExportOutcome(exported=13)
        assert collector.taken == names(13)  # all of them, once, in order
        sent.release()
    assert not warnings(caplog)


# How the official Collector says it, and others in plain text.
AS_TEXT = [
    Reply(400, Status(code=3, message="http: request body too large").SerializeToString()),
    Reply(400, b"The payload is too big", {"Content-Type": "text/plain"}),
]


@pytest.mark.parametrize("refusal", AS_TEXT, ids=["the official Collector", "text"])
def test_a_400_that_speaks_of_the_size_is_one_too(
    refusal: Reply, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    with Limited(lambda request: len(request.spans) > 2, refusal) as collector:
        assert make(collector).export_batch(batch(7)) == ExportOutcome(exported=7)
        assert collector.taken == names(7)
    assert not warnings(caplog)


@pytest.mark.parametrize("status", [400, 403, 500])
def test_another_refusal_is_no_reason_to_split(status: int, collector: Collector, make: Make) -> None:
    said = b"unknown field of the message" if status == 400 else b"request body too large"
    collector.script(Reply(status, said, {"Content-Type": "text/plain"}))
    assert make(collector).export_batch(batch(4)).exported == 0
    assert len(collector.requests) == 1


def test_export_of_spans_is_split_too(make: Make) -> None:
    with Limited(lambda request: len(request.spans) > 2) as collector:
        assert make(collector).export(spans(7)).name == "SUCCESS"
        assert collector.taken == names(7)


def test_a_single_span_that_is_too_large_is_dropped_alone_with_one_warning(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    with Limited(lambda request: any(span.name in ("span 2", "span 5") for span in request.spans)) as it:
        exporter = make(it)
        for _ in range(2):
            assert exporter.export_batch(batch(8)) == ExportOutcome(exported=6, too_large=2)
        assert it.taken == [name for name in names(8) if name not in ("span 2", "span 5")] * 2
    text = one_warning(caplog)
    assert "bytes is too large and dropped: " in text
    assert "HTTP 413" in text


def test_halves_that_meet_other_answers_are_accounted_for_one_by_one(
    collector: Collector, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    collector.script(Reply(413), Reply(413), Reply(400), Reply.partial_success(1), Reply(500))
    sent = batch(8)
    outcome = make(collector).export_batch(sent)
    assert [len(request.spans) for request in collector.requests] == [8, 4, 2, 2, 4]
    assert outcome == ExportOutcome(exported=1, rejected=3, failed=4)
    assert remaining(outcome) == names(8)[4:]
    assert len(warnings(caplog)) == 3


def test_a_half_is_tried_again_by_itself(collector: Collector, make: Make) -> None:
    collector.script(Reply(413), Reply(503, headers={"Retry-After": "0"}))
    assert make(collector).export_batch(batch(4)) == ExportOutcome(exported=4)
    assert [len(request.spans) for request in collector.requests] == [4, 2, 2, 2]


def test_the_deadline_holds_for_all_halves_together(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    with Limited(lambda request: len(request.spans) > 2) as collector:
        collector.script(Reply(413), Reply(413), Reply(), Reply(delay=float("inf")))
        outcome = make(collector).export_batch(batch(8), timeout=1)
    assert outcome == ExportOutcome(exported=2, failed=6)
    assert remaining(outcome) == names(8)[2:]
    assert "timed out after 1 s waiting for the answer" in warnings(caplog)[0]


def test_where_everything_fails_the_batch_itself_is_what_remains(collector: Collector, make: Make) -> None:
    collector.script(Reply(413), then=Reply(500))
    for sent in (batch(8), batch(8)):
        outcome = make(collector).export_batch(sent)
        assert (outcome, outcome.remains) == (ExportOutcome(failed=8), ())
        assert names_in(bytes(sent)) == names(8)


@settings(max_examples=60)
@given(count=st.integers(1, 20), seed=st.randoms(use_true_random=False))
def test_every_span_is_accounted_for_once_and_what_failed_remains(count: int, seed: random.Random) -> None:
    """Whatever is answered to each piece, also where sending breaks off."""
    became: dict[str, list[str]] = {"exported": [], "rejected": [], "failed": [], "too_large": []}
    warned: list[str] = []

    def send(piece: Piece) -> ExportOutcome | str:
        inside = names_in(b"".join(piece.buffers))
        answer = seed.choice(["exported", "rejected", "failed", "too large", "too large", "raise"])
        if answer == "raise":
            raise ConnectionError
        if answer == "too large":
            became["too_large"] += inside if len(inside) == 1 else []
            return "the other end says so"
        became[answer] += inside
        return ExportOutcome(**{answer: len(inside)})

    sent = batch(count)
    sending = Sending(sent, 0, lambda kind, text: warned.append(text))
    with contextlib.suppress(ConnectionError):
        sending.run(send)
    outcome = sending.outcome()
    lost = set(became["exported"] + became["rejected"] + became["too_large"])
    assert outcome.exported == len(became["exported"])
    assert outcome.rejected == len(became["rejected"])
    assert outcome.too_large == len(became["too_large"]) == len(warned)
    assert outcome.failed == count - len(lost)
    whole = outcome.failed in (0, count)
    assert remaining(outcome) == ([] if whole else [name for name in names(count) if name not in lost])


# --- max_request_bytes


def test_a_batch_beyond_max_request_bytes_is_split_before_it_is_sent(
    collector: Collector, make: Make
) -> None:
    sent = batch(16, text="x" * 1000)
    limit = sent.nbytes // 3
    assert make(collector, max_request_bytes=limit, compression="gzip").export_batch(sent).exported == 16
    assert [len(request.spans) for request in collector.requests] == [4, 4, 4, 4]
    assert max(len(request.body) for request in collector.requests) <= limit
    assert [span.name for span in collector.spans] == names(16)


def test_a_batch_of_exactly_max_request_bytes_is_sent_whole(collector: Collector, make: Make) -> None:
    sent = batch(3)
    assert make(collector, max_request_bytes=sent.nbytes).export_batch(sent) == EXPORTED
    assert make(collector, max_request_bytes=0).export_batch(sent) == EXPORTED
    assert make(collector, max_request_bytes=sent.nbytes - 1).export_batch(sent) == EXPORTED
    assert [len(request.spans) for request in collector.requests] == [3, 3, 1, 2]


def test_a_span_beyond_max_request_bytes_is_not_sent(
    collector: Collector, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    exporter = make(collector, max_request_bytes=100)
    assert exporter.export_batch(batch(2, text=SECRET * 100)) == ExportOutcome(too_large=2)
    assert exporter.export(spans(1, text=SECRET * 100)).name == "FAILURE"
    assert collector.connections_opened == 0
    assert one_warning(caplog).endswith("is too large and dropped: max_request_bytes is 100")


@pytest.mark.parametrize(
    ("wrong", "error"), [(-1, ValueError), ("64", TypeError), (1.5, TypeError), (True, TypeError)]
)
def test_a_wrong_max_request_bytes_says_what_is_allowed(
    make: Make, wrong: object, error: type[Exception]
) -> None:
    with pytest.raises(error, match=r"max_request_bytes.*0 for no limit"):
        make("http://localhost:4318/v1/traces", max_request_bytes=wrong)


def test_the_account_of_the_processor_balances_over_halves(make: Make) -> None:
    with Limited(lambda request: any(span.name == "span 33" for span in request.spans)) as collector:
        processor = BatchSpanProcessor(make(collector), schedule_delay_millis=60_000)
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(processor)
        tracer = provider.get_tracer("scope")
        for name in names(100):
            tracer.start_span(name).end()
        flush = threading.Thread(target=processor.force_flush)
        flush.start()
        flush.join(PATIENCE)
        stats = processor.stats()
        provider.shutdown()
        assert stats == account(100, exported=99, too_large=1)
        assert sorted(collector.taken) == sorted(set(names(100)) - {"span 33"})

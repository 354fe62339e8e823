"""What the live page makes of encoded batches, how much of them it keeps, and what it masks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span as SpanMessage
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from otlpfast import encode_spans
from otlpfast._impl import BatchBuilder
from otlpfast.batch import SpanBatch
from otlpfast.web.decode import details, glimpses, kind_name
from otlpfast.web.masking import is_secret, masked
from otlpfast.web.recent import MAX_BYTES, MAX_TRACES, Recent

from .pipeline import spans_of
from .spans import every_field, stock_spans

MS = 1_000_000


def span(
    name: str,
    span_id: int,
    parent_id: int = 0,
    trace_id: int = 0xABC,
    start: int = 0,
    end: int = 10,
    failed: bool = False,
    **more: Any,
) -> ReadableSpan:
    """Times are milliseconds."""
    return ReadableSpan(
        name,
        SpanContext(trace_id, span_id, False, TraceFlags(1)),
        parent=SpanContext(trace_id, parent_id, False, TraceFlags(1)) if parent_id else None,
        resource=Resource({"service.name": "shop"}),
        start_time=start * MS,
        end_time=end * MS,
        status=Status(StatusCode.ERROR, "broken") if failed else Status(),
        **more,
    )


def batch(spans: Sequence[ReadableSpan]) -> SpanBatch:
    builder = BatchBuilder()
    for item in spans:
        builder.add(item)
    return SpanBatch(builder.finish())


def recent(*spans: ReadableSpan) -> Recent:
    made = Recent()
    made.take(batch(spans))
    return made


def shown_attributes(**attributes: Any) -> dict[str, Any]:
    [glimpse] = glimpses(encode_spans([span("a", 1, attributes=attributes)]))
    return {pair["key"]: pair["value"] for pair in details(glimpse)["attributes"]}


def test_a_glimpse_has_what_the_official_messages_have() -> None:
    request = encode_spans([*every_field(), *stock_spans(3)])
    messages = spans_of(request)
    found = list(glimpses(request))
    assert len(found) == len(messages) > 20
    for glimpse, message in zip(found, messages, strict=True):
        assert glimpse.trace_id == message.trace_id
        assert glimpse.span_id == int.from_bytes(message.span_id, "big")
        assert glimpse.parent_id == int.from_bytes(message.parent_span_id, "big")
        assert (glimpse.name, glimpse.kind) == (message.name, message.kind)
        assert (glimpse.start, glimpse.end) == (message.start_time_unix_nano, message.end_time_unix_nano)
        assert glimpse.failed == (message.status.code == 2)
        assert bytes(glimpse.encoded) == message.SerializeToString()
        assert kind_name(glimpse.kind).upper() == SpanMessage.SpanKind.Name(message.kind)[len("SPAN_KIND_") :]


def test_details_are_all_there_and_are_json() -> None:
    request = encode_spans(every_field())
    for glimpse, message in zip(glimpses(request), spans_of(request), strict=True):
        shown = json.loads(json.dumps(details(glimpse), allow_nan=False))
        assert [pair["key"] for pair in shown["attributes"]] == [a.key for a in message.attributes]
        assert [event["name"] for event in shown["events"]] == [event.name for event in message.events]
        assert [link["trace_id"] for link in shown["links"]] == [
            link.trace_id.hex() for link in message.links
        ]
        assert shown["status"]["message"] == message.status.message
        assert shown["dropped"]["attributes"] == message.dropped_attributes_count
        assert shown["dropped"]["events"] == message.dropped_events_count
        assert shown["dropped"]["links"] == message.dropped_links_count
        assert shown["scope"]["version"] == "1.2"
        assert "service.name" in [pair["key"] for pair in shown["resource"]]


def test_values_are_what_they_were() -> None:
    values = {
        "text": "é東😀",
        "yes": True,
        "no": False,
        "whole": -7,
        "exact": 2**53 - 1,
        "beyond": -(2**63),
        "real": 1.5,
        "none": float("nan"),
        "bytes": b"\0\xff",
        "list": (1, 2, 3),
        "map": {"a": {"b": ["c"]}},
    }
    shown = shown_attributes(**values)
    assert shown["text"] == "é東😀" and shown["yes"] is True and shown["no"] is False
    assert (shown["whole"], shown["exact"], shown["real"]) == (-7, 2**53 - 1, 1.5)
    assert (shown["beyond"], shown["none"]) == (str(-(2**63)), "nan")  # which JavaScript would get wrong
    assert shown["bytes"] == "base64:AP8="
    assert (shown["list"], shown["map"]) == ([1, 2, 3], {"a": {"b": ["c"]}})


def test_long_values_are_cut() -> None:
    shown = shown_attributes(text="é" * 30_000, bytes=b"x" * 1000)
    assert shown["text"] == "é" * 20_000 + "… (60000 bytes)"
    assert shown["bytes"].endswith("… (1000 bytes)") and len(shown["bytes"]) < 400


def test_a_trace_is_in_order_with_what_a_waterfall_needs() -> None:
    found = recent(
        span("second", 3, parent_id=1, start=30, end=70, failed=True),
        span("inner", 4, parent_id=3, start=40, end=50, kind=SpanKind.CLIENT),
        span("root", 1, start=10, end=110, kind=SpanKind.SERVER),
        span("first", 2, parent_id=1, start=20, end=25),
    )
    [summary] = found.traces()["traces"]
    assert summary == {
        "trace_id": f"{0xABC:032x}",
        "name": "root",
        "service": "shop",
        "kind": "server",
        "has_root": True,
        "start_unix_ms": 10.0,
        "duration_ms": 100.0,
        "spans": 4,
        "errors": 1,
    }
    trace = found.trace(summary["trace_id"])
    assert trace is not None
    rows = [(s["name"], s["depth"], s["offset_ms"], s["duration_ms"], s["failed"]) for s in trace["items"]]
    assert rows == [
        ("root", 0, 0.0, 100.0, False),
        ("first", 1, 10.0, 5.0, False),
        ("second", 1, 20.0, 40.0, True),
        ("inner", 2, 30.0, 10.0, False),
    ]
    assert trace["items"][2]["status"] == {"code": "error", "message": "broken"}


def test_a_trace_whose_root_is_elsewhere_is_called_by_its_first_span() -> None:
    found = recent(
        span("child", 3, parent_id=2, start=20), span("entry", 2, parent_id=99, start=15), span("late", 4, 99)
    )
    [summary] = found.traces()["traces"]
    assert (summary["name"], summary["has_root"]) == ("late", False)
    assert found.trace("00" * 16) is None


def test_spans_that_are_each_others_parents_are_shown() -> None:
    found = recent(span("a", 1, parent_id=2), span("b", 2, parent_id=1))
    trace = found.trace(f"{0xABC:032x}")
    assert trace is not None and sorted(item["name"] for item in trace["items"]) == ["a", "b"]


def test_traces_come_newest_first_and_spans_of_two_exporters_once() -> None:
    spans = [span(f"trace {number}", 1, trace_id=number) for number in (1, 2, 3)]
    found = recent(*spans)
    found.take(batch(spans))
    assert [trace["name"] for trace in found.traces(2)["traces"]] == ["trace 3", "trace 2"]
    assert found.traces()["spans"] == 3


def test_operations_are_the_slowest_first() -> None:
    fast = [span("fast", number + 1, end=number) for number in range(100)]
    slow = [span("slow", 1000 + number, end=500, failed=number == 0) for number in range(3)]
    found = recent(*fast, *slow).operations()
    assert found["spans"] == 103 and found["names"] == 2
    assert found["operations"] == [
        {"name": "slow", "count": 3, "errors": 1, "p50_ms": 500.0, "p99_ms": 500.0, "max_ms": 500.0},
        {"name": "fast", "count": 100, "errors": 0, "p50_ms": 50.0, "p99_ms": 99.0, "max_ms": 99.0},
    ]


def kept(found: Recent) -> int:
    return sum(len(data) for half in (found._old, found._young) for data in half.batches)


def test_what_is_kept_is_bounded_in_bytes_and_the_newest() -> None:
    found = Recent()
    for number in range(400):
        spans = [span(f"trace {number}", 1, trace_id=number + 1, attributes={"text": "x" * 50_000})]
        found.take(batch(spans))
        assert kept(found) <= MAX_BYTES + 60_000
    traces = found.traces()["traces"]
    assert traces[0]["name"] == "trace 399"
    assert 15 < len(traces) < 45


def test_many_small_batches_are_bounded_too_and_so_are_traces() -> None:
    found = Recent()
    for number in range(10_000):
        found.take(batch([span("a", 1, trace_id=number + 1)]))
    assert len(found._old.batches) + len(found._young.batches) <= 8194
    assert len(found.traces()["traces"]) == MAX_TRACES


def test_of_a_large_batch_the_end_is_kept_and_of_a_giant_span_nothing() -> None:
    found = Recent()
    found.take(batch([span(f"{n}", n + 1, attributes={"text": "x" * 100_000}) for n in range(64)]))
    assert 0 < kept(found) <= MAX_BYTES // 2
    assert max(int(row["name"]) for row in found.operations()["operations"]) == 63
    found.take(batch([span("giant", 1, trace_id=7, attributes={"text": "x" * MAX_BYTES})]))
    assert len(found.traces()["traces"]) == 1


def test_what_is_no_request_is_passed_over() -> None:
    found = Recent()
    found.take(SpanBatch.from_request(b"\xff\xff\xff nonsense", 1))
    whole = encode_spans([every_field()[0]])
    for end in range(1, len(whole)):
        found.take(SpanBatch.from_request(whole[:end], 1))
        found.take(SpanBatch.from_request(whole[:3] + whole[end:], 1))
    found.take(batch([span("a", 1)]))
    assert found.traces()["traces"][0]["name"] == "a"
    found.operations()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://alice:wonder@shop.example/x", "https://***@shop.example/x"),
        ("GET redis://:wonder@cache:6379/0 now", "GET redis://***@cache:6379/0 now"),
        ("https://token@git.example", "https://***@git.example"),
        ("https://x.example/?a=1&access_token=abc&b=2", "https://x.example/?a=1&access_token=***&b=2"),
        ("/login?password=abc#top", "/login?password=***#top"),
        ("https://x.example/@alice?page=2", "https://x.example/@alice?page=2"),
        ("a = b, mail@x.example", "a = b, mail@x.example"),
    ],
)
def test_credentials_in_urls_are_masked(text: str, shown: str) -> None:
    assert masked(text) == shown


def test_texts_whose_name_says_that_they_are_secret_are_masked() -> None:
    shown = shown_attributes(
        **{
            "http.request.header.authorization": ("Bearer wonder",),
            "http.request.header.cookie": "id=wonder",
            "db.password": "wonder",
            "config": {"api_key": "wonder", "name": "x"},
            "gen_ai.usage.input_tokens": 12,
            "url.full": "https://a:wonder@x.example/",
        }
    )
    assert "wonder" not in str(shown)
    assert shown["gen_ai.usage.input_tokens"] == 12 and shown["config"]["name"] == "x"
    assert not is_secret("http.route")

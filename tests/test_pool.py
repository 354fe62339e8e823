"""``SpanPool`` and ``SpanWrapper``: collect for any span, give it all in one call, count it."""

from __future__ import annotations

import array
import gc
import threading
import weakref
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import INVALID_SPAN, NonRecordingSpan, Span, SpanContext, TraceFlags

import otlpfast
from otlpfast import SpanPool, SpanWrapper

from .forks import in_child
from .spans import Keep, provider


class Recorder(NonRecordingSpan):
    """An API span that notes each call made to it."""

    def __init__(self) -> None:
        super().__init__(SpanContext(1, 1, False, TraceFlags(1)))
        self.calls: list[tuple[Any, ...]] = []

    def set_attribute(self, key: str, value: Any) -> None:
        self.calls.append(("set_attribute", key, value))

    def set_attributes(self, attributes: Any) -> None:
        self.calls.append(("set_attributes", dict(attributes)))

    def add_event(self, name: str, attributes: Any = None, timestamp: int | None = None) -> None:
        self.calls.append(("add_event", name, attributes, timestamp))


def sdk_span() -> tuple[Any, Keep]:
    keep = Keep()
    return provider(keep).get_tracer("tests").start_span("span"), keep


def ended(span: Any, keep: Keep) -> ReadableSpan:
    span.end()
    return keep.spans[0]


def test_is_public() -> None:
    assert {"SpanPool", "SpanWrapper"} <= set(otlpfast.__all__)
    assert isinstance(SpanPool().wrap(INVALID_SPAN), SpanWrapper)


def test_an_sdk_span_gets_attributes_and_events() -> None:
    span, keep = sdk_span()
    with SpanPool().wrap(span) as wrapper:
        assert wrapper.span is span
        wrapper.set_attribute("a", 1)
        wrapper.set_attributes({"b": "two", "c": [1.5, 2.5]})
        wrapper.add_event("event", {"k": (True, False)}, 12345)
        wrapper.add_event("bare")
        assert dict(span.attributes) == {}
    readable = ended(span, keep)
    assert dict(readable.attributes or {}) == {"a": 1, "b": "two", "c": (1.5, 2.5)}
    first, second = readable.events
    assert (first.name, dict(first.attributes or {}), first.timestamp) == (
        "event",
        {"k": (True, False)},
        12345,
    )
    assert (second.name, dict(second.attributes or {})) == ("bare", {})
    assert (readable.start_time or 0) <= second.timestamp <= (readable.end_time or 0)


@pytest.mark.parametrize("span", [INVALID_SPAN, NonRecordingSpan(SpanContext(1, 2, True))])
def test_a_span_that_records_nothing_is_fine(span: Span) -> None:
    pool = SpanPool()
    with pool.wrap(span) as wrapper:
        wrapper.set_attribute("a", 1)
        wrapper.add_event("event")
    assert pool.stats()["flushes"] == 1


def test_the_wrapper_gives_what_direct_calls_give() -> None:
    values = {
        "s": "x",
        "i": -1,
        "f": 0.5,
        "b": True,
        "n": None,
        "o": b"\0",
        "l": [1, "a", None],
        "m": {"k": [1]},
    }
    direct, direct_keep = sdk_span()
    wrapped, wrapped_keep = sdk_span()
    for key, value in values.items():
        direct.set_attribute(key, value)
    direct.add_event("event", values, 7)
    with SpanPool().wrap(wrapped) as wrapper:
        for key, value in values.items():
            wrapper.set_attribute(key, value)
        wrapper.add_event("event", values, 7)
    expected, got = ended(direct, direct_keep), ended(wrapped, wrapped_keep)
    assert dict(got.attributes or {}) == dict(expected.attributes or {})
    assert dict(got.events[0].attributes or {}) == dict(expected.events[0].attributes or {})


def test_one_flush_is_one_call_for_all_attributes() -> None:
    span = Recorder()
    wrapper = SpanPool().wrap(span)
    for i in range(100):
        wrapper.set_attribute(f"k{i % 50}", i)
    assert span.calls == []
    wrapper.flush()
    assert span.calls == [("set_attributes", {f"k{i}": 50 + i for i in range(50)})]
    wrapper.set_attribute("later", 1)
    wrapper.add_event("event", {"a": 1}, 5)
    wrapper.flush()
    wrapper.flush()
    assert span.calls[1:] == [("set_attributes", {"later": 1}), ("add_event", "event", {"a": 1}, 5)]


def test_events_alone_cause_no_call_for_attributes() -> None:
    span = Recorder()
    with SpanPool().wrap(span) as wrapper:
        wrapper.add_event("event", None, 5)
    assert span.calls == [("add_event", "event", None, 5)]


def test_nothing_collected_is_nothing_flushed() -> None:
    pool, span = SpanPool(), Recorder()
    with pool.wrap(span) as wrapper:
        wrapper.flush()
    assert span.calls == []
    assert (pool.stats()["wrappers"], pool.stats()["flushes"]) == (1, 0)


def test_flushes_and_lets_the_exception_pass() -> None:
    span = Recorder()
    error = ZeroDivisionError("mine")
    with pytest.raises(ZeroDivisionError) as caught, SpanPool().wrap(span) as wrapper:
        wrapper.set_attribute("until", "here")
        raise error
    assert caught.value is error
    assert span.calls == [("set_attributes", {"until": "here"})]


def test_the_memory_comes_back_though_the_span_raises() -> None:
    class Broken(Recorder):
        def set_attributes(self, attributes: Any) -> None:
            raise RuntimeError("broken span")

    pool = SpanPool()
    with pytest.raises(RuntimeError, match="broken span"), pool.wrap(Broken()) as wrapper:
        wrapper.set_attribute("a", 1)
        wrapper.add_event("event")
    del wrapper
    gc.collect()
    stats = pool.stats()
    assert (stats["attribute_pool"]["idle"], stats["event_pool"]["idle"], stats["flushes"]) == (1, 1, 0)


def test_values_are_those_of_the_moment_they_were_given() -> None:
    span = Recorder()
    items, numbers, octets = [1, 2], np.arange(3), array.array("i", [1, 2])
    nested, attributes = {"a": [1]}, {"k": [1]}
    with SpanPool().wrap(span) as wrapper:
        wrapper.set_attributes({"items": items, "numbers": numbers, "octets": octets, "nested": nested})
        wrapper.add_event("event", attributes, 5)
        items.append(3)
        numbers[0] = 9
        octets.append(3)  # nothing holds it fast
        nested["a"].append(2)
        attributes["k"].append(2)
    assert span.calls == [
        ("set_attributes", {"items": (1, 2), "numbers": (0, 1, 2), "octets": (1, 2), "nested": {"a": (1,)}}),
        ("add_event", "event", {"k": (1,)}, 5),
    ]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.array([1, 2], dtype="i2"), (1, 2)),
        (np.array([0.5], dtype="f2"), (0.5,)),
        (np.array([0.5, 1.5], dtype="f4"), (0.5, 1.5)),
        (np.array([True, False]), (True, False)),
        (np.arange(6)[::2], (0, 2, 4)),
        (np.arange(4).reshape(2, 2), ((0, 1), (2, 3))),
        (np.array([1, 2], dtype=">i4"), (1, 2)),
        (np.array(["a", "b"]), "['a' 'b']"),
        (np.float64(1.5), 1.5),
        (np.int64(7), 7),
        (np.bool_(True), True),
        (array.array("d", [1.0, 2.0]), (1.0, 2.0)),
        (memoryview(array.array("H", [1, 2])), (1, 2)),
        (range(3), (0, 1, 2)),
        ([np.arange(2), {"k": np.arange(2)}], ((0, 1), {"k": (0, 1)})),
    ],
)
def test_buffers_of_numbers_become_tuples(value: Any, expected: Any) -> None:
    span, keep = sdk_span()
    with SpanPool().wrap(span) as wrapper:
        wrapper.set_attribute("k", value)
    got = (ended(span, keep).attributes or {})["k"]
    assert got == expected
    assert type(got) is type(expected)


@given(
    st.lists(
        st.dictionaries(st.text(max_size=3), st.integers() | st.text(max_size=5), max_size=6), max_size=8
    )
)
def test_what_is_flushed_is_what_was_collected(rounds: list[dict[str, Any]]) -> None:
    pool = SpanPool(attributes=1, max_size=1)
    for attributes in rounds:
        span = Recorder()
        with pool.wrap(span) as wrapper:
            for key, value in attributes.items():
                wrapper.set_attribute(key, value)
        expected = {
            k: str(v) if isinstance(v, int) and not -(2**63) <= v < 2**63 else v
            for k, v in attributes.items()
        }
        assert span.calls == ([("set_attributes", expected)] if attributes else [])


def test_a_closed_wrapper_collects_no_more() -> None:
    span = Recorder()
    with SpanPool().wrap(span) as wrapper:
        pass
    for use in (
        lambda: wrapper.set_attribute("a", 1),
        lambda: wrapper.set_attributes({"a": 1}),
        lambda: wrapper.add_event("event"),
    ):
        with pytest.raises(ValueError, match=r"was (released|closed)"):
            use()
    wrapper.flush()
    wrapper.close()
    assert span.calls == []


def test_what_is_set_while_a_flush_runs_is_for_the_next_one() -> None:
    class Setting(Recorder):
        def set_attributes(self, attributes: Any) -> None:
            super().set_attributes(attributes)
            if len(self.calls) == 1:
                wrapper.set_attribute("during", 2)

    span = Setting()
    wrapper = SpanPool().wrap(span)
    wrapper.set_attribute("before", 1)
    wrapper.flush()
    wrapper.close()
    assert span.calls == [("set_attributes", {"before": 1}), ("set_attributes", {"during": 2})]


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda wrapper: wrapper.set_attribute(1, 1), "^key="),
        (lambda wrapper: wrapper.set_attributes([("a", 1)]), "^attributes="),
        (lambda wrapper: wrapper.add_event("event", [("a", 1)]), "^attributes="),
    ],
)
def test_a_wrong_kind_is_named_and_the_rest_is_kept(call: Any, match: str) -> None:
    span = Recorder()
    with SpanPool().wrap(span) as wrapper:
        wrapper.set_attribute("good", 1)
        with pytest.raises(TypeError, match=match):
            call(wrapper)
    assert span.calls == [("set_attributes", {"good": 1})]


@pytest.mark.parametrize("span", [None, "span", object()])
def test_only_spans_can_be_wrapped(span: Any) -> None:
    pool = SpanPool()
    with pytest.raises(TypeError, match=r"^span="):
        pool.wrap(span)
    assert pool.stats()["wrappers"] == 0


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"attributes": 0}, ValueError),
        ({"attributes": "16"}, TypeError),
        ({"max_size": -1}, ValueError),
        ({"max_size": 1.5}, TypeError),
        ({"meter": "meter"}, TypeError),
    ],
)
def test_a_wrong_argument_is_named(arguments: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error, match=f"^{next(iter(arguments))}="):
        SpanPool(**arguments)


# --- counting


def test_stats_count_wrappers_flushes_and_recycling() -> None:
    pool = SpanPool()
    assert pool.stats()["efficiency"] == 0.0
    for _ in range(10):
        with pool.wrap(Recorder()) as wrapper:
            wrapper.set_attribute("a", 1)
            wrapper.add_event("event")
    stats = pool.stats()
    assert (stats["wrappers"], stats["flushes"]) == (10, 10)
    assert stats["attribute_pool"] == {
        "hits": 9, "misses": 1, "recycled": 10, "oversized": 0, "discarded": 0, "idle": 1
    }  # fmt: skip
    assert (stats["event_pool"]["hits"], stats["event_pool"]["misses"]) == (9, 1)
    assert stats["efficiency"] == 0.9


def test_wrappers_that_outgrow_the_pool_are_not_kept() -> None:
    pool = SpanPool(attributes=2)
    with pool.wrap(Recorder()) as wrapper:
        wrapper.set_attributes({str(i): i for i in range(9)})
    assert pool.stats()["attribute_pool"]["oversized"] == 1
    assert pool.stats()["attribute_pool"]["idle"] == 0


def test_no_count_is_lost_between_threads() -> None:
    pool = SpanPool()

    def work() -> None:
        for i in range(500):
            span = Recorder()
            with pool.wrap(span) as wrapper:
                wrapper.set_attribute("i", i)
                wrapper.set_attribute("thread", threading.get_ident())
            assert span.calls == [("set_attributes", {"i": i, "thread": threading.get_ident()})]

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (pool.stats()["wrappers"], pool.stats()["flushes"]) == (4_000, 4_000)


def test_a_forked_child_counts_its_own() -> None:
    pool = SpanPool()
    open_wrapper = pool.wrap(Recorder())
    open_wrapper.set_attribute("before", "fork")
    with pool.wrap(Recorder()) as wrapper:
        wrapper.set_attribute("a", 1)

    def child() -> list[Any]:
        at_first = pool.stats()
        with pool.wrap(Recorder()) as wrapper:
            wrapper.set_attribute("a", 1)
        open_wrapper.close()
        after = pool.stats()
        return [
            at_first["wrappers"],
            at_first["flushes"],
            at_first["efficiency"],
            after["wrappers"],
            after["flushes"],
        ]

    assert in_child(child) == [0, 0, 0.0, 1, 2]
    assert (pool.stats()["wrappers"], pool.stats()["flushes"]) == (2, 1)


# --- instruments


@pytest.fixture
def reader() -> Any:
    return InMemoryMetricReader()


@pytest.fixture
def meter(reader: InMemoryMetricReader, request: pytest.FixtureRequest) -> Any:
    meters = MeterProvider([reader], shutdown_on_exit=False)
    request.addfinalizer(meters.shutdown)
    return meters.get_meter("tests")


def metrics(reader: InMemoryMetricReader) -> dict[str, Any]:
    """Every metric by its name."""
    data = reader.get_metrics_data()
    if data is None:
        return {}
    return {
        metric.name: metric
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }


COUNTS = {
    f"otlpfast.pool.{count}": count
    for count in ("hits", "misses", "recycled", "oversized", "discarded", "idle")
}


def test_the_counts_of_both_pools_are_told_apart(reader: InMemoryMetricReader, meter: Any) -> None:
    pool = SpanPool(meter)
    for _ in range(3):
        with pool.wrap(Recorder()) as wrapper:
            wrapper.set_attribute("a", 1)
            wrapper.add_event("event")
    stats, seen = pool.stats(), metrics(reader)
    for name, count in COUNTS.items():
        assert {
            point.attributes["otlpfast.pool.name"]: point.value for point in seen[name].data.data_points
        } == {"attributes": stats["attribute_pool"][count], "events": stats["event_pool"][count]}


def test_instruments_show_what_stats_say(reader: InMemoryMetricReader, meter: Any) -> None:
    pool = SpanPool(meter)
    for i in range(4):
        with pool.wrap(Recorder()) as wrapper:
            if i:
                wrapper.set_attribute("a", 1)
    seen = metrics(reader)
    assert {name: metric.unit for name, metric in seen.items()} == {
        "otlpfast.pool.wrappers": "{wrapper}",
        "otlpfast.pool.flushes": "{flush}",
        "otlpfast.pool.efficiency": "1",
        **dict.fromkeys(COUNTS, "{block}"),
    }
    values = {name: metric.data.data_points[0].value for name, metric in seen.items() if name not in COUNTS}
    stats = pool.stats()
    assert values == {
        "otlpfast.pool.wrappers": stats["wrappers"],
        "otlpfast.pool.flushes": stats["flushes"],
        "otlpfast.pool.efficiency": stats["efficiency"],
    }
    assert (stats["wrappers"], stats["flushes"], stats["efficiency"]) == (4, 3, 0.75)
    assert seen["otlpfast.pool.wrappers"].data.is_monotonic
    assert seen["otlpfast.pool.flushes"].data.is_monotonic


def test_a_meter_does_not_keep_its_pools_alive(reader: InMemoryMetricReader, meter: Any) -> None:
    pool = SpanPool(meter)
    gone = weakref.ref(pool)
    assert metrics(reader)
    del pool
    gc.collect()
    assert gone() is None
    assert all(not metric.data.data_points for metric in metrics(reader).values())


def test_without_a_meter_there_are_no_instruments(reader: InMemoryMetricReader, meter: Any) -> None:
    SpanPool().wrap(Recorder()).close()
    assert metrics(reader) == {}

"""What is used again on otlpfast's provider starts anew; and calls mean the same in each form."""

from __future__ import annotations

import contextlib
import gc
import itertools
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry import context as context_api
from opentelemetry import trace
from opentelemetry.sdk import trace as sdk
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

from .traced import native

ELSEWHERE = SpanContext(1, 2, True, TraceFlags(1), TraceState([("key", "value")]))


@pytest.fixture
def tracer() -> Any:
    return native().get_tracer("tests")


def shown(span: Any) -> tuple[Any, ...]:
    """What a span has apart from ids and times."""
    return (
        span.name,
        span.kind,
        span.parent,
        dict(span.attributes),
        [(event.name, dict(event.attributes)) for event in span.events],
        [link.context for link in span.links],
        (span.status.status_code, span.status.description),
        (span.dropped_attributes, span.dropped_events, span.dropped_links),
        span.get_span_context().trace_state,
        span.end_time,
        getattr(span, "own", None),
    )


def fill(span: Any) -> None:
    """Puts something into each place that a span has."""
    for number in range(200):  # more than the limit
        span.set_attribute(f"key.{number}", number)
        span.add_event(f"event {number}", {"number": number})
        span.add_link(ELSEWHERE, {"number": number})
    span.update_name("another")
    span.set_status(Status(StatusCode.ERROR, "failed"))
    span.own = "own"
    span._record_end_metrics = None
    assert span.attributes and span.events and span.links and span.get_span_context()


def test_nothing_of_a_dead_span_is_in_the_next_ones(tracer: Any) -> None:
    fresh = shown(tracer.start_span("span"))
    for _ in range(3):
        span = tracer.start_span(
            "other",
            trace.set_span_in_context(trace.NonRecordingSpan(ELSEWHERE)),
            SpanKind.CLIENT,
            start_time=17,
        )
        fill(span)
        span.end(18)
        assert shown(span) != fresh
        del span
        assert shown(tracer.start_span("span")) == fresh


@pytest.mark.parametrize("kept", [False, True], ids=["forgotten", "kept"])
def test_nothing_of_a_span_that_was_current_is_in_the_next_ones(tracer: Any, kept: bool) -> None:
    spans = []
    fresh = shown(tracer.start_span("span"))
    for _ in range(3):
        with tracer.start_as_current_span("other", kind=SpanKind.CLIENT):
            fill(trace.get_current_span())
            if kept:
                spans.append(trace.get_current_span())
        with tracer.start_as_current_span("span"):
            assert shown(trace.get_current_span()) == fresh
    assert all(span.name == "another" and span.own == "own" for span in spans)


def test_a_span_that_was_current_and_is_kept_keeps_its_ids(tracer: Any) -> None:
    kept = []
    for _ in range(5):
        with tracer.start_as_current_span("span"):
            kept.append(trace.get_current_span())
    assert len({id(span) for span in kept}) == len({span.context.span_id for span in kept}) == 5


def test_children_that_nobody_kept_have_their_own_ids_and_their_parent(tracer: Any) -> None:
    seen = set()
    with tracer.start_as_current_span("parent") as parent:
        for _ in range(5):
            with tracer.start_as_current_span("child"):
                child: Any = trace.get_current_span()
                assert child.parent == parent.get_span_context()
                seen.add(child.get_span_context().span_id)
                del child
            assert trace.get_current_span() is parent
    assert len(seen) == 5
    assert trace.get_current_span() is trace.INVALID_SPAN


def test_roots_sampled_in_and_out_take_turns(tracer: Any) -> None:
    out = native(sampler=ALWAYS_OFF).get_tracer("tests")
    for _ in range(4):
        for one in (tracer, out):
            with one.start_as_current_span("span"):
                assert trace.get_current_span().is_recording() == (one is tracer)


def test_a_weak_reference_to_a_span_that_was_current_dies_with_it(tracer: Any) -> None:
    told: list[str] = []
    for number in range(3):
        with tracer.start_as_current_span("span"):
            reference = weakref.ref(trace.get_current_span(), lambda _, n=number: told.append(f"died {n}"))
        gc.collect()
        assert reference() is None
        assert told == [f"died {n}" for n in range(number + 1)]


def test_what_a_span_held_dies_with_it(tracer: Any) -> None:
    class Held:
        pass

    held = Held()
    reference = weakref.ref(held)
    with tracer.start_as_current_span("span"):
        trace.get_current_span().own = held  # type: ignore[attr-defined]
        del held
    gc.collect()
    assert reference() is None


def test_a_finaliser_of_what_a_dying_span_held_may_trace(tracer: Any) -> None:
    names = []

    class Dying:
        def __del__(self) -> None:
            with tracer.start_as_current_span("in a finaliser") as span:
                names.append(span.name)

    for _ in range(3):
        with tracer.start_as_current_span("span"):
            trace.get_current_span().own = Dying()  # type: ignore[attr-defined]
    with tracer.start_as_current_span("parent"):
        for _ in range(3):
            with tracer.start_as_current_span("child"):
                trace.get_current_span().own = Dying()  # type: ignore[attr-defined]
    gc.collect()
    assert names == ["in a finaliser"] * 6


def test_more_spans_than_are_kept_for_later_may_live_and_die(tracer: Any) -> None:
    for _ in range(2):
        spans = [tracer.start_span(f"span {number}") for number in range(1000)]
        scopes = [tracer.start_as_current_span(f"scope {number}") for number in range(1000)]
        assert [span.name for span in spans] == [f"span {number}" for number in range(1000)]
        del spans, scopes


# --- __enter__ and __exit__


def by_hand(manager: Any) -> Any:
    span = manager.__enter__()
    manager.__exit__(None, None, None)
    return span


def looked_up_first(manager: Any) -> Any:
    enter, leave = manager.__enter__, manager.__exit__
    span = enter()
    assert leave(None, None, None) is False
    return span


def by_the_class(manager: Any) -> Any:
    span = type(manager).__enter__(manager)
    type(manager).__exit__(manager, None, None, None)
    return span


def by_a_stack(manager: Any) -> Any:
    with contextlib.ExitStack() as stack:
        return stack.enter_context(manager)


@pytest.mark.parametrize("way", [by_hand, looked_up_first, by_the_class, by_a_stack])
def test_a_manager_is_entered_and_left_in_any_way(tracer: Any, way: Callable[[Any], Any]) -> None:
    span = way(tracer.start_as_current_span("span"))
    assert span.name == "span" and not span.is_recording()
    assert trace.get_current_span() is trace.INVALID_SPAN


def test_an_error_is_recorded_however_a_manager_is_left(tracer: Any) -> None:
    error = ValueError("no such item")
    spans = []
    for given in ((ValueError, error, None), (ValueError, None, None)):
        manager = tracer.start_as_current_span("span")
        spans.append(manager.__enter__())
        leave = manager.__exit__
        assert not leave(*given)
    assert [span.status.status_code for span in spans] == [StatusCode.ERROR] * 2
    assert [event.name for span in spans for event in span.events] == ["exception"] * 2


def test_a_manager_that_is_called_decorates_or_refuses(tracer: Any) -> None:
    manager = tracer.start_as_current_span("span")
    for given in ((), (1, 2), (None, None, None)):
        with pytest.raises(TypeError):
            manager(*given)

    @manager
    def work(number: int) -> tuple[int, str]:
        return number, trace.get_current_span().name  # type: ignore[attr-defined]

    assert work(3) == work(3) == (3, "span")


# --- ways to call

ARGUMENTS: dict[str, Any] = {
    "name": "span",
    "context": trace.set_span_in_context(trace.NonRecordingSpan(ELSEWHERE)),
    "kind": SpanKind.SERVER,
    "attributes": {"key": "value"},
    "links": [Link(ELSEWHERE)],
    "start_time": 17,
    "record_exception": False,
    "set_status_on_exception": False,
}


@pytest.mark.parametrize("positional", range(len(ARGUMENTS) + 1))
@pytest.mark.parametrize("method", ["start_span", "start_as_current_span"])
def test_arguments_mean_the_same_by_place_and_by_name(tracer: Any, positional: int, method: str) -> None:
    def start(names: list[str]) -> Any:
        given = [ARGUMENTS[name] for name in names[:positional]]
        named = {"".join(name): ARGUMENTS[name] for name in names[positional:]}
        made = getattr(tracer, method)(*given, **named)
        return made if method == "start_span" else by_hand(made)

    expected = sdk.TracerProvider(shutdown_on_exit=False).get_tracer("tests")
    for count in range(max(positional, 1), len(ARGUMENTS) + 1):
        names = list(ARGUMENTS)[:count]
        stock = expected.start_span(**{name: ARGUMENTS[name] for name in names})
        span = start(names)
        assert (span.name, span.kind, span.parent) == (stock.name, stock.kind, stock.parent)  # type: ignore[attr-defined]
        assert dict(span.attributes) == dict(stock.attributes)  # type: ignore[attr-defined]
        assert [link.context for link in span.links] == [link.context for link in stock.links]  # type: ignore[attr-defined]
        assert (span.start_time == 17) == (count >= 6)
        assert span._record_exception == (count < 7) and span._set_status_on_exception == (count < 8)


@pytest.mark.parametrize("method", ["start_span", "start_as_current_span"])
def test_arguments_that_are_wrong_are_refused(tracer: Any, method: str) -> None:
    call = getattr(tracer, method)
    for given, named in (
        ((), {}),
        ((), {"kind": SpanKind.CLIENT}),
        (("span",), {"name": "span"}),
        (("span",), {"nmae": "span"}),
        (("span", *[None] * 9), {}),
    ):
        with pytest.raises(TypeError):
            call(*given, **named)


def test_set_attribute_and_end_mean_the_same_by_place_and_by_name(tracer: Any) -> None:
    span = tracer.start_span("span")
    span.set_attribute("a", 1)
    span.set_attribute("b", value=2)
    span.set_attribute(value=3, key="c")
    for given in ((), ("d",), ("d", 4, 5)):
        with pytest.raises(TypeError):
            span.set_attribute(*given)
    with pytest.raises(TypeError):
        span.end(1, 2)
    span.end(end_time=19)
    assert dict(span.attributes) == {"a": 1, "b": 2, "c": 3}
    assert span.end_time == 19


def test_a_key_with_the_same_text_replaces_its_value_however_it_was_made(tracer: Any) -> None:
    span = tracer.start_span("span")
    keys = ["".join(letters) for letters in itertools.product("abcdefgh", repeat=2)]  # more than 64
    for number, key in enumerate(keys):
        span.set_attribute(key, number)
    for number, key in enumerate(keys):
        span.set_attribute("".join(list(key)), -number)
    assert list(span.attributes.items()) == [(key, -number) for number, key in enumerate(keys)]


# --- the API's runtime context


def test_another_runtime_context_is_noticed_at_any_time(tracer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    class Fixed(type(context_api._RUNTIME_CONTEXT)):  # type: ignore[misc]
        def get_current(self) -> Any:
            return trace.set_span_in_context(trace.NonRecordingSpan(ELSEWHERE), context_api.Context())

    for _ in range(3):
        assert tracer.start_span("span").parent is None
        with monkeypatch.context() as patch:
            patch.setattr(context_api, "_RUNTIME_CONTEXT", Fixed())
            assert tracer.start_span("span").parent == ELSEWHERE
    assert tracer.start_span("span").parent is None

"""otlpfast's W3C propagators give the contexts, headers and warnings that the API's give."""

from __future__ import annotations

import logging
from collections import UserDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from opentelemetry import baggage, context, trace
from opentelemetry.baggage import propagation as api_baggage
from opentelemetry.context.context import Context
from opentelemetry.propagators import composite
from opentelemetry.propagators.textmap import Getter, Setter
from opentelemetry.sdk import trace as sdk
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags
from opentelemetry.trace.propagation import tracecontext as api_tracecontext

from otlpfast.propagation import CompositePropagator, TraceContextTextMapPropagator, W3CBaggagePropagator

from .headers import bags, carriers, contexts
from .test_trace_surface import made

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
ELSEWHERE = SpanContext(0x0AF7651916CD43DD8448EB211C80319C, 0xB7AD6B7169203331, True, TraceFlags(1))
API = {
    "trace context": api_tracecontext.TraceContextTextMapPropagator,
    "baggage": api_baggage.W3CBaggagePropagator,
}
OWN = {"trace context": TraceContextTextMapPropagator, "baggage": W3CBaggagePropagator}
EVERY: dict[str, tuple[Any, Any]] = {name: (API[name](), OWN[name]()) for name in API}
EVERY["both"] = (
    composite.CompositePropagator([make() for make in API.values()]),
    CompositePropagator([make() for make in OWN.values()]),
)


# --- what is compared


@contextmanager
def warnings_of_the_api() -> Iterator[list[str]]:
    """What is logged below the logger "opentelemetry" meanwhile."""
    said: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(f"{record.name} {record.levelname} {record.getMessage()}")

    handler, logger = Keep(), logging.getLogger("opentelemetry")
    logger.addHandler(handler)
    before, logger.propagate = logger.propagate, False
    try:
        yield said
    finally:
        logger.propagate = before
        logger.removeHandler(handler)


def shown(found: Context) -> object:
    """All that can be seen of a context."""
    assert type(found) is Context
    span = trace.get_current_span(found)
    ids = span.get_span_context()
    kinds = [type(part) for part in ids]
    state = list(ids.trace_state.items())
    rest = {key: value for key, value in found.items() if value is not span}
    pairs = list(baggage.get_all(found).items())
    return (len(found), isinstance(span, NonRecordingSpan), tuple(ids), kinds, state, pairs, rest)


def outcome(work: Callable[[], Any]) -> object:
    with warnings_of_the_api() as said:
        found = work()
    return found, said


def extracted(propagator: Any, carrier: Any, base: Context | None, **options: Any) -> object:
    return outcome(lambda: shown(propagator.extract(carrier, base, **options)))


def injected(propagator: Any, base: Context | None) -> object:
    def work() -> dict[str, str]:
        carrier: dict[str, str] = {}
        propagator.inject(carrier, base)
        return carrier

    return outcome(work)


bases = st.sampled_from(
    [
        None,
        Context(),
        Context({"key": "value"}),
        trace.set_span_in_context(NonRecordingSpan(ELSEWHERE), Context()),
        baggage.set_baggage("here", "before", baggage.set_baggage("a", object, Context())),
    ]
)

every = pytest.mark.parametrize("which", EVERY)


class Listing(Getter[Any]):
    """Looks names up in a list of pairs, without regard to case."""

    def get(self, carrier: Any, key: str) -> list[str] | None:
        return [value for name, value in carrier if name.lower() == key] or None

    def keys(self, carrier: Any) -> list[str]:
        return [name for name, _ in carrier]


class TestExtract:
    @every
    @given(carrier=carriers, base=bases)
    @example(carrier={"traceparent": PARENT + "\n"}, base=None)
    @example(carrier={"traceparent": PARENT, "tracestate": "a=1,b=2,a=3"}, base=None)
    @example(carrier={"baggage": "a=1,a=2"}, base=None)
    @example(carrier={"baggage": "  "}, base=None)
    @example(carrier={"baggage": "," * 8192}, base=None)
    def test_gives_the_same_context_and_the_same_warnings(
        self, which: str, carrier: dict[str, str], base: Context | None
    ) -> None:
        theirs, own = EVERY[which]
        assert extracted(own, carrier, base) == extracted(theirs, carrier, base)

    @settings(max_examples=40)
    @given(
        carrier=carriers,
        wrap=st.sampled_from([lambda v: [v], lambda v: (v,), lambda v: iter([v]), lambda v: [v, v]]),
    )
    def test_of_carriers_whose_values_are_lists(self, carrier: dict[str, str], wrap: Any) -> None:
        theirs, own = EVERY["both"]
        carrier.pop("baggage", None)  # of which the API takes the first alone
        one, other = ({name: wrap(value) for name, value in carrier.items()} for _ in range(2))
        for wrapped in (one, other):  # of which the API takes the first where it has to be the only one
            if isinstance(wrapped.get("traceparent"), list):
                del wrapped["traceparent"][1:]
        if any(isinstance(value, Iterator) for value in one.values()):
            one = other = {name: tuple(value) for name, value in one.items()}
        assert extracted(own, one, None) == extracted(theirs, other, None)

    @settings(max_examples=40)
    @given(carrier=carriers)
    def test_with_a_getter_of_somebodys_own(self, carrier: dict[str, str]) -> None:
        theirs, own = EVERY["both"]
        pairs = [(name.upper(), value) for name, value in carrier.items()]
        assert extracted(own, pairs, None, getter=Listing()) == extracted(
            theirs, pairs, None, getter=Listing()
        )

    @settings(max_examples=40)
    @given(carrier=carriers)
    def test_of_mappings_that_are_no_dicts(self, carrier: dict[str, str]) -> None:
        theirs, own = EVERY["both"]
        mapping: Mapping[str, str] = UserDict(carrier)
        assert extracted(own, mapping, None) == extracted(theirs, mapping, None)

    def test_without_headers_the_context_itself_comes_back(self) -> None:
        base = Context({"key": "value"})
        for _, own in EVERY.values():
            assert own.extract({}, base) is base
            assert own.extract({"traceparent": "wrong", "baggage": "wrong"}, base) is base

    def test_without_a_context_trace_context_begins_anew_and_baggage_adds_to_the_current_one(self) -> None:
        token = context.attach(Context({"key": "value"}))
        try:
            assert TraceContextTextMapPropagator().extract({}) == {}
            assert W3CBaggagePropagator().extract({})["key"] == "value"
            assert W3CBaggagePropagator().extract({"baggage": "a=b"})["key"] == "value"
        finally:
            context.detach(token)

    def test_a_context_that_came_stays_as_it_was(self) -> None:
        base = baggage.set_baggage("a", "1", Context())
        found = W3CBaggagePropagator().extract({"baggage": "b=2"}, base)
        assert (baggage.get_all(base), baggage.get_all(found)) == ({"a": "1"}, {"a": "1", "b": "2"})

    @pytest.mark.parametrize("side", ["own", "stock"])
    def test_a_span_can_be_the_child_of_what_was_extracted(self, side: str) -> None:
        provider: Any = made() if side == "own" else sdk.TracerProvider(shutdown_on_exit=False)
        came = TraceContextTextMapPropagator().extract({"traceparent": PARENT, "tracestate": "a=1"})
        child = provider.get_tracer("t").start_span("child", came)
        assert child.parent == trace.get_current_span(came).get_span_context()
        assert child.parent.is_remote and child.context.trace_id == ELSEWHERE.trace_id
        assert dict(child.context.trace_state) == {"a": "1"}


class TestInject:
    @given(ids=contexts, bag=bags)
    def test_gives_the_same_headers_and_the_same_warnings(
        self, ids: SpanContext, bag: dict[str, object]
    ) -> None:
        theirs, own = EVERY["both"]
        with warnings_of_the_api():
            base = trace.set_span_in_context(NonRecordingSpan(ids), Context())
        for key, value in bag.items():
            base = baggage.set_baggage(key, value, base)
        assert injected(own, base) == injected(theirs, base)

    @every
    @pytest.mark.parametrize("kind", ["recorded", "sampled out", "stock", "extracted", "none", "invalid"])
    def test_of_every_kind_of_current_span(self, which: str, kind: str) -> None:
        theirs, own = EVERY[which]
        spans: dict[str, Callable[[], Any]] = {
            "recorded": lambda: made().get_tracer("t").start_span("span"),
            "sampled out": lambda: made(sampler=ALWAYS_OFF).get_tracer("t").start_span("span"),
            "stock": lambda: sdk.TracerProvider(shutdown_on_exit=False).get_tracer("t").start_span("span"),
            "extracted": lambda: trace.get_current_span(
                TraceContextTextMapPropagator().extract({"traceparent": PARENT, "tracestate": "b=2,a=1"})
            ),
            "invalid": lambda: trace.INVALID_SPAN,
        }
        base = Context() if kind == "none" else trace.set_span_in_context(spans[kind](), Context())
        assert injected(own, base) == injected(theirs, base)
        token = context.attach(base)
        try:
            assert injected(own, None) == injected(theirs, None)
        finally:
            context.detach(token)

    @every
    def test_with_a_setter_of_somebodys_own(self, which: str) -> None:
        class Appending(Setter[list[tuple[str, str]]]):
            def set(self, carrier: list[tuple[str, str]], key: str, value: str) -> None:
                carrier.append((key, value))

        base = trace.set_span_in_context(
            NonRecordingSpan(ELSEWHERE), baggage.set_baggage("a", "b", Context())
        )
        found: list[list[tuple[str, str]]] = [[], []]
        for propagator, carrier in zip(EVERY[which], found, strict=True):
            propagator.inject(carrier, base, setter=Appending())
        assert found[0] == found[1] != []

    @pytest.mark.parametrize("which", ["trace context", "baggage"])
    def test_into_a_mapping_that_is_no_dict(self, which: str) -> None:
        base = trace.set_span_in_context(
            NonRecordingSpan(ELSEWHERE), baggage.set_baggage("a", "b", Context())
        )
        carrier: UserDict[str, str] = UserDict()
        EVERY[which][1].inject(carrier, base)
        assert list(carrier.values()) == [{"trace context": PARENT, "baggage": "a=b"}[which]]

    def test_what_a_setter_raises_is_the_callers(self) -> None:
        base = trace.set_span_in_context(
            NonRecordingSpan(ELSEWHERE), baggage.set_baggage("a", "b", Context())
        )
        for _, own in EVERY.values():
            with pytest.raises(TypeError, match="does not support item assignment"):
                own.inject((), base)

    @settings(max_examples=40)
    @given(carrier=carriers)
    def test_what_was_extracted_goes_on_as_the_api_sends_it(self, carrier: dict[str, str]) -> None:
        theirs, own = EVERY["both"]
        with warnings_of_the_api():
            assert injected(own, own.extract(carrier)) == injected(theirs, theirs.extract(carrier))


class TestNothingThatComesRaises:
    """Where the API raises: context/api-propagators.md, "the implementation MUST NOT throw an exception"."""

    @pytest.mark.parametrize("wrong", [17, b"00-ab", [17], [None], {"a": 1}, object()], ids=repr)
    @every
    def test_a_value_that_is_no_text(self, which: str, wrong: object) -> None:
        own = EVERY[which][1]
        base = Context({"key": "value"})
        carrier = {"traceparent": wrong, "tracestate": wrong, "baggage": wrong}
        assert own.extract(carrier, base) is base

    @pytest.mark.parametrize("wrong", [17, b"a=1", [17]], ids=repr)
    def test_a_tracestate_that_is_no_text_does_not_cost_the_traceparent(self, wrong: object) -> None:
        carrier: Any = {"traceparent": PARENT, "tracestate": wrong}
        found = trace.get_current_span(TraceContextTextMapPropagator().extract(carrier))
        assert found.get_span_context() == ELSEWHERE

    @every
    def test_a_carrier_or_getter_that_raises(self, which: str) -> None:
        class Raising(Getter[Any]):
            def get(self, carrier: Any, key: str) -> list[str] | None:
                raise LookupError(key)

            def keys(self, carrier: Any) -> list[str]:
                return []

        own = EVERY[which][1]
        base = Context()
        assert own.extract(object(), base) is base
        assert own.extract({}, base, getter=Raising()) is base

    def test_a_lone_surrogate_costs_its_own_entry(self) -> None:
        found = W3CBaggagePropagator().extract({"baggage": "a=1,b=\ud800,c=3"}, Context())
        assert baggage.get_all(found) == {"a": "1", "c": "3"}

    def test_a_lone_surrogate_is_sent_as_a_replacement_character(self) -> None:
        carrier: dict[str, str] = {}
        W3CBaggagePropagator().inject(carrier, baggage.set_baggage("a", "x\ud800", Context()))
        assert carrier == {"baggage": "a=x%EF%BF%BD"}

    def test_an_entry_without_a_text_is_sent_with_a_placeholder(self) -> None:
        class Silent:
            def __str__(self) -> str:
                raise RuntimeError

        carrier: dict[str, str] = {}
        W3CBaggagePropagator().inject(carrier, baggage.set_baggage("a", Silent(), Context()))
        assert carrier == {"baggage": "a=%3Cunprintable+Silent+object%3E"}

    def test_a_span_without_a_context_is_not_sent(self) -> None:
        carrier: dict[str, str] = {}
        broken: Any = NonRecordingSpan(None)  # type: ignore[arg-type]
        TraceContextTextMapPropagator().inject(carrier, trace.set_span_in_context(broken, Context()))
        assert carrier == {}


class TestSeveralBaggageHeaders:
    """W3C Baggage, "Multiple baggage headers are allowed. Values can be combined in a single header"."""

    def test_are_one(self) -> None:
        carrier = {"baggage": ["a=1, b=2", "c=3", "a=4"]}
        found = W3CBaggagePropagator().extract(carrier, Context())
        assert baggage.get_all(found) == {"a": "4", "b": "2", "c": "3"}

    def test_have_the_limits_of_one(self) -> None:
        with warnings_of_the_api() as said:
            found = W3CBaggagePropagator().extract({"baggage": ["a=" + "x" * 4000] * 3}, Context())
        assert found == {}
        assert "exceeded the maximum number of bytes per baggage-string" in said[0]


@settings(max_examples=40)
@given(
    blank=st.sampled_from([" ", "\t", " \t"]),
    count=st.integers(1, 3000),
    form=st.sampled_from(
        ["a{}=b,c=d", "a=b{},c=d", "{}a=b,c=d", "a=b,{}", "a=b{}x,c=d", "a=b;p{};q,c=d", "a={}b"]
    ),
)
def test_much_space_means_what_a_little_means(blank: str, count: int, form: str) -> None:
    def entries_of(header: str) -> object:
        with warnings_of_the_api():
            found = W3CBaggagePropagator().extract({"baggage": header}, Context())
        return [(key, "".join(str(value).split())) for key, value in baggage.get_all(found).items()]

    blanks = (blank * count)[:4000]
    assert entries_of(form.format(blanks)) == entries_of(form.format(" "))


def test_they_are_the_apis_classes_too() -> None:
    for own, theirs in zip(OWN.values(), API.values(), strict=True):
        assert issubclass(own, theirs) and own().fields == theirs().fields
    assert issubclass(CompositePropagator, composite.CompositePropagator)
    assert EVERY["both"][1].fields == EVERY["both"][0].fields == {"traceparent", "tracestate", "baggage"}


def test_a_composite_asks_others_and_subclasses_in_their_turn() -> None:
    asked: list[str] = []

    class Other(TraceContextTextMapPropagator):
        def extract(self, carrier: Any, context: Any = None, getter: Any = None) -> Context:
            asked.append("extract")
            return super().extract(carrier, context)

        def inject(self, carrier: Any, context: Any = None, setter: Any = None) -> None:
            asked.append("inject")
            super().inject(carrier, context)

    both = CompositePropagator([W3CBaggagePropagator(), Other()])
    found = both.extract({"traceparent": PARENT, "baggage": "a=b"}, Context())
    carrier: dict[str, str] = {}
    both.inject(carrier, found)
    assert asked == ["extract", "inject"]
    assert carrier == {"baggage": "a=b", "traceparent": PARENT}

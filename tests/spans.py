"""Spans for tests: of the real SDK, made by hand, and by hypothesis; and what the official encoder gives."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans as official_encode
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState


class Keep(SpanProcessor):
    """Keeps what reaches on_end."""

    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []

    def on_end(self, span: ReadableSpan) -> None:
        self.spans.append(span)


def provider(*processors: SpanProcessor, resource: Resource | None = None, **options: Any) -> TracerProvider:
    """A stock TracerProvider that leaves nothing at exit."""
    made = TracerProvider(
        sampler=ALWAYS_ON,
        resource=resource or Resource({"service.name": "test"}),
        shutdown_on_exit=False,
        **options,
    )
    for processor in processors:
        made.add_span_processor(processor)
    return made


def stock_spans(count: int, attributes: int = 10) -> list[ReadableSpan]:
    """Ended spans of the real SDK with attributes and an event."""
    keep = Keep()
    tracer = provider(keep).get_tracer("tests", "1.0")
    for i in range(count):
        with tracer.start_as_current_span(f"span {i}", kind=SpanKind.SERVER) as span:
            for j in range(attributes):
                span.set_attribute(f"attribute.key.{j:06d}", f"attribute value {i}.{j}")
            span.add_event("event", {"number": i, "text": "x"})
    return keep.spans


def every_field() -> list[ReadableSpan]:
    """Spans of the real SDK that fill nearly every field of the protocol."""
    keep = Keep()
    remote = SpanContext(2**128 - 1, 2**64 - 1, True, TraceFlags(3), TraceState([("a", "b"), ("c", "d=e")]))
    values: dict[str, Any] = {
        "text": "é東😀",
        "true": True,
        "false": False,
        "int": -(2**63),
        "float": 1e-300,
        "bytes": b"\0\xff",
        "list": ["a", "b"],
        "numbers": [1, 2**62],
        "none": None,
        "nested": {"list": [1, "x", {"deep": [None, b"\1"]}], "empty": {}},
        "empty": [],
        "": "no key",
    }
    for service in ("shop", "bank"):
        resource = Resource({"service.name": service, "list": [1, 2]}, f"https://{service}/schema")
        traced = provider(keep, resource=resource)
        for scope in ("wsgi", "sqlite"):
            tracer = traced.get_tracer(scope, "1.2", f"https://{scope}/schema", {"key": 1})
            for kind in SpanKind:
                span = tracer.start_span(
                    f"{kind.name} ë", kind=kind, attributes=values, links=[Link(remote, values), Link(remote)]
                )
                span.add_event("event", values, 1_700_000_000_123_456_789)
                span.add_event("")
                span.record_exception(ValueError("bad"))
                span.set_status(Status(StatusCode.ERROR, "it broke"))
                span.end()
            for number in range(3):
                tracer.start_span(f"{scope} {number}").end()
    return keep.spans


def hand_made(**fields: Any) -> ReadableSpan:
    """A ReadableSpan with defaults for what is not given."""
    defaults: dict[str, Any] = {
        "name": "span",
        "context": SpanContext(0x0123456789ABCDEF0123456789ABCDEF, 0x0123456789ABCDEF, False, TraceFlags(1)),
        "resource": Resource({}),
        "instrumentation_scope": InstrumentationScope("tests"),
        "start_time": 1,
        "end_time": 2,
    }
    return ReadableSpan(**{**defaults, **fields})


def decode(request: bytes) -> ExportTraceServiceRequest:
    """The request's message; raises where it is none."""
    return ExportTraceServiceRequest.FromString(request)


def official(spans: list[ReadableSpan]) -> ExportTraceServiceRequest:
    """What the official encoder gives, with the differences of docs/compatibility.md applied."""
    request = official_encode(spans)
    by_id = {
        (s.context.trace_id.to_bytes(16, "big"), s.context.span_id.to_bytes(8, "big")): s
        for s in spans
        if s.context
    }
    for resource_spans in request.resource_spans:
        for scope_spans in resource_spans.scope_spans:
            for message in scope_spans.spans:
                span = by_id[message.trace_id, message.span_id]
                assert span.context is not None
                scope = span.instrumentation_scope
                if scope is not None:
                    scope_spans.scope.dropped_attributes_count = scope.attributes.dropped  # type: ignore[union-attr]
                message.flags |= span.context.trace_flags & 0xFF
                for link_message, link in zip(message.links, span.links, strict=True):
                    link_message.flags |= link.context.trace_flags & 0xFF
                    link_message.trace_state = link.context.trace_state.to_header()
    return request


# --- hypothesis: everything the official encoder can encode ---

_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
_long_text = st.sampled_from(
    ["", "a" * 127, "b" * 128, "é" * 64, "é" * 63, "東" * 43, "😀" * 32, "x" * 20_000, "é" * 9_000]
)
_scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.binary(max_size=300),
    _text,
    _long_text,
)
_values = st.recursive(
    _scalars,
    lambda inner: (
        st.lists(inner, max_size=5) | st.tuples(inner, inner) | st.dictionaries(_text, inner, max_size=4)
    ),
    max_leaves=12,
)
attributes = st.dictionaries(_text.filter(bool), _values, max_size=8)
_times = st.integers(0, 2**64 - 1)
_trace_states = st.dictionaries(
    st.from_regex(r"[a-z][a-z0-9_\-*/]{0,20}", fullmatch=True),
    st.from_regex(r"[!-+\--<>-~]{1,30}", fullmatch=True),
    max_size=4,
).map(lambda entries: TraceState(list(entries.items())))
_contexts = st.builds(
    SpanContext,
    st.integers(0, 2**128 - 1),
    st.integers(0, 2**64 - 1),
    st.booleans(),
    st.integers(0, 255).map(TraceFlags),
    _trace_states,
)
_events = st.builds(Event, _text, attributes, _times)
_links = st.builds(Link, _contexts, attributes)
_statuses = st.one_of(
    st.just(Status()),
    st.just(Status(StatusCode.OK)),
    _text.map(lambda text: Status(StatusCode.ERROR, text)),
)
_resources = st.builds(Resource, attributes, st.sampled_from([None, "", "https://schema/1"]))
_scopes = st.builds(
    InstrumentationScope,
    st.sampled_from(["a", "b", ""]),
    st.sampled_from([None, "", "1.0"]),
    st.sampled_from([None, "https://schema/2"]),
    st.sampled_from([None, {"k": 1}, {"k": [1, {"m": None}], "t": "é"}]),
)


@st.composite
def span_lists(draw: st.DrawFn) -> list[ReadableSpan]:
    """Spans of a few resources and scopes, some made by hand, some by the SDK's own containers."""
    resources = draw(st.lists(_resources, min_size=1, max_size=3))
    scopes = draw(st.lists(_scopes | st.none(), min_size=1, max_size=3))
    spans = []
    for number in range(draw(st.integers(0, 6))):
        context = draw(_contexts)
        spans.append(
            ReadableSpan(
                name=draw(_text | _long_text),
                # Ids tell spans apart when the differences are applied.
                context=SpanContext(
                    context.trace_id, number + 1, context.is_remote, context.trace_flags, context.trace_state
                ),
                parent=draw(st.none() | _contexts),
                resource=draw(st.sampled_from(resources)),
                attributes=draw(st.none() | attributes),
                events=draw(st.lists(_events, max_size=3)),
                links=draw(st.lists(_links, max_size=3)),
                kind=draw(st.sampled_from(SpanKind)),
                status=draw(_statuses),
                start_time=draw(_times),
                end_time=draw(st.none() | _times),
                instrumentation_scope=draw(st.sampled_from(scopes)),
            )
        )
    return spans

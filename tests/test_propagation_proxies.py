"""Traces through real proxies: caller, proxy, service, proxy, service, and what the last one gets.

nginx and HAProxy pass headers; Envoy has spans of its own in the same trace. A proxy that is not installed is
skipped, and so is a format without its package.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from email.message import Message
from importlib.metadata import entry_points
from typing import NamedTuple

import pytest
from opentelemetry.context import Context
from opentelemetry.propagators.textmap import TextMapPropagator
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    TraceFlags,
    TraceState,
    get_current_span,
    set_span_in_context,
)

from .collector import Collector
from .forwarding import last_service, service, values
from .forwarding_service import Headers, ask
from .pipeline import until
from .proxying import Proxy, command_of, proxied

TRACE, PARENT = 0x4BF92F3577B34DA6A3CE929D0E0E4736, 0x00F067AA0BA902B7
FORMATS = ["tracecontext", "b3", "b3multi", "jaeger", "xray"]
PROXIES = ["nginx", "haproxy", "envoy"]
THROUGH = [("direct", each) for each in FORMATS] + [
    (proxy, each) for proxy in PROXIES for each in FORMATS[:3]
]


class Row(NamedTuple):
    """Two services, each behind a proxy or not, and what they speak."""

    proxy: str
    format: str
    address: str
    proxies: list[Proxy]
    collector: Collector

    @property
    def propagator(self) -> TextMapPropagator:
        (entry,) = entry_points(group="opentelemetry_propagator", name=self.format)
        made: TextMapPropagator = entry.load()()
        return made

    def asked(self, *headers: tuple[str, str], flags: int = 1) -> list[list[tuple[str, str]]]:
        """The headers that the first service got, the second, and the last."""
        state = TraceState([("vendor", "1")])
        caller = SpanContext(TRACE, PARENT, True, TraceFlags(flags), state)
        carrier: dict[str, str] = {}
        self.propagator.inject(carrier, set_span_in_context(NonRecordingSpan(caller), Context()))
        first = ask(self.address, "/1", [*carrier.items(), *headers])
        second = first["answers"][0]
        return [each["came"] for each in (first, second, second["answers"][0])]

    def read(self, headers: list[tuple[str, str]]) -> SpanContext:
        """What they say."""
        message: Message[str, str] = Message()
        for name, value in headers:
            message[name] = value
        context = self.propagator.extract(message, Context(), getter=Headers())
        return get_current_span(context).get_span_context()

    def spans(self, service: str) -> list[Span]:
        """Those of a service that have come."""
        return [
            span
            for request in self.collector.requests
            for resource in request.message.resource_spans
            for pair in resource.resource.attributes
            if pair.key == "service.name" and pair.value.string_value == service
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    def wait_for(self, service: str, key: str, value: object) -> Span:
        """The span of a service with this value in a field, once it has come."""

        def found() -> list[Span]:
            return [span for span in self.spans(service) if getattr(span, key) == value]

        until(lambda: bool(found()), f"a span of {service} with {key}={value!r} came", 60)
        return found()[0]

    def caller_of(self, server: Span) -> bytes:
        """The id of the span above, but for those of proxies between."""
        if (self.proxy, self.format) != ("envoy", "tracecontext"):
            return server.parent_span_id
        proxy = self.wait_for("envoy", "span_id", server.parent_span_id)
        assert proxy.trace_id == server.trace_id
        return proxy.parent_span_id


@pytest.fixture(name="row", params=THROUGH, ids="-".join)
def row_fixture(request: pytest.FixtureRequest) -> Iterator[Row]:
    """A row of services through each of the proxies."""
    proxy, propagators = request.param
    if not entry_points(group="opentelemetry_propagator", name=propagators):
        pytest.skip(f"no propagator {propagators}")
    if proxy != "direct":
        command_of(proxy)
    with ExitStack() as stack:
        following = stack.enter_context(last_service())
        collector = stack.enter_context(Collector())
        proxies: list[Proxy] = []
        for name in ("second", "first"):
            variables = {"OTEL_PROPAGATORS": propagators, "OTEL_SERVICE_NAME": name}
            following = here = stack.enter_context(service(following, collector, **variables))
            if proxy != "direct":
                proxies.append(stack.enter_context(proxied(proxy, here, collector)))
                following = proxies[-1].address
        yield Row(proxy, propagators, following, proxies, collector)


def test_a_trace_goes_through(row: Row) -> None:
    _, _, last = row.asked()
    spans = {
        service: [row.wait_for(service, "name", name) for name in ("server", "client")]
        for service in ("first", "second")
    }
    for server, client in spans.values():
        assert server.trace_id == client.trace_id == TRACE.to_bytes(16, "big")
        assert client.parent_span_id == server.span_id
    assert row.caller_of(spans["first"][0]) == PARENT.to_bytes(8, "big")
    assert row.caller_of(spans["second"][0]) == spans["first"][1].span_id
    came = row.read(last)
    assert came.trace_id == TRACE and came.trace_flags.sampled
    assert came.span_id.to_bytes(8, "big") == spans["second"][1].span_id
    if row.format == "tracecontext":
        assert values(last, "tracestate") == ["vendor=1"]
    came = row.read(row.asked(flags=0)[-1])
    assert came.trace_id == TRACE and not came.trace_flags.sampled
    if row.format == "tracecontext" and row.proxy != "direct":
        check_ids_of_requests(row)
        if row.proxy != "envoy":
            for proxy in row.proxies:
                proxy.waits_for_line(f"trace={TRACE:032x}", '"GET /1" 200')
            ask(row.address, "/2", [("traceparent", '00-x "GET /admin" 200 trace=0123')])
            row.proxies[-1].waits_for_line("trace=-", '"GET /2"')


def check_ids_of_requests(row: Row) -> None:
    """That x-request-id is the caller's, or else the first proxy's."""
    assert [values(each, "x-request-id") for each in row.asked(("x-request-id", "mine"))] == [["mine"]] * 3
    first, second, last = (values(each, "x-request-id") for each in row.asked())
    assert first == second == last and len(first) == 1 and first[0]
    for own in ("mine", "f6f4b8a2-5f3d-4f63-8d5c-6a4b0f1c2d3e"):
        answer = ask(row.address, "/1", [("x-request-id", own)])["answers"][0]["came"]
        assert values(answer, "x-request-id") == [own]
        assert row.read(answer).trace_flags.sampled  # whatever the id of the request is

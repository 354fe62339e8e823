"""Whether two OTLP messages, or two sets of spans received, mean the same; and if not, where they part."""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from google.protobuf.message import Message  # type: ignore[import-untyped]
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span

OF_A_PROCESS = frozenset(
    {"service.instance.id", "process.pid", "thread.id", "thread.name", "net.host.port", "net.peer.port"}
    | {"server.port", "client.port", "network.peer.port"}
)
"""Attributes that differ between two runs of one program, whoever exports them."""

_W3C_FLAGS = 0xFF
# The frames of ``with start_as_current_span()`` itself: how many there are is an SDK's own affair.
_TRACER_FRAME = re.compile(
    r'^  File "[^"\n]*", line \d+, in (?:use_span|start_as_current_span)\n(?:    .*\n)*', re.MULTILINE
)


def difference(left: Message, right: Message, path: str = "") -> str | None:
    """The first place where two messages of one type differ, as ``path: left, right``, or None."""
    if left == right:
        return None
    for field in left.DESCRIPTOR.fields:
        place = f"{path}.{field.name}" if path else field.name
        one, other = getattr(left, field.name), getattr(right, field.name)
        if field.has_presence and left.HasField(field.name) != right.HasField(field.name):
            return f"{place}: {_presence(left, field.name)}, {_presence(right, field.name)}"
        if one == other:
            continue
        if isinstance(one, Message):
            return difference(one, other, place)
        if isinstance(one, str | bytes | int | float):
            return f"{place}: {_shown(one)}, {_shown(other)}"
        for number, (mine, theirs) in enumerate(zip(one, other, strict=False)):
            if mine != theirs:
                return difference(mine, theirs, f"{place}[{number}]")
        return f"{place}: {len(one)}, {len(other)} of them"
    return f"{path or left.DESCRIPTOR.name}: unknown fields differ"


def _presence(message: Message, name: str) -> str:
    return _shown(getattr(message, name)) if message.HasField(name) else "not set"


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 120 else f"{text[:117]}..."


@dataclass(frozen=True)
class _Form:
    """A span without what differs between two runs; ``linked``: the names of the spans that it links to."""

    resource: bytes
    scope: bytes
    span: bytes
    linked: tuple[str, ...]

    def likeness(self, other: _Form) -> int:
        """More for a form that is more like this one: a difference between the two tells more."""
        same = sum(one == two for one, two in zip(self.span, other.span, strict=False))
        return same - abs(len(self.span) - len(other.span))


class SpanSet:
    """The spans of some requests without times, ids, numbers of the process and a tracer's own stack frames.

    The messages are used up.
    """

    def __init__(self, requests: Iterable[ExportTraceServiceRequest]) -> None:
        found = [
            (resource_spans, scope_spans, span)
            for request in requests
            for resource_spans in request.resource_spans
            for scope_spans in resource_spans.scope_spans
            for span in scope_spans.spans
        ]
        names = {(span.trace_id, span.span_id): span.name for _, _, span in found}
        children: defaultdict[tuple[bytes, bytes], list[int]] = defaultdict(list)
        roots: list[tuple[int, bytes]] = []
        for number, (_, _, span) in enumerate(found):
            parent = (span.trace_id, span.parent_span_id)
            if parent in names:
                children[parent].append(number)
            else:
                # A parent elsewhere was named by the client, with the same ids in every run.
                roots.append((number, span.trace_id + span.parent_span_id if span.parent_span_id else b""))
        ids = [(span.trace_id, span.span_id) for _, _, span in found]
        forms = [_form(*place, names) for place in found]
        self.forms = Counter(forms)

        def digest(number: int) -> bytes:
            form = forms[number]
            whole = hashlib.sha256(repr((form.resource, form.scope, form.span, form.linked)).encode())
            # Popped: a span that came twice must not be its own descendants' parent twice.
            for child in sorted(map(digest, children.pop(ids[number], ()))):
                whole.update(child)
            return whole.digest()

        self.trees = Counter((digest(number), parent) for number, parent in roots)


def _form(
    resource_spans: ResourceSpans, scope_spans: ScopeSpans, span: Span, names: dict[tuple[bytes, bytes], str]
) -> _Form:
    """Strips the span in place; what is left of it, unknown fields included, is compared as it is."""
    linked = tuple(names.get((link.trace_id, link.span_id), "elsewhere") for link in span.links)
    for link in span.links:
        link.trace_id, link.span_id, link.trace_state = b"", b"", ""
        link.flags &= ~_W3C_FLAGS
    for event in span.events:
        event.time_unix_nano = min(event.time_unix_nano, 1)
        for attribute in event.attributes:
            if attribute.key == "exception.stacktrace":
                attribute.value.string_value = _TRACER_FRAME.sub("", attribute.value.string_value)
    # Which time it was does not count, that there is one does.
    span.start_time_unix_nano = min(span.start_time_unix_nano, 1)
    span.end_time_unix_nano = min(span.end_time_unix_nano, 1)
    span.trace_id = span.span_id = span.parent_span_id = b""
    span.flags &= ~_W3C_FLAGS
    for entity in (resource_spans.resource, span):
        for number in reversed(range(len(entity.attributes))):
            if entity.attributes[number].key in OF_A_PROCESS:
                del entity.attributes[number]
    scope_spans.scope.dropped_attributes_count = 0
    return _Form(
        resource_spans.resource.SerializeToString(deterministic=True) + resource_spans.schema_url.encode(),
        scope_spans.scope.SerializeToString(deterministic=True) + scope_spans.schema_url.encode(),
        span.SerializeToString(deterministic=True),
        linked,
    )


def set_difference(left: SpanSet, right: SpanSet) -> str | None:
    """What two sets of spans differ in first, in words; None if their traces are equal, as multisets."""
    if left.forms == right.forms:
        return None if left.trees == right.trees else "the same spans, but put together into other traces"
    only_left, only_right = left.forms - right.forms, right.forms - left.forms
    counts = f"{only_left.total()} spans only in the first, {only_right.total()} only in the second"
    form = next(iter(only_left or only_right))
    span = Span.FromString(form.span)
    namesakes = [other for other in only_right if other is not form and _name(other) == span.name]
    if not namesakes:
        return f"{counts}; one of them is {span.name!r}"
    return f"{counts}; span {span.name!r}: {_form_difference(form, max(namesakes, key=form.likeness))}"


def _name(form: _Form) -> str:
    name: str = Span.FromString(form.span).name
    return name


def _form_difference(form: _Form, other: _Form) -> str:
    for what in ("resource", "scope", "linked"):
        if getattr(form, what) != getattr(other, what):
            return f"{what}: {_shown(getattr(form, what))}, {_shown(getattr(other, what))}"
    return difference(Span.FromString(form.span), Span.FromString(other.span)) or "the same in other bytes"

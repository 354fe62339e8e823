"""What a collector received as trees of text that two runs of one program have in common."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Container, Iterable
from dataclasses import dataclass

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

_PORT_KEYS = frozenset({"net.host.port", "net.peer.port", "server.port", "client.port", "network.peer.port"})
# What the SDK and otlpfast themselves have on the stack when an exception leaves a span's block.
_OWN_FRAMES = re.compile(
    r' *File "[^"]*[/\\](?:opentelemetry[/\\](?:trace|sdk|util|context)[/\\][^"]*'
    r'|otlpfast[/\\](?:_pure[/\\])?\w+\.py|contextlib\.py)", line \d+, in .*\n(?: {4,}.*\n)*'
)
_OF_A_RUN = (
    (re.compile(r"0x[0-9a-f]{6,}"), "ADDRESS"),
    (re.compile(r"\[\d\d/\w{3}/\d{4} [\d:]+\]"), "[TIME]"),
    (re.compile(r"(?<=127\.0\.0\.1)(:|%3A|', (?:port=)?)\d+"), r"\1PORT"),
    (re.compile(r"process \[\d+\]"), "process [PID]"),
)
_HEX_ID = re.compile(r"\b(?:[0-9a-f]{32}|[0-9a-f]{16})\b")


@dataclass(frozen=True)
class Found:
    """One span with its place, and the scope that it came in."""

    scope: InstrumentationScope
    schema_url: str
    span: Span


class Received:
    """All spans of some requests.

    Attributes:
        spans: as they came, scopes with them.
        resources: what the resources say, each once.
    """

    def __init__(self, messages: Iterable[ExportTraceServiceRequest]) -> None:
        self.spans: list[Found] = []
        self.resources: set[tuple[str, ...]] = set()
        for message in messages:
            for of_resource in message.resource_spans:
                attributes = of_resource.resource.attributes
                told = (f"{a.key} = {shown(a.value)}" for a in attributes if a.key != "service.instance.id")
                self.resources.add((of_resource.schema_url, *told))
                for of_scope in of_resource.scope_spans:
                    place = of_scope.scope, of_scope.schema_url
                    self.spans += [Found(*place, span) for span in of_scope.spans]
        self._by_id = {found.span.span_id.hex(): found.span for found in self.spans}
        self._traces = {found.span.trace_id.hex() for found in self.spans}
        self._children: dict[str, list[Found]] = defaultdict(list)
        for found in self.spans:
            self._children[found.span.parent_span_id.hex()].append(found)

    def named(self, name: str) -> list[Span]:
        """The spans of a name."""
        return [found.span for found in self.spans if found.span.name == name]

    def ids(self) -> set[tuple[str, str]]:
        """Trace id and span id of all, as hexadecimal text."""
        return {(found.span.trace_id.hex(), found.span.span_id.hex()) for found in self.spans}

    def ancestors(self, span_id: str) -> list[Span]:
        """The spans from the root to this one, as far as they came."""
        found: list[Span] = []
        while (span := self._by_id.get(span_id)) is not None:
            found.insert(0, span)
            span_id = span.parent_span_id.hex()
        return found

    def path(self, span_id: str) -> str:
        """The names from the root to a span, or what tells that none of this id came."""
        if not span_id.strip("0"):
            return "none"
        return " > ".join(span.name for span in self.ancestors(span_id)) or "not sent"

    def clean(self, text: str) -> str:
        """A text without what differs between two runs; ids of spans become their paths."""

        def named(match: re.Match[str]) -> str:
            found = match[0]
            if found in self._by_id:
                return f"<{self.path(found)}>"
            return "<trace>" if found in self._traces else found

        text = _HEX_ID.sub(named, _OWN_FRAMES.sub("", text))
        for pattern, instead in _OF_A_RUN:
            text = pattern.sub(instead, text)
        return text

    def trees(self, known: Container[str] = ()) -> list[str]:
        """The traces, each with all its trees, sorted; ids that are known are told from those made here."""
        traces: dict[str, list[str]] = defaultdict(list)
        for found in self.spans:
            parent = found.span.parent_span_id.hex()
            if parent not in self._by_id:
                caller = f"called by {parent if parent in known else 'another'}: " if parent else ""
                traces[found.span.trace_id.hex()].append(caller + self._tree(found, ""))
        return sorted(
            "\n".join([f"trace {trace if trace in known else '(new)'}", *sorted(roots), ""])
            for trace, roots in traces.items()
        )

    def _tree(self, found: Found, indent: str) -> str:
        inner = indent + "    "
        children = sorted(self._tree(child, inner) for child in self._children[found.span.span_id.hex()])
        return "\n".join([*(indent + line for line in self._lines(found)), *children])

    def _lines(self, found: Found) -> Iterable[str]:
        span, scope = found.span, found.scope
        yield f"{Span.SpanKind.Name(span.kind)[10:]} {span.name}"
        yield f"  scope {scope.name} {scope.version} {found.schema_url} {self._shown(scope.attributes)}"
        if span.HasField("status"):
            code = Status.StatusCode.Name(span.status.code)[12:]
            yield f"  status {code} {self.clean(span.status.message)!r}"
        # The SDK's exporter leaves the W3C flags out, bits 0 to 7, and so the tracestate of links.
        yield f"  flags {span.flags >> 8:#x} state {span.trace_state!r} dropped {_dropped(span)}"
        yield from (f"  {line}" for line in self._shown(span.attributes))
        for event in span.events:
            yield f"  event {event.name} {self._shown(event.attributes)} {event.dropped_attributes_count}"
        for link in span.links:
            place = self.path(link.span_id.hex())
            yield f"  link {place} {link.flags >> 8:#x} {self._shown(link.attributes)}"

    def _shown(self, attributes: Iterable[KeyValue]) -> list[str]:
        return [
            f"{a.key} = {'PORT' if a.key in _PORT_KEYS else self.clean(shown(a.value))}" for a in attributes
        ]


def shown(value: AnyValue) -> str:
    """A value with its type."""
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return f"[{', '.join(map(shown, value.array_value.values))}]"
    if kind == "kvlist_value":
        return f"{{{', '.join(f'{a.key}: {shown(a.value)}' for a in value.kvlist_value.values)}}}"
    if kind == "string_value":
        return f'"{value.string_value}"'
    return f"{kind} {getattr(value, kind)!r}" if kind else "nothing"


def _dropped(span: Span) -> tuple[int, int, int]:
    return span.dropped_attributes_count, span.dropped_events_count, span.dropped_links_count

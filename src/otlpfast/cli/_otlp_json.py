"""Texts and attributes of spans in OTLP's JSON form, as the Collector's file exporter writes them.

Specification: protocol/otlp.md, "JSON Protobuf Encoding".
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple


class Field(NamedTuple):
    """A place of a span that may hold a secret."""

    place: str
    """"span name", "attribute", "event attribute" and so on; "text" where it is of no span."""
    key: str | None
    """Of an attribute; None where the value is a text without a key."""
    value: Any


def fields_of(lines: Iterable[str]) -> Iterator[Field]:
    """The fields of every line that is a request in JSON; any other line is a text by itself.

    ValueError for JSON that is no request.
    """
    for number, line in enumerate(lines, 1):
        text = line.rstrip("\r\n")
        if not text.strip():
            continue
        request = _request(text)
        if request is None:
            yield Field("text", None, text)
            continue
        try:
            yield from _of_request(request)
        except (TypeError, AttributeError, ValueError, KeyError) as error:
            raise ValueError(f"line {number} is no OTLP request: {error}") from None


def _request(text: str) -> dict[str, Any] | None:
    if not text.lstrip().startswith("{"):
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) and "resourceSpans" in found else None


def _of_request(request: dict[str, Any]) -> Iterator[Field]:
    for resource_spans in request["resourceSpans"]:
        yield from _attributes("resource attribute", resource_spans.get("resource", {}))
        for scope_spans in resource_spans.get("scopeSpans", ()):
            yield from _attributes("scope attribute", scope_spans.get("scope", {}))
            for span in scope_spans.get("spans", ()):
                yield from _of_span(span)


def _of_span(span: dict[str, Any]) -> Iterator[Field]:
    yield Field("span name", None, span.get("name", ""))
    yield from _attributes("attribute", span)
    for event in span.get("events", ()):
        name = event.get("name", "")
        yield Field("event name", None, name)
        yield from _attributes("exception attribute" if name == "exception" else "event attribute", event)
    for link in span.get("links", ()):
        yield from _attributes("link attribute", link)
    if message := span.get("status", {}).get("message"):
        yield Field("status", None, message)


def _attributes(place: str, holder: dict[str, Any]) -> Iterator[Field]:
    for pair in holder.get("attributes", ()):
        yield Field(place, pair["key"], _value(pair.get("value", {})))


def _value(value: dict[str, Any]) -> Any:
    """An AnyValue as the encoder would have got it."""
    for kind, found in value.items():
        if kind == "intValue":
            return int(found)
        if kind == "doubleValue":
            return float(found)
        if kind == "bytesValue":
            return base64.b64decode(found)
        if kind == "arrayValue":
            return tuple(_value(item) for item in found.get("values", ()))
        if kind == "kvlistValue":
            return {pair["key"]: _value(pair.get("value", {})) for pair in found.get("values", ())}
        return found
    return None

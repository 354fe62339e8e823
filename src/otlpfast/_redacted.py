"""Redaction of spans as objects: for exporters that take no bytes, and for the plain-Python encoder.

The compiled encoder does the same to what it writes: same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from ._patterns.plans import Verdict
from ._plain import frozen_attributes, plain_attributes, plain_span

if TYPE_CHECKING:
    from ._impl import Redactor

_MAX_COPIES = 1024  # of resources and scopes
_UINT32_MAX = 2**32 - 1


def redacted_pairs(
    pairs: Mapping[str, Any], redactor: Redactor, otherwise: int = Verdict.SCAN
) -> dict[str, Any]:
    """Attributes with plain values, or the entries of a mapping in one.

    otherwise: the Verdict of keys that no rule names.
    """
    found = {}
    for key, value in pairs.items():
        verdict = redactor.rule(key)
        if verdict == Verdict.OTHER:
            verdict = otherwise
        if verdict == Verdict.MASK:
            found[key] = redactor.mask
        elif verdict == Verdict.HASH:
            found[key] = _hashed(value, redactor)
        elif verdict != Verdict.DROP:
            found[key] = _seen(value, redactor, verdict)
    return found


def _seen(value: Any, redactor: Redactor, verdict: int) -> Any:
    if isinstance(value, dict):
        return redacted_pairs(value, redactor, verdict)
    if isinstance(value, tuple):
        return tuple(_seen(item, redactor, verdict) for item in value)
    if isinstance(value, str) and verdict == Verdict.SCAN:
        return redactor.clean(value)
    if isinstance(value, bytes) and verdict == Verdict.SCAN and _is_text(value):
        return redactor.clean_bytes(value)
    return value


def _is_text(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


def _hashed(value: Any, redactor: Redactor) -> Any:
    if isinstance(value, tuple):
        return tuple(_hashed(item, redactor) for item in value)
    if isinstance(value, bool):
        return redactor.hash("true" if value else "false")
    if isinstance(value, (int, float)):
        return redactor.hash(repr(value))
    return redactor.hash(value) if isinstance(value, (str, bytes)) else redactor.mask


def redact(span: ReadableSpan, redactor: Redactor) -> None:
    """Redacts a span that ``plain_span()`` has made: it is changed."""
    if redactor.span_names:
        span._name = redactor.clean(span._name)
    _redact_attributes(span, redactor)
    for event in span._events._dq:  # type: ignore[attr-defined]
        if redactor.exceptions if event._name == "exception" else redactor.events:
            event._name = redactor.clean(event._name)
            _redact_attributes(event, redactor)
    if redactor.links:
        for link in span._links._dq:  # type: ignore[attr-defined]
            _redact_attributes(link, redactor)
    if redactor.statuses and span._status is not None and span._status._description:
        span._status._description = redactor.clean(span._status._description)


def _redact_attributes(holder: Any, redactor: Redactor) -> None:
    attributes = holder._attributes
    before = len(attributes._dict)
    attributes._dict = redacted_pairs(attributes._dict, redactor, redactor.otherwise)
    attributes.dropped = min(attributes.dropped + before - len(attributes._dict), _UINT32_MAX)


class RedactedCopies:
    """Makes spans of the SDK's class that hold what may be seen of other spans."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        # By identity, which means something only while the first of each two lives.
        self._known: dict[int, tuple[Any, Any]] = {}

    def of(self, spans: Iterable[ReadableSpan]) -> list[ReadableSpan]:
        """A copy of each; none of what has no valid ids."""
        return [copy for span in spans if (copy := self._copy(span)) is not None]

    def _copy(self, span: ReadableSpan) -> ReadableSpan | None:
        copy = plain_span(span)
        if copy is None:
            return None
        try:
            redact(copy, self._redactor)
            for holder in (copy, *copy._events._dq, *copy._links._dq):  # type: ignore[attr-defined]
                holder._attributes._dict = frozen_attributes(holder._attributes._dict)
            copy._resource = self._once(copy._resource, self._resource)
            copy._instrumentation_scope = self._once(copy._instrumentation_scope, self._scope)
        except Exception:  # no memory, or no stack left
            return None
        return copy

    def _once(self, holder: Any, make: Callable[[Any], Any]) -> Any:
        known = self._known.get(id(holder))
        if known is None:
            if len(self._known) >= _MAX_COPIES:
                self._known.clear()
            known = self._known[id(holder)] = holder, make(holder)
        return known[1]

    def _attributes(self, holder: Any) -> dict[str, Any] | None:
        attributes = plain_attributes(getattr(holder, "attributes", None))
        return frozen_attributes(redacted_pairs(attributes, self._redactor))

    def _resource(self, resource: Any) -> Resource:
        return Resource(self._attributes(resource) or {}, resource.schema_url)

    def _scope(self, scope: Any) -> InstrumentationScope | None:
        if scope is None:
            return None
        return InstrumentationScope(scope.name, scope.version, scope.schema_url, self._attributes(scope))

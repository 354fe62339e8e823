"""The API's W3C propagators, kept from raising for what came over the wire.

Both implementations come here with whatever is not plainly right. Specification:
context/api-propagators.md, "Extract": "If a value can not be parsed from the carrier, for a cross-cutting
concern, the implementation MUST NOT throw an exception".
"""

from __future__ import annotations

import re
from typing import Any

from opentelemetry.baggage import _BAGGAGE_KEY, get_all
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.context import get_current, set_value
from opentelemetry.context.context import Context
from opentelemetry.propagators.textmap import Getter
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from ._given import ignored
from ._plain import plain_text

_trace_context = TraceContextTextMapPropagator()
_baggage = W3CBaggagePropagator()

_SURROGATE = re.compile("[\ud800-\udfff]")
_MUCH_SPACE = re.compile(r"[ \t]{32,}")
_MAX_HEADER, _MAX_MEMBER = 8192, 4096


class _Asking(Getter[Any]):
    """A getter that asks another one."""

    def __init__(self, getter: Getter[Any]) -> None:
        self._getter = getter

    def keys(self, carrier: Any) -> list[str]:
        return self._getter.keys(carrier)


class _OneParent(_Asking):
    """Finds no ``traceparent`` where there are several: which of them is the caller's nobody knows."""

    def get(self, carrier: Any, key: str) -> Any:
        values: Any = self._getter.get(carrier, key)
        several = key == "traceparent" and isinstance(values, (list, tuple)) and len(values) > 1
        return None if several else values


class _WithoutState(_Asking):
    """Finds no ``tracestate``: one that can't be read must not cost the ``traceparent``."""

    def get(self, carrier: Any, key: str) -> Any:
        return None if key == "tracestate" else self._getter.get(carrier, key)


class _OneHeader(_Asking):
    """Gives several ``baggage`` headers as the one that they are."""

    def get(self, carrier: Any, key: str) -> Any:
        values: Any = self._getter.get(carrier, key)
        if values is None or isinstance(values, str):
            return values
        texts = [value for value in values if isinstance(value, str)]
        return [_tamed(",".join(texts))] if texts else None


def _tamed(header: str) -> str:
    """The same to a parser, without what makes the API's raise or take a hundred milliseconds."""
    header = _SURROGATE.sub("\ufffd", header)
    if len(header) > _MAX_HEADER or not _MUCH_SPACE.search(header):
        return header
    return ",".join(_tamed_member(member.strip(" \t")) for member in header.split(","))


def _tamed_member(member: str) -> str:
    if len(member) > _MAX_MEMBER:  # as it has to stay
        return member.replace(" ", "_").replace("\t", "_")
    return _MUCH_SPACE.sub(" ", member)


def extract_trace_context(carrier: Any, context: Context | None, getter: Any) -> Context:
    """As the propagator's ``extract()``."""
    if context is None:
        context = Context()
    getter = _OneParent(getter)
    try:
        try:
            return _trace_context.extract(carrier, context, getter)
        except Exception:
            return _trace_context.extract(carrier, context, _WithoutState(getter))
    except Exception as error:
        ignored("traceparent", "trace context was not extracted: %s: %s", type(error).__name__, error)
        return context


def extract_baggage(carrier: Any, context: Context | None, getter: Any) -> Context:
    """As the propagator's ``extract()``."""
    if context is None:
        context = get_current()
    try:
        return _baggage.extract(carrier, context, _OneHeader(getter))
    except Exception as error:
        ignored("baggage", "baggage was not extracted: %s: %s", type(error).__name__, error)
        return context


def inject_trace_context(carrier: Any, context: Context | None, setter: Any) -> None:
    """As the propagator's ``inject()``."""
    headers: dict[str, str] = {}
    try:
        _trace_context.inject(headers, context)
    except Exception as error:
        ignored("inject", "trace context was not injected: %s: %s", type(error).__name__, error)
        return
    for name, value in headers.items():
        setter.set(carrier, name, value)


def inject_baggage(carrier: Any, context: Context | None, setter: Any) -> None:
    """As the propagator's ``inject()``."""
    headers: dict[str, str] = {}
    try:
        entries = {_sendable(key): _sendable(value) for key, value in get_all(context).items()}
        _baggage.inject(headers, set_value(_BAGGAGE_KEY, entries, Context()))
    except Exception as error:
        ignored("inject baggage", "baggage was not injected: %s: %s", type(error).__name__, error)
        return
    for name, value in headers.items():
        setter.set(carrier, name, value)


def _sendable(value: object) -> str:
    return _SURROGATE.sub("\ufffd", plain_text(value))

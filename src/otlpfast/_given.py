"""What an application gives a tracer or span, made safe: nothing raises, what can't be used is logged.

The SDK lets a wrong argument raise into the application. The specification does not ("API methods MUST NOT
throw unhandled exceptions when used incorrectly by end users", error-handling.md). Both implementations come
here with whatever is not plainly right.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from opentelemetry.attributes import _clean_attribute_value
from opentelemetry.trace import Link, Span, SpanContext, Status, StatusCode, get_current_span

from ._log import RateLimitedLog
from ._plain import frozen_value, plain_text

_log = RateLimitedLog(logging.getLogger("otlpfast.trace"))

_SIMPLE = frozenset((str, bool, int, float, bytes, type(None)))


def ignored(kind: str, message: str, *args: object) -> None:
    """Logs that something given was ignored; each kind at most once a minute."""
    _log.warning(kind, message, *args)


def clean_value(value: Any, limit: int | None) -> Any:
    """An attribute value as the SDK cleans it, with its warnings; texts are cut at ``limit`` characters.

    NumPy arrays become arrays of numbers. What raises on the way, or holds itself, becomes text.
    """
    try:
        return _clean_attribute_value(given_value(value), limit)
    except Exception:
        return frozen_value(value)


def _is_array(value: Any) -> bool:
    if type(value) in _SIMPLE or isinstance(value, (Sequence, Mapping)):
        return False
    return getattr(getattr(value, "dtype", None), "kind", "") in set("biuf") and getattr(value, "ndim", 0) > 0


def given_attributes(attributes: Any) -> Mapping[str, Any] | None:
    """Attributes that the SDK can take: a mapping whose values are safe to clean, or None."""
    if attributes is None:
        return None
    if not isinstance(attributes, Mapping):
        ignored("attributes", "attributes=%s was ignored: a mapping or None is allowed", type(attributes))
        return None
    try:
        if not any(_is_array(value) for value in attributes.values()):
            return attributes
        return {key: given_value(value) for key, value in attributes.items()}
    except Exception as error:
        ignored("attributes", "attributes were ignored: reading them raised %s", type(error).__name__)
        return None


def safe_mapping(attributes: Mapping[Any, Any]) -> dict[str, Any]:
    """The attributes with what the SDK can't clean without raising made plain."""
    return {
        key if isinstance(key, str) else plain_text(key): (
            value if type(value) in _SIMPLE else frozen_value(value)
        )
        for key, value in list(attributes.items())
    }


def given_dict(attributes: Any) -> dict[str, Any]:
    """Attributes as a dict of their own where they are another mapping; an empty one for what is none."""
    given = given_attributes(attributes)
    try:
        return given if type(given) is dict else dict(given or {})
    except Exception as error:
        ignored("attributes", "attributes were ignored: reading them raised %s", type(error).__name__)
        return {}


def given_value(value: Any) -> Any:
    """An attribute value as the SDK is to have it: NumPy arrays, of which it would make text, as numbers."""
    return frozen_value(value) if _is_array(value) else value


def _is_link(link: Any) -> bool:
    context = getattr(link, "context", 0)
    return (context is None or isinstance(context, SpanContext)) and hasattr(link, "attributes")


def given_links(links: Any) -> Sequence[Link]:
    """The links among ``links``; anything else is logged."""
    if not links:
        return ()
    if isinstance(links, (list, tuple)) and all(link is None or _is_link(link) for link in links):
        return links
    found: list[Link] = []
    try:
        for link in links:
            if link is None:
                continue
            if _is_link(link):
                found.append(link)
            else:
                ignored("links", "a %s among the links was ignored: a Link is allowed", type(link))
    except Exception as error:
        ignored("links", "links=%s was ignored: %s", type(links), type(error).__name__)
    return found


def safe_links(links: Sequence[Link]) -> list[Link]:
    """The links with what the SDK can't clean without raising made plain."""
    return [Link(link.context, safe_mapping(given_dict(link.attributes))) for link in links if link]


def given_parent(context: Any) -> SpanContext | None:
    """The SpanContext of the current span in a context (None: the current one); None where it is no such."""
    try:
        parent = get_current_span(context).get_span_context()
    except Exception as error:
        ignored("context", "a context was ignored: %s: %s", type(error).__name__, error)
        return None
    if parent is None or isinstance(parent, SpanContext):
        return parent
    ignored("parent", "a parent was ignored: its context is a %s, no SpanContext", type(parent))
    return None


def error_text(error: BaseException) -> str:
    """``TypeName: message`` of an exception, a placeholder where its ``__str__`` raises."""
    return f"{type(error).__name__}: {plain_text(error)}"


def note_error(span: Span, error: BaseException, record: bool, set_status: bool, escaped: bool) -> None:
    """Records an exception that leaves the block of a span, and sets the status; never raises."""
    try:
        if not span.is_recording():
            return
        if record:
            span.record_exception(error, escaped=True) if escaped else span.record_exception(error)
        if set_status:
            span.set_status(Status(StatusCode.ERROR, error_text(error)))
    except Exception as problem:
        ignored("error", "an exception could not be recorded: %s", type(problem).__name__)


def guarded(call: Callable[..., Any], *args: Any, **options: Any) -> None:
    """Calls what others registered: where it raises, that is logged and stops nobody."""
    try:
        call(*args, **options)
    except Exception as error:
        name = getattr(call, "__qualname__", repr(call))
        ignored(name, "%s raised %s: %s", name, type(error).__name__, error)


def nothing(*_: Any, **__: Any) -> None:
    """In place of a method that a processor does not have."""

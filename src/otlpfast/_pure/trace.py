"""Tracer and span without the compiled core: the SDK's own, kept from raising into the application."""

from __future__ import annotations

import contextlib
import gc
import os
from collections.abc import Iterator, Mapping, Sequence
from threading import RLock
from types import TracebackType
from typing import Any

from opentelemetry import context as api
from opentelemetry.context import Context, attach
from opentelemetry.sdk import trace as sdk
from opentelemetry.trace import (
    INVALID_SPAN_CONTEXT,
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    set_span_in_context,
)
from opentelemetry.trace import Span as APISpan
from opentelemetry.util._decorator import _agnosticcontextmanager

from .._given import (
    given_attributes,
    given_dict,
    given_links,
    given_parent,
    given_value,
    ignored,
    note_error,
    safe_links,
    safe_mapping,
)
from .._plain import frozen_value
from .._stacktrace import exception_attributes

_stock_record_exception = sdk.Span.record_exception


class Route:
    """Which processors a span passes: others first, then otlpfast's own. See ``_core.Route``."""

    def __init__(self) -> None:
        self.assign((), (), (), (), ())

    def assign(
        self,
        starting: tuple[Any, ...],
        ending: tuple[Any, ...],
        ended: tuple[Any, ...],
        own: tuple[Any, ...],
        queues: tuple[Any, ...],
    ) -> None:
        """Replaces all of them."""
        self.starting, self.ending, self.ended = starting, ending, ended
        self.own, self.queues = own, queues


class Span(sdk._Span):
    """A span of the SDK that takes whatever it is given without raising. Made by a Tracer."""

    # Not __new__, which copy.copy() calls.
    def __init__(self, *args: object, **options: object) -> None:
        raise TypeError("Span must be instantiated via a tracer.")

    def set_attribute(self, key: str, value: Any) -> None:
        value = given_value(value)
        try:
            super().set_attribute(key, value)
        except Exception:
            super().set_attribute(key, frozen_value(value))

    def set_attributes(self, attributes: Mapping[str, Any]) -> None:
        given = given_dict(attributes)
        try:
            super().set_attributes(given)
        except Exception:
            super().set_attributes(safe_mapping(given))

    def add_event(
        self, name: str, attributes: Mapping[str, Any] | None = None, timestamp: int | None = None
    ) -> None:
        given = given_dict(attributes)
        try:
            super().add_event(name, given, timestamp)
        except Exception:
            super().add_event(name, safe_mapping(given), timestamp)

    def add_link(self, context: SpanContext, attributes: Mapping[str, Any] | None = None) -> None:
        if context is None or isinstance(context, SpanContext):
            given = given_dict(attributes)
            try:
                super().add_link(context, given)
            except Exception:
                super().add_link(context, safe_mapping(given))
        else:
            ignored("link", "a link to %s was ignored: a SpanContext is allowed", type(context))

    def record_exception(
        self,
        exception: BaseException,
        attributes: Mapping[str, Any] | None = None,
        timestamp: int | None = None,
        escaped: bool = False,
    ) -> None:
        if sdk.Span.record_exception is not _stock_record_exception:  # somebody has put his own there
            super().record_exception(exception, attributes, timestamp, escaped)
            return
        recorded = exception_attributes(exception, escaped)
        if recorded is None:
            ignored("exception", "record_exception(%s) was ignored: an exception is allowed", type(exception))
            return
        recorded.update(given_dict(attributes))
        self.add_event("exception", recorded, timestamp)

    def end(self, end_time: int | None = None) -> None:
        # Its lock lets a signal handler in that comes back to the span: between the SDK's look whether it has
        # ended and its note that it has, that would end it twice.
        claim = object()
        try:
            if _ending.setdefault(id(self), claim) is claim:
                super().end(end_time)
            else:
                sdk.logger.warning("Calling end() on an ended span.")
        finally:
            if _ending.get(id(self)) is claim:
                del _ending[id(self)]

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            note_error(self, error, self._record_exception, self._set_status_on_exception, escaped=True)
        self.end()


_ending: dict[int, object] = {}  # id of each span that is within end() -> which call of it


def _allow_reentry(span: Any) -> None:
    # A signal handler, a finaliser or a log handler may come back to the span while its thread holds these.
    for locked in (span, span._attributes, span._events, span._links):
        locked._lock = RLock()


def _after_fork() -> None:
    # What another thread of the parent held at that moment stays locked in the child for ever. The spans are
    # looked for here, which takes milliseconds, so that no span pays for being known.
    _ending.clear()
    for found in gc.get_objects():
        if type(found) is Span:
            _allow_reentry(found)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _leave(token: Any) -> None:
    try:
        api._RUNTIME_CONTEXT.detach(token)
    except ValueError:
        pass  # left in another context than entered, as generators are: nothing to be undone here
    except Exception:
        api.detach(token)  # tries again, and logs


class Tracer(sdk.Tracer):
    """Makes spans for one instrumentation scope. Made by ``TracerProvider.get_tracer()``."""

    @classmethod
    def adopt(cls, stock: sdk.Tracer) -> Tracer:
        """A Tracer with all that the SDK's has."""
        tracer = cls.__new__(cls)
        tracer.__dict__.update(stock.__dict__)
        if not hasattr(stock.id_generator, "is_trace_id_random"):  # the SDK calls it all the same
            with contextlib.suppress(AttributeError):
                stock.id_generator.is_trace_id_random = lambda: False  # type: ignore[method-assign]
        return tracer

    def start_span(
        self,
        name: str,
        context: Context | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Mapping[str, Any] | None = None,
        links: Sequence[Link] | None = (),
        start_time: int | None = None,
        record_exception: bool = True,
        set_status_on_exception: bool = True,
    ) -> APISpan:
        given, links = given_attributes(attributes), given_links(links)
        rest = (start_time, record_exception, set_status_on_exception)
        parent = given_parent(context)
        if parent is None:
            context = Context()
        try:
            try:
                span = super().start_span(name, context, kind, given, links, *rest)
            except Exception:
                if given is None and not links:
                    raise
                given, links = safe_mapping(given or {}), safe_links(links)
                span = super().start_span(name, context, kind, given, links, *rest)
        except Exception as error:
            ignored("start", "start_span(%r) raised %s: %s", name, type(error).__name__, error)
            return NonRecordingSpan(INVALID_SPAN_CONTEXT if parent is None else parent)
        if type(span) is sdk._Span:
            span.__class__ = Span
            _allow_reentry(span)
        return span

    @_agnosticcontextmanager
    def start_as_current_span(
        self,
        name: str,
        context: Context | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Mapping[str, Any] | None = None,
        links: Sequence[Link] | None = (),
        start_time: int | None = None,
        record_exception: bool = True,
        set_status_on_exception: bool = True,
        end_on_exit: bool = True,
    ) -> Iterator[APISpan]:
        flags = (record_exception, set_status_on_exception)
        span = self.start_span(name, context, kind, attributes, links, start_time, *flags)
        token = attach(set_span_in_context(span))
        try:
            yield span
        except Exception as error:
            note_error(span, error, record_exception, set_status_on_exception, escaped=False)
            raise
        finally:
            _leave(token)
            if end_on_exit:
                span.end()


def span_layouts() -> tuple[tuple[type, int, int, int], ...]:
    """Where in memory native spans keep what names them; there are none here."""
    return ()

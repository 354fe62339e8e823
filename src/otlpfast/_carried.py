"""A function that is called in a context of OpenTelemetry's, in this process or in another."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.context import Context, attach, detach
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

# Whatever OTEL_PROPAGATORS says, for both ends are here. And the API's: a child that does nothing but pass a
# context on loads no more than that.
_PROPAGATORS = TraceContextTextMapPropagator(), W3CBaggagePropagator()


class Carried:
    """A callable in the place of a function. Pickled, its context is the headers of W3C."""

    __slots__ = ("_context", "_function")

    def __init__(self, function: Callable[..., Any], context: Context) -> None:
        self._function = function
        self._context = context

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        token = attach(self._context)
        try:
            return self._function(*args, **kwargs)
        finally:
            detach(token)

    def __reduce__(self) -> tuple[Callable[..., Carried], tuple[Any, ...]]:
        return _arrived, (self._function, headers_of(self._context))

    @property
    def __wrapped__(self) -> Callable[..., Any]:
        return self._function

    def __getattr__(self, name: str) -> Any:
        return getattr(self._function, name)  # its name, as executors and logs have it

    def __repr__(self) -> str:
        return f"<carried {self._function!r}>"


class Luggage:
    """A context in what is pickled for a new process: where it is unpickled, it becomes the current one."""

    __slots__ = ("_context",)

    def __init__(self, context: Context) -> None:
        self._context = context

    def __reduce__(self) -> tuple[Callable[..., None], tuple[dict[str, str]]]:
        return _unpack, (headers_of(self._context),)


def carried(function: Any, context: Context) -> Any:
    """The function in that context, unless it is in one already, or nothing that can be called."""
    return function if type(function) is Carried or not callable(function) else Carried(function, context)


def headers_of(context: Context) -> dict[str, str]:
    """The span and the baggage of a context as ``traceparent``, ``tracestate`` and ``baggage``."""
    headers: dict[str, str] = {}
    for propagator in _PROPAGATORS:
        with suppress(Exception):  # a span of somebody else's; the work is done all the same
            propagator.inject(headers, context)
    return headers


def context_of(headers: dict[str, str]) -> Context:
    """The context that such headers stand for."""
    context = Context()
    for propagator in _PROPAGATORS:
        with suppress(Exception):
            context = propagator.extract(headers, context)
    return context


def _arrived(function: Callable[..., Any], headers: dict[str, str]) -> Carried:
    return Carried(function, context_of(headers))


def _unpack(headers: dict[str, str]) -> None:
    attach(context_of(headers))  # for as long as the process lives

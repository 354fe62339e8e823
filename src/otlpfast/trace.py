"""Drop-ins for ``opentelemetry.sdk.trace``'s TracerProvider, Tracer and Span."""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Callable, Mapping
from typing import Any

from opentelemetry.metrics import MeterProvider
from opentelemetry.sdk import trace as sdk
from opentelemetry.sdk.environment_variables import OTEL_EXPERIMENTAL_RESOURCE_DETECTORS
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import Sampler
from opentelemetry.trace import Tracer as APITracer

from ._attribute_log import hold_back
from ._impl import Span, Tracer
from ._instruments import is_enabled
from ._log import warn
from ._processors import Processors
from ._sampler_scopes import sampler_of_scope
from ._span_counts import span_counts

__all__ = ["Span", "Tracer", "TracerProvider"]

_logger = logging.getLogger(__name__)


_COUNTS = {
    "max_attributes": "OTEL_ATTRIBUTE_COUNT_LIMIT",
    "max_span_attributes": "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT",
    "max_event_attributes": "OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT",
    "max_link_attributes": "OTEL_LINK_ATTRIBUTE_COUNT_LIMIT",
    "max_events": "OTEL_SPAN_EVENT_COUNT_LIMIT",
    "max_links": "OTEL_SPAN_LINK_COUNT_LIMIT",
}
_LENGTHS = {
    "max_attribute_length": "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT",
    "max_span_attribute_length": "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT",
}


def _limits() -> sdk.SpanLimits:
    """The limits that the variables say; a variable that is no number is one warning, and not there.

    The SDK raises. Specification: sdk-environment-variables.md, "the implementation SHOULD generate a warning
    and gracefully ignore the setting".
    """
    instead: dict[str, int] = {}
    for name, variable in {**_COUNTS, **_LENGTHS}.items():
        value = os.environ.get(variable, "").strip()
        if value and not _is_whole(value):
            instead[name] = _default(name)
            shown = "no limit" if instead[name] == sdk.SpanLimits.UNSET else instead[name]
            message = "%s=%r is ignored, %s is used: a whole number is allowed"
            warn(_logger, message, variable, value[:100], shown)
    return sdk.SpanLimits(**instead)


def _is_whole(value: str) -> bool:
    """A whole number, of no more digits than int() reads however Python was told to limit them."""
    return value.isdecimal() and len(value) <= 640


def _default(name: str) -> int:
    """What holds where a limit's variable is not there: that for all attributes, or the specification's."""
    general = _COUNTS["max_attributes"] if name in _COUNTS else _LENGTHS["max_attribute_length"]
    value = os.environ.get(general, "").strip()
    if "attribute" in name and _is_whole(value):
        return int(value)
    return 128 if name in _COUNTS else sdk.SpanLimits.UNSET


def _detected() -> Resource | None:
    """The resource, where detectors are wanted; None where the SDK makes it at once."""
    if not os.environ.get(OTEL_EXPERIMENTAL_RESOURCE_DETECTORS):
        return None
    from ._detection import create_resource

    return create_resource()


class TracerProvider(sdk.TracerProvider):
    """Makes tracers whose spans cost next to nothing.

    A drop-in for ``opentelemetry.sdk.trace.TracerProvider``: the same arguments, variables and behaviour;
    what differs is in docs/compatibility.md (specification: trace/sdk.md, "Tracer Provider").

    Args:
        sampler: decides which spans are recorded; by default ``OTEL_TRACES_SAMPLER``.
        resource: who makes the spans; by default what ``OTEL_RESOURCE_ATTRIBUTES`` and detectors say.
        shutdown_on_exit: whether ``shutdown()`` is called when the interpreter exits.
        active_span_processor: who calls the span processors, in place of otlpfast's own.
        id_generator: makes trace and span ids; by default random ones.
        span_limits: how much a span may hold; by default ``OTEL_SPAN_*_LIMIT``.
        meter_provider: where ``otel.sdk.span.*`` metrics go, if
            ``OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED`` is true.
    """

    def __init__(
        self,
        sampler: Sampler | None = None,
        resource: Resource | None = None,
        shutdown_on_exit: bool = True,
        active_span_processor: (
            sdk.SynchronousMultiSpanProcessor | sdk.ConcurrentMultiSpanProcessor | None
        ) = None,
        id_generator: IdGenerator | None = None,
        span_limits: sdk.SpanLimits | None = None,
        *,
        meter_provider: MeterProvider | None = None,
        _tracer_configurator: Callable[..., Any] | None = None,
    ) -> None:
        hold_back()
        super().__init__(
            sampler,
            _detected() if resource is None else resource,
            shutdown_on_exit,
            active_span_processor or Processors(),
            id_generator,
            span_limits or _limits(),
            meter_provider=meter_provider,
            _tracer_configurator=_tracer_configurator,
        )

    def _handle_fork(self) -> None:
        # The SDK would look all detectors up again, and complain again of those that are missing.
        detection = sys.modules.get(f"{__package__}._detection")
        resource = detection.after_fork() if detection is not None else None
        if resource is None:
            super()._handle_fork()
            return
        self._tracers_lock = threading.Lock()
        self._update_resource(resource)

    def get_tracer(
        self,
        instrumenting_module_name: str,
        instrumenting_library_version: str | None = None,
        schema_url: str | None = None,
        attributes: Mapping[str, Any] | None = None,
    ) -> APITracer:
        """The tracer of an instrumentation scope; a no-op one where ``OTEL_SDK_DISABLED`` is true."""
        tracer = super().get_tracer(
            instrumenting_module_name, instrumenting_library_version, schema_url, attributes
        )
        return self._adopt(tracer) if type(tracer) is sdk.Tracer else tracer

    def _adopt(self, stock: sdk.Tracer) -> APITracer:
        # In place of the one that the SDK made and keeps, so that it has its settings changed as that would.
        scope = stock._instrumentation_scope
        stock.sampler = sampler_of_scope(stock.sampler, scope.name)
        if is_enabled():
            stock._tracer_metrics = span_counts(self._meter_provider)
        with self._tracers_lock:
            known = self._tracers.get(scope, stock)
            if type(known) is not sdk.Tracer:
                return known
            tracer = self._tracers[scope] = Tracer.adopt(stock)
            return tracer

"""Switching otlpfast on: ``otlpfast.configure()`` in code, and the configurator for auto-instrumentation.

Both make an ``otlpfast.TracerProvider`` with a ``BatchSpanProcessor`` for each exporter, by the ``OTEL_*``
variables of the specification, and make it the global one. Metrics and logs are the SDK's own, set up by its
own functions. A wrong variable is one warning; nothing here keeps an application from starting.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from opentelemetry import trace
from opentelemetry.environment_variables import (
    OTEL_LOGS_EXPORTER,
    OTEL_METRICS_EXPORTER,
    OTEL_TRACES_EXPORTER,
)
from opentelemetry.sdk.environment_variables import (
    OTEL_BSP_SCHEDULE_DELAY,
    OTEL_CONFIG_FILE,
    OTEL_PYTHON_LOGGER_CONFIGURATOR,
    OTEL_PYTHON_METER_CONFIGURATOR,
    OTEL_PYTHON_TRACER_CONFIGURATOR,
    OTEL_SDK_DISABLED,
)
from opentelemetry.sdk.resources import SERVICE_NAME, TELEMETRY_AUTO_VERSION, Resource
from opentelemetry.sdk.trace import SpanLimits, SpanProcessor
from opentelemetry.sdk.trace import TracerProvider as SDKTracerProvider
from opentelemetry.sdk.trace.export import SpanExporter
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import Sampler

from . import _components as components
from ._choice import DISABLED, is_true
from ._configuration import sdk
from ._detection import create_resource
from ._log import warn
from .environment_variables import (
    OTLPFAST_CARRY_CONTEXT,
    OTLPFAST_DISABLED,
    OTLPFAST_PPROF,
    OTLPFAST_PROFILE_DIR,
    OTLPFAST_QUIET,
    OTLPFAST_REDACTION,
    OTLPFAST_SPAN_METRICS,
    OTLPFAST_WEB,
)

if TYPE_CHECKING:
    from ._tail_sampling import TailSampler
    from .redaction import RedactionRules

_logger = logging.getLogger("otlpfast.configuration")

_LOG_HANDLER = "OTEL_PYTHON_LOGGING_AUTO_INSTRUMENTATION_ENABLED"  # for the SDK a private name
_OFF = f"{OTLPFAST_DISABLED}=true: the SDK's stock classes are used in place of otlpfast's"


@dataclass
class _Parts:
    """What a provider is made of, and what it is to be called in the start-up line."""

    resource: Resource
    sampler: Sampler | None
    sampling: str
    id_generator: IdGenerator | None
    exporters: Sequence[SpanExporter]
    span_processors: Iterable[SpanProcessor] = ()
    span_limits: SpanLimits | None = None
    make_processor: Callable[..., SpanProcessor] | None = None
    redaction: RedactionRules | None = None
    tail_sampler: TailSampler | None = None
    tracer_configurator: Any = None

    def provider(self) -> SDKTracerProvider:
        from . import TracerProvider

        provider = TracerProvider(
            sampler=self.sampler,
            resource=self.resource,
            id_generator=self.id_generator,
            span_limits=self.span_limits,
            _tracer_configurator=self.tracer_configurator,
        )
        for processor in self.span_processors:
            provider.add_span_processor(processor)
        if is_true(OTLPFAST_SPAN_METRICS):
            from .spanmetrics import SpanMetricsProcessor

            provider.add_span_processor(SpanMetricsProcessor(redaction=self.redaction))
        for exporter in self.exporters or _page_exporters():
            made = self.make_processor(exporter) if self.make_processor else self._batch_processor(exporter)
            self.tail_sampler = getattr(made, "tail_sampler", None) or self.tail_sampler
            provider.add_span_processor(made)
        return provider

    def _batch_processor(self, exporter: SpanExporter) -> SpanProcessor:
        from . import BatchSpanProcessor

        # An exporter for people wants to be fast, unless the user has decided.
        said = components.variable(OTEL_BSP_SCHEDULE_DELAY)
        return BatchSpanProcessor(
            exporter,
            schedule_delay_millis=None if said else getattr(exporter, "schedule_delay_millis", None),
            redaction=self.redaction,
            tail_sampler=self.tail_sampler,
        )

    def __str__(self) -> str:
        from . import IMPLEMENTATION, __version__

        where = ", ".join(getattr(e, "destination", None) or type(e).__name__ for e in self.exporters)
        name = self.resource.attributes.get(SERVICE_NAME)
        tail = f", then tail sampling ({self.tail_sampler})" if self.tail_sampler else ""
        end = f"sampler {self.sampling}{tail}, service {name}"
        if components.variable(OTEL_SDK_DISABLED).lower() == "true":
            end = f"nothing is recorded: {OTEL_SDK_DISABLED}=true"
        return f"otlpfast {__version__} ({IMPLEMENTATION}): {where or 'exports nothing'}, {end}"


def _page_exporters() -> list[SpanExporter]:
    """What has spans come by the live page, where they are exported nowhere."""
    if DISABLED or not components.variable(OTLPFAST_WEB):
        return []
    from .web.exporter import PageExporter

    return [PageExporter()]


def configure(
    *,
    service_name: str | None = None,
    resource_attributes: Mapping[str, Any] | None = None,
    sampler: Sampler | None = None,
    tail_sampler: TailSampler | None = None,
    id_generator: IdGenerator | None = None,
    span_limits: SpanLimits | None = None,
    exporters: Sequence[SpanExporter] | None = None,
    span_processors: Sequence[SpanProcessor] = (),
    carry_context: bool | None = None,
    redaction: RedactionRules | None = None,
) -> SDKTracerProvider:
    """Makes a tracer provider and makes it the global one; what is not given comes from ``OTEL_*`` variables.

    Where there is a global provider already, as under ``otlpfast run``, that is one warning and it stays.
    Metrics and logs are set up, by the SDK's own functions, where ``OTEL_METRICS_EXPORTER`` and
    ``OTEL_LOGS_EXPORTER`` name an exporter.

    Args:
        service_name: the resource's ``service.name``; wins over ``OTEL_SERVICE_NAME``.
        resource_attributes: more of the resource; they win over ``OTEL_RESOURCE_ATTRIBUTES``.
        sampler: by default ``OTEL_TRACES_SAMPLER``.
        tail_sampler: which traces are exported, once they have ended; by default ``OTLPFAST_TAIL_SAMPLING``,
            and without that all.
        id_generator: by default ``OTEL_PYTHON_ID_GENERATOR``.
        span_limits: by default ``OTEL_SPAN_*_LIMIT``.
        exporters: each gets a ``BatchSpanProcessor``; by default ``OTEL_TRACES_EXPORTER``, and without that
            an ``OTLPSpanExporter``.
        span_processors: are added before those of the exporters.
        carry_context: whether threads, executors, pools and processes take the current context with them, as
            by ``carry_context()``; by default ``OTLPFAST_CARRY_CONTEXT``, and without that they don't.
        redaction: what is hidden of spans before they are exported; by default the rules of
            ``OTLPFAST_REDACTION``. ``span_processors`` see spans as they are.

    Returns:
        The global tracer provider; the SDK's stock one while ``OTLPFAST_DISABLED`` is true.

    Raises:
        TypeError: an argument of the wrong kind.
    """
    _check(service_name, resource_attributes, sampler, id_generator, exporters, span_processors)
    _check_options(carry_context, tail_sampler, redaction)
    present = trace.get_tracer_provider()
    if not isinstance(present, trace.ProxyTracerProvider):
        text = "otlpfast.configure() changes nothing: there is a global tracer provider already, a %s"
        warn(_logger, text, type(present).__qualname__)
        return cast("SDKTracerProvider", present)
    attributes = dict(resource_attributes or {})
    if service_name is not None:
        attributes[SERVICE_NAME] = service_name
    chosen, sampling = (
        (sampler, sampler.get_description()) if sampler is not None else components.make_sampler()
    )
    if exporters is None:
        exporters = components.make_exporters(components.exporter_names(), {})
    parts = _Parts(
        resource=create_resource(attributes),
        sampler=chosen,
        sampling=sampling,
        id_generator=id_generator or components.make_id_generator(),
        exporters=exporters,
        span_processors=span_processors or (),
        span_limits=span_limits,
        redaction=redaction,
        tail_sampler=tail_sampler,
        tracer_configurator=_tracer_configurator(),
    )
    provider = parts.provider()
    trace.set_tracer_provider(provider)
    _take_over(carry_context)
    if components.variable(OTEL_METRICS_EXPORTER):
        _set_up_metrics(parts.resource)
    if components.variable(OTEL_LOGS_EXPORTER):
        _set_up_logs(parts.resource)
    _logger.info("%s", _OFF if DISABLED else parts)
    _serve_page()
    return provider


def _check(
    service_name: object,
    resource_attributes: object,
    sampler: object,
    id_generator: object,
    exporters: Any,
    span_processors: Any,
) -> None:
    for name, value, kind in (
        ("service_name", service_name, str),
        ("resource_attributes", resource_attributes, Mapping),
        ("exporters", exporters, Sequence),
        ("span_processors", span_processors, Sequence),
    ):
        if value is not None and not isinstance(value, kind):
            raise TypeError(f"{name}={value!r}: a {kind.__name__} is allowed")
    for name, values, method in (
        ("sampler", [sampler], "should_sample"),
        ("id_generator", [id_generator], "generate_trace_id"),
        ("exporters", exporters or (), "export"),
        ("span_processors", span_processors or (), "on_end"),
    ):
        for value in values:
            if value is not None and (isinstance(value, type) or not callable(getattr(value, method, None))):
                raise TypeError(f"{name}: {value!r} has no {method}()")


def _check_options(carry_context: object, tail_sampler: TailSampler | None, redaction: object) -> None:
    if carry_context is not None and not isinstance(carry_context, bool):
        raise TypeError(f"carry_context={carry_context!r}: True, False or None is allowed")
    if tail_sampler is not None or redaction is not None:
        # It loads the implementation, right or wrong as that was chosen.
        from ._arguments import check_rules, tail_sampling

        check_rules(redaction)
        if tail_sampler is not None:
            tail_sampling(tail_sampler)


class OtlpfastConfigurator(sdk._OTelSDKConfigurator):
    """``OTEL_PYTHON_CONFIGURATOR=otlpfast``: what the SDK's configurator does, with otlpfast for the spans.

    Takes the same arguments. While ``OTLPFAST_DISABLED`` is true it is the SDK's. With ``OTEL_CONFIG_FILE``
    the SDK's declarative configuration is followed, see docs/configuration.md.
    """

    def _configure(self, **kwargs: Any) -> None:
        if DISABLED:
            _logger.info("%s", _OFF)
            _write_line(_OFF)
            _configure_stock(super()._configure, kwargs)
        elif path := components.variable(OTEL_CONFIG_FILE):
            _configure_by_file(path)
        else:
            try:
                _write_line(str(_set_up(**kwargs)))
                _serve_page()
            except Exception as error:
                text = "otlpfast can't be configured, nothing is traced: %s: %s"
                warn(_logger, text, type(error).__name__, error)


def _set_up(
    auto_instrumentation_version: str | None = None,
    trace_exporter_names: Sequence[str] = (),
    metric_exporter_names: Sequence[str] = (),
    log_exporter_names: Sequence[str] = (),
    sampler: Sampler | None = None,
    resource_attributes: Mapping[str, Any] | None = None,
    id_generator: IdGenerator | None = None,
    setup_logging_handler: bool | None = None,
    exporter_args_map: components.Arguments | None = None,
    span_processors: Sequence[SpanProcessor] | None = None,
    export_span_processor: Callable[..., SpanProcessor] | None = None,
    log_record_processors: Any = None,
    export_log_record_processor: Any = None,
    tracer_configurator: Any = None,
    meter_configurator: Any = None,
    logger_configurator: Any = None,
) -> _Parts:
    """The SDK's ``_initialize_components``, whose arguments these are, but for the tracer provider."""
    attributes = dict(resource_attributes or {})
    if auto_instrumentation_version:
        attributes[TELEMETRY_AUTO_VERSION] = auto_instrumentation_version
    resource = create_resource(attributes)
    _opamp("pre_sdk_init_function", resource)
    chosen, sampling = (
        (sampler, sampler.get_description()) if sampler is not None else components.make_sampler()
    )
    # The default is for where nobody says anything.
    asked = not trace_exporter_names or components.variable(OTEL_TRACES_EXPORTER)
    names = dict.fromkeys([*trace_exporter_names, *(components.exporter_names() if asked else ())])
    arguments = exporter_args_map or {}
    parts = _Parts(
        resource=resource,
        sampler=chosen,
        sampling=sampling,
        id_generator=id_generator or components.make_id_generator(),
        exporters=components.make_exporters(names, arguments),
        span_processors=span_processors or (),
        make_processor=export_span_processor,
        tracer_configurator=tracer_configurator or _tracer_configurator(),
    )
    trace.set_tracer_provider(parts.provider())
    _take_over()
    _set_up_metrics(resource, metric_exporter_names, arguments, meter_configurator)
    _set_up_logs(
        resource,
        log_exporter_names,
        arguments,
        logger_configurator,
        setup_logging_handler,
        log_record_processors=log_record_processors,
        export_log_record_processor=export_log_record_processor,
    )
    _opamp("post_sdk_init_function", resource)
    return parts


def _take_over(carries: bool | None = None) -> None:
    if DISABLED:
        return
    if is_true(OTLPFAST_CARRY_CONTEXT) if carries is None else carries:
        from .context import carry_context

        carry_context()
    try:
        from ._globals import take_over

        take_over()
    except Exception as error:  # OTEL_PROPAGATORS can keep the API from being imported
        warn(_logger, "the API's own propagators are used: %s: %s", type(error).__name__, error)


def _tracer_configurator() -> Any:
    name = components.variable(OTEL_PYTHON_TRACER_CONFIGURATOR)
    return sdk._import_tracer_configurator(name) if name else None


def _opamp(name: Any, resource: Resource) -> None:
    if name in components.installed("_opentelemetry_opamp") and (start := sdk._import_opamp(name)):
        start(resource)


def _set_up_metrics(
    resource: Resource,
    more: Sequence[str] = (),
    arguments: components.Arguments | None = None,
    configurator: Any = None,
) -> None:
    def set_up(named: list[str]) -> None:
        _, exporters, _ = sdk._import_exporters([], [*more, *named], [])
        sdk._init_metrics(
            exporters,
            resource,
            arguments,
            configurator or sdk._import_meter_configurator(os.environ.get(OTEL_PYTHON_METER_CONFIGURATOR)),
        )

    _by_the_sdk("metrics", OTEL_METRICS_EXPORTER, set_up)


def _set_up_logs(
    resource: Resource,
    more: Sequence[str] = (),
    arguments: components.Arguments | None = None,
    configurator: Any = None,
    handler: bool | None = None,
    **processors: Any,
) -> None:
    if handler is None:
        handler = components.variable(_LOG_HANDLER).lower() == "true"

    def set_up(named: list[str]) -> None:
        _, _, exporters = sdk._import_exporters([], [], [*more, *named])
        sdk._init_logging(
            exporters,
            resource,
            handler,
            arguments,
            logger_configurator=configurator
            or sdk._import_logger_configurator(os.environ.get(OTEL_PYTHON_LOGGER_CONFIGURATOR)),
            **processors,
        )

    _by_the_sdk("logs", OTEL_LOGS_EXPORTER, set_up)


def _by_the_sdk(signal: Any, variable: str, set_up: Callable[[list[str]], None]) -> None:
    """A signal that is none of ours must not take the spans with it."""
    try:
        set_up(sdk._get_exporter_names(signal))
        return
    except Exception as error:
        problem = f"{type(error).__name__}: {error}"
    allowed = sorted({*components.installed(f"opentelemetry_{signal}_exporter"), "none", "otlp"})
    text = "%s=%r can't be followed, no %s are exported (%s); allowed: %s"
    value = components.variable(variable)[:200]
    warn(_logger, text, variable, value, signal, problem, ", ".join(allowed))
    try:
        set_up([])
    except Exception as error:
        warn(_logger, "the SDK can't set up its %s: %s: %s", signal, type(error).__name__, error)


def _configure_stock(configure: Callable[..., None], arguments: Mapping[str, Any]) -> None:
    """The SDK's own configurator, that finds an exporter also where the official ones are not installed."""
    from ._stock import BatchSpanProcessor, without_missing_exporters

    settings = dict(arguments)
    if components.variable(OTLPFAST_REDACTION):
        if path := components.variable(OTEL_CONFIG_FILE):  # with which the SDK ignores what it is given
            _follow_file(path)
            return
        settings.setdefault("export_span_processor", BatchSpanProcessor)
    with without_missing_exporters():
        configure(**settings)


def _configure_by_file(path: str) -> None:
    if not _follow_file(path):
        return
    _take_over()
    _write_line(f"otlpfast: configured by the file {path} ({OTEL_CONFIG_FILE})")
    _serve_page()


def _follow_file(path: str) -> bool:
    from ._declarative import configure_by_file

    try:
        configure_by_file(path)
    except Exception as error:
        text = "%s=%r can't be followed, nothing is configured: %s: %s"
        warn(_logger, text, OTEL_CONFIG_FILE, path[:300], type(error).__name__, error)
        return False
    return True


def _serve_page() -> None:
    """The live page and profiles, for whoever asked for them."""
    if components.variable(OTLPFAST_WEB) and not DISABLED:
        from .web.starting import serve_by_variables

        serve_by_variables()
    if components.variable(OTLPFAST_PPROF) and not DISABLED:
        from .profiling._serving import starting

        starting.serve_by_variables()
    if components.variable(OTLPFAST_PROFILE_DIR) and not DISABLED:
        from .profiling.starting import profile_by_variables

        profile_by_variables()


def _write_line(line: str) -> None:
    """Once, for the person who started the process; its children keep quiet."""
    if not is_true(OTLPFAST_QUIET):
        os.environ[OTLPFAST_QUIET] = "true"
        with suppress(OSError, ValueError, AttributeError):  # closed, or none at all
            sys.stderr.write(line + "\n")

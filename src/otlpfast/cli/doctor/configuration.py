"""The configuration, by what resolves it in an application, and where each value is from."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable

from opentelemetry.environment_variables import OTEL_PROPAGATORS, OTEL_TRACES_EXPORTER
from opentelemetry.sdk.environment_variables import (
    OTEL_BSP_EXPORT_TIMEOUT,
    OTEL_BSP_MAX_EXPORT_BATCH_SIZE,
    OTEL_BSP_MAX_QUEUE_SIZE,
    OTEL_BSP_SCHEDULE_DELAY,
    OTEL_CONFIG_FILE,
    OTEL_EXPERIMENTAL_RESOURCE_DETECTORS,
    OTEL_RESOURCE_ATTRIBUTES,
    OTEL_SERVICE_NAME,
    OTEL_TRACES_SAMPLER,
)
from opentelemetry.sdk.resources import SERVICE_NAME, Resource

from ... import _arguments, _detection
from ... import _components as components
from ..._choice import is_true
from ...environment_variables import (
    OTLPFAST_CARRY_CONTEXT,
    OTLPFAST_PPROF,
    OTLPFAST_RESOURCE_TIMEOUT,
    OTLPFAST_SPOOL_DIR,
    OTLPFAST_TAIL_SAMPLING,
    OTLPFAST_WEB,
)
from ...export import OTLPSpanExporter, config
from ...export.endpoint import mask_url
from ...export.grpc_settings import GRPCSettings
from .examination import Examination, Finding, Setting, WrongArgument
from .surroundings import look_around, look_at

_OTLP_NAMES = ("otlpfast", "otlp")


class _Settings:
    """Adds settings with their source; a variable that was complained about is not the source."""

    def __init__(self, settings: list[Setting], warnings: list[str]) -> None:
        self._settings = settings
        self._warnings = warnings

    def add(self, name: str, value: object, *variables: str, argument: str = "") -> None:
        source = argument or next(filter(components.variable, variables), "default")
        if any(source + "=" in text or source + " " in text for text in self._warnings):
            source = f"default ({source} is wrong)"
        self._settings.append(Setting(name, str(value), source))

    def add_otlp(self, name: str, value: object, suffix: str, argument: str = "") -> None:
        found = config._variable(suffix)
        self.add(name, value, *(found[:1] if found else ()), argument=argument)


def resolve(
    done: Examination, endpoint: str | None, protocol: str | None, warnings: list[str]
) -> OTLPSpanExporter | None:
    """Adds the settings; returns the exporter of spans by OTLP, if there is to be one.

    Raises WrongArgument.
    """
    settings = _Settings(done.settings, warnings)
    if path := components.variable(OTEL_CONFIG_FILE):
        settings.add("configuration file", path, OTEL_CONFIG_FILE)
        text = f"with {OTEL_CONFIG_FILE} the file counts, of which only variables are shown here"
        done.findings.append(Finding("configuration", "hint", text))
    names = components.exporter_names()
    settings.add("exporters", ", ".join(names) or "none", OTEL_TRACES_EXPORTER)
    exporter = None
    if any(name in _OTLP_NAMES for name in names) or endpoint or protocol:
        exporter = _resolve_exporter(settings, names, endpoint, protocol)
    else:
        text = f"no spans are sent by OTLP: {OTEL_TRACES_EXPORTER}={', '.join(names) or 'none'}"
        done.findings.append(Finding("collector", "hint", text, f"{OTEL_TRACES_EXPORTER}=otlpfast"))
    _resolve_provider(settings, done)
    _resolve_processor(settings)
    return exporter


def _resolve_exporter(
    settings: _Settings, names: list[str], endpoint: str | None, protocol: str | None
) -> OTLPSpanExporter:
    as_the_sdk = protocol is None and "otlp" in names and components.sdk_would_take_grpc()
    try:
        exporter = OTLPSpanExporter(endpoint, protocol="grpc" if as_the_sdk else protocol)
    except ImportError as error:
        named = ("--protocol",) if protocol else config._variable("PROTOCOL")
        asked = f"{named[0]}=grpc" if named else f"{OTEL_TRACES_EXPORTER}=otlp, which is gRPC here,"
        text = "%s can't be followed, http/protobuf is used: %s"
        logging.getLogger("otlpfast").warning(text, asked, error)
        exporter = OTLPSpanExporter(endpoint, protocol="http/protobuf")
    except ValueError as error:
        raise WrongArgument(f"--{error}") from None
    made = exporter._exporter._settings
    if as_the_sdk:
        source = "default of otlp (opentelemetry-exporter-otlp-proto-grpc is installed)"
        settings.add("protocol", "grpc", argument=source)
    else:
        name = exporter.destination.partition(" ")[0]
        settings.add_otlp("protocol", name, "PROTOCOL", "--protocol" if protocol else "")
    settings.add_otlp("endpoint", made.endpoint.shown, "ENDPOINT", "--endpoint" if endpoint else "")
    headers = ", ".join(f"{name}=***" for name in made.headers)
    settings.add_otlp("headers", headers or "none", "HEADERS")
    settings.add_otlp("timeout", f"{made.timeout:g} s", "TIMEOUT")
    settings.add_otlp("compression", made.compression, "COMPRESSION")
    if made.endpoint.secure:
        trust = (
            made.pem.trust if isinstance(made, GRPCSettings) else made.tls.trust if made.tls else "nothing"
        )
        settings.add_otlp("trusted", trust, "CERTIFICATE")
        settings.add_otlp("client certificate", _path("CLIENT_CERTIFICATE"), "CLIENT_CERTIFICATE")
    if made.proxy is not None:
        named = ("https_proxy" if made.endpoint.secure else "http_proxy", "all_proxy")
        settings.add("proxy", made.proxy.shown, *(n for name in named for n in (name, name.upper())))
    return exporter


def _path(suffix: str) -> str:
    found = config._variable(suffix)
    return found[1] if found else "none"


def _resolve_provider(settings: _Settings, done: Examination) -> None:
    _, sampling = components.make_sampler()
    settings.add("sampler", sampling, OTEL_TRACES_SAMPLER)
    if sampling in ("always_off", "traceidratio 0", "parentbased_always_off", "parentbased_traceidratio 0"):
        text = f"{OTEL_TRACES_SAMPLER} has no trace begin here: {sampling}"
        done.findings.append(Finding("sampler", "hint", text, f"{OTEL_TRACES_SAMPLER}=parentbased_always_on"))
    components.make_id_generator()
    name = str(_resolve_resource(settings, done).attributes.get(SERVICE_NAME))
    in_attributes = "service.name" in os.environ.get(OTEL_RESOURCE_ATTRIBUTES, "")
    named = components.variable(OTEL_SERVICE_NAME) or in_attributes or name.startswith("unknown_service")
    settings.add(
        SERVICE_NAME,
        name,
        OTEL_SERVICE_NAME,
        *[OTEL_RESOURCE_ATTRIBUTES] * in_attributes,
        argument="" if named else "a resource detector",
    )
    if name.startswith("unknown_service"):
        text = f"the service has no name: its spans come as {name}"
        done.findings.append(Finding("service", "hint", text, f"{OTEL_SERVICE_NAME}=…"))
    settings.add(
        "propagators", components.variable(OTEL_PROPAGATORS) or "tracecontext,baggage", OTEL_PROPAGATORS
    )
    carried = "carried" if is_true(OTLPFAST_CARRY_CONTEXT) else "not carried"
    settings.add("context to threads", carried, OTLPFAST_CARRY_CONTEXT)


def _resolve_resource(settings: _Settings, done: Examination) -> Resource:
    if not _detection.wanted():
        resource = Resource.create()
        done.findings += look_at(resource)
        return resource
    limit = _detection.seconds_allowed()
    settings.add("resource detectors", ", ".join(_detection.wanted()), OTEL_EXPERIMENTAL_RESOURCE_DETECTORS)
    settings.add("detection time-out", f"{limit:g} s", OTLPFAST_RESOURCE_TIMEOUT)
    detections = _detection.detect()
    done.findings += look_around(detections)
    return _detection.assemble(detections)


def _resolve_processor(settings: _Settings) -> None:
    queue, batch = _arguments.sizes(None, None)
    settings.add("queue", f"{queue} spans", OTEL_BSP_MAX_QUEUE_SIZE)
    settings.add("batch", f"{batch} spans", OTEL_BSP_MAX_EXPORT_BATCH_SIZE)
    seconds: Callable[..., float] = _arguments.seconds
    for name, variable in (("delay", OTEL_BSP_SCHEDULE_DELAY), ("export time-out", OTEL_BSP_EXPORT_TIMEOUT)):
        settings.add(name, f"{seconds(variable, None, variable):g} s", variable)
    settings.add("spool", components.variable(OTLPFAST_SPOOL_DIR) or "none", OTLPFAST_SPOOL_DIR)
    settings.add("tail sampling", _arguments.tail_sampling(None) or "none", OTLPFAST_TAIL_SAMPLING)
    settings.add("live page", mask_url(components.variable(OTLPFAST_WEB)) or "none", OTLPFAST_WEB)
    settings.add("profiles", mask_url(components.variable(OTLPFAST_PPROF)) or "none", OTLPFAST_PPROF)

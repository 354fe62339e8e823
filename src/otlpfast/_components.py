"""The parts of a tracer provider that ``OTEL_*`` variables name; a wrong one is one warning, and the default.

Specification: configuration/sdk-environment-variables.md; "the implementation MUST generate a warning and
gracefully ignore the setting" for values of an enumeration that are not known.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from opentelemetry.environment_variables import OTEL_PYTHON_ID_GENERATOR, OTEL_TRACES_EXPORTER
from opentelemetry.sdk.environment_variables import (
    OTEL_EXPORTER_OTLP_PROTOCOL,
    OTEL_EXPORTER_OTLP_TRACES_PROTOCOL,
    OTEL_TRACES_SAMPLER,
    OTEL_TRACES_SAMPLER_ARG,
)
from opentelemetry.sdk.trace.export import SpanExporter
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import Sampler

from ._log import warn

_logger = logging.getLogger("otlpfast.configuration")

DEFAULT_SAMPLER = "parentbased_always_on"
_RATIO_SAMPLERS = ("traceidratio", "parentbased_traceidratio")
_OWN = "otlpfast"
_SDK_OTLP = "otlp"  # no entry point: the SDK makes one of it, by the protocol
_SDK_OTLP_DEFAULT = "otlp_proto_grpc"
_EXPORTERS = "opentelemetry_traces_exporter"
_SAMPLERS = "opentelemetry_traces_sampler"
_ID_GENERATORS = "opentelemetry_id_generator"

Arguments = Mapping[Any, Mapping[str, Any]]


def variable(name: str) -> str:
    """Its text; what is empty counts as not set."""
    return os.environ.get(name, "").strip()


def installed(group: str) -> dict[str, EntryPoint]:
    """The entry points of a group, the first of each name."""
    found: dict[str, EntryPoint] = {}
    for entry in entry_points(group=group):
        found.setdefault(entry.name, entry)
    return found


def exporter_names() -> list[str]:
    """What ``OTEL_TRACES_EXPORTER`` names, of what there is."""
    text = variable(OTEL_TRACES_EXPORTER)
    if text.lower() == "none":
        return []
    known = {_OWN, _SDK_OTLP, *installed(_EXPORTERS)} if text else {_OWN}
    given = [name for part in text.split(",") if (name := part.strip())]
    names = list(dict.fromkeys(name if name in known else name.lower() for name in given))
    good = [name for name in names if name in known]
    if wrong := [name for name in names if name not in known]:
        shown, allowed = ",".join(wrong)[:200], ", ".join(sorted(known))
        instead = "that is ignored" if good else f"{_OWN} is used"
        warn(
            _logger,
            "%s=%r is not known, %s; allowed: %s, none",
            OTEL_TRACES_EXPORTER, shown, instead, allowed,
        )  # fmt: skip
    return good or [_OWN]


def make_exporters(names: Iterable[str], arguments: Arguments) -> list[SpanExporter]:
    """Exporters of those names; one that can't be made is one warning, and missing.

    arguments: keyword arguments of the constructors of classes.
    """
    made = [make_exporter(name, arguments) for name in names]
    return [exporter for exporter in made if exporter is not None]


def make_exporter(name: str, arguments: Arguments) -> SpanExporter | None:
    """The exporter of that name, or None."""
    if name in (_OWN, _SDK_OTLP):
        return _make_own(name, arguments)
    try:
        kind = installed(_EXPORTERS)[name].load()
        exporter = kind(**arguments.get(kind, {}))
        if isinstance(exporter, SpanExporter):
            return exporter
        problem = f"is not a SpanExporter but a {type(exporter).__name__}"
    except Exception as error:  # its text may show what is secret
        problem = f"can't be made ({type(error).__name__})"
    warn(_logger, "%s=%r %s: no spans go there", OTEL_TRACES_EXPORTER, name, problem)
    return None


def _make_own(name: str, arguments: Arguments) -> SpanExporter:
    from . import OTLPSpanExporter

    settings = dict(arguments.get(OTLPSpanExporter, {}))
    if name == _SDK_OTLP and sdk_would_take_grpc():
        settings.setdefault("protocol", "grpc")
    try:
        return OTLPSpanExporter(**settings)
    except ImportError as error:  # grpcio is missing
        text = "%s or %s=%s=grpc can't be followed, http/protobuf is used: %s"
        warn(_logger, text, OTEL_EXPORTER_OTLP_PROTOCOL, OTEL_TRACES_EXPORTER, name, error)
    return OTLPSpanExporter(**{**settings, "protocol": "http/protobuf"})


def sdk_would_take_grpc() -> bool:
    """Whether ``otlp`` without a protocol is gRPC: so it is for the SDK, where that exporter is installed."""
    named = variable(OTEL_EXPORTER_OTLP_TRACES_PROTOCOL) or variable(OTEL_EXPORTER_OTLP_PROTOCOL)
    return not named and _SDK_OTLP_DEFAULT in installed(_EXPORTERS)


def make_sampler() -> tuple[Sampler | None, str]:
    """The sampler of ``OTEL_TRACES_SAMPLER``, None where it is the default, and what to call it."""
    name = variable(OTEL_TRACES_SAMPLER).lower()
    if not name:
        return None, DEFAULT_SAMPLER
    known = installed(_SAMPLERS)
    if name not in known:
        text = "%s=%r is not known, %s is used; allowed: %s"
        warn(_logger, text, OTEL_TRACES_SAMPLER, name[:200], DEFAULT_SAMPLER, ", ".join(sorted(known)))
        return _default_sampler(), DEFAULT_SAMPLER
    argument: Any = os.environ.get(OTEL_TRACES_SAMPLER_ARG)
    shown = name
    if name in _RATIO_SAMPLERS:
        argument = _ratio()
        shown = f"{name} {argument:g}"
    try:
        sampler = known[name].load()(argument)
        if isinstance(sampler, Sampler):
            return sampler, shown
        problem = f"gave a {type(sampler).__name__}, no Sampler"
    except Exception as error:
        problem = f"raised {type(error).__name__}: {error}"
    text = "%s=%r with %s=%r %s; %s is used"
    warn(
        _logger, text, OTEL_TRACES_SAMPLER, name, OTEL_TRACES_SAMPLER_ARG, argument, problem, DEFAULT_SAMPLER
    )
    return _default_sampler(), DEFAULT_SAMPLER


def _default_sampler() -> Sampler:
    from opentelemetry.sdk.trace.sampling import DEFAULT_ON

    return DEFAULT_ON  # said, lest the provider read the variable again


def _ratio() -> float:
    text = variable(OTEL_TRACES_SAMPLER_ARG)
    try:
        ratio = float(text or 1.0)
    except ValueError:
        ratio = math.nan
    if 0 <= ratio <= 1:
        return ratio
    message = "%s=%r is ignored, 1.0 is used: a number from 0.0 to 1.0 is allowed"
    warn(_logger, message, OTEL_TRACES_SAMPLER_ARG, text[:100])
    return 1.0


def make_id_generator() -> IdGenerator | None:
    """The generator of ``OTEL_PYTHON_ID_GENERATOR``; None for random ids, which the provider makes itself."""
    name = variable(OTEL_PYTHON_ID_GENERATOR)
    if name in ("", "random"):
        return None
    known = installed(_ID_GENERATORS)
    problem = "is not known"
    if name in known:
        try:
            make: Callable[[], object] = known[name].load()
            generator = make()
            if isinstance(generator, IdGenerator):
                return generator
            problem = f"gave a {type(generator).__name__}, no IdGenerator"
        except Exception as error:
            problem = f"raised {type(error).__name__}: {error}"
    text = "%s=%r %s, random ids are used; allowed: %s"
    warn(_logger, text, OTEL_PYTHON_ID_GENERATOR, name[:200], problem, ", ".join(sorted({"random", *known})))
    return None

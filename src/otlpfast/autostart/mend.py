"""Variables that keep the API or the SDK from being imported: what is wrong is taken out, with a warning."""

from __future__ import annotations

import logging
import os

_COUNT = "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT"
_GENERAL_COUNT = "OTEL_ATTRIBUTE_COUNT_LIMIT"
_PROPAGATORS = "OTEL_PROPAGATORS"
_BUILT_IN = {"tracecontext", "baggage", "none"}

_logger = logging.getLogger("otlpfast.configuration")


def mend() -> None:
    """To be called before anything of OpenTelemetry is imported."""
    _mend_count()
    _mend_propagators()


def _mend_count() -> None:
    text = os.environ.get(_COUNT, "").strip()
    if text and not text.isdecimal():
        del os.environ[_COUNT]
        general = os.environ.get(_GENERAL_COUNT, "").strip()
        instead = general if general.isdecimal() else "128"
        _logger.warning(
            "%s=%r is ignored, %s is used: a whole number is allowed", _COUNT, text[:100], instead
        )


def _mend_propagators() -> None:
    text = os.environ.get(_PROPAGATORS, "")
    names = [name.strip() for name in text.split(",")]
    if not text.strip() or _BUILT_IN.issuperset(names):
        return
    from importlib.metadata import entry_points

    known = {*_BUILT_IN, *entry_points(group="opentelemetry_propagator").names}
    good = [name for name in names if name in known]
    if len(good) == len(names):
        return
    if good:
        os.environ[_PROPAGATORS] = ",".join(good)
    else:
        del os.environ[_PROPAGATORS]
    used = ",".join(good) or "tracecontext,baggage"
    message = "%s=%r is not known in all its parts, %s is used; allowed: %s"
    _logger.warning(message, _PROPAGATORS, text[:200], used, ", ".join(sorted(known)))

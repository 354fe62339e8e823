"""``OTEL_CONFIG_FILE``: the SDK's declarative configuration, with otlpfast's classes for the spans."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from .environment_variables import OTLPFAST_REDACTION

_PACKAGE = "opentelemetry.configuration"
_TRACING = f"{_PACKAGE}._tracer_provider"
_CLASSES = ("TracerProvider", "BatchSpanProcessor", "SimpleSpanProcessor")


def configure_by_file(path: str) -> None:
    """Has ``opentelemetry-configuration`` do what the file says. Raises whatever that raises."""
    try:
        package = importlib.import_module(_PACKAGE)
        tracing = importlib.import_module(_TRACING)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("it needs pip install opentelemetry-configuration") from error
    config = package.load_config_file(path)
    with _classes_of_otlpfast(tracing):
        package.configure_sdk(config)


@contextmanager
def _classes_of_otlpfast(tracing: ModuleType) -> Iterator[None]:
    # The SDK names these classes and takes no others. A release that names them elsewhere gets its own.
    import otlpfast

    before = {name: getattr(tracing, name) for name in _CLASSES if hasattr(tracing, name)}
    if len(before) < len(_CLASSES) and os.environ.get(OTLPFAST_REDACTION, "").strip():
        raise RuntimeError(f"this release of it can't be made to redact as {OTLPFAST_REDACTION} says")
    for name in before:
        setattr(tracing, name, getattr(otlpfast, name))
    try:
        yield
    finally:
        for name, kind in before.items():
            setattr(tracing, name, kind)

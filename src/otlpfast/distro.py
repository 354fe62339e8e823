"""``OTEL_PYTHON_DISTRO=otlpfast``. Needs opentelemetry-instrumentation."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Any

from opentelemetry.environment_variables import OTEL_TRACES_EXPORTER
from opentelemetry.instrumentation.dependencies import DependencyConflictError
from opentelemetry.instrumentation.distro import BaseDistro  # type: ignore[attr-defined]
from opentelemetry.instrumentation.environment_variables import OTEL_PYTHON_CONFIGURATOR

from ._log import warn

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

_logger = logging.getLogger("otlpfast.configuration")


class OtlpfastDistro(BaseDistro):  # type: ignore[misc]
    """Has otlpfast's configurator and exporter taken, unless variables name others.

    An instrumentation that fails is one warning, and those after it are still loaded.
    """

    def _configure(self, **kwargs: Any) -> None:
        os.environ.setdefault(OTEL_PYTHON_CONFIGURATOR, "otlpfast")
        os.environ.setdefault(OTEL_TRACES_EXPORTER, "otlpfast")

    def load_instrumentor(self, entry_point: EntryPoint, **kwargs: Any) -> None:
        """Loads and activates an instrumentation."""
        try:
            super().load_instrumentor(entry_point, **kwargs)
        except (ImportError, DependencyConflictError):
            raise  # opentelemetry-instrumentation says what there is to say, and goes on
        except Exception as error:
            text = "the instrumentation %s can't be used and is left out: %s: %s"
            warn(_logger, text, entry_point.name, type(error).__name__, error)

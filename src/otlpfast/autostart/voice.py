"""How a program that configures no logging hears what otlpfast has to say."""

from __future__ import annotations

import logging
import sys


class _LastResort(logging.StreamHandler):  # type: ignore[type-arg]
    """Python's own is out of use once auto-instrumentation has added a handler for OpenTelemetry."""

    def handle(self, record: logging.LogRecord) -> bool:
        if any(_is_applications(handler) for handler in logging.getLogger().handlers):
            return False  # they hear it anyway
        self.stream = sys.stderr  # which may have been replaced
        return bool(super().handle(record))


def _is_applications(handler: logging.Handler) -> bool:
    return not type(handler).__module__.startswith("opentelemetry.")


def speak_up() -> None:
    """Has warnings of otlpfast come to standard error unless the application has a log handler of its own."""
    logger = logging.getLogger("otlpfast")
    if not any(isinstance(handler, _LastResort) for handler in logger.handlers):
        logger.addHandler(_LastResort(sys.stderr))
        logger.handlers[-1].setLevel(logging.WARNING)

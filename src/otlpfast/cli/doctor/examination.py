"""What the doctor finds, and in which order he looks."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

Level = Literal["ok", "hint", "problem"]


class WrongArgument(Exception):
    """Of the command line; the text says which, and what is allowed."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at; `fix` says what to do, where there is something."""

    check: str
    level: Level
    text: str
    fix: str = ""


@dataclass(frozen=True)
class Setting:
    """A value as it is resolved, and where it comes from: "--endpoint", a variable or "default"."""

    name: str
    value: str
    source: str


@dataclass
class Examination:
    """All of it; nothing in it is secret."""

    settings: list[Setting] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    @property
    def problems(self) -> list[Finding]:
        return [finding for finding in self.findings if finding.level == "problem"]


def examine(endpoint: str | None, protocol: str | None, timeout: float) -> Examination:
    """Looks at everything. Changes nothing, and sends one empty export. Raises WrongArgument."""
    from ...autostart.mend import mend

    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # what it would log is said here in other words
    done = Examination()
    with _heard() as warnings:
        mend()
        from . import installation

        done.findings += installation.look()
        exporter = None
        if not any(finding.check == "implementation" for finding in done.problems):
            from .configuration import resolve

            exporter = resolve(done, endpoint, protocol, warnings)
    done.findings += [Finding("variables", "problem", text, "set it right, or unset it") for text in warnings]
    if exporter is not None:
        from .reach import reach

        with _heard():
            done.findings += reach(exporter, timeout)
    return done


class _Collecting(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if (text := record.getMessage()) not in self.texts:
            self.texts.append(text)


@contextmanager
def _heard() -> Iterator[list[str]]:
    """The warnings of otlpfast and the SDK in place of their way to standard error."""
    handler = _Collecting()
    loggers = [logging.getLogger(name) for name in ("otlpfast", "opentelemetry")]
    before = [logger.propagate for logger in loggers]
    for logger in loggers:
        logger.addHandler(handler)
        logger.propagate = False
    try:
        yield handler.texts
    finally:
        for logger, propagate in zip(loggers, before, strict=True):
            logger.removeHandler(handler)
            logger.propagate = propagate

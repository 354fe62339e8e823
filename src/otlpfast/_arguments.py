"""A batch processor's settings, from arguments and ``OTEL_BSP_*`` variables.

A wrong argument raises and names itself; a wrong variable gets one warning that names it, and the default is
used (specification: configuration/sdk-environment-variables.md, "Parsing of environment variables").
"""

from __future__ import annotations

import logging
import math
import os
import sys
import threading
from functools import cache
from typing import TYPE_CHECKING, Any, overload
from weakref import WeakKeyDictionary

from opentelemetry.sdk.environment_variables import (
    OTEL_BSP_EXPORT_TIMEOUT,
    OTEL_BSP_MAX_EXPORT_BATCH_SIZE,
    OTEL_BSP_MAX_QUEUE_SIZE,
    OTEL_BSP_SCHEDULE_DELAY,
)

from ._overload import POLICIES
from .environment_variables import (
    OTLPFAST_REDACTION,
    OTLPFAST_RESOURCE_TIMEOUT,
    OTLPFAST_SPOOL_DIR,
    OTLPFAST_TAIL_SAMPLING,
)

if TYPE_CHECKING:
    from ._impl import Redactor
    from ._spool import Spool
    from ._tail_sampling import TailSampler
    from .redaction import RedactionRules

_logger = logging.getLogger(__name__)

DEFAULTS = {
    OTEL_BSP_MAX_QUEUE_SIZE: 2048,
    OTEL_BSP_SCHEDULE_DELAY: 5000,
    OTEL_BSP_MAX_EXPORT_BATCH_SIZE: 512,
    OTEL_BSP_EXPORT_TIMEOUT: 30000,
    OTLPFAST_RESOURCE_TIMEOUT: 2000,
}

# One for equal rules: it gets faster with what it has seen.
_redactors: WeakKeyDictionary[RedactionRules, Redactor] = WeakKeyDictionary()

LONGEST_WAIT = threading.TIMEOUT_MAX / 2
"""In seconds; beyond it some system calls overflow."""


def _from_environment(variable: str) -> int:
    text = os.environ.get(variable, "").strip()
    default = DEFAULTS[variable]
    if not text:
        return default
    try:
        number = int(text)
    except ValueError:
        number = 0
    if 0 < number <= sys.maxsize:
        return number
    _logger.warning(
        "%s=%r is ignored: a positive whole number is allowed; %d is used", variable, text[:100], default
    )
    return default


def _positive(name: str, value: Any, kind: str, whole: bool) -> Any:
    if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
        raise TypeError(f"{name}={value!r}: {kind} is allowed")
    if not 0 < value < math.inf or (whole and value > sys.maxsize):
        raise ValueError(f"{name}={value!r}: {kind} is allowed")
    return value


def seconds(name: str, milliseconds: float | None, variable: str = "") -> float:
    """A time span in seconds: the argument's milliseconds, or the variable's, or the default's."""
    value = _from_environment(variable) if milliseconds is None and variable else milliseconds
    return (
        float(
            min(_positive(name, value, "a positive number of milliseconds", whole=False), LONGEST_WAIT * 1e3)
        )
        / 1e3
    )


def whole(name: str, value: object) -> int:
    """A positive whole number; TypeError or ValueError otherwise."""
    return int(_positive(name, value, "a positive whole number", whole=True))


def check_exporter(exporter: object) -> None:
    """TypeError for what is no SpanExporter; a class of them is none."""
    if isinstance(exporter, type) or not callable(getattr(exporter, "export", None)):
        allowed = "an object with the methods of opentelemetry.sdk.trace.export.SpanExporter"
        raise TypeError(f"span_exporter={exporter!r}: {allowed}")


def sizes(max_queue_size: int | None, max_export_batch_size: int | None) -> tuple[int, int]:
    """Queue and batch size.

    A batch larger than the queue is an error in arguments, and mended with a warning in variables.
    """
    queue_size = max_queue_size if max_queue_size is not None else _from_environment(OTEL_BSP_MAX_QUEUE_SIZE)
    batch_size = max_export_batch_size
    if batch_size is None:
        batch_size = _from_environment(OTEL_BSP_MAX_EXPORT_BATCH_SIZE)
    queue_size = whole("max_queue_size", queue_size)
    batch_size = whole("max_export_batch_size", batch_size)
    if batch_size <= queue_size:
        return queue_size, batch_size
    if max_export_batch_size is not None:
        raise ValueError(f"max_export_batch_size={batch_size}: at most max_queue_size, which is {queue_size}")
    if batch_size != DEFAULTS[OTEL_BSP_MAX_EXPORT_BATCH_SIZE]:
        message = "%s=%d is ignored: at most the queue's size is allowed; %d is used"
        _logger.warning(message, OTEL_BSP_MAX_EXPORT_BATCH_SIZE, batch_size, queue_size)
    return queue_size, queue_size


def policy(on_full: str | None, has_spool: bool) -> str:
    """What a full queue does; the default is to lose nothing where there is a spool."""
    if on_full is None:
        return "spool" if has_spool else POLICIES[0]
    if not isinstance(on_full, str):
        raise TypeError(f"on_full={on_full!r}: one of {', '.join(POLICIES)} is allowed")
    if on_full not in POLICIES:
        raise ValueError(f"on_full={on_full!r}: one of {', '.join(POLICIES)} is allowed")
    if on_full == "spool" and not has_spool:
        raise ValueError("on_full='spool' needs a spool_dir")
    return on_full


def spool(
    directory: str | os.PathLike[str] | None, max_bytes: int, max_age: float, takes_batches: bool
) -> Spool | None:
    """The spool in that directory, or in that of ``OTLPFAST_SPOOL_DIR``; None without either.

    A wrong argument raises; a wrong variable is one warning, and there is no spool.
    """
    whole("spool_max_bytes", max_bytes)
    _positive("spool_max_age", max_age, "a positive number of seconds", whole=False)
    if directory is not None:
        if not takes_batches:
            raise ValueError("spool_dir needs an exporter that takes encoded batches (export_batch)")
        return _open_spool(directory, max_bytes, max_age)
    text = os.environ.get(OTLPFAST_SPOOL_DIR, "").strip()
    if not text or not takes_batches:
        return None
    try:
        return _open_spool(text, max_bytes, max_age)
    except ValueError as error:
        _logger.warning("%s is ignored, spans are not spooled: %s", OTLPFAST_SPOOL_DIR, error)
        return None


@overload
def redactor(rules: RedactionRules) -> Redactor: ...


@overload
def redactor(rules: None) -> Redactor | None: ...


@overload
def redactor(rules: RedactionRules | None) -> Redactor | None: ...


def redactor(rules: RedactionRules | None) -> Redactor | None:
    """What redacts by these rules, or by those of ``OTLPFAST_REDACTION``; None without either.

    A wrong argument raises. A wrong variable is one error in the log, and the default rules are followed:
    whoever sets it wants something hidden.
    """
    text = os.environ.get(OTLPFAST_REDACTION, "").strip()
    if rules is None and not text:
        return None
    if rules is None:
        rules = _rules_of(text)
    check_rules(rules)
    found = _redactors.get(rules)
    if found is None:
        found = _redactors[rules] = rules.redactor()
    return found


def check_rules(rules: object) -> None:
    """TypeError for what is neither RedactionRules nor None."""
    if rules is not None:
        from .redaction import RedactionRules

        if not isinstance(rules, RedactionRules):
            raise TypeError(f"redaction={rules!r}: RedactionRules are allowed")


def _rules_of(text: str) -> RedactionRules:
    if text != "default":
        from .redaction import RedactionRules  # which most users never need

        try:
            return RedactionRules.from_file(text)
        except Exception as error:
            message = "%s=%r can't be followed, THE DEFAULT RULES ARE USED: %s: %s"
            _logger.error(message, OTLPFAST_REDACTION, text[:300], type(error).__name__, error)
    return default_rules()


@cache
def default_rules() -> RedactionRules:
    """``RedactionRules.default()``, read once."""
    from .redaction import RedactionRules

    return RedactionRules.default()


def _open_spool(directory: str | os.PathLike[str], max_bytes: int, max_age: float) -> Spool:
    from ._spool import Spool  # which most users never need

    return Spool(directory, max_bytes=max_bytes, max_age=max_age)


def tail_sampling(sampler: TailSampler | None) -> TailSampler | None:
    """The tail sampler given, or that of ``OTLPFAST_TAIL_SAMPLING``; None without either.

    A wrong argument raises; a wrong variable is one warning, and all traces are kept.
    """
    text = os.environ.get(OTLPFAST_TAIL_SAMPLING, "").strip()
    if sampler is None and not text:
        return None
    from ._tail_sampling import TailSampler, tail_sampler_of  # which most users never need

    if sampler is not None:
        if not isinstance(sampler, TailSampler):
            raise TypeError(f"tail_sampler={sampler!r}: an otlpfast.sampling.TailSampler or None is allowed")
        return sampler
    try:
        return tail_sampler_of(text)
    except (OSError, ValueError) as error:
        message = "%s=%r is ignored, all traces are kept: %s; allowed: default, or the path of a JSON file"
        _logger.warning(message, OTLPFAST_TAIL_SAMPLING, text[:200], error)
        return None

"""What the page shows in numbers: the account of each processor, its queue and exports, pools, rates."""

from __future__ import annotations

import os
import platform
import time
import weakref
from collections import deque
from collections.abc import Iterator
from typing import Any

from opentelemetry import trace
from opentelemetry.sdk.resources import SERVICE_NAME
from opentelemetry.sdk.trace import SpanProcessor

from .. import _tap
from .._choice import DISABLED
from .._impl import IMPLEMENTATION, POOLS
from .._version import __version__
from ..export.endpoint import printable
from ..pool import pool_stats
from ..processor import BatchSpanProcessor, SimpleSpanProcessor
from .masking import masked
from .recent import quantile

HISTORY = 120  # seconds
_BOUNDS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)  # milliseconds


class _Rate:
    """Spans that ended in each of the last seconds."""

    def __init__(self, ended: int, now: float) -> None:
        self._ended, self._at = ended, now
        self.history: deque[float] = deque(maxlen=HISTORY)

    def sample(self, ended: int, now: float) -> None:
        # Fewer than before, in a forked child: its count begins anew.
        self.history.append(round(max(ended - self._ended, 0) / max(now - self._at, 1e-3), 2))
        self._ended, self._at = ended, now


class Figures:
    """Reads what there is to be read; ``sample()`` has to be called once a second."""

    def __init__(self) -> None:
        self._begun = time.time()
        self._rates: weakref.WeakKeyDictionary[SpanProcessor, _Rate] = weakref.WeakKeyDictionary()

    def sample(self) -> None:
        """Takes note of how many spans have ended."""
        now = time.monotonic()
        for processor in _own():
            ended = processor.stats()["ended"]
            rate = self._rates.get(processor)
            if rate is None:
                self._rates[processor] = _Rate(ended, now)
            else:
                rate.sample(ended, now)

    def read(self) -> dict[str, Any]:
        """All of it, for JSON."""
        provider = trace.get_tracer_provider()
        service = getattr(getattr(provider, "resource", None), "attributes", {}).get(SERVICE_NAME, "")
        return {
            "process": {
                "pid": os.getpid(),
                "service": printable(str(service)),
                "sampler": _sampler(provider),
                "otlpfast": __version__,
                "implementation": "off (OTLPFAST_DISABLED)" if DISABLED else IMPLEMENTATION,
                "python": platform.python_version(),
                "served_since_unix_ms": round(self._begun * 1e3),
            },
            "processors": [self._processor(processor, number) for number, processor in enumerate(_own(), 1)],
            "pools": list(_pools()),
        }

    def _processor(self, processor: BatchSpanProcessor | SimpleSpanProcessor, number: int) -> dict[str, Any]:
        rate = self._rates.get(processor)
        history = list(rate.history) if rate is not None else []
        exporter = processor.span_exporter
        return {
            "name": f"{type(processor).__name__} {number}",
            "destination": _destination(exporter),
            "spans_per_second": history[-1] if history else 0.0,
            "history": history,
            "account": processor.stats(),
            "queue": _queue(processor) if isinstance(processor, BatchSpanProcessor) else None,
            "exports": _exports(processor),
            "spool": _spool(processor) if isinstance(processor, BatchSpanProcessor) else None,
        }


def hurry() -> None:
    """Has what waits exported soon: somebody wants to see it."""
    for processor in _own():
        if isinstance(processor, BatchSpanProcessor):
            processor.hurry()


def _own() -> Iterator[BatchSpanProcessor | SimpleSpanProcessor]:
    for processor in _tap.processors():
        if isinstance(processor, (BatchSpanProcessor, SimpleSpanProcessor)):
            yield processor


def _sampler(provider: object) -> str:
    try:
        return printable(provider.sampler.get_description())  # type: ignore[attr-defined]
    except Exception:
        return ""  # none yet, or one of somebody's that can't say


def _destination(exporter: object) -> str:
    try:
        return printable(masked(str(getattr(exporter, "destination", None) or type(exporter).__name__)))
    except Exception:
        return type(exporter).__name__


def _queue(processor: BatchSpanProcessor) -> dict[str, Any]:
    queue = processor._queue
    return {
        "spans": queue.waiting + queue.in_flight,
        "max_spans": queue.max_spans,
        "bytes": queue.nbytes,
        "max_bytes": queue.max_bytes,
        "closed": queue.closed,
        "undecided": _undecided(processor),
    }


def _undecided(processor: BatchSpanProcessor) -> dict[str, int] | None:
    sampler, queue = processor.tail_sampler, processor._queue
    if sampler is None:
        return None
    return {"spans": queue.undecided, "bytes": queue.undecided_bytes, "max_bytes": sampler.max_bytes}


def _exports(processor: BatchSpanProcessor | SimpleSpanProcessor) -> dict[str, Any]:
    delivery = processor._delivery
    durations = sorted(seconds * 1e3 for seconds in list(delivery.durations))
    histogram = []
    below = 0
    for bound in (*_BOUNDS, None):
        upto = len(durations) if bound is None else sum(duration <= bound for duration in durations)
        histogram.append({"le_ms": bound, "count": upto - below})
        below = upto
    return {
        "count": delivery.exports,
        "failed": delivery.failures,
        "last": len(durations),
        "p50_ms": round(quantile(durations, 0.5), 3),
        "p99_ms": round(quantile(durations, 0.99), 3),
        "histogram": histogram,
    }


def _spool(processor: BatchSpanProcessor) -> dict[str, Any] | None:
    spool = processor._spool
    return None if spool is None else {"directory": printable(spool.directory), **spool.stats()}


def _pools() -> Iterator[dict[str, Any]]:
    found = [(name, pool.stats()) for name, pool in POOLS.items()]
    found += pool_stats()
    for name, stats in found:
        taken = stats["hits"] + stats["misses"]
        yield {
            "name": name,
            "hits": stats["hits"],
            "misses": stats["misses"],
            "efficiency": round(stats["hits"] / taken, 4) if taken else None,
        }

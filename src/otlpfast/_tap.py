"""Who looks at batches as they go by, and the processors that there are to be looked at.

The processors know nothing of who looks: a live page, say. While nobody does, nothing is done.
"""

from __future__ import annotations

import logging
import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from ._impl import BatchBuilder
from ._log import RateLimitedLog
from .batch import SpanBatch

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor

_log = RateLimitedLog(logging.getLogger(__name__))

_taps: tuple[Tap, ...] = ()
# A list, whose append and remove are atomic: a finaliser or another thread may come in between.
_processors: list[weakref.ref[SpanProcessor]] = []


class Tap(Protocol):
    """What can be shown batches."""

    def take(self, batch: SpanBatch) -> None:
        """A batch that is about to be exported. It is to be copied, and fast: its memory is recycled."""


def attach(tap: Tap) -> None:
    """From now on batches are shown to it, by the threads that export them."""
    global _taps
    _taps = (*_taps, tap)


def detach(tap: Tap) -> None:
    """No more, from the next batch on."""
    global _taps
    _taps = tuple(other for other in _taps if other is not tap)


def is_attached() -> bool:
    """Whether anybody looks."""
    return bool(_taps)


def show(batch: SpanBatch) -> None:
    """Shows a batch to all who look; never raises."""
    for tap in _taps:
        try:
            tap.take(batch)
        except Exception as error:
            _log.warning("raised", "a look at a batch raised %s: %s", type(error).__name__, error)


def show_spans(spans: Sequence[ReadableSpan]) -> None:
    """The same with spans that go to their exporter as they are."""
    if not _taps:
        return
    builder = BatchBuilder()
    for span in spans:
        builder.add(span)
    batch = SpanBatch(builder.finish())
    try:
        show(batch)
    finally:
        batch.release()


def introduce(processor: SpanProcessor) -> None:
    """As long as it lives, ``processors()`` has it."""
    _processors.append(weakref.ref(processor, _processors.remove))


def processors() -> list[SpanProcessor]:
    """The processors of this process, in the order in which they were made."""
    return [processor for ref in list(_processors) if (processor := ref()) is not None]

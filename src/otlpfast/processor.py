"""Span processors: take ended spans from a TracerProvider, the SDK's or any other, and have them exported."""

from __future__ import annotations

# The SDK's provider uses a thread pool in its fork hook. Where the pool's module comes after the provider,
# that hook runs before the pool's own, which frees its lock, and the child hangs inside os.fork().
import concurrent.futures.thread  # noqa: F401
import logging
import os
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from opentelemetry.context import Context
from opentelemetry.metrics import MeterProvider
from opentelemetry.sdk.environment_variables import OTEL_BSP_EXPORT_TIMEOUT, OTEL_BSP_SCHEDULE_DELAY
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
from opentelemetry.sdk.trace.export import BatchSpanProcessor as _SDKBatchSpanProcessor
from opentelemetry.sdk.trace.export import SimpleSpanProcessor as _SDKSimpleSpanProcessor
from opentelemetry.sdk.trace.export import SpanExporter

from . import _life, _signals, _tap
from ._account import ACCOUNT, Stats, stats
from ._arguments import (
    LONGEST_WAIT,
    check_exporter,
    policy,
    redactor,
    seconds,
    sizes,
    spool,
    tail_sampling,
    whole,
)
from ._chain import Chain
from ._checks import check_meter_provider
from ._delivery import Delivery, takes_batches
from ._impl import PaddedCounters, SpanQueue
from ._log import RateLimitedLog
from ._overload import Block, DropOldest
from ._shown import redact_by
from ._spiller import Spiller
from ._spooling import Spooling
from ._worker import Worker
from .selfmetrics import publish, publish_queue

if TYPE_CHECKING:
    from ._tail_sampling import TailSampler
    from .redaction import RedactionRules

_logger = logging.getLogger(__name__)

_READY, _DROPPED, _FORKED = 1, 2, 4  # what SpanQueue.put() answers
_SHUTDOWN_MILLIS = 30_000
_LAST_REPLAY = 5.0  # seconds of a shutdown() for what is on the disk from before
_LAST_WORDS = 1.0  # seconds for the export thread to bring what it had to the disk


def _deadline(timeout_millis: float | None) -> float:
    # Whatever is given: no number means the default, and what is too long for a system call the longest wait.
    try:
        wait = float(_SHUTDOWN_MILLIS if timeout_millis is None else timeout_millis) / 1e3
    except (TypeError, ValueError, OverflowError):
        wait = _SHUTDOWN_MILLIS / 1e3
    return time.monotonic() + (min(wait, LONGEST_WAIT) if wait > 0 else 0)


def _sampled(span: ReadableSpan) -> bool | None:
    try:
        return bool(span.context and int(span.context.trace_flags) & 1)
    except Exception:
        return None  # what has no context is no span


class BatchSpanProcessor(SpanProcessor):
    """Encodes ended spans at once and exports them in batches from a thread of its own.

    A drop-in for ``opentelemetry.sdk.trace.export.BatchSpanProcessor``: the same arguments, defaults and
    ``OTEL_BSP_*`` variables (specification: trace/sdk.md, "Batching processor").

    Args:
        span_exporter: gets encoded batches if it has ``export_batch`` (``otlpfast.OTLPSpanExporter`` does),
            spans otherwise.
        max_queue_size: how many spans may wait; ``OTEL_BSP_MAX_QUEUE_SIZE``, 2048.
        schedule_delay_millis: after how many milliseconds a batch that is not full goes out;
            ``OTEL_BSP_SCHEDULE_DELAY``, 5000.
        max_export_batch_size: how many spans make a batch; ``OTEL_BSP_MAX_EXPORT_BATCH_SIZE``, 512.
        export_timeout_millis: how long one export may take; ``OTEL_BSP_EXPORT_TIMEOUT``, 30000. An exporter
            may allow itself less.
        max_queue_bytes: how many bytes of encoded spans may wait or be under way.
        on_full: what becomes of a span that finds the queue full. "drop_newest" (the default): it is dropped;
            "drop_oldest": the oldest batch that waits is; "block": its thread waits for room, and it is
            dropped if there is none in time; "spool" (the default where there is a spool): the oldest batch
            goes to the disk. Drops are counted as ``queue_full``.
        block_timeout_millis: how long "block" waits. Once it was in vain, spans no longer wait until there
            was room again.
        spool_dir: a directory for what the collector does not take within the export's time-out, instead of
            dropping it; ``OTLPFAST_SPOOL_DIR``. It is sent once the collector is back, by this process or a
            later one. One directory for each destination; any number of processes can share it.
        spool_max_bytes: how many bytes each process may keep there. More are dropped, as ``export_failed``.
        spool_max_age: seconds after which what is kept there is too old and dropped, as ``export_failed``.
        redaction: what is hidden before a span is encoded, exported or shown anywhere, or the rules of
            ``OTLPFAST_REDACTION``. An exporter of spans gets redacted copies.
        tail_sampler: decides which traces are exported, once they have ended; ``OTLPFAST_TAIL_SAMPLING``.
            Others are counted as dropped, ``sampled_out``. Until then spans count as queued, but not as a
            part of ``max_queue_size`` and ``max_queue_bytes``.
        meter_provider: where ``otel.sdk.processor.*`` metrics and otlpfast's own go, if
            ``OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED`` is true.

    Raises:
        TypeError, ValueError: an argument of the wrong kind or out of range; the message names it and what is
            allowed.
    """

    encodes_at_once = False  # but in the queue

    def __init__(
        self,
        span_exporter: SpanExporter,
        max_queue_size: int | None = None,
        schedule_delay_millis: float | None = None,
        max_export_batch_size: int | None = None,
        export_timeout_millis: float | None = None,
        *,
        max_queue_bytes: int = 64 * 1024 * 1024,
        on_full: str | None = None,
        block_timeout_millis: float = 1000,
        spool_dir: str | os.PathLike[str] | None = None,
        spool_max_bytes: int = 512 * 1024 * 1024,
        spool_max_age: float = 86_400,
        redaction: RedactionRules | None = None,
        tail_sampler: TailSampler | None = None,
        meter_provider: MeterProvider | None = None,
    ) -> None:
        check_exporter(span_exporter)
        check_meter_provider(meter_provider)
        self._redactor = redactor(redaction)
        queue_size, batch_size = sizes(max_queue_size, max_export_batch_size)
        self._delay = seconds("schedule_delay_millis", schedule_delay_millis, OTEL_BSP_SCHEDULE_DELAY)
        self._export_timeout = seconds(
            "export_timeout_millis", export_timeout_millis, OTEL_BSP_EXPORT_TIMEOUT
        )
        self.span_exporter = span_exporter
        self.tail_sampler = tail_sampling(tail_sampler)
        self._queue = SpanQueue(
            queue_size,
            whole("max_queue_bytes", max_queue_bytes),
            batch_size,
            self._redactor,
            self.tail_sampler,
        )
        self._patience = seconds("block_timeout_millis", block_timeout_millis)
        self._encodes = takes_batches(span_exporter)
        self._spool = spool(spool_dir, spool_max_bytes, spool_max_age, self._encodes)
        self._on_full = policy(on_full, self._spool is not None)
        self._chain = Chain(
            self, (BatchSpanProcessor, SimpleSpanProcessor, _SDKBatchSpanProcessor, _SDKSimpleSpanProcessor)
        )
        self._start_anew()
        _life.watch(self)
        _tap.introduce(self)
        redact_by(self._redactor, self)
        _signals.follow_variable()
        publish_queue(self, "batching_span_processor", meter_provider)

    def _start_anew(self) -> None:
        # In a forked child as well: the parent's threads and locks are the parent's.
        counters = self._queue.counters
        spooling = Spooling(self._spool, counters) if self._spool else None
        self._delivery = Delivery(self.span_exporter, counters, spooling, self._redactor)
        self._log = RateLimitedLog(_logger)
        block = Block(
            self._queue, self._patience, lambda: self._worker.exports_here(), lambda: self._worker.hurry()
        )
        self._made_room = block.made_room
        self._worker = Worker(self._queue, self._delivery, self._delay, self._export_timeout, self._made_room)
        self._spiller = Spiller(spooling, self._spill_when_half_full) if spooling else None
        self._queue.relief = {
            "drop_newest": None,
            "drop_oldest": DropOldest(self._queue, self._warn_of_drops),
            "block": block,
            "spool": lambda size: self._spill(),
        }[self._on_full]

    def _spill(self) -> bool:
        spilled = self._delivery.spill(self._queue)
        if spilled:
            self._made_room()
            self._worker.wake(True)  # it may sleep, and knows of no record
        return spilled

    def _spill_all(self, spill: Callable[[], bool]) -> None:
        """Also of traces that wait: it is decided on these first, as far at a time as there is room."""
        begun = time.monotonic()
        while True:
            may_be_more = self._queue.decide(time.monotonic() - begun)
            spilled = 0
            while spill():
                spilled += 1
            if not (may_be_more and spilled):
                return

    def _spill_safely(self) -> bool:
        """Where nothing has to leave the queue: not what the spool would refuse."""
        spooling = self._delivery.spooling
        return spooling is not None and spooling.likely_takes(self._queue.nbytes) and self._spill()

    def _spill_when_half_full(self) -> bool:
        return self._is_half_full() and self._spill_safely()

    def _is_half_full(self) -> bool:
        waiting = self._queue
        return 2 * waiting.waiting >= waiting.max_spans or 2 * waiting.nbytes >= waiting.max_bytes

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Learns which processors come after this one, and of the span where there is a tail sampler."""
        self._chain.learn(span)
        if self.tail_sampler is not None:
            self._queue.on_start(span)

    def _on_ending(self, span: Span) -> None:
        pass

    def on_end(self, span: ReadableSpan) -> None:
        """Encodes the span, or keeps it where it may still change or the exporter wants it as it is.

        Never raises or blocks.
        """
        outcome = self._queue.put(span, not (self._encodes and self._chain.is_final()))
        if outcome or not self._queue.attended:
            self._react(outcome)

    @property
    def encoding_queue(self) -> SpanQueue | None:
        """The queue that encodes spans as they end; None where the exporter wants them as they are."""
        return self._queue if self._encodes else None

    @property
    def watching_queue(self) -> SpanQueue | None:
        """The queue, where that wants to know of spans that start: with a tail sampler."""
        return None if self.tail_sampler is None else self._queue

    def take(self, span: ReadableSpan) -> None:
        """``on_end()`` of a span that nothing changes any more: otlpfast's own provider says so."""
        outcome = self._queue.put(span, not self._encodes)
        if outcome or not self._queue.attended:
            self._react(outcome)

    def _react(self, outcome: int) -> None:
        if outcome & _FORKED:
            self._start_anew()
        if outcome & _DROPPED:
            self._warn_of_drops()
        has_more = self._queue.waiting or self._queue.undecided
        if outcome & _READY or (has_more and not outcome & _DROPPED):
            self._worker.wake(bool(outcome & _READY))
            if self._spiller and self._worker.is_exporting and self._is_half_full():
                self._spiller.wake()

    def _warn_of_drops(self) -> None:
        if self._log.holds_back("shutdown" if self._queue.closed else "dropped"):
            return
        if self._queue.closed:
            self._log.warning("shutdown", "a span ended after shutdown() and was dropped")
            return
        waiting = self._queue
        dropped = self.stats()["dropped"]
        dropped.pop("sampled_out", None)
        self._log.warning(
            "dropped",
            "spans are dropped: %s so far; "
            "%d of at most %d spans and %d of at most %d bytes wait for the exporter",
            dropped,
            waiting.waiting,
            waiting.max_spans,
            waiting.nbytes,
            waiting.max_bytes,
        )

    def stats(self) -> Stats:
        """The account, which balances at any quiet moment.

        ``ended == exported + rejected + sum(dropped.values()) + spooled + queued``.
        """
        self._after_fork()
        waiting = self._queue
        return stats(waiting.counters, waiting.waiting + waiting.in_flight + waiting.undecided)

    def hurry(self) -> None:
        """Has what waits exported soon, without waiting for it."""
        if self._queue.waiting:
            self._worker.hurry()

    def force_flush(self, timeout_millis: float | None = None) -> bool:
        """Exports all that has ended, within ``timeout_millis`` (30000 by default).

        With a tail sampler, it is decided now on traces that wait, by what is known of them. Where there is a
        spool, what still waits then goes there: the process may be about to end.

        Returns:
            True only if all of it, and what was under way, was delivered or spooled in time.
        """
        self._after_fork()
        deadline = _deadline(timeout_millis)
        flushed = self._worker.flush(deadline)
        if not flushed and time.monotonic() >= deadline:
            self._spill_all(self._spill_safely)
        return flushed

    def shutdown(self, timeout_millis: float | None = None) -> None:
        """Exports what waits, within ``timeout_millis`` (30000 by default), then shuts the exporter down.

        What could not be exported in time goes to the spool, or is dropped and counted, as is every span that
        ends later. Where the spool has older spans and the collector takes them, up to 5 seconds go into
        sending these. May be called again.
        """
        self._after_fork()
        if self._queue.closed:
            return
        deadline = _deadline(timeout_millis)
        self._queue.close()
        self._made_room()  # nobody waits for what there will never be
        self._delivery.hurry()
        left = deadline - time.monotonic()
        # An export that is cut off has to bring its batch to the disk, which is part of the time.
        cut = deadline - min(_LAST_WORDS, left / 2) if self._spool else deadline
        try:
            self._worker.stop(cut)
        except BaseException:  # Ctrl-C: nobody waits for the collector any more
            cut = 0.0
            raise
        finally:
            self._end(cut, deadline)

    def _end(self, cut: float, deadline: float) -> None:
        if self._spool:
            self._close_spool(cut)
        dropped = self._queue.discard("shutdown")
        if dropped:
            text = "shutdown() ran out of time: %d spans were dropped"
            self._log.warning("out of time", text, dropped)
        self._delivery.shutdown(cut)
        if self._spool:
            self._worker.join(min(deadline, time.monotonic() + _LAST_WORDS))
            self._worker.end_with(self._spool.close)

    def _close_spool(self, deadline: float) -> None:
        self._spill_all(self._spill)
        if self._spiller:
            self._spiller.stop()
        enough = min(deadline, time.monotonic() + _LAST_REPLAY)
        while time.monotonic() < enough and self._worker.replay(enough):
            pass

    def _after_fork(self) -> None:
        if self._queue.after_fork():
            self._start_anew()


class SimpleSpanProcessor(SpanProcessor):
    """Exports each span as it ends, in the thread that ends it: for tests, command-line tools and debugging.

    A drop-in for ``opentelemetry.sdk.trace.export.SimpleSpanProcessor``, whose calls of the exporter are
    synchronised as the specification demands (trace/sdk.md, "Simple processor").

    Args:
        span_exporter: gets an encoded batch of one span if it has ``export_batch``, the span otherwise.
        redaction: as that of ``BatchSpanProcessor``.
        meter_provider: where ``otel.sdk.processor.*`` metrics go, if
            ``OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED`` is true.

    Raises:
        TypeError: the exporter, or what is given as rules, is none.
    """

    def __init__(
        self,
        span_exporter: SpanExporter,
        *,
        redaction: RedactionRules | None = None,
        meter_provider: MeterProvider | None = None,
    ) -> None:
        check_exporter(span_exporter)
        check_meter_provider(meter_provider)
        self._redactor = redactor(redaction)
        self.span_exporter = span_exporter
        self.encodes_at_once = takes_batches(span_exporter)
        self._shut = False
        self._start_anew()
        _tap.introduce(self)
        redact_by(self._redactor, self)
        publish(self, "simple_span_processor", meter_provider)

    def _after_fork(self) -> None:
        if self._pid != os.getpid():
            self._start_anew()

    def _start_anew(self) -> None:
        self._pid = os.getpid()
        self._counters = PaddedCounters(ACCOUNT)
        self._delivery = Delivery(self.span_exporter, self._counters, redactor=self._redactor)
        # Re-entrant: a signal handler or the exporter itself may end a span while its thread exports another.
        self._lock = threading.RLock()

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Nothing to be done."""

    def _on_ending(self, span: Span) -> None:
        pass

    def on_end(self, span: ReadableSpan) -> None:
        """Exports the span, waiting for any export under way. Never raises."""
        sampled = _sampled(span)
        if sampled is False:
            return
        self._after_fork()
        self._counters.add("ended")
        if self._shut:
            self._counters.add("shutdown")
            self._delivery.log.warning("shutdown", "a span ended after shutdown() and was dropped")
            return
        if sampled is None:
            self._counters.add("encode_error")
            return
        with self._lock:
            self._delivery.deliver((span,), 1, None)

    def take(self, span: ReadableSpan) -> None:
        """The same as ``on_end()``; gets the very span that has ended where that is encoded at once."""
        self.on_end(span)

    def stats(self) -> Stats:
        """The account, as ``BatchSpanProcessor.stats()`` gives it; nothing is ever queued for long."""
        self._after_fork()
        counts = self._counters.snapshot()
        settled = sum(count for name, count in counts.items() if name != "ended")
        return stats(self._counters, counts["ended"] - settled)

    def force_flush(self, timeout_millis: float = 30_000) -> bool:
        """Nothing waits: True."""
        return True

    def shutdown(self) -> None:
        """Shuts the exporter down; every span that ends later is dropped and counted. May be called again."""
        self._after_fork()
        if not self._shut:
            self._shut = True
            self._delivery.shutdown(_deadline(None))

"""When batches go to the disk spool and when they come back: a collector's outage as a processor sees it."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ._impl import PaddedCounters
from ._log import RateLimitedLog
from .batch import ExportOutcome, SpanBatch
from .export.retry import pause_before

if TYPE_CHECKING:
    from ._spool import Record, Spool

_logger = logging.getLogger(__name__)

REPLAY_RATE = 16 * 1024 * 1024  # bytes a second: a collector that is just back is not flooded
_STRIKES = 5  # refusals by a collector that takes other batches until a record is given up
_LONGEST_REQUEST = 600.0  # seconds that a collector may ask to be left alone
_REFUSED_FOR = 5.0  # seconds for which a spool that took no more is only asked where there is no other way
_HOUSEKEEPING = 30.0  # seconds between two looks for orphans and for what is too old


class Breaker:
    """Whether to try the collector now: after each failure in a row it is left alone for longer."""

    def __init__(self) -> None:
        self.failures = 0
        self.next = 0.0  # of the monotonic clock

    def is_due(self) -> bool:
        return time.monotonic() >= self.next

    def failed(self, retry_after: float) -> None:
        self.failures += 1
        pause = max(pause_before(self.failures, None), min(retry_after, _LONGEST_REQUEST))
        self.next = time.monotonic() + pause

    def succeeded(self) -> None:
        self.failures = 0
        self.next = 0.0


class Spooling:
    """A processor's use of its spool. What a collector does not take within the export's time goes there.

    While the collector is away, new batches go straight to the disk, and one now and then tries it. Records
    come back oldest first, between batches that are new. Calls of the exporter are the export thread's own
    business; only ``keep()`` may come from other threads.

    Args:
        spool: where records are kept.
        counters: those of ``_account.ACCOUNT``; what other processes left is not in this one's account.
    """

    LOSSES = ("refused", "expired", "rejected", "undeliverable")
    """Why spans are lost: there was no room, too old or damaged, by the collector, given up."""

    def __init__(self, spool: Spool, counters: PaddedCounters) -> None:
        self.spool = spool
        self.counts = PaddedCounters(("written", "replayed", *self.LOSSES))  # of spans, for the metrics
        self._counters = counters
        self._live, self._replay = Breaker(), Breaker()
        self._strikes = 0
        self._is_healthy = False  # the collector took a new batch since a record failed
        self._house_at = 0.0
        self._has_kept = self._has_refused = False
        self._refused_until = 0.0
        self.appended: Callable[[], None] = lambda: None  # is told that there is something to sync
        self.log = RateLimitedLog(_logger)

    def shall_try(self) -> bool:
        """Whether a new batch is to go to the collector rather than to the spool."""
        return self._live.is_due()

    def learn(self, outcome: ExportOutcome) -> None:
        """Takes note of how the export of a new batch went."""
        if outcome.failed:
            self._live.failed(outcome.retry_after)
            self._replay.next = max(self._replay.next, self._live.next)
            return
        if self._live.failures:
            self._replay.succeeded()  # it is back: no reason to wait any longer
        self._live.succeeded()
        self._is_healthy = True

    def likely_takes(self, nbytes: int) -> bool:
        """Whether to offer so many bytes that need not go to the spool: what it refuses is lost."""
        return self.spool.has_room(nbytes) and time.monotonic() >= self._refused_until

    def keep(self, pieces: Sequence[SpanBatch]) -> int:
        """Writes encoded spans to the spool; how many spans it took. ``tell()`` then says so, unlocked."""
        kept = sum(piece.count for piece in pieces if self.spool.append(piece.buffers, piece.count))
        refused = sum(piece.count for piece in pieces) - kept
        self.counts.add("written", kept)
        self.counts.add("refused", refused)
        if kept:
            self._has_kept = True
            self.appended()
        if refused:
            self._has_refused = True
            self._refused_until = time.monotonic() + _REFUSED_FOR
        return kept

    def tell(self) -> None:
        """Logs what ``keep()`` has done, where it is news."""
        spool = self.spool
        if self._has_refused:
            self._has_refused = False
            text = "the spool in %s takes no more spans, which are dropped: %s"
            self.log.warning("refused", text, spool.directory, spool.refusal)
        elif self._has_kept:
            self._has_kept = False
            text = "the collector does not take spans in time: they are kept in %s until it does, %d so far"
            self.log.warning("kept", text, spool.directory, spool.spans)

    # --- back from the disk, in the export thread

    def next_replay(self) -> float:
        """When ``replay()`` is due, by the monotonic clock; a moment that has passed if it is now."""
        return self._replay.next if self.spool.records else self._house_at

    def replay(self, send: Callable[[SpanBatch], ExportOutcome], last: bool) -> bool:
        """Sends the oldest record and keeps house, if it is time; whether a record was delivered.

        ``last``: before the end of the process, when records need not go slowly but must not be waited for.
        """
        if time.monotonic() >= self._house_at:
            self._keep_house()
        if self._live.failures if last else not self._replay.is_due():
            return False
        record = self.spool.oldest()
        if record is None:  # which says nothing of one that another thread has appended since
            if self.spool.is_unreadable:
                self._replay.next = self._house_at
            self._reconcile()
            return False
        try:
            batch = SpanBatch.from_request(record.data, record.count)
        except ValueError:  # no request of ours, for all that its checksum holds
            self._settle(record, ExportOutcome(failed=record.count))
            return False
        outcome, pid = ExportOutcome(failed=record.count), os.getpid()
        try:
            outcome = send(batch)
        finally:  # also where something is raised, which must not be repeated at once
            if outcome.failed and pid == os.getpid():
                self._not_taken(record, outcome)
        if outcome.failed or pid != os.getpid():  # the exporter has forked: the record is the parent's
            return False
        self._strikes = 0
        self._live.succeeded()
        self._replay.failures = 0
        self._replay.next = time.monotonic() + record.nbytes / REPLAY_RATE
        self._settle(record, outcome)
        return True

    def _not_taken(self, record: Record, outcome: ExportOutcome) -> None:
        self._replay.failed(outcome.retry_after)
        # A record that a collector in good health does not take must not keep the others for ever.
        self._strikes += self._is_healthy
        self._is_healthy = False
        if outcome.failed < record.count and record.own:
            self._strikes = 0  # those were its, and what remains is another
            kept = sum(p.count for p in outcome.remains if self.spool.append(p.buffers, p.count))
            self._settle(record, outcome, kept)
        elif self._strikes >= _STRIKES:
            self._strikes = 0
            text = "%d spooled spans are dropped: a collector that takes others failed to take them %d times"
            self.log.warning("struck", text, record.count, _STRIKES)
            self._settle(record, outcome)

    def _settle(self, record: Record, outcome: ExportOutcome, kept: int = 0) -> None:
        """The record is done with; spans of this process's account are counted where they went."""
        self.spool.acknowledge(record)
        self.counts.add("replayed", outcome.exported)
        self.counts.add("rejected", outcome.rejected + outcome.too_large)
        self.counts.add("undeliverable", outcome.failed - kept)
        if not record.own:
            if self.spool.spans == self.spool.own_spans:
                self._house_at = 0.0  # adopted is only so much at once: there may be more
            return
        self._counters.add("exported", outcome.exported)
        self._counters.add("rejected", outcome.rejected)
        self._counters.add("too_large", outcome.too_large)
        self._counters.add("export_failed", outcome.failed - kept)
        self._counters.add("spooled", kept - record.count)
        if not self.spool.records:
            self._reconcile()

    def _keep_house(self) -> None:
        self._house_at = time.monotonic() + _HOUSEKEEPING
        self.spool.adopt()
        self.spool.expire()
        self._reconcile()

    def _reconcile(self) -> None:
        """Counts spans of this process that the spool no longer has, though nobody acknowledged them."""
        lost = self._counters.snapshot()["spooled"] - self.spool.own_spans
        if lost > 0:  # below 0 another thread is about to count what it has just appended
            self._counters.add("spooled", -lost)
            self._counters.add("export_failed", lost)
            self.counts.add("expired", lost)
            text = "%d spans in the spool were too old, or damaged, and are dropped"
            self.log.warning("lost", text, lost)

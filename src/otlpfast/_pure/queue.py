"""Batches of encoded spans, and the queue in which they wait."""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from .._account import ACCOUNT
from .._plain import plain_context, plain_span, plain_time
from .._redacted import redact
from .._request import Group, request_parts
from .._scopes import ScopeEntry, ScopeTable
from .buffers import BufferPool, SpanBuffer
from .counters import PaddedCounters, Tally
from .encode import encode_resource, encode_scope, encode_span
from .redaction import Redactor
from .tail import Record, Tail, Trace, Traits

if TYPE_CHECKING:
    from .._tail_sampling import TailSampler

READY, DROPPED, FORKED = 1, 2, 4

_buffer_pool = BufferPool()
_scope_table = ScopeTable(encode_resource, encode_scope)


def _scope_table_of(redactor: Redactor | None) -> ScopeTable:
    if redactor is None:
        return _scope_table
    if redactor.scope_table is None:
        redactor.scope_table = ScopeTable(
            partial(encode_resource, redactor=redactor), partial(encode_scope, redactor=redactor)
        )
    return redactor.scope_table


class BatchBuilder:
    """Encodes spans into one batch, grouped by resource and scope in the order of their first span.

    ``redactor`` redacts them, and their resources and scopes.
    """

    def __init__(self, redactor: Redactor | None = None) -> None:
        self._redactor = redactor
        self._groups: list[tuple[ScopeEntry, SpanBuffer]] = []
        self._by_key: dict[tuple[bytes, ...], list[tuple[ScopeEntry, SpanBuffer]]] = {}
        self.count = 0
        self.nbytes = 0

    def _buffer(self, entry: ScopeEntry) -> SpanBuffer:
        alike = self._by_key.setdefault(entry.key, [])
        for known, buffer in alike:
            if known.is_same(entry):
                return buffer
        self._groups.append((entry, _buffer_pool.acquire()))
        alike.append(self._groups[-1])
        return self._groups[-1][1]

    def _add_encoded(self, entry: ScopeEntry, data: bytes) -> None:
        self._buffer(entry).append(data)
        self.count += 1
        self.nbytes += len(data)

    def add(self, span: Any) -> int:
        """Encodes a ReadableSpan; its size in bytes, or 0 where it has no valid ids. Never raises."""
        readable = plain_span(span)
        if readable is None:
            return 0
        if self._redactor is not None:
            redact(readable, self._redactor)
        data = encode_span(readable)
        table = _scope_table_of(self._redactor)
        self._add_encoded(table.entry(readable.resource, readable.instrumentation_scope), data)
        return len(data)

    def finish(self) -> list[Group]:
        """Ends the batch: a list of (entry, views, count), one a group that has spans."""
        return [(entry, [buffer.view()], buffer.count) for entry, buffer in self._groups]


class _Sized(Protocol):
    def __len__(self) -> int: ...


class SpanQueue:
    """Spans that wait for export: encoded, counted, and grouped when they are taken. See ``_core.SpanQueue``.

    A waiting span is an entry of a deque, whose append and popleft need no lock; nor do the sums.
    """

    def __init__(
        self,
        max_spans: int,
        max_bytes: int,
        batch_size: int,
        redactor: Redactor | None = None,
        tail_sampler: TailSampler | None = None,
    ) -> None:
        self.max_spans, self.max_bytes, self.batch_size = max_spans, max_bytes, batch_size
        self._redactor = redactor
        self.counters = PaddedCounters(ACCOUNT)
        self.closed = False
        self.attended = False  # a thread takes what is put here
        self.relief: Callable[[int], bool] | None = (
            None  # called where a span finds no room for its bytes: True once there may be
        )
        self._tail_sampler = tail_sampler
        self._losing: str | None = None  # once discard() was here: why traces that are kept are dropped
        self._start()

    def _start(self) -> None:
        self._pid = os.getpid()
        # The sums first: the spans of the old queue may end others in their finalisers.
        self._nbytes = Tally()
        self._in_flight = Tally()
        self._moving = Tally()
        self._encoded: deque[tuple[ScopeEntry, bytes]] = deque()
        self._kept: deque[tuple[Any, int]] = deque()
        sampler = self._tail_sampler
        self._tail = Tail(sampler, self._move, lambda: self._dropped("sampled_out")) if sampler else None

    @property
    def nbytes(self) -> int:
        """How many bytes wait or are under way."""
        return self._nbytes.value

    @property
    def in_flight(self) -> int:
        """How many spans are under way."""
        return self._in_flight.value

    @property
    def waiting(self) -> int:
        """How many spans wait."""
        return len(self._encoded) + len(self._kept)

    @property
    def undecided(self) -> int:
        """How many spans wait for the decision on their trace: none of those that ``waiting`` counts."""
        return 0 if self._tail is None else self._tail.spans

    @property
    def moving(self) -> int:
        """How many traces that are kept wait for room among those that ``waiting`` counts."""
        return self._moving.value

    @property
    def undecided_bytes(self) -> int:
        """How many bytes those take, with all that belongs to their traces."""
        return 0 if self._tail is None else self._tail.held

    @property
    def verdicts(self) -> PaddedCounters | None:
        """How many traces were kept, for which reason, or not; None without a tail sampler."""
        return None if self._tail is None else self._tail.verdicts

    def _dropped(self, reason: str) -> int:
        self.counters.add(reason)
        return DROPPED

    def put(self, span: Any, keep: bool = False) -> int:
        """Takes an ended span; what became of it as bits.

        1: a batch is ready. 2: it was dropped. 4: this process is a new child. Unsampled spans are passed
        over. ``keep`` keeps the span itself, for whoever needs it later, and only counts its size. Never
        raises.
        """
        outcome = FORKED if self.after_fork() else 0
        if not _probably_sampled(span):
            return outcome
        self.counters.add("ended")
        tail = self._tail if not self.closed else None
        try:
            if tail is None:
                return outcome | self._admit(span, keep)
            placed = self._put_aside(tail, span, keep)
        except Exception:  # no memory, or no stack left
            return outcome | self._dropped("encode_error")
        except BaseException:  # the application's own, which goes on to it
            self.counters.add("encode_error")
            raise
        # From where a span is with its trace, it is accounted for with that.
        return outcome | (placed if isinstance(placed, int) else self._decide_after(tail, *placed))

    def _has_room(self, size: int) -> bool:
        return self.waiting < self.max_spans and size <= self.max_bytes - self.nbytes

    def _relieved(self, size: int) -> bool:
        # Where there was nothing to be done, somebody else may just have done it.
        return self.relief is not None and (self.relief(size) or self._has_room(size))

    def _admit(self, span: Any, keep: bool) -> int:
        while not self.closed and not self._has_room(1):
            if not self._relieved(1):
                return self._dropped("queue_full")
        if self.closed:
            return self._dropped("shutdown")
        readable = plain_span(span)
        if readable is None:
            return self._dropped("encode_error")
        if self._redactor is not None and not keep:
            redact(readable, self._redactor)
        data = encode_span(readable)
        while len(data) > self.max_bytes - self.nbytes:
            if len(data) > self.max_bytes:
                return self._dropped("too_large")
            if not self._relieved(len(data)):
                return self._dropped("queue_full")
        table = _scope_table_of(self._redactor)
        entry = None if keep else table.entry(readable.resource, readable.instrumentation_scope)
        if self.closed:  # while it was waited for room; from here on nothing comes between
            return self._dropped("shutdown")
        return self._append((entry, span if entry is None else data, len(data)))

    def _append(self, record: Record) -> int:
        entry, subject, size = record
        waiting: _Sized
        if entry is None:
            self._kept.append((subject, size))
            waiting = self._kept
        else:
            self._encoded.append((entry, subject))
            waiting = self._encoded
        self._nbytes.add(size)
        return READY if len(waiting) >= self.batch_size else 0

    # --- with a tail sampler

    def on_start(self, span: Any, parent_context: object = None) -> None:
        """Learns that a span has started, so that its trace is not decided on before that has ended.

        Never raises.
        """
        tail = self._tail
        if tail is None or self.closed or self._pid != os.getpid():
            return
        try:
            context, parent = plain_context(span.context), span.parent
            if context.trace_flags & 1:
                tail.open(context, parent is None or bool(parent.is_remote), plain_time(span.start_time))
        except Exception:
            pass  # what is no span is not waited for

    def _put_aside(self, tail: Tail, span: Any, keep: bool) -> int | tuple[Traits, int, Trace]:
        """To its trace, which is given; once it was decided on that, where the decision says."""
        readable = plain_span(span)
        if readable is None:
            return self._dropped("encode_error")
        traits = Traits.of(readable)
        rule = tail.first_rule(readable, traits.is_root)
        if self._redactor is not None and not keep:
            redact(readable, self._redactor)
        data = encode_span(readable)
        table = _scope_table_of(self._redactor)
        entry = None if keep else table.entry(readable.resource, readable.instrumentation_scope)
        if self.closed:
            return self._dropped("shutdown")
        kept = tail.late(traits, rule)
        if kept is None:
            return traits, rule, tail.add(traits, rule, (entry, span if keep else data, len(data)))
        if kept:
            return self._admit(span, keep)
        self.counters.add("sampled_out")
        return 0

    def _decide_after(self, tail: Tail, traits: Traits, rule: int, trace: Trace) -> int:
        outcome = 0
        with contextlib.suppress(Exception):
            outcome = tail.decide_after(traits, rule, trace)
            if self._losing is not None:  # a span that came in when all that waited had just been dropped
                self._discard_undecided(self._losing)
        return outcome

    def _move(self, next_record: Callable[[], Record | None], nbytes: int) -> int:
        """A trace that is kept goes to the batches whole, if there is room when it comes."""
        reason: str | None = "encode_error"  # where this is cut short
        outcome = 0
        moving = self._moving  # this may go on in a forked child, where that is another
        moving.add(1)
        try:
            reason = self._refuses(nbytes)
        except Exception:
            pass
        finally:
            moving.add(-1)
            while (record := next_record()) is not None:
                lost = reason or self._losing
                outcome |= self._dropped(lost) if lost else self._append(record)
        return outcome

    def _refuses(self, size: int) -> str | None:
        """Why so many bytes can't come now; None where they can."""
        if self._losing is not None:
            return self._losing
        if size > self.max_bytes:
            return "too_large"
        while not self._has_room(size):
            if not self._relieved(size):
                return "queue_full"
            if self.closed:  # while it was waited for room
                return "shutdown"
        return None

    def decide(self, waited: float | None = None) -> bool:
        """Decides on traces that have waited for so long or longer, oldest first, until it is a batch.

        Args:
            waited: seconds; by default as long as the tail sampler waits.

        Returns:
            bool: whether there may be more; what is waiting now is to be taken before.
        """
        tail = self._tail
        if tail is None:
            return False
        before = self.waiting
        since = time.monotonic() - (tail.sampler.decision_seconds if waited is None else waited)
        for found in tail.waiting_since(since):
            is_full = self.waiting - before >= self.batch_size or not self._has_room(found[1].nbytes.value)
            if self.waiting and is_full:
                return True
            tail.decide_on(found)
        return False

    def next_decision(self) -> float:
        """In how many seconds ``decide()`` is due, for all that is known now."""
        return math.inf if self._tail is None else self._tail.next_decision()

    def take(self, partial: bool = True) -> tuple[BatchBuilder | list[Any], int, int] | None:
        """The next batch as (BatchBuilder or list of kept spans, spans, bytes), or None.

        ``partial`` closes the open ones too. It counts as in flight until ``done()``.
        """
        wanted = 1 if partial else self.batch_size
        taken: BatchBuilder | list[Any]
        if len(self._encoded) >= wanted:
            taken = BatchBuilder()
            for entry, data in _pop(self._encoded, self.batch_size):
                taken._add_encoded(entry, data)
            count, nbytes = taken.count, taken.nbytes
        elif len(self._kept) >= wanted:
            kept = _pop(self._kept, self.batch_size)
            taken = [span for span, _ in kept]
            count, nbytes = len(taken), sum(size for _, size in kept)
        else:
            return None
        self._in_flight.add(count)
        return taken, count, nbytes

    def done(self, spans: int, nbytes: int) -> None:
        """What was taken has been accounted for; its bytes no longer count."""
        self._in_flight.add(-spans)
        self._nbytes.add(-nbytes)

    @property
    def can_send(self) -> bool:
        """Whether ``send_full()`` works here: without the GIL, which plain Python always holds."""
        return False

    def send_full(
        self,
        descriptor: int,
        head: bytes,
        limit: int,
        timeout: float,
        until: float,
        wanted: Callable[[], bool],
    ) -> tuple[BatchBuilder, int, int, float, bool, bytes] | None:
        """See ``_core.SpanQueue``."""
        return None

    def interrupt(self) -> None:
        """Has ``send_full()`` return, if it runs."""

    def close(self) -> None:
        """From now on every span is dropped as ``shutdown``."""
        self.closed = True

    def discard(self, reason: str) -> int:
        """Drops all that waits, for this reason; returns how many.

        On traces that wait it is decided first: what would not have been kept is none of those.
        """
        total = self._discard_undecided(reason)
        while (taken := self.take()) is not None:
            self.counters.add(reason, taken[1])
            self.done(taken[1], taken[2])
            total += taken[1]
        return total

    def _discard_undecided(self, reason: str) -> int:
        before = self.counters.get(reason)
        self._losing = reason
        if self._tail is not None:
            for found in self._tail.waiting_since(math.inf):
                self._tail.decide_on(found)
        return self.counters.get(reason) - before

    def after_fork(self) -> bool:
        """Forgets what a parent process had queued, if this is a new child; True where it was."""
        if self._pid == os.getpid():
            return False
        self.counters = PaddedCounters(ACCOUNT)
        self._start()
        return True


def _pop(waiting: deque[Any], most: int) -> Sequence[Any]:
    popped: list[Any] = []
    while len(popped) < most:
        try:
            popped.append(waiting.popleft())
        except IndexError:
            break
    return popped


def _probably_sampled(span: Any) -> bool:
    try:
        return bool(span.context and int(span.context.trace_flags) & 1)
    except Exception:
        return True


def encode_spans(spans: Iterable[Any]) -> bytes:
    """Spans as a serialised ``opentelemetry.proto.collector.trace.v1.ExportTraceServiceRequest``.

    Args:
        spans: any iterable of ReadableSpan, or of objects with its properties.

    Returns:
        bytes: grouped by resource and scope. A span without valid ids is left out; no other span ever is, and
            none raises.
    """
    batch = BatchBuilder()
    for span in spans:
        batch.add(span)
    return b"".join(request_parts(batch.finish()))

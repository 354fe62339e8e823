"""Spans that wait with their trace until it is known whether that is to be kept."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import StatusCode

from .._account import VERDICTS
from .._scopes import ScopeEntry
from .._thresholds import RANDOMNESS, Entry
from .counters import PaddedCounters, Tally

if TYPE_CHECKING:
    from .._tail_sampling import TailSampler

_TRACE_BYTES = 160  # of one without spans; as much as the compiled core needs, and so far from what this does
_RECORD_BYTES = 16
_OBJECT_BYTES, _OBJECT_FACTOR = 3072, 4  # of a span that is kept as it is; for each byte when it is encoded

Record = tuple[ScopeEntry | None, Any, int]
"""Where an encoded span belongs, its bytes, their number; or None, a span that is kept as it is, its size."""


def _bytes_held(record: Record) -> int:
    entry, _, size = record
    return _RECORD_BYTES + (size if entry is not None else _OBJECT_BYTES + _OBJECT_FACTOR * size)


class Traits(NamedTuple):
    """What decisions are made by, of a plain span that has ended."""

    trace_id: int
    span_id: int
    randomness: int
    is_root: bool
    has_error: bool
    lasted: int

    @classmethod
    def of(cls, span: ReadableSpan) -> Traits:
        context, parent, status = span._context, span._parent, span._status
        assert context is not None
        return cls(
            context.trace_id,
            context.span_id,
            _randomness(context),
            parent is None or parent.is_remote,
            status is not None and status._status_code is StatusCode.ERROR,
            (span._end_time or 0) - (span._start_time or 0),
        )


def _randomness(context: Any) -> int:
    try:
        found = Entry.of(context.trace_state).randomness
    except Exception:  # no tracestate, whatever it is
        found = None
    return context.trace_id & RANDOMNESS if found is None else found


class Trace:
    """One that waits. Whoever takes a record out of ``records`` is the one who has to account for it."""

    __slots__ = (
        "began",
        "has_error",
        "has_root",
        "is_slow",
        "nbytes",
        "open",
        "randomness",
        "records",
        "root_began",
        "rules",
    )

    def __init__(self, randomness: int) -> None:
        self.began = time.monotonic()
        self.root_began = 0  # a local root that is open, by the wall clock; 0 where none is known to be
        self.randomness = randomness
        self.records: deque[Record] = deque()
        self.nbytes = Tally()
        self.open: set[int] = set()
        self.rules: set[int] = set()
        self.has_error = self.is_slow = False
        self.has_root = False  # one was seen to start: where nothing is open, it has ended


class Tail:
    """The traces of one queue that wait, and how a TailSampler decides on them. See ``_core/tail.pxi``.

    Each step is one that nothing can interrupt, and whoever comes in between finds all in order: there is no
    lock that a signal handler could wait for.

    Args:
        sampler: decides.
        move: gets the records of a trace that is kept, by a function that gives one after the other and then
            None, and how many bytes of encoded spans they are; gives bits as ``SpanQueue.put()`` does.
        drop: is called for each span that is sampled out.
    """

    def __init__(
        self,
        sampler: TailSampler,
        move: Callable[[Callable[[], Record | None], int], int],
        drop: Callable[[], object],
    ) -> None:
        self.sampler = sampler
        self.verdicts = PaddedCounters(VERDICTS)
        self._move, self._drop = move, drop
        self._traces: dict[int, Trace] = {}
        self._decided: OrderedDict[int, bool] = OrderedDict()
        self._held = Tally()
        self._spans = Tally()

    @property
    def held(self) -> int:
        """How many bytes undecided traces take."""
        return self._held.value

    @property
    def spans(self) -> int:
        """How many spans wait here."""
        return self._spans.value

    def open(self, context: Any, is_root: bool, begun: int) -> None:
        """A span has started. Where there is no memory to learn of it, the end of a root decides."""
        if context.trace_id in self._decided:
            return
        is_known = context.trace_id in self._traces
        if not is_known and self._held.value + _TRACE_BYTES > self.sampler.max_bytes:
            return
        trace = self._trace(context.trace_id, lambda: _randomness(context))
        trace.open.add(context.span_id)
        if is_root:
            trace.has_root = True
            trace.root_began = begun

    def _trace(self, trace_id: int, randomness: Callable[[], int]) -> Trace:
        found = self._traces.get(trace_id)
        if found is None:
            made = Trace(randomness())
            found = self._traces.setdefault(trace_id, made)
            if found is made:
                self._held.add(_TRACE_BYTES)
        return found

    def first_rule(self, span: Any, is_root: bool) -> int:
        """The rule that a span matches, -1 for none."""
        sampler = self.sampler
        if sampler.match is None or (sampler.rules_are_of_roots and not is_root):
            return -1
        return sampler.match(span, is_root, lambda span: span.attributes)

    def late(self, traits: Traits, rule: int) -> bool | None:
        """What was decided on the trace; None where nothing was."""
        kept = self._decided.get(traits.trace_id)
        if kept is False and self._is_reason(traits, rule):
            kept = self._decided[traits.trace_id] = True
        if kept is not None:
            with contextlib.suppress(KeyError):
                self._decided.move_to_end(traits.trace_id)
        return kept

    def _is_reason(self, traits: Traits, rule: int) -> bool:
        sampler = self.sampler
        return (
            (traits.has_error and sampler.errors)
            or (traits.is_root and traits.lasted >= sampler.slow_nanoseconds)
            or (rule >= 0 and traits.randomness >= sampler.rules[rule].threshold)
        )

    def add(self, traits: Traits, rule: int, record: Record) -> Trace:
        """A span that has ended, which from here on is accounted for with its trace."""
        trace = self._trace(traits.trace_id, lambda: traits.randomness)
        trace.has_error |= traits.has_error
        if traits.is_root:
            trace.is_slow |= traits.lasted >= self.sampler.slow_nanoseconds
            trace.root_began = 0
        if rule >= 0:
            trace.rules.add(rule)
        trace.open.discard(traits.span_id)
        self._spans.add(1)
        trace.nbytes.add(record[2])
        self._held.add(_bytes_held(record))
        trace.records.append(record)
        return trace

    def decide_after(self, traits: Traits, rule: int, trace: Trace) -> int:
        """What has to be decided after a span was added to a trace; what ``move`` gave of that."""
        outcome = 0
        if self._traces.get(traits.trace_id) is not trace:  # somebody has just decided, or forgotten it
            kept = self.late(traits, rule)
            if kept is None:
                kept = self._decided.setdefault(traits.trace_id, self._verdict(trace) != "sampled_out")
            outcome = self._empty(trace, kept)
        elif not trace.open and (trace.has_root or traits.is_root):
            outcome = self._decide(traits.trace_id, trace, early=False)
        return outcome | self._decide_pressing()

    def _verdict(self, trace: Trace) -> str:
        sampler = self.sampler
        if trace.has_error and sampler.errors:
            return "error"
        is_slow = trace.root_began and time.time_ns() - trace.root_began >= sampler.slow_nanoseconds
        if trace.is_slow or is_slow:
            return "slow"
        if trace.rules:
            threshold = sampler.rules[min(trace.rules)].threshold
            return "rule" if trace.randomness >= threshold else "sampled_out"
        return "ratio" if trace.randomness >= sampler.threshold else "sampled_out"

    def _decide(self, trace_id: int, trace: Trace, early: bool) -> int:
        if self._traces.get(trace_id) is not trace:
            return 0  # somebody else was faster
        # Who comes from here on finds a decision, and who came before that is still a part of it.
        before = self._decided.setdefault(trace_id, self._verdict(trace) != "sampled_out")
        if self._traces.pop(trace_id, None) is not trace:
            return 0  # somebody else was faster
        verdict = self._verdict(trace)
        kept = self._decided[trace_id] = before or verdict != "sampled_out"
        self._held.add(-_TRACE_BYTES)
        self.verdicts.add(verdict)
        if early:
            self.verdicts.add("early")
        with contextlib.suppress(KeyError):
            while len(self._decided) > self.sampler.remembered_traces:
                self._decided.popitem(last=False)
        return self._empty(trace, kept)

    def _empty(self, trace: Trace, kept: bool) -> int:
        def next_record() -> Record | None:
            try:
                record = trace.records.popleft()
            except IndexError:
                return None
            self._spans.add(-1)
            self._held.add(-_bytes_held(record))
            trace.nbytes.add(-record[2])
            return record

        if kept:
            return self._move(next_record, trace.nbytes.value)
        while next_record() is not None:
            self._drop()
        return 0

    def _decide_pressing(self) -> int:
        """On traces that have to go before their time, for room; those without spans are forgotten."""
        outcome = 0
        while self._held.value > self.sampler.max_bytes and (found := self._listed(1)):
            trace_id, trace = found[0]
            if trace.records:
                outcome |= self._decide(trace_id, trace, early=True)
            else:
                self._forget(trace_id, trace)
        return outcome

    def _listed(self, most: int | None = None) -> list[tuple[int, Trace]]:
        """The traces that wait, the oldest first."""
        while True:
            with contextlib.suppress(RuntimeError):  # others come and go
                return list(itertools.islice(self._traces.items(), most))

    def waiting_since(self, began: float) -> Iterator[tuple[int, Trace]]:
        """The traces that have waited since then, with spans, the oldest first; those without wait on."""
        for trace_id, trace in self._listed():
            if trace.began > began:
                continue
            if trace.records:
                yield trace_id, trace
                continue
            trace.began = time.monotonic()
            if not trace.open:
                self._forget(trace_id, trace)

    def _forget(self, trace_id: int, trace: Trace) -> None:
        if self._traces.pop(trace_id, None) is trace:
            self._held.add(-_TRACE_BYTES)

    def decide_on(self, found: tuple[int, Trace]) -> int:
        """Decides on a trace before it has ended."""
        return self._decide(*found, early=True)

    def next_decision(self) -> float:
        """In how many seconds the oldest trace has waited for long enough."""
        # One that begins from now on is due no earlier than that.
        now = time.monotonic()
        began = min((trace.began for _, trace in self._listed()), default=now)
        return self.sampler.decision_seconds - (now - began)  # which is never more than that

"""An exporter's exports as OpenTelemetry metrics (semantic conventions: otel/sdk-metrics.md)."""

from __future__ import annotations

import os
import threading
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from time import monotonic
from typing import TYPE_CHECKING, NamedTuple

from opentelemetry.metrics import MeterProvider, Observation

from .._instruments import Attributes, component, instruments, is_enabled

if TYPE_CHECKING:
    from .endpoint import Endpoint
    from .pieces import Sending

_MANY = 1024  # ended exports that wait to be added up
_MOST_DURATIONS = 16_384  # that wait for a collection; of more, the oldest are never recorded


class _Operation(NamedTuple):
    seconds: float
    spans: dict[str, int]  # by error type, "" for those that the collector took
    error: str
    status: int | str | None


class Operations:
    """Keeps the books of exports until somebody collects metrics.

    An export takes no lock and calls no instrument: the metrics SDK's locks are not re-entrant, and a signal
    handler that exports may have interrupted their holder.

    Args:
        who: the exporter's attributes.
        status_attribute: under which name the status of the last answer is published.
    """

    def __init__(self, who: Attributes, status_attribute: str) -> None:
        self._who = who
        self._status_attribute = status_attribute
        self._start()

    def _start(self) -> None:
        self._pid = os.getpid()
        self._under_way: dict[object, int] = {}
        self._ended: deque[_Operation] = deque()
        self._adding_up = threading.Lock()
        # These two from the start: a rate needs a first value.
        self._spans: Counter[str] = Counter({"": 0, "rejected": 0})
        self._durations: deque[tuple[float, dict[str, str | int]]] = deque(maxlen=_MOST_DURATIONS)

    def _after_fork(self) -> None:
        if self._pid != os.getpid():
            self._start()

    @contextmanager
    def of(self, sending: Sending) -> Iterator[None]:
        """One export, whatever becomes of it, as ``sending`` knows at its end."""
        self._after_fork()
        token, start = object(), monotonic()
        self._under_way[token] = sending.count
        try:
            yield
        finally:
            if self._under_way.pop(token, None) is not None:  # a child that a handler forked has other books
                spans, error = sending.verdict()
                self._ended.append(_Operation(monotonic() - start, spans, error, sending.status))
                if len(self._ended) >= _MANY:
                    self._add_up()

    def _add_up(self) -> None:
        # Whoever finds the lock taken leaves it to its holder, whom it may have interrupted.
        if not self._adding_up.acquire(blocking=False):
            return
        try:
            while self._ended:
                ended = self._ended.popleft()
                self._spans.update(ended.spans)
                attributes = dict(self._who)
                if ended.error:
                    attributes["error.type"] = ended.error
                if ended.status is not None:
                    attributes[self._status_attribute] = ended.status
                self._durations.append((ended.seconds, attributes))
        finally:
            self._adding_up.release()

    def exported(self) -> Iterable[Observation]:
        """How many spans, by error type."""
        self._after_fork()
        self._add_up()
        for error, count in list(self._spans.items()):
            yield Observation(count, {**self._who, "error.type": error} if error else self._who)

    def in_flight(self) -> Iterable[Observation]:
        """How many spans whose export has begun and not ended."""
        self._after_fork()
        yield Observation(sum(list(self._under_way.values())), self._who)

    def durations(self) -> Iterator[tuple[float, dict[str, str | int]]]:
        """What took how long since the last call."""
        while self._durations:
            yield self._durations.popleft()


class NoOperations:
    """Nobody asked."""

    def of(self, _: Sending) -> AbstractContextManager[None]:
        """Nothing is noted."""
        return nullcontext()


def operations(
    kind: str, status_attribute: str, endpoint: Endpoint, meter_provider: MeterProvider | None
) -> Operations | NoOperations:
    """An exporter's books, which are published as long as somebody has them."""
    if not is_enabled():
        return NoOperations()
    who = component(kind)
    if endpoint.socket is not None:
        who["server.address"] = endpoint.socket
    elif endpoint.host:
        who.update({"server.address": endpoint.host, "server.port": endpoint.port})
    made = Operations(who, status_attribute)
    shared = instruments(meter_provider)

    def exported(books: Operations) -> Iterable[Observation]:
        found = list(books.exported())
        for seconds, attributes in books.durations():
            shared.operation_duration.record(seconds, attributes)
        return found

    shared.add(
        made,
        {
            "otel.sdk.exporter.span.exported": exported,
            "otel.sdk.exporter.span.inflight": Operations.in_flight,
        },
    )
    return made

"""One gRPC channel for each process, made in the thread that exports, and calls on it.

gRPC and fork: if a process is forked while a thread is inside of gRPC, gRPC crashes or hangs in the child. So
a call under way is called off before a fork and repeated in the parent after it, and the child makes a
channel of its own; the parent's is neither used nor closed nor destroyed there.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from time import monotonic
from typing import Any

from .._life import begin_fork, end_fork, is_forking
from .retry import Ending

_METHOD = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
_FORK_PATIENCE = 1.0  # seconds that a fork waits for threads to come out of gRPC; it takes milliseconds
_all: weakref.WeakValueDictionary[int, Calls] = weakref.WeakValueDictionary()
_hooks = 0


class Calls:
    """Calls of the trace service. Thread-safe, re-entrant, usable in a forked child.

    connect: makes a channel.
    """

    def __init__(self, connect: Callable[[], Any]) -> None:
        self._connect = connect
        self._lines: dict[int, _Line] = {}
        self._inherited: list[_Line] = []  # kept, so that nothing of the parent's is destroyed in the child
        self.stop = Ending()
        self._closed = False
        _all[id(self)] = self
        _hook(1)

    def export(self, body: bytes, metadata: Any, compression: Any, deadline: float) -> bytes:
        """The serialised answer to a serialised request. Raises what the channel raises, and TimeoutError."""
        while True:
            line = self.line()
            call = line.enter(self._connect, self._is_closed, deadline)
            try:
                left = max(0.001, deadline - monotonic())
                answer: bytes = call(body, timeout=left, metadata=metadata, compression=compression)
                return answer
            except Exception:
                if line.pid != os.getpid():
                    raise ConnectionAbortedError(
                        "the process was forked in the middle of a request"
                    ) from None
                if not line.has_hung_up(call) or monotonic() >= deadline:
                    raise
            finally:
                line.leave()

    def _is_closed(self) -> bool:
        return self._closed

    def line(self) -> _Line:
        """The present process's."""
        pid = os.getpid()
        line = self._lines.get(pid)
        if line is None:
            for inherited in list(self._lines):
                if (other := self._lines.pop(inherited, None)) is not None:
                    self._inherited.append(other)
            line = self._lines.setdefault(pid, _Line(pid))
        return line

    def hang_up(self) -> None:
        """Close the channel; the next call makes a new one, as do those under way, which are repeated."""
        self.line().hang_up()

    def wait_idle(self, timeout: float) -> bool:
        """Wait for other threads' calls under way; whether they ended within `timeout` seconds."""
        return self.line().wait_idle(timeout)

    def close(self, timeout: float) -> None:
        """End waits between attempts now, and calls under way after `timeout` seconds."""
        self._closed = True
        self.stop.set()
        self.line().wait_idle(timeout)
        self.hang_up()
        self.line().end()


class _Line:
    """One process's channel, and which threads are in a call on it. Its lock is held for moments only."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._changed = threading.Condition(threading.RLock())
        self._spare: Any = None
        self._channel: Any = None
        self._call: Any = None
        self._callers: list[int] = []
        self._forking: set[int] = set()  # threads

    def enter(self, connect: Callable[[], Any], is_closed: Callable[[], bool], deadline: float) -> Any:
        """What to call. To be followed by `leave`."""
        with self._changed:
            if not self._changed.wait_for(lambda: not self._forking, max(0.0, deadline - monotonic())):
                raise TimeoutError("while the process was forking")
            if is_closed():
                raise ConnectionAbortedError("cut off by the shutdown of the exporter")
            if self._channel is None:
                # One that is never used: while gRPC has a channel it does not end its threads, and their end
                # can meet a fork, in which both hang.
                self._spare = self._spare or connect()
                self._channel = connect()
                # Without serialisers bytes go in and come out as they are.
                self._call = self._channel.unary_unary(_METHOD, None, None)
                _hook(2)
            self._callers.append(threading.get_ident())
            return self._call

    def leave(self) -> None:
        if self.pid == os.getpid():
            with self._changed:
                self._callers.remove(threading.get_ident())
                self._changed.notify_all()

    def has_hung_up(self, call: Any) -> bool:
        """Whether the failure of a call may be our own doing: for a fork, or for another call that failed."""
        return self._call is not call

    def hang_up(self) -> None:
        with self._changed:
            channel, self._channel, self._call = self._channel, None, None
        if channel is not None:
            with suppress(Exception):
                channel.close()

    def end(self) -> None:
        with self._changed:
            spare, self._spare = self._spare, None
        if spare is not None:
            with suppress(Exception):
                spare.close()

    def wait_idle(self, timeout: float) -> bool:
        """Not for this thread's own call, in the middle of which a signal handler may be."""
        own = threading.get_ident()
        with self._changed:
            return self._changed.wait_for(
                lambda: all(caller == own for caller in self._callers), min(max(0.0, timeout), 7 * 86400.0)
            )

    def before_fork(self) -> None:
        with self._changed:
            self._forking.add(threading.get_ident())
            busy = bool(self._callers)
        if busy:
            self.hang_up()
            self.wait_idle(_FORK_PATIENCE)

    def after_fork(self) -> None:
        with self._changed:
            self._forking.discard(threading.get_ident())
            self._changed.notify_all()


def _hook(times: int) -> None:
    """Before a first channel is made, so that no fork comes meanwhile, and once more when there is one.

    The hook registered last runs first, and gRPC's own, which come with a channel, have to come after ours.
    """
    global _hooks
    if _hooks < times and hasattr(os, "register_at_fork"):
        _hooks = times
        os.register_at_fork(before=partial(_before_fork, times), after_in_parent=partial(_after_fork, times))


def _before_fork(hook: int) -> None:
    begin_fork(hook)
    for reference in _all.valuerefs():
        if (calls := reference()) is not None:
            calls.line().before_fork()


def _after_fork(hook: int) -> None:
    if not is_forking(but_for=hook):  # else there is one more to come, after gRPC's own
        for reference in _all.valuerefs():
            if (calls := reference()) is not None:
                calls.line().after_fork()
    # Not before the last lock is free: a signal handler may come at once, and flush.
    end_fork(hook)

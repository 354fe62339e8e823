"""Flushing before a signal ends the process. Opt-in: a signal handler is the application's to set."""

from __future__ import annotations

import _thread
import contextlib
import logging
import math
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable
from types import FrameType
from typing import Any, Protocol

from opentelemetry.trace import get_tracer_provider

from ._life import flush_all
from ._log import warn
from .environment_variables import OTLPFAST_FLUSH_ON_SIGTERM as FLUSH_ON_SIGTERM

_logger = logging.getLogger(__name__)

PATIENCE_MILLIS = 5_000


class Flushable(Protocol):
    """A tracer provider or a span processor."""

    def force_flush(self, timeout_millis: int, /) -> bool: ...


class SignalFlush:
    """What ``flush_on_signal()`` has set up, until ``undo()`` or the end of a ``with`` block."""

    def __init__(self, flush: Callable[[int], object], signals: tuple[int, ...], timeout_millis: int) -> None:
        self._flush = flush
        self._timeout_millis = timeout_millis
        self._underway: tuple[int, _thread.LockType] | None = None
        self._undone = False
        self._old: dict[int, Any] = {}
        for number in signals:
            old = signal.getsignal(number)
            if old is not signal.SIG_IGN:
                self._old[number] = old
                signal.signal(number, self._handle)

    def undo(self) -> None:
        """Puts the old handlers back; a handler that was set since then stays. May be called again.

        Raises:
            ValueError: this is not the main thread of the main interpreter.
        """
        _check_thread()
        self._undone = True
        for number, old in self._old.items():
            # Bound methods are equal, not identical.
            if signal.getsignal(number) == self._handle:
                signal.signal(number, old)

    def __enter__(self) -> SignalFlush:
        return self

    def __exit__(self, *_: object) -> None:
        self.undo()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        underway = self._underway
        if underway is not None and underway[0] == os.getpid():
            _let_go(underway[1])  # a second signal: whoever waits for the flush waits no longer
        elif not self._undone:
            done = _thread.allocate_lock()
            done.acquire()
            self._underway = os.getpid(), done
            if _is_cooperative():
                # The handler may have interrupted the event loop itself, which must not wait for anything.
                _thread.start_new_thread(self._flush_and_go_on, (done, number))
                return
            try:
                self._wait_for_flush(done)
            finally:
                self._underway = None
        self._go_on(number, frame)

    def _wait_for_flush(self, done: _thread.LockType) -> None:
        # Not in this thread: it may hold a lock that somebody's force_flush() needs. Nor in a Thread of
        # threading, whose start() takes a lock that this thread may hold, too.
        try:
            _thread.start_new_thread(self._run, (done,))
        except RuntimeError:  # no more threads, or the interpreter is on its way out
            self._run(done)
        done.acquire(timeout=self._timeout_millis / 1e3)

    def _run(self, done: _thread.LockType) -> None:
        try:
            self._flush(self._timeout_millis)
        except Exception as error:
            warn(_logger, "a flush before a signal raised %s: %s", type(error).__name__, error)
        finally:
            _let_go(done)

    def _flush_and_go_on(self, done: _thread.LockType, number: int) -> None:
        self._run(done)
        self._underway = None
        self._go_on(number, None)

    def _go_on(self, number: int, frame: FrameType | None) -> None:
        """Does what would have been done without us."""
        old = self._old[number]
        if callable(old):
            old(number, frame)
        else:
            installed = signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
            # Still here: it ends nothing by default, or not the first process of a container.
            signal.signal(number, installed)


def flush_on_signal(
    provider_or_processor: Flushable | None = None,
    signals: Iterable[int] = (signal.SIGTERM,),
    timeout_millis: float = PATIENCE_MILLIS,
) -> SignalFlush:
    """Has spans flushed when a signal comes, before it does what it did so far.

    A handler that was set before is called after the flush; where there was none, the process then ends by
    the signal, with its exit status; a signal that is ignored stays ignored. A second signal waits for no
    flush. Holds in forked children too.

    Args:
        provider_or_processor: what to flush; by default the global tracer provider at that time.
        signals: numbers of signals.
        timeout_millis: how long the flush may take.

    Returns:
        SignalFlush: its ``undo()``, or the end of a ``with`` block, puts the old handlers back.

    Raises:
        ValueError: this is not the main thread of the main interpreter, a signal can't be handled or has a
            handler that Python can't call, a time-out out of range.
        TypeError: an argument of the wrong kind.
    """
    _check_thread()
    if provider_or_processor is not None and not callable(
        getattr(provider_or_processor, "force_flush", None)
    ):
        raise TypeError(f"provider_or_processor={provider_or_processor!r}: one with force_flush() is allowed")
    return SignalFlush(
        _flush_global if provider_or_processor is None else provider_or_processor.force_flush,
        _checked(signals),
        _whole_millis(timeout_millis),
    )


def _flush_global(timeout_millis: int) -> object:
    # The API's own provider, while no other was set, has nothing to flush.
    flush: Any = getattr(get_tracer_provider(), "force_flush", None)
    return flush and flush(timeout_millis)


def _check_thread() -> None:
    if threading.current_thread() is not threading.main_thread():
        raise ValueError("signal handlers can be set in the main thread only")


def _whole_millis(timeout_millis: float) -> int:
    if isinstance(timeout_millis, bool) or not isinstance(timeout_millis, (int, float)):
        raise TypeError(f"timeout_millis={timeout_millis!r}: a positive number of milliseconds is allowed")
    if not 0 < timeout_millis <= threading.TIMEOUT_MAX * 1e3:
        raise ValueError(f"timeout_millis={timeout_millis!r}: a positive number of milliseconds is allowed")
    return math.ceil(timeout_millis)


def _checked(signals: Iterable[int]) -> tuple[int, ...]:
    """The signals, once each, if all of them can have a handler."""
    numbers = tuple(dict.fromkeys(signals))
    for number in numbers:
        if number not in signal.valid_signals():
            raise ValueError(f"signals={number!r}: numbers of signals are allowed")
        old = signal.getsignal(number)
        if old is None:
            raise ValueError(f"signals={number!r}: its handler was not set by Python and can't be called")
        if old is not signal.SIG_IGN:
            try:
                signal.signal(number, old)
            except OSError as error:
                raise ValueError(f"signals={number!r}: it can't be handled") from error
    return numbers


def _is_cooperative() -> bool:
    monkey = sys.modules.get("gevent.monkey")
    return monkey is not None and bool(monkey.is_module_patched("threading"))


def _let_go(done: _thread.LockType) -> None:
    # By the flush and by a second signal, whichever comes first.
    with contextlib.suppress(RuntimeError):
        done.release()


_has_read_variable = False


def follow_variable() -> None:
    """Once in a process, does what ``OTLPFAST_FLUSH_ON_SIGTERM`` says: all batch processors are flushed."""
    global _has_read_variable
    value = os.environ.get(FLUSH_ON_SIGTERM, "").strip().lower()
    if _has_read_variable or value in ("", "false"):
        return
    _has_read_variable = True
    if value != "true":
        text = "%s=%r is ignored, nothing is flushed on SIGTERM: true or false is allowed"
        warn(_logger, text, FLUSH_ON_SIGTERM, value[:100])
        return
    try:
        _check_thread()
        SignalFlush(flush_all, _checked((signal.SIGTERM,)), PATIENCE_MILLIS)
    except ValueError as error:
        warn(_logger, "%s=true has no effect: %s", FLUSH_ON_SIGTERM, error)

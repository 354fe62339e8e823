"""When a failed export is tried again: how long to wait, until when, and what ends the waiting.

Specification: "OTLP/HTTP Throttling", "Failures", "All Other Responses"; "Transient Errors" of the exporter.
"""

from __future__ import annotations

import os
import random
import ssl
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timezone
from email.utils import parsedate_to_datetime
from time import monotonic

from .proxy import ProxyRefused

RETRYABLE = frozenset((429, 502, 503, 504))  # specification "Retryable Response Codes"; no others
FIRST_PAUSE = 1.0  # seconds; each further one is twice as long
LONGEST_PAUSE = 30.0  # of those that nobody asked for
JITTER = 0.2  # of a pause, up and down, so that the clients of a collector that restarts don't return in step
SHORTEST_PAUSE = 0.05  # also where `Retry-After: 0` asks for none, or a broken server would keep us spinning

_MANY_SECONDS = 1e9


class Stop:
    """A flag that is set once and wakes who waits for it.

    No `threading.Event`: its lock is held by Python code, in which a signal handler that calls `shutdown()`
    would wait for the thread that it interrupted. Here is one lock that the interpreter itself handles.
    """

    def __init__(self) -> None:
        self._is_set = False
        self._gate = threading.Lock()
        self._gate.acquire()

    def set(self) -> None:
        """Wake all who wait, now and later."""
        self._is_set = True
        self._open()

    def wait(self, seconds: float) -> bool:
        """Wait up to `seconds` of the monotonic clock; whether it is set."""
        if not self._is_set and self._gate.acquire(timeout=min(max(seconds, 0.0), threading.TIMEOUT_MAX)):
            self._open()  # for the next
        return self._is_set

    def _open(self) -> None:
        with suppress(RuntimeError):  # it is open
            self._gate.release()


class Ending(Stop):
    """What `shutdown()` sets. Before, `haste` is set: a peer that is not there is then tried once more."""

    def __init__(self) -> None:
        super().__init__()
        self.haste = Stop()
        self.in_vain = False  # a last attempt was, and so would be those of further batches

    def set(self) -> None:
        super().set()
        self.haste.set()


@dataclass
class Retry:
    """The attempts of one export: asked after each that failed whether there is to be another.

    deadline: of the monotonic clock; no attempt starts at or after it.
    stop: says that the end is near, and that it has come.
    """

    deadline: float
    stop: Ending
    attempts: int = 0
    why_not: str = ""  # what ended it, in words; nothing where no retry was due
    retry_after: float = 0.0  # seconds that were asked for and not waited
    _is_last: bool = False
    _pid: int = field(default_factory=os.getpid)

    def pause(self, asked: float | None = None, unreached: bool = False) -> bool:
        """Wait before the next attempt; False at once where it could not start in time, or at shutdown.

        asked: seconds that the collector wants us to wait, if it says so. They replace the back-off.
        unreached: nobody is there. Whoever is about to shut down finds that out once more, and soon.
        """
        self.attempts += 1
        self.why_not = ""
        seconds = pause_before(self.attempts, asked)
        in_haste = unreached and self.stop.haste.wait(0)
        if in_haste:
            seconds = min(seconds, FIRST_PAUSE)
            self.stop.in_vain = self.stop.in_vain or self._is_last
            if self.stop.in_vain:
                self.why_not = "; not tried again: the exporter is about to be shut down"
                return False
        if monotonic() + seconds >= self.deadline:
            self.why_not = self._too_late(asked)
            self.retry_after = asked or 0.0
            return False
        patient = self.stop.haste if unreached and not in_haste else self.stop
        self._is_last = patient.wait(seconds) or in_haste
        stopped = self.stop.wait(0)
        if stopped or self._pid != os.getpid():  # a signal handler forked: they are the parent's spans
            self.why_not = "; not tried again: the exporter is shut down" if stopped else ""
            return False
        return True

    def _too_late(self, asked: float | None) -> str:
        if asked is not None and asked > SHORTEST_PAUSE:
            return f"; it asks to come back in {asked:.4g} s, for which the timeout leaves no time"
        return f"; given up after {self.attempts} attempts" if self.attempts > 1 else ""


def pause_before(attempt: int, asked: float | None) -> float:
    """Seconds to wait before retry number `attempt`, counted from 1."""
    growth = 2.0 ** min(attempt - 1, 30)
    if asked is not None:
        return max(asked, min(SHORTEST_PAUSE * growth, FIRST_PAUSE))
    # Nothing secret and nothing to reproduce: any generator does, but not the one that programs seed.
    return min(FIRST_PAUSE * growth, LONGEST_PAUSE) * _chance.uniform(1 - JITTER, 1 + JITTER)


_chance = random.SystemRandom()


def read_retry_after(text: str | None) -> float | None:
    """Seconds of a Retry-After field, a number or an HTTP-date; None where it is missing or neither.

    The date is compared with the wall clock once, here; what waits afterwards goes by the monotonic clock.
    """
    text = (text or "").strip()
    if text.isascii() and text.isdecimal():
        return float(text) if len(text) < 10 else _MANY_SECONDS
    try:
        moment = parsedate_to_datetime(text)
        if moment.tzinfo is None:  # "-0000"
            moment = moment.replace(tzinfo=timezone.utc)
        seconds = moment.timestamp() - time.time()
    except (TypeError, ValueError, IndexError, OverflowError, OSError):
        return None
    return max(0.0, seconds)


def is_transient(error: Exception) -> bool:
    """Whether a failure without an answer may be gone at the next attempt.

    Specification: a client that cannot connect, or whose connection is closed without an answer, should
    retry. A peer that TLS does not trust, or that does not speak HTTP, will be the same in a second.
    """
    if isinstance(error, ProxyRefused):
        return error.status in RETRYABLE
    if isinstance(error, ssl.SSLError):
        return isinstance(error, (ssl.SSLEOFError, ssl.SSLZeroReturnError))
    if type(error) is ConnectionAbortedError and error.errno is None:
        return False  # not by the network: the transport's own words for a fork or a shutdown
    return isinstance(error, OSError)  # a deadline that passed among them: `Retry.pause` knows


def is_unreached(error: Exception) -> bool:
    """Whether a transient failure means that nobody is there: there was no connection to break off."""
    reached = isinstance(error, (ConnectionError, TimeoutError, ssl.SSLError, ProxyRefused))
    return isinstance(error, ConnectionRefusedError) or not reached

"""Profiles of this process that ``otlpfast profile`` has ordered: taken, and left where it finds them."""

from __future__ import annotations

import atexit
import json
import os
import secrets
import socket
import sys
import threading
from contextlib import suppress
from typing import Any

from .._threads import start_outside
from ._directory import write_private
from ._order import FULL, SOCKET, Order
from ._run import Run, load
from .config import KINDS
from .full import FullRun


class _Told(Exception):
    """There is no profile, and the client knows why."""


class Ordered:
    """One that is being taken, until the order's seconds have passed, its client says so or the process ends.

    Raises:
        OSError, ValueError: there is no order there, or nobody who waits for it.
        ProfilerBusyError: such a profile is under way.
    """

    def __init__(self, directory: str) -> None:
        self.directory = directory
        self.order = order = Order.load(directory)
        self._lock = threading.RLock()
        self._over = False
        self._client = socket.socket(socket.AF_UNIX)
        try:
            self._client.connect(os.path.join(directory, SOCKET))
            self._run: Run | FullRun = (
                FullRun(order.config(), order.seconds)
                if order.kind == FULL
                else Run((order.kind,), order.config(), order.seconds, cumulative=True)
            )
        except BaseException as error:
            is_told = self._tell(failed=str(error) or type(error).__name__)
            self._client.close()
            if is_told:
                raise _Told from error
            raise
        self._tell(begun=True)
        self._thread = threading.Thread(target=self._wait, name="otlpfast-profile", daemon=True)
        start_outside(self._thread)

    def finish(self) -> None:
        """Ends the profile and leaves it in the directory; once. Never raises."""
        with self._lock:
            if self._over:
                return
            self._over = True
            try:
                self._tell(done=self._leave())
            except Exception as error:
                self._tell(failed=f"{type(error).__name__}: {error}")
        with suppress(OSError):
            self._client.shutdown(socket.SHUT_RDWR)

    def abandon(self) -> None:
        """Ends the profile, which nobody gets."""
        with self._lock:
            over, self._over = self._over, True
        if not over:
            with suppress(Exception):
                self._run.stop()
            self._tell(abandoned=True)
            self._client.close()

    def forget(self) -> None:
        """In a forked child, where it is the parent's."""
        # Its engine is the engine's own to end there, and the lock may be held for ever.
        self._lock, self._over = threading.RLock(), True
        descriptor = self._client.detach()
        if descriptor >= 0:
            os.close(descriptor)

    def _leave(self) -> str:
        name = f"{os.getpid()}-{secrets.token_hex(4)}"
        found = self._run.stop()
        data = found[self.order.kind].to_pprof() if isinstance(found, dict) else found.to_bytes()
        write_private(os.path.join(self.directory, name), data)
        return name

    def _wait(self) -> None:
        with suppress(OSError, ValueError):  # closed, or the seconds have passed
            self._client.settimeout(self.order.seconds)
            self._client.recv(1)
        self.finish()

    def _tell(self, **fact: object) -> bool:
        """Whether the client can hear it."""
        try:
            self._client.settimeout(5.0)
            self._client.sendall(json.dumps({"pid": os.getpid(), **fact}).encode() + b"\n")
        except OSError:
            return False
        return True


_ordered: Ordered | None = None
_is_hooked = False


def begin(directory: str) -> None:
    """Begins what is ordered in that directory. Never raises: whatever is wrong is one line."""
    global _ordered, _is_hooked
    try:
        order = Order.load(directory)
        load(KINDS if order.kind == FULL else (order.kind,))
        if not _is_hooked and hasattr(os, "register_at_fork"):
            _is_hooked = True
            os.register_at_fork(after_in_child=_in_child)
        _ordered = Ordered(directory)
    except _Told:
        pass
    except Exception as error:
        with suppress(OSError, ValueError, AttributeError):  # closed, or none at all
            sys.stderr.write(f"otlpfast profile: process {os.getpid()} is not profiled: {error}\n")


def finish() -> None:
    """Ends what was begun, if anything, and leaves it for the client."""
    if _ordered is not None:
        _ordered.finish()


def abandon() -> None:
    """Ends what was begun before this process becomes another program, which begins anew."""
    if _ordered is not None:
        _ordered.abandon()


def _in_child() -> None:
    global _ordered
    parents, _ordered = _ordered, None
    if parents is not None:
        over = parents._over
        parents.forget()
        if parents.order.children and not over:
            begin(parents.directory)
            _meet_multiprocessing()


def _meet_multiprocessing() -> None:
    # Its children end by os._exit(), where no atexit function runs. What was to be done at their end is
    # forgotten after the fork hooks have run, and then this is called.
    util: Any = sys.modules.get("multiprocessing.util")
    if hasattr(util, "register_after_fork"):
        util.register_after_fork(finish, lambda _: util.Finalize(None, finish, exitpriority=-1000))


atexit.register(finish)

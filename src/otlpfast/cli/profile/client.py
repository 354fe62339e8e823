"""Who has ordered profiles of other processes: hears how they get on, stops them, reads what they leave."""

from __future__ import annotations

import errno
import itertools
import json
import os
import queue
import shutil
import socket
import stat
import sys
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import NamedTuple

from ...profiling._directory import write_private
from ...profiling._order import SOCKET, Order
from ...profiling.profile import Profile, Sample

SCRIPT = "begin.py"
"""What a process is asked to run, in the directory of an order."""

_LONGEST_SOCKET_PATH = 100  # bytes; systems take 104 or 108


class Event(NamedTuple):
    """Something has happened."""

    what: str
    """``begun``, ``done``, ``failed``, ``abandoned``, ``gone`` of a process; ``marked``; others by others."""
    detail: object = None
    """The name of a file, or why it failed."""
    pid: int = 0
    guest: int = 0
    """Tells apart what a process is before and after exec()."""


class Client:
    """An order, and the processes that take it; a context manager.

    Args:
        owner: the user whose process is to take it.
        script: what it is asked to run, for the directory.

    Attributes:
        directory: where the order is.
        events: what happens, as it does.
        stopping: whether processes are told to end their profiles.
    """

    def __init__(
        self, order: Order, owner: int | None = None, script: Callable[[str], bytes] | None = None
    ) -> None:
        self.directory = _make_directory()
        self.events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._guests: set[socket.socket] = set()
        self.stopping = False
        try:
            order.save(self.directory)
            if script is not None:  # before the directory is anybody else's
                write_private(os.path.join(self.directory, SCRIPT), script(self.directory))
            self._listener = socket.socket(socket.AF_UNIX)
            self._listener.bind(os.path.join(self.directory, SOCKET))
            self._listener.listen(64)
            if owner is not None and owner != os.geteuid():
                self._hand_over(owner)
        except BaseException:
            shutil.rmtree(self.directory, ignore_errors=True)
            raise
        threading.Thread(target=self._listen, name="otlpfast-client", daemon=True).start()

    def _hand_over(self, owner: int) -> None:
        """To another user, whose process is to be profiled: only root comes here."""
        for name in os.listdir(self.directory):
            os.chown(os.path.join(self.directory, name), owner, -1)
        os.chown(self.directory, owner, -1)

    def stop(self) -> None:
        """Has all processes end their profiles, also those that are yet to begin one."""
        with self._lock:
            self.stopping = True
            for guest in self._guests:
                _tell_to_stop(guest)

    def mark(self) -> None:
        """Has an event ``marked`` come after all who have connected before are among the guests."""
        with socket.socket(socket.AF_UNIX) as own:
            own.connect(os.path.join(self.directory, SOCKET))
            own.sendall(b'{"pid": 0, "marked": true}\n')

    @property
    def alone(self) -> bool:
        """Whether nobody is connected, and no event is waiting."""
        with self._lock:
            connected = bool(self._guests)
        return not connected and self.events.empty()

    def read(self, name: str) -> bytes:
        """What a process has left; OSError for what is no file of its own."""
        # Where root profiles a process of another user, that user can put anything there.
        path = os.path.join(self.directory, os.path.basename(name))
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise OSError(errno.EINVAL, "no regular file", path)
            return file.read()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _listen(self) -> None:
        with suppress(OSError):  # closed
            for number in itertools.count(1):
                guest, _ = self._listener.accept()
                with self._lock:
                    self._guests.add(guest)
                    if self.stopping:
                        _tell_to_stop(guest)
                thread = threading.Thread(target=self._hear, args=(guest, number), name="otlpfast-guest")
                thread.daemon = True
                thread.start()

    def _hear(self, guest: socket.socket, number: int) -> None:
        pid = 0
        with suppress(OSError, ValueError, KeyError), guest.makefile("rb") as lines:
            for line in lines:
                fact = json.loads(line)
                pid = int(fact.pop("pid"))
                for what in ("begun", "done", "failed", "abandoned", "marked"):
                    if what in fact:
                        self.events.put(Event(what, fact[what], pid, number))
        self.events.put(Event("gone", None, pid, number))
        with self._lock:
            self._guests.discard(guest)
        guest.close()


def _tell_to_stop(guest: socket.socket) -> None:
    with suppress(OSError):  # gone
        guest.shutdown(socket.SHUT_WR)


def _make_directory() -> str:
    """A private one, with a path that a socket in it can have."""
    made = tempfile.mkdtemp(prefix="otlpfast-")
    if len(os.fsencode(made)) + len(SOCKET) + 1 > _LONGEST_SOCKET_PATH:
        os.rmdir(made)
        made = tempfile.mkdtemp(prefix="otlpfast-", dir="/tmp")
    return made


def merged(profiles: dict[int, list[Profile]]) -> Profile:
    """One profile of all; where there are several processes, a label says of which a sample is."""
    if len(profiles) > 1:
        profiles = {pid: [_labelled(profile, pid) for profile in own] for pid, own in profiles.items()}
    first, *others = [profile for own in profiles.values() for profile in own]
    return first.merge(*others) if others else first


def _labelled(profile: Profile, pid: int) -> Profile:
    label = ("process", str(pid))
    return replace(
        profile,
        samples=tuple(
            Sample(sample.stack, sample.values, tuple(sorted((*sample.labels, label))))
            for sample in profile.samples
        ),
    )


def check_system() -> None:
    """Ends with a message where processes can't be ordered about."""
    if not hasattr(socket, "AF_UNIX"):
        sys.exit(
            "otlpfast profile: this system has no unix sockets: use --url, or otlpfast.profiling in code"
        )

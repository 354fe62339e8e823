"""A segment: one file of records, what waits in it, and how much that is."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from time import monotonic, time
from typing import TYPE_CHECKING

from . import records
from .records import Entry

if TYPE_CHECKING:
    from .folders import Folder

OPEN = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK if os.name == "posix" else 0
"""Flags of every open(): no symbolic link, nothing for programs that are started, no wait for a pipe."""


def segment_name(number: int) -> str:
    """Of the file with that number."""
    return f"{number:08d}.segment"


class Tally:
    """What all segments of a spool sum up to: records, spans and bytes that wait, bytes on the disk."""

    __slots__ = ("corrupt", "nbytes", "on_disk", "own_spans", "records", "spans")

    def __init__(self) -> None:
        self.records = self.spans = self.nbytes = 0
        self.own_spans = 0
        self.on_disk = 0
        self.corrupt = 0  # records that were found damaged, ever


class Record:
    """One request that waits.

    Attributes:
        data: the serialised ExportTraceServiceRequest.
        count: how many spans are in it.
        own: it was appended to the spool that gave it, not adopted.
        created: when, in seconds since 1970 of the wall clock.
    """

    __slots__ = ("_entry", "_segment", "count", "created", "data", "own")

    def __init__(self, segment: Segment, entry: Entry, data: bytes) -> None:
        self._segment = segment
        self._entry = entry
        self.data = data
        self.count = entry.spans
        self.own = not segment.folder.adopted
        self.created = entry.created / 1e9

    @property
    def nbytes(self) -> int:
        """Size of the request."""
        return len(self.data)

    def __repr__(self) -> str:
        return f"<Record of {self.count} spans, {self.nbytes} bytes>"


class Segment:
    """One file. Whoever calls holds the spool's lock.

    Attributes:
        size: bytes of the file; the next record goes there.
        records: how many records wait.
        first: when the first of them was created, nanoseconds since 1970.
        sealed: nothing is appended any more.
    """

    def __init__(self, folder: Folder, number: int, tally: Tally) -> None:
        self.folder = folder
        self.number = number
        self.size = self.records = self.first = 0
        self.sealed = True
        self._spans = self._nbytes = 0
        self._tally = tally
        self._fd = -1
        self._is_torn = False
        self._entries: deque[Entry] | None = None  # those that wait, of a segment that is written or read
        # Ages go by the monotonic clock: a wall clock that is set makes no record of this process older, and
        # one that was created in the future is as old as our knowledge of it.
        self._known_since = monotonic()
        self._basis = time() - self._known_since

    @property
    def name(self) -> str:
        """Of the file."""
        return segment_name(self.number)

    # --- writing

    def create(self) -> None:
        """Makes the file; OSError where that is not possible."""
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL
        self._fd = os.open(self.name, flags | OPEN, 0o600, dir_fd=self.folder.fd)
        try:
            records.write(self._fd, [records.MAGIC], 0)
        except BaseException:
            self.close()
            with suppress(OSError):
                os.unlink(self.name, dir_fd=self.folder.fd)
            raise
        self._grow(len(records.MAGIC))
        self._entries = deque()
        self.sealed = False

    def is_there(self) -> bool:
        """Whether the file has not been deleted under us."""
        try:
            return os.fstat(self._fd).st_nlink > 0
        except OSError:
            return False

    def is_of_this_clock(self) -> bool:
        """Whether ages can still be told from what is written: the wall clock was not set since."""
        return abs(time() - monotonic() - self._basis) < 1.0

    def append(self, parts: Sequence[memoryview], length: int, count: int, created: int) -> None:
        """Writes a record, or raises OSError and leaves none."""
        if self._is_torn:
            self._mend()
        entry = Entry(self.size, length, count, created, records.checksum(parts), True)
        self._is_torn = True  # also where a signal handler's exception ends this
        try:
            records.write(self._fd, [records.pack_header(entry), *parts], self.size)
        except OSError:
            with suppress(OSError):
                self._mend()
            raise
        self._grow(records.HEADER + length)
        self._is_torn = False
        if not self.records:
            self.first = created
        # In this order: where a handler's exception comes between, a count too high is noticed by the reader.
        self._count(1, count, length)
        if self._entries is not None:
            self._entries.append(entry)

    def _mend(self) -> None:
        os.ftruncate(self._fd, self.size)
        self._is_torn = False

    def seal(self) -> None:
        """Nothing is appended any more. What is not read at once is read from the disk later."""
        self.sealed = True
        if self._is_torn:
            with suppress(OSError):
                self._mend()
        if self is not self.folder.segments[0]:
            self.close()

    # --- reading

    def take_stock(self) -> None:
        """Counts what waits in a file that another process left; OSError where it can't be read."""
        fd = self._open()
        self._grow(os.fstat(fd).st_size)
        for found in records.scan(fd):
            if isinstance(found, records.Gap):
                self._tally.corrupt += not found.torn
            elif found.waiting:
                self.first = self.first if self.records else found.created
                self._count(1, found.spans, found.length)
        self.close()

    def head(self) -> Entry | None:
        """The first record that waits; OSError where the file can't be opened."""
        if self._entries is None:
            self._entries = self._load()
        return self._entries[0] if self._entries else None

    def _load(self) -> deque[Entry]:
        found = records.scan(self._open())
        entries = deque(entry for entry in found if isinstance(entry, Entry) and entry.waiting)
        lost = self.records - len(entries)
        self._tally.corrupt += max(lost, 0)
        spans, nbytes = sum(e.spans for e in entries), sum(e.length for e in entries)
        self._count(-lost, spans - self._spans, nbytes - self._nbytes)
        if entries:
            self.first = entries[0].created
        return entries

    def read(self, entry: Entry) -> Record | None:
        """The record; None where it is damaged or can't be read."""
        try:
            data = records.read_payload(self._open(), entry)
        except OSError:
            return None
        return None if data is None else Record(self, entry, data)

    def age(self, created: int) -> float:
        """Seconds since then, by the clock that is never set."""
        born = created / 1e9 - self._basis
        return monotonic() - (min(born, self._known_since) if self.folder.adopted else born)

    def done(self, entry: Entry) -> bool:
        """Forgets a record, here and on the disk; False where it does not wait any more."""
        entries = self._entries
        if not entries or (entries[0] != entry and entry not in entries):
            return False
        entries.remove(entry)
        self._count(-1, -entry.spans, -entry.length)
        if entries:
            self.first = entries[0].created
        with suppress(OSError):  # then a later process sends it once more
            records.mark_done(self._fd, entry)
        return True

    def is_empty(self) -> bool:
        """Whether nothing waits in a segment that is being read."""
        return not self._entries

    def descriptor(self) -> int:
        """One more descriptor of the file, for whoever wants to keep it; OSError if there can be none."""
        return os.open(self.name, os.O_RDWR | OPEN, dir_fd=self.folder.fd)

    # --- the end

    def remove(self) -> None:
        """Deletes the file; what still waits in it is gone."""
        self.sealed = True
        with suppress(OSError):
            os.unlink(self.name, dir_fd=self.folder.fd)
        self.let_go()

    def give_up(self) -> None:
        """Leaves a file alone that can't be read any more."""
        self._tally.corrupt += self.records
        self.let_go()

    def let_go(self) -> None:
        """Closes the file; nothing of it counts any more."""
        self.sealed = True
        self.close()
        self._count(-self.records, -self._spans, -self._nbytes)
        self._grow(-self.size)

    def close(self) -> None:
        """Closes the file and keeps no more than the sums."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            with suppress(OSError):
                os.close(fd)
        self._entries = None

    def _open(self) -> int:
        if self._fd < 0:
            self._fd = self.descriptor()
        return self._fd

    def _count(self, number: int, spans: int, nbytes: int) -> None:
        self.records += number
        self._spans += spans
        self._nbytes += nbytes
        self._tally.records += number
        self._tally.spans += spans
        self._tally.nbytes += nbytes
        if not self.folder.adopted:
            self._tally.own_spans += spans

    def _grow(self, nbytes: int) -> None:
        self.size += nbytes
        self._tally.on_disk += nbytes

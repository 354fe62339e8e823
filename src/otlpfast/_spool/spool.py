"""The spool: what could not be delivered, on disk, under caps, until it is delivered or too old."""

from __future__ import annotations

import errno
import os
import sys
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from time import time_ns

from .._checks import whole_number
from .arguments import absolute, seconds
from .folders import Folder, Search, check_directory, open_directory
from .records import HEADER, MAGIC, MAX_PAYLOAD, MOST_SPANS, Entry
from .segments import Record, Segment, Tally
from .turns import one_at_a_time

_MOST_ADOPTED = 16  # folders at a time: each costs two descriptors until what is in it is delivered
_SHORTAGE = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)  # failures that say nothing about a file
_fdatasync: Callable[[int], None] = getattr(os, "fdatasync", os.fsync)  # macOS has none


class Spool:
    """Encoded requests on disk that could not be delivered yet.

    directory: where; made where it is missing. Several spools, of one process or of many, may share it: each
        has a folder of its own there, from the first append on. It has to belong to the effective user, and
        nobody else may be able to write there.
    max_bytes: the most that this spool's files may take, own and adopted.
    max_age: seconds that a record is kept.
    min_free_bytes: what is left free on the disk.
    segment_bytes: size of a file at which the next one is begun.

    A wrong argument raises TypeError or ValueError. No method raises for trouble with the disk. Thread-safe;
    a signal handler that interrupted a call of its own thread gets False, None or 0. Usable in a forked
    child, which starts with nothing. Nothing but requests is stored: no headers, no endpoint.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        *,
        max_bytes: int = 512 * 1024 * 1024,
        max_age: float = 24 * 3600,
        min_free_bytes: int = 64 * 1024 * 1024,
        segment_bytes: int = 4 * 1024 * 1024,
    ) -> None:
        self._directory = absolute(directory)
        self._max_bytes = whole_number("max_bytes", max_bytes, 1, sys.maxsize)
        self._max_age = seconds("max_age", max_age)
        self._min_free_bytes = whole_number("min_free_bytes", min_free_bytes, 0, sys.maxsize)
        self._segment_bytes = whole_number("segment_bytes", segment_bytes, 1, 1 << 30)
        check_directory(self._directory)
        self.closed = False
        self._start()
        _spools.add(self)

    def _start(self) -> None:
        self._pid = os.getpid()
        self.lock = threading.RLock()
        self.busy = False
        self.lined_up: list[int] = []
        self.is_unreadable = False  # what `oldest()` came upon, for now
        self._tally = Tally()
        self._own: Folder | None = None
        self._adopted: list[Folder] = []
        self._unsynced: dict[Segment, None] = {}
        self._search = Search()
        self._appended = self._acknowledged = self._refused = self._expired = self._taken = 0
        self._refusal = ""

    def __repr__(self) -> str:
        return f"<Spool {self._directory!r}: {self.records} records, {self.spans} spans>"

    @property
    def directory(self) -> str:
        """Where it is, as an absolute path."""
        return self._directory

    # --- what there is

    @property
    def records(self) -> int:
        """How many records wait, own and adopted."""
        self.after_fork()
        return self._tally.records

    @property
    def spans(self) -> int:
        """How many spans wait, own and adopted."""
        self.after_fork()
        return self._tally.spans

    @property
    def own_spans(self) -> int:
        """How many spans wait that were appended to this spool."""
        self.after_fork()
        return self._tally.own_spans

    @property
    def nbytes(self) -> int:
        """How many bytes of requests wait, own and adopted."""
        self.after_fork()
        return self._tally.nbytes

    @property
    def on_disk(self) -> int:
        """How many bytes the files take, own and adopted; ``max_bytes`` is the limit."""
        self.after_fork()
        return self._tally.on_disk

    @property
    def max_bytes(self) -> int:
        """The most that the files may take."""
        return self._max_bytes

    @one_at_a_time(0.0)
    def oldest_age(self) -> float:
        """Seconds since the oldest record that waits was created; 0 without one."""
        waiting = filter(None, (folder.first_segment() for folder in self._folders()))
        return max((segment.age(segment.first) for segment in waiting), default=0.0)

    def has_room(self, nbytes: int) -> bool:
        """Whether ``max_bytes`` lets a record of so many bytes in; the disk is not asked."""
        self.after_fork()
        return not self.closed and self._fits(nbytes)

    @property
    def refusal(self) -> str:
        """Why the last append that was refused was refused, in words."""
        return self._refusal

    def stats(self) -> dict[str, int]:
        """What waits (records, spans, bytes), and how many records ever were appended, acknowledged, ..."""
        self.after_fork()
        tally = self._tally
        return {
            "records": tally.records,
            "spans": tally.spans,
            "bytes": tally.nbytes,
            "appended": self._appended,
            "acknowledged": self._acknowledged,
            "refused": self._refused,
            "corrupt": tally.corrupt,
            "expired": self._expired,
            "adopted": self._taken,
        }

    # --- in

    def append(self, buffers: Sequence[bytes | memoryview], count: int) -> bool:
        """Keeps a serialised request, given in parts, of so many spans.

        True once it will survive the end of this process. False where a cap or the system refuses it.
        """
        taken = self._append(buffers, count)
        if not taken:
            self._refused += 1
        return taken

    @one_at_a_time(False)
    def _append(self, buffers: Sequence[bytes | memoryview], count: int) -> bool:
        try:
            parts = [memoryview(buffer).cast("B") for buffer in buffers if len(buffer)]
            length = sum(map(len, parts))
            self._refusal = self._cap(length, count)
            if self._refusal:
                return False
            segment = self._segment_for(HEADER + length)
            if segment.folder.free_bytes() - length < self._min_free_bytes:
                self._refusal = f"less than {self._min_free_bytes} bytes would be left free on the disk"
                return False
            segment.append(parts, length, count, time_ns())
        except (OSError, ValueError) as error:
            self._refusal = (error.strerror if isinstance(error, OSError) else "") or str(error)
            return False
        self._appended += 1
        self._unsynced[segment] = None
        return True

    def _cap(self, length: int, count: int) -> str:
        if length > MAX_PAYLOAD:
            return f"a request of {length} bytes is larger than {MAX_PAYLOAD}"
        if not 0 <= count <= MOST_SPANS:
            return f"a count of {count} spans"
        if not self._fits(length):
            return f"max_bytes={self._max_bytes} is reached"
        return ""

    def _fits(self, length: int) -> bool:
        return self._tally.on_disk + len(MAGIC) + HEADER + length <= self._max_bytes

    def _segment_for(self, nbytes: int) -> Segment:
        """Where to append so much; OSError or ValueError where there is no place."""
        own = self._own
        last = own.segments[-1] if own is not None and own.segments else None
        if last is not None and not last.sealed:
            if not last.is_there():
                self._give_up_own()
            elif last.records and (last.size + nbytes > self._segment_bytes or not last.is_of_this_clock()):
                last.seal()
            else:
                return last
        if self._own is not None:
            try:
                return self._own.add_segment(self._tally)
            except FileNotFoundError:
                self._give_up_own()
        check_directory(self._directory)
        with self._opened() as directory:
            self._own = Folder.make(directory)
        return self._own.add_segment(self._tally)

    def _give_up_own(self) -> None:
        """Someone cleared the directory away."""
        if self._own is not None:
            self._own.give_up()
        self._own = None

    @one_at_a_time(0)
    def adopt(self) -> int:
        """Takes over what processes left that are gone; how many records that brought.

        One call looks at a limited number of folders, the next one at further ones. None is taken while
        ``max_bytes`` is reached.
        """
        before = self._tally.records
        with suppress(OSError, ValueError), self._opened() as directory:
            names = self._search.names(directory)
            while len(self._adopted) < _MOST_ADOPTED and self._tally.on_disk < self._max_bytes:
                name = next(names, None)
                if name is None:
                    break
                folder = Folder.adopt(directory, name, self._tally)
                if folder is not None:
                    self._adopted.append(folder)
        brought = self._tally.records - before
        self._taken += brought
        return brought

    @contextmanager
    def _opened(self) -> Iterator[int]:
        fd = open_directory(self._directory)
        try:
            yield fd
        finally:
            os.close(fd)

    # --- out

    @one_at_a_time(None)
    def oldest(self) -> Record | None:
        """The record that waits longest, the same one until it is acknowledged or expires; None without one.

        Damaged records on the way to it are forgotten and counted. `is_unreadable` says where there is
        none because a file can't be opened now.
        """
        self.is_unreadable = False
        while True:
            waiting = filter(None, (folder.first_segment() for folder in self._folders()))
            segment = min(waiting, key=lambda segment: segment.first, default=None)
            if segment is None:
                return None
            entry = self._head(segment)
            if entry is None:
                self.is_unreadable = bool(segment.records)
                if self.is_unreadable:
                    return None
                continue
            record = segment.read(entry)
            if record is not None:
                return record
            self._tally.corrupt += 1
            self._done(segment, entry)

    @one_at_a_time(None)
    def acknowledge(self, record: Record) -> None:
        """Forgets a record that was delivered, or dropped for good: nobody will send it again."""
        segment = record._segment
        if segment.folder in self._folders() and self._done(segment, record._entry):
            self._acknowledged += 1

    @one_at_a_time(0)
    def expire(self) -> int:
        """Forgets what is older than ``max_age``; how many spans of this spool's own that were."""
        own_spans = 0
        for folder in self._folders():
            while (segment := folder.first_segment()) is not None:
                if segment.age(segment.first) <= self._max_age:
                    break
                entry = self._head(segment)
                if entry is None and segment.records:
                    break
                if entry is not None and segment.age(entry.created) > self._max_age:
                    self._done(segment, entry)
                    self._expired += 1
                    own_spans += 0 if folder.adopted else entry.spans
        return own_spans

    def _folders(self) -> list[Folder]:
        return [*self._adopted] if self._own is None else [*self._adopted, self._own]

    def _head(self, segment: Segment) -> Entry | None:
        """The first record of a segment; None where it has none any more, or can't be opened now."""
        try:
            entry = segment.head()
        except OSError as error:
            if error.errno not in _SHORTAGE:
                segment.give_up()
                self._dispose(segment)
            return None
        if entry is None:
            self._delete(segment)
        return entry

    def _done(self, segment: Segment, entry: Entry) -> bool:
        done = segment.done(entry)
        if done and segment.is_empty():
            self._delete(segment)
        return done

    def _delete(self, segment: Segment) -> None:
        segment.remove()
        self._dispose(segment)

    def _dispose(self, segment: Segment) -> None:
        """Of a segment that is deleted or given up, and of its folder with the last one."""
        folder = segment.folder
        folder.segments.remove(segment)
        self._unsynced.pop(segment, None)
        if folder.adopted and not folder.segments:
            self._adopted.remove(folder)
            self._remove(folder)

    def _remove(self, folder: Folder) -> None:
        try:
            with self._opened() as directory:
                folder.remove(directory)
        except (OSError, ValueError):
            folder.close()

    # --- the disk, forks, the end

    def sync(self) -> None:
        """Has the disk hold what was appended since the last call. May take as long as the disk does.

        Nobody else waits meanwhile.
        """
        for _ in range(len(self._unsynced) + 1):  # the folder's own entries come first
            fd = self._next_unsynced()
            if fd < 0:
                continue
            try:
                _fdatasync(fd)
            except OSError:
                pass  # nothing more can be done for it
            finally:
                os.close(fd)

    @one_at_a_time(-1)
    def _next_unsynced(self) -> int:
        """A descriptor of what is to be synced next; -1 if there is nothing, or it can't be had."""
        own = self._own
        with suppress(OSError):
            if own is not None and own.has_new_names:
                own.has_new_names = False
                return os.dup(own.fd)
            if self._unsynced:
                return self._unsynced.popitem()[0].descriptor()
        return -1

    def forget(self) -> None:
        """In a forked child: closes what was inherited, which stays the parent's, and starts empty."""
        self._let_go()
        self._start()

    def after_fork(self) -> None:
        """Starts anew where this process is a child of the one before."""
        if self._pid != os.getpid():
            self.forget()

    def close(self) -> None:
        """Syncs and leaves what waits to a later process. A folder in which nothing does is deleted."""
        self.sync()
        self._close()

    @one_at_a_time(None)
    def _close(self) -> None:
        self.closed = True
        self._refusal = "the spool is closed"
        own = self._own
        if own is not None and not any(segment.records for segment in own.segments):
            for segment in own.segments:
                segment.remove()
            self._remove(own)
        self._let_go()

    def _let_go(self) -> None:
        for folder in self._folders():
            folder.close()
        self._search.stop()

    def __del__(self) -> None:
        if hasattr(self, "_search"):  # the constructor came so far
            self._let_go()


_spools: weakref.WeakSet[Spool] = weakref.WeakSet()


def _forget_all() -> None:
    # At once and not with the next call, which may never come: a lock is free once its last copy is closed.
    for spool in list(_spools):
        spool.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)

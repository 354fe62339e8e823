"""Heap profiles by memray: what malloc() and mmap() gave, with the C functions that asked for it."""

from __future__ import annotations

import atexit
import importlib
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from .heap import VALUE_TYPES
from .profile import Frame, Profile, Sample, Stack

SCOPE = "exact, by memray: malloc() and mmap(); small Python objects share arenas, each seen once"
FORKED = "memray does not follow into a forked child: nothing is known here"


def _memray() -> Any:
    try:
        return importlib.import_module("memray")
    except ImportError as error:
        text = "native=True needs memray (Linux, macOS): pip install 'otlpfast[memray]'"
        raise ImportError(text, name="memray") from error


class MemrayEngine:
    """Has memray track into a file, which it reads for each profile. Stays with its process.

    ImportError without memray; RuntimeError if a tracker is on, of which there can be one in a process.
    """

    def __init__(self) -> None:
        memray = _memray()
        self._reader, self._kinds = memray.FileReader, memray.AllocatorType
        self._process = os.getpid()
        self._folder = Path(tempfile.mkdtemp(prefix="otlpfast-heap-"))
        self._file = self._folder / "allocations"
        try:
            to = memray.FileDestination(self._file, compress_on_exit=False)
            tracker = memray.Tracker(destination=to, native_traces=True)
            tracker.__enter__()
        except BaseException:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise
        self._tracker: Any = tracker
        self._last: Profile | None = None
        self._reading = threading.RLock()  # the file stays as long as it is read
        atexit.register(self._clear)

    def profile(self) -> Profile:
        if os.getpid() != self._process:
            return self._last or self._profile((), FORKED)
        with self._reading:
            return self._last or self._read()

    def _read(self) -> Profile:
        now = time.time_ns()
        with self._reader(self._file) as reader:
            totals: dict[Stack, list[int]] = {}
            self._add(totals, 0, self._allocations(reader))
            used = reader.get_leaked_allocation_records(merge_threads=True)
            self._add(totals, 2, ((record, record.n_allocations, record.size) for record in used))
        return self._profile((Sample(stack, tuple(total)) for stack, total in totals.items()), now=now)

    def _allocations(self, reader: Any) -> Iterable[tuple[Any, int, int]]:
        """A record for each place, with the count and the bytes of all that was allocated there."""
        kinds = self._kinds
        frees = {int(kinds.PYMALLOC_FREE), int(kinds.FREE), int(kinds.MUNMAP)}
        places: dict[tuple[int, ...], list[Any]] = {}
        for record in reader.get_allocation_records():
            if record.allocator not in frees:
                at = record.tid, record.stack_id, record.native_stack_id, record.native_segment_generation
                place = places.setdefault(at, [record, 0, 0])
                place[1] += 1
                place[2] += record.size
        return ((record, count, size) for record, count, size in places.values())

    def _add(self, totals: dict[Stack, list[int]], at: int, found: Iterable[tuple[Any, int, int]]) -> None:
        for record, count, size in found:
            stack = tuple(Frame(*frame) for frame in record.hybrid_stack_trace())
            if any(frame.filename == __file__ for frame in stack):
                continue  # a profile that was read before
            total = totals.setdefault(stack, [0, 0, 0, 0])
            total[at] += count
            total[at + 1] += size

    def _profile(self, samples: Iterable[Sample], *more: str, now: int = 0) -> Profile:
        return Profile(
            kind="heap",
            value_types=VALUE_TYPES,
            samples=tuple(samples),
            time_unix_nano=now or time.time_ns(),
            default_type="inuse_space",
            comments=(SCOPE, *more),
        )

    def end(self) -> Profile:
        if os.getpid() != self._process:
            return self.profile()
        with self._reading:
            tracker, self._tracker = self._tracker, None
            if tracker is not None:
                tracker.__exit__(None, None, None)
            self._last = self.profile()
            self._clear()
            return self._last

    def _clear(self) -> None:
        if os.getpid() == self._process:
            shutil.rmtree(self._folder, ignore_errors=True)
        atexit.unregister(self._clear)

    def begin_child(self) -> bool:
        self._tracker = None  # memray itself has let go of it
        return False

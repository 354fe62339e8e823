"""What one look at the process and its interpreter tells: the fields of a RuntimeSnapshot."""

from __future__ import annotations

import gc
import importlib
import logging
import os
import time
from contextlib import suppress
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from .._log import warn

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Generation:
    """Of the garbage collector, since the interpreter started (``gc.get_stats``)."""

    collections: int
    collected: int
    uncollectable: int


@dataclass(frozen=True)
class Usage:
    """What the operating system says of the process; None where it, or a missing psutil, does not."""

    cpu_user: float
    """Seconds."""
    cpu_system: float
    memory_usage: int | None = None
    """Resident bytes."""
    memory_virtual: int | None = None
    """Bytes."""
    threads: int | None = None
    """Of the operating system, those without Python among them."""
    file_descriptors: int | None = None
    context_switches_voluntary: int | None = None
    context_switches_involuntary: int | None = None
    faults_major: int | None = None
    faults_minor: int | None = None


@dataclass(frozen=True)
class RuntimeSnapshot:
    """The process at one moment, and what happened since the reading before."""

    time_unix_nano: int
    uptime: float
    """Seconds since the process began (without psutil: since this module was loaded)."""
    usage: Usage
    generations: tuple[Generation, ...]
    python_threads: int
    """Those that ``threading`` knows, daemons among them."""
    allocated_blocks: int
    """Objects and other blocks that Python's allocator has given out (``sys.getallocatedblocks``)."""
    cpu_utilization: float | None = None
    """CPU time since the reading before, by real time and available CPUs: 0 to 1."""
    gc_rate: float | None = None
    """Collections a second since the reading before."""
    gc_pauses: int = 0
    """Collections since the statistics were started."""
    gc_pause_total: float = 0.0
    """Seconds."""
    gc_pause_max: float = 0.0
    """Seconds, since the reading before."""
    loops: int = 0
    """asyncio event loops that are watched."""
    tasks: int = 0
    """asyncio tasks of these loops that are not done."""
    loop_lag_max: float | None = None
    """Seconds that a callback had to wait for its loop, since the reading before."""
    latency_p99: float | None = None
    """Seconds, of the requests of the last 10 s; None without one."""

    @property
    def threads_and_tasks(self) -> int:
        """What goroutines are in Go."""
        return self.python_threads + self.tasks


def _psutil() -> ModuleType | None:
    try:
        return importlib.import_module("psutil")
    except ModuleNotFoundError:
        text = "memory, threads and file descriptors can't be read: pip install 'otlpfast[profiling]'"
        warn(_logger, text)
        return None


class ProcessReader:
    """Reads Usage of this process, also after a fork."""

    def __init__(self) -> None:
        self._psutil = _psutil()
        self._loaded = time.time()
        self._begin()

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._process: Any = None
        self.begun = self._loaded
        if self._psutil is None:
            return
        # /proc may not be there, or not ours to read.
        with suppress(OSError, self._psutil.Error):
            process = self._psutil.Process()
            self.begun, self._process = process.create_time(), process

    def read(self) -> Usage:
        """The present usage."""
        if self._pid != os.getpid():
            self._begin()
        return Usage(**_of_the_kernel(), **self._of_psutil())

    def _of_psutil(self) -> dict[str, int]:
        if self._process is None:
            return {}
        try:
            with self._process.oneshot():
                memory = self._process.memory_info()
                count = getattr(self._process, "num_fds", None)  # POSIX
                return {
                    "memory_usage": memory.rss,
                    "memory_virtual": memory.vms,
                    "threads": self._process.num_threads(),
                    **({"file_descriptors": count()} if count else {}),
                }
        except (OSError, self._psutil.Error):  # type: ignore[union-attr]
            return {}  # /proc is not there, or not ours to read


def _of_the_kernel() -> dict[str, Any]:
    try:
        import resource
    except ModuleNotFoundError:  # Windows
        times = os.times()
        return {"cpu_user": times.user, "cpu_system": times.system}
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "cpu_user": usage.ru_utime,
        "cpu_system": usage.ru_stime,
        "context_switches_voluntary": usage.ru_nvcsw,
        "context_switches_involuntary": usage.ru_nivcsw,
        "faults_major": usage.ru_majflt,
        "faults_minor": usage.ru_minflt,
    }


def generations() -> tuple[Generation, ...]:
    """Of the garbage collector, the youngest first."""
    found = gc.get_stats()
    return tuple(Generation(s["collections"], s["collected"], s["uncollectable"]) for s in found)


def available_cpus() -> int:
    """CPUs that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS, Windows
        return os.cpu_count() or 1

from collections.abc import Callable
from contextvars import ContextVar
from types import CodeType
from typing import Any, final

from typing_extensions import disjoint_base

@final
class StackTable:
    """Stacks that were seen, each under a number from 1; 0 stands for the stack that had no room.

    Args:
        most: as many different stacks are kept.
    """

    def __new__(cls, most: int = ...) -> StackTable: ...
    def __len__(self) -> int: ...
    def frames(self, number: int) -> tuple[tuple[CodeType, int], ...]:
        """The frames of a stack, the innermost first: (code, line) of each; no frames for 0."""
    def add_current(self) -> int:
        """The number of the caller's own stack."""

def main_ident() -> int:
    """The main thread's ident, also where threading has been patched and says another."""

def look(stacks: StackTable) -> list[tuple[int, int, Any, Any]] | None:
    """Of each thread that runs Python code its ident, the number of its stack, its running loop and task.

    None while the list of threads is about to change: a later call sees it.
    """

@final
class WallCounter:
    """Counts, for each stack and what was worked on, how often and how long threads were seen there.

    Args:
        names: labels of threads: ``of(key, ident)`` gives the number of one, ``forget(key)`` ends its use.
        variable, span_key: where OpenTelemetry keeps the current span; None: spans are not looked for.
        labels: whether it is counted apart what threads work on.
        most: as many different stacks are kept, as many works, and as many counts.
    """

    stacks: StackTable
    lost: int
    unlabelled: int
    def __new__(
        cls, names: Any, variable: ContextVar[Any] | None, span_key: str, labels: bool = ..., most: int = ...
    ) -> WallCounter: ...
    def add(self, nanos: int) -> bool:
        """Looks at all threads but the caller's; False if that has to be tried again.

        Args:
            nanos: how long ago the last look was. Half of it goes to what was seen then.
        """
    def prolong(self, nanos: int) -> None:
        """What was seen last went on for so long."""
    def counted(self) -> list[tuple[int, int, int, int]]:
        """(number of the stack, number of the work, count, nanoseconds) of each."""
    def work(self, number: int) -> tuple[int, int, int, str | None, str | None]:
        """(label number of the thread, trace id, span id, span name, task name); 0 and None are unknown."""

@final
class CpuSampler:
    """Counts the stacks on which threads use CPU time. One at a time in a process.

    Args:
        period: of CPU time of a thread between two samples, in nanoseconds.
        names: object.
        labels: whether it is counted apart what threads work on, as far as ``_landmarks.learn()`` has said.
    """

    lost: int
    refused: int
    is_ending: bool
    def __new__(cls, period: int, names: object, labels: bool = ...) -> CpuSampler: ...
    def start(self) -> None:
        """Begins with the threads there are. OSError where that can't be, RuntimeError where one runs."""
    def look(self, but_this: bool = ...) -> bool:
        """Takes what was sampled; finds threads that have begun, and those that have ended."""
    def tick(self, times: int = ...) -> None:
        """Takes samples of the calling thread, as its timer does: what one costs can be measured."""
    def stop(self) -> bool:
        """Ends it. False if another handler of SIGPROF has meanwhile replaced the one that samples."""
    def samples(
        self,
    ) -> list[tuple[tuple[tuple[CodeType, int], ...] | str, int, tuple[tuple[str, str], ...], int]]:
        """What was counted, by stack, thread and labels: (frames, number of the name, labels, ticks)."""

@final
class ThreadHook:
    """Stands for ``Thread._bootstrap_inner``: threads are sampled from their first to their last moment.

    It adds no frame to their stacks.

    Args:
        original: what is called with the thread.
    """

    original: Any
    def __new__(cls, original: Any) -> ThreadHook: ...
    def __get__(self, instance: Any, owner: Any = ..., /) -> Any: ...
    def __call__(self, thread: Any) -> Any: ...

def can_sample_cpu() -> bool: ...
def forget_cpu() -> None: ...
def stop_cpu() -> None:
    """Ends the sampler that runs, if one does, whosever it is."""

def pause_cpu(paused: bool) -> None:
    """Whether the calling thread's timer stands still: while it forks."""

def learn_spans(
    variable: ContextVar[Any] | None,
    context: type,
    span_key: str,
    span_context: type,
    layouts: tuple[tuple[type, int, int, int], ...],
) -> None:
    """By what the current span of a thread is found.

    Args:
        variable: the ContextVar of the current context; None, where that is kept otherwise: no span is found.
        context: the class of contexts.
        span_key: of the span in a context.
        span_context: the class of what a span keeps as ``_context``.
        layouts: of native spans, as ``_core.span_layouts()`` gives them.
    """

def learn_tasks(task: Any, name: str, current_tasks: dict[Any, Any], loop: Any) -> None:
    """By what the running asyncio task of a thread is found; called with None for ``task``, none is.

    Args:
        task: one of asyncio's native tasks.
        name: what its ``get_name()`` gives.
        current_tasks: asyncio's own dict of running loops and their tasks.
        loop: the event loop that runs in this thread.
    """

def current_labels() -> dict[str, str]:
    """The labels of the calling thread, read as a signal handler reads them; {} where nothing can be read."""

@final
class LabelTable:
    """Labels that were seen, each set of them under a number from 1; 0 stands for none, or no room.

    Args:
        most: as many different sets are kept.
    """

    def __new__(cls, most: int = ...) -> LabelTable: ...
    def __len__(self) -> int: ...
    def labels(self, number: int) -> list[tuple[str, str]]:
        """The labels of a number, as a Sample has them: pairs, sorted by their key; none for 0."""
    def add_current(self) -> int:
        """The number of the caller's own labels."""

@final
class HeapSampler:
    """Samples of what is allocated, and of what of that is in use. One can be on in a process.

    Args:
        sample_bytes: as many bytes lie between two samples, on average. 1: each block is a sample.
        most_stacks: as many different stacks are kept.
    """

    def __new__(cls, sample_bytes: int = ..., most_stacks: int = ...) -> HeapSampler: ...
    @property
    def was_unhooked(self) -> bool:
        """Whether frees may have been missed, since another tool took the hook out."""
    @property
    def lost(self) -> int:
        """Samples that are in no ``inuse``, since there was no room for them."""
    def start(self) -> None:
        """From now on. RuntimeError where one is on."""
    def stop(self) -> None:
        """Not any more; what was found stays."""
    def rows(self) -> list[tuple[int, int, int, int, int]]:
        """What was found, by stack: (its number, alloc_objects, alloc_space, inuse_objects, inuse_space)."""
    def frames(self, number: int) -> tuple[tuple[CodeType, int], ...]:
        """The frames of a stack, as ``StackTable.frames()`` has them."""

def reseed_heap() -> None:
    """Other random numbers than the parent's, in a forked child."""

def watch_locks(told: Callable[[int, CodeType | None, int], object] | None, one_in: int = ...) -> None:
    """From now on, ``told(nanoseconds, code, line)`` is called in threads that waited for a Lock or RLock.

    Args:
        told: it may raise, and the lock is then given back; None ends it. The code and its line are the place
            that released the lock after it was held the longest while the thread waited, or None and 0.
        one_in: it is called after one wait of so many, chosen at random.
    """

@disjoint_base
class _Watched: ...

@disjoint_base
class Lock(_Watched):
    """``_thread.lock`` that tells of waits."""

    def acquire(self, blocking: object = ..., timeout: object = ...) -> bool: ...
    def release(self) -> None: ...
    def __enter__(self) -> bool: ...
    def __exit__(self, kind: object = ..., error: object = ..., traceback: object = ...) -> None: ...
    def locked(self) -> bool: ...
    def acquire_lock(self, blocking: object = ..., timeout: object = ...) -> bool: ...
    def release_lock(self) -> None: ...
    def locked_lock(self) -> bool: ...
    def _at_fork_reinit(self) -> None: ...

@disjoint_base
class RLock(_Watched):
    """``_thread.RLock`` that tells of waits."""

    def acquire(self, blocking: object = ..., timeout: object = ...) -> bool: ...
    def release(self) -> None: ...
    def __enter__(self) -> bool: ...
    def __exit__(self, kind: object = ..., error: object = ..., traceback: object = ...) -> None: ...
    def locked(self) -> bool: ...
    def _is_owned(self) -> bool: ...
    def _recursion_count(self) -> int: ...
    def _release_save(self) -> tuple[int, int]: ...
    def _acquire_restore(self, state: tuple[int, int]) -> None: ...
    def _at_fork_reinit(self) -> None: ...

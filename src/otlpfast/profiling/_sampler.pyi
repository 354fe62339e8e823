from contextvars import ContextVar
from types import CodeType
from typing import Any, final

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
            nanos: how long ago the last look was, which this one stands for.
        """
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
    """Stands for ``Thread._bootstrap_inner``: threads are sampled from their first to their last moment."""

    original: Any
    def __new__(cls, original: Any) -> ThreadHook: ...
    def __get__(self, instance: Any, owner: Any = ..., /) -> Any: ...
    def __call__(self, thread: Any) -> Any: ...

def can_sample_cpu() -> bool: ...
def forget_cpu() -> None: ...
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

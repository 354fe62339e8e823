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
            nanos: how long ago the last look was. Half of it goes to what was seen then.
        """
    def prolong(self, nanos: int) -> None:
        """What was seen last went on for so long."""
    def counted(self) -> list[tuple[int, int, int, int]]:
        """(number of the stack, number of the work, count, nanoseconds) of each."""
    def work(self, number: int) -> tuple[int, int, int, str | None, str | None]:
        """(label number of the thread, trace id, span id, span name, task name); 0 and None are unknown."""

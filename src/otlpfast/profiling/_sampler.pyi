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

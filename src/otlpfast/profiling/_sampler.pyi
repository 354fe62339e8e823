from types import CodeType
from typing import final

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

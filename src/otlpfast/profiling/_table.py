"""StackTable in plain Python, for where there is no native one."""

from __future__ import annotations

import sys
from types import CodeType


class StackTable:
    """Stacks that were seen, each under a number from 1; 0 stands for the stack that had no room.

    Args:
        most: as many different stacks are kept.
    """

    def __init__(self, most: int = 1 << 16) -> None:
        self._most = most
        self._numbers: dict[tuple[int, ...], int] = {}
        self._stacks: list[tuple[tuple[CodeType, int], ...]] = [()]

    def __len__(self) -> int:
        return len(self._stacks) - 1

    def frames(self, number: int) -> tuple[tuple[CodeType, int], ...]:
        """The frames of a stack, the innermost first: (code, line) of each; no frames for 0."""
        return self._stacks[number]

    def add_current(self) -> int:
        """The number of the caller's own stack."""
        # By the address of a code: two that are equal may be of different files.
        key: list[int] = []
        here = frame = sys._getframe(1)
        while frame is not None:
            key += id(frame.f_code), frame.f_lasti
            frame = frame.f_back  # type: ignore[assignment]
        return self._numbers.get(tuple(key)) or self._add(tuple(key), here)

    def _add(self, key: tuple[int, ...], frame: object) -> int:
        if len(self) >= self._most:
            return 0
        places = []
        while frame is not None:
            places.append((frame.f_code, frame.f_lineno or 0))  # type: ignore[attr-defined]
            frame = frame.f_back  # type: ignore[attr-defined]
        # Another thread may come in between: a stack may then have two numbers, a number has one stack.
        stack = tuple(places)
        self._stacks.append(stack)
        number = len(self._stacks) - 1
        while self._stacks[number] is not stack:
            number -= 1
        self._numbers[key] = number
        return number

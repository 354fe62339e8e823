"""An order of a profile, which ``otlpfast profile`` has left in a directory for processes to find.

The directory is private. It has the order, a socket by which a process says how it gets on and is told to
stop, and in the end one file of each process.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass

from ._directory import write_private
from .config import KINDS, ProfileConfig

VARIABLE = "_OTLPFAST_PROFILE_ORDER"
SOCKET = "socket"
_FILE = "order.json"
FULL = "full"


@dataclass(frozen=True)
class Order:
    """What is wanted."""

    kind: str
    """One of KINDS, or FULL."""
    seconds: float | None
    """None: until the process ends, or is told to stop. Whoever begins late is told to earlier."""
    frequency: int = 100
    children: bool = False
    """Whether processes that are forked meanwhile take one, too."""

    def config(self) -> ProfileConfig:
        """How it is to be taken."""
        return ProfileConfig(frequency=self.frequency)

    def save(self, directory: str) -> None:
        """Leaves it there. OSError where that can't be."""
        write_private(os.path.join(directory, _FILE), json.dumps(asdict(self)).encode())

    @classmethod
    def load(cls, directory: str) -> Order:
        """The order in a directory. OSError or ValueError where there is none."""
        with open(os.path.join(directory, _FILE), encoding="utf-8") as file:
            order = cls(**json.load(file))
        if order.kind not in (*KINDS, FULL):
            raise ValueError(f"kind={order.kind!r}: not known to this version of otlpfast")
        return order

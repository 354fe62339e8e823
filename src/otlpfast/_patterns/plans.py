"""What a Redactor is made of: the rules, compiled."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from .programs import Program

HASH_DIGITS = 16
SWITCHES = ("span_names", "events", "exceptions", "statuses", "links")


class Verdict(IntEnum):
    """What becomes of an attribute with a key."""

    KEEP = 0
    SCAN = 1
    MASK = 2
    HASH = 3
    DROP = 4
    OTHER = 5
    """No rule names it."""


@dataclass(frozen=True)
class Plan:
    """Rules as both implementations run them."""

    keys: Program
    verdicts: bytes
    """A Verdict for each pattern of keys."""
    otherwise: int
    """The Verdict of keys that match none."""
    texts: Program
    """All patterns of texts, which tells those that may match."""
    patterns: tuple[Program, ...]
    """Each of them."""
    actions: bytes
    """MASK, HASH or DROP for what each pattern matches."""
    checks: bytes
    """1: what the pattern finds has to be a card number."""
    mask: str
    hash_key: bytes
    span_names: bool = True
    events: bool = True
    exceptions: bool = True
    statuses: bool = True
    links: bool = True

"""A request and its answer, of whichever server."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from ...web.answering import TEXT


class Request(NamedTuple):
    """What is asked for."""

    method: str
    path: str
    """Below what it is mounted at; begins with a slash, or is empty."""
    query: str
    headers: Mapping[str, str]
    """Names in lower case."""
    wait: Callable[[float], bool]
    """Lets so many seconds pass; False as soon as nobody waits for the answer any more."""
    base: str = ""
    """What it is mounted at: no slash at its end."""


class Answer(NamedTuple):
    """What is sent back."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Refused(Exception):
    """There is no such profile, or not now, or not for this client."""

    def __init__(self, status: int, text: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(text)
        self.status = status
        self.headers = headers or {}

    def answer(self) -> Answer:
        """As Go has it, so that ``go tool pprof`` shows the text."""
        fields = {"Content-Type": TEXT, "X-Go-Pprof": "1", **self.headers}
        return Answer(self.status, fields, f"{self}\n".encode("utf-8", "replace"))

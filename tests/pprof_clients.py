"""Clients of ``/debug/pprof/``, and what they wait for."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from otlpfast.profiling import PprofServer, wall

from .collector import PATIENCE
from .pages import Answer, ask

ANY_PORT = "127.0.0.1:0"
TEXT = "text/plain; charset=utf-8"
TIMED = ("profile", "wall")
COUNTED = ("heap", "allocs", "block", "mutex")
MOMENTS = ("goroutine", "threads", "tasks", "threadcreate")


def get(server: PprofServer, path: str, method: str = "GET", **headers: str) -> Answer:
    """What is at a path below the index."""
    return ask(server.url, f"/debug/pprof/{path}", method, **headers)


def refusal(answer: Answer) -> tuple[int, str]:
    """Status and text of what is no profile, in the form that ``go tool pprof`` shows."""
    assert answer.headers["x-go-pprof"] == "1" and answer.headers["content-type"] == TEXT
    return answer.status, answer.body.decode()


def until(condition: Callable[[], bool]) -> None:
    """Waits until it is true."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@contextmanager
def wall_in_use() -> Iterator[None]:
    """A wall profile is under way meanwhile."""
    recording = wall.start_wall()
    try:
        yield
    finally:
        recording.stop()


def wall_is_free() -> bool:
    """Whether none is, of nobody; to begin one and see would keep others from it."""
    return not wall._busy.locked()

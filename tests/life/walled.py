"""``python walled.py WHAT``: a process with a wall profile under way, in a situation of its own."""

# ruff: noqa: E402  (gevent patches before anything else is imported)
from __future__ import annotations

import sys

what = sys.argv[1]
if what == "gevent":
    from gevent import monkey

    monkey.patch_all()

import json
import threading
import time
from typing import Any

from otlpfast.profiling import start_wall, threads


def functions(profile: Any) -> list[str]:
    return sorted({frame.function for sample in profile.samples for frame in sample.stack})


def spins(seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


def in_greenlets() -> object:
    """Others run while a profile is taken, and each is seen when it runs."""
    import gevent

    ticks = 0

    def works() -> None:
        for _ in range(20):
            spins(0.01)
            gevent.sleep(0.001)

    recording = start_wall(200)
    greenlets = [gevent.spawn(works) for _ in range(2)]
    while not all(greenlet.ready() for greenlet in greenlets):
        ticks += 1
        gevent.sleep(0.001)
    profile = recording.stop()
    names = {dict(sample.labels)["thread"] for sample in profile.samples}
    said = any("greenlets" in comment for comment in profile.comments)
    return [
        ticks > 5,
        "spins" in functions(profile),
        sorted(names),
        said,
        "in_greenlets" in functions(threads()),
    ]


def exits_while_threads_work() -> object:
    for _ in range(4):
        threading.Thread(target=lambda: [spins(0.01) for _ in iter(int, 1)], daemon=True).start()
    start_wall(1_000)
    spins(0.1)
    return "left"


def exits_in_another_hook() -> object:
    import atexit

    recording = start_wall(1_000)
    atexit.register(lambda: print(len(recording.stop().samples) > 0))
    spins(0.1)
    return "left"


def ends_without_hooks() -> object:
    import os

    start_wall(1_000)
    spins(0.05)
    print(json.dumps("left"), flush=True)
    os._exit(0)


def raises() -> object:
    start_wall(1_000)
    raise SystemExit("left")


WHAT = {
    "gevent": in_greenlets,
    "exit": exits_while_threads_work,
    "exit hook": exits_in_another_hook,
    "os._exit": ends_without_hooks,
    "SystemExit": raises,
}
print(json.dumps(WHAT[what]()))

"""Wall profiles of processes that fork, end, are patched by gevent, or have threads come and go."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from otlpfast.profiling import Recording, start_wall, threads
from otlpfast.profiling._native import sampler

from .forks import in_child
from .pipeline import until
from .starting import finished
from .walls import functions, held, recorded

needs_gevent = pytest.mark.skipif(find_spec("gevent") is None, reason="gevent is not installed")


def walled(what: str) -> subprocess.CompletedProcess[str]:
    return finished([sys.executable, str(Path(__file__).parent / "life" / "walled.py"), what])


@pytest.mark.parametrize("what", ["exit", "exit hook", "os._exit", "SystemExit"])
def test_a_process_ends_while_it_is_profiled(what: str) -> None:
    done = walled(what)
    assert done.returncode == (1 if what == "SystemExit" else 0)
    assert done.stderr == ("left\n" if what == "SystemExit" else "")
    said = {"exit hook": '"left"\nTrue\n', "SystemExit": ""}
    assert done.stdout == said.get(what, '"left"\n')


@needs_gevent
def test_a_process_that_gevent_has_patched() -> None:
    done = walled("gevent")
    assert done.stderr == ""
    assert json.loads(done.stdout) == [True, True, ["MainThread"], True, True]


def test_a_forked_child_has_no_sampler_and_can_start_a_profile() -> None:
    recording = start_wall(500)

    def work() -> list[object]:
        # Others may have begun a thread of their own in the child, as the SDK's readers of metrics do.
        stacks = [{frame.filename for frame in sample.stack} for sample in threads().samples]
        sampling = [files for files in stacks if any(file.endswith("wall.py") for file in files)]
        seen = bool(stacks)
        fresh = start_wall(500)
        before = recording.stop()
        again = recorded_after(fresh)
        return [sampling, seen, again, any("the process forked" in comment for comment in before.comments)]

    try:
        assert in_child(work) == [[], True, True, True]
    finally:
        profile = recording.stop()
    assert not any("forked" in comment for comment in profile.comments)


def recorded_after(recording: Recording) -> bool:
    recording.stop()
    return "recorded_after" in functions(recorded(lambda sample: "recorded_after" in functions(sample)))


def test_forks_while_threads_and_a_profile_are_busy() -> None:
    def churn() -> None:
        while not stop.is_set():
            thread = threading.Thread(target=int)
            thread.start()
            thread.join()

    stop = threading.Event()
    churning = [threading.Thread(target=churn) for _ in range(3)]
    for thread in churning:
        thread.start()
    recording = start_wall(1_000)
    try:
        for _ in range(10):
            assert in_child(lambda: start_wall().stop().kind) == "wall"
    finally:
        stop.set()
        for thread in churning:
            thread.join()
        assert recording.stop().samples


def test_threads_that_come_and_go_have_the_labels_of_their_time() -> None:
    """As many of a name as there were at a time, not one for each thread."""
    stop = threading.Event()

    def brief() -> None:
        stop.wait(0.001)

    def churn() -> None:
        while not stop.is_set():
            some = [threading.Thread(target=brief, name="brief") for _ in range(3)]
            for thread in some:
                thread.start()
            for thread in some:
                thread.join()

    churning = threading.Thread(target=churn)
    churning.start()
    labels: set[Any] = set()
    try:
        for _ in range(5):
            recording = start_wall(1_000)
            until(lambda: bool(recorded_threads("brief")), "a brief thread")
            profile = recording.stop()
            labels |= {dict(s.labels).get("thread") for s in profile.samples if "brief" in functions(s)}
    finally:
        stop.set()
        churning.join()
    allowed = {"brief", *(f"brief ({number})" for number in range(2, 7))}
    assert labels - {"(unnamed)", None} <= allowed


def recorded_threads(function: str) -> list[object]:
    return [sample for sample in threads().samples if function in functions(sample)]


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="signals as they are on POSIX")
def test_a_signal_handler_stops_what_is_being_stopped() -> None:
    for _ in range(20):
        recording = start_wall(1_000)
        found: list[object] = []
        before = signal.signal(signal.SIGUSR1, lambda *_: found.append(recording.stop()))  # noqa: B023
        sender = threading.Thread(target=os.kill, args=(os.getpid(), signal.SIGUSR1))
        try:
            sender.start()
            profile = recording.stop()
            until(lambda: bool(found), "the handler has run")  # noqa: B023
        finally:
            sender.join()
            signal.signal(signal.SIGUSR1, before)
        assert recording.stop() in (profile, *found)
        start_wall().stop()


@pytest.mark.skipif(sampler is None, reason="of the native look")
def test_a_wall_profile_beside_everyone_who_looks_at_threads() -> None:
    """sys._current_frames() holds the list of threads while it may wait for the GIL."""
    stop = threading.Event()

    def look() -> None:
        while not stop.is_set():
            sys._current_frames()
            [[] for _ in range(500)]

    looking = [threading.Thread(target=look) for _ in range(3)]
    for thread in looking:
        thread.start()
    try:
        with held(lambda rest: rest(), "one"):
            sample = recorded(lambda sample: "rest" in functions(sample))
    finally:
        stop.set()
        for thread in looking:
            thread.join()
    assert dict(sample.labels) == {"thread": "one"}

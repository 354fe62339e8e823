"""The spool across processes, killed, forked, several at once; and signal handlers that come between."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
import warnings
import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress
from pathlib import Path

import pytest

from otlpfast._spool import Spool

from .forks import die_in, in_child
from .spooling import (  # noqa: F401
    Spooling,
    crash,
    directory_fixture,
    drain,
    fill,
    folders,
    posix,
    segments,
    spooling_fixture,
)
from .starting import under_way

pytestmark = posix

PATIENCE = 30.0

# Appends until it is killed, and tells what was answered True. Lines that long come whole through a pipe.
_APPENDS = """
import os, sys
from otlpfast._spool import Spool
spool = Spool(sys.argv[1], min_free_bytes=0, segment_bytes=20_000)
number = 0
while True:
    number += 1
    if spool.append([b"%d " % number, b"x" * (number * 37 % 5000)], number):
        os.write(1, b"%d\\n" % number)
"""
_ADOPTS = """
import sys
from otlpfast._spool import Spool
spool = Spool(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
adopted = spool.adopt()
found = []
while (record := spool.oldest()) is not None:
    found.append(record.data.decode())
    spool.acknowledge(record)
print(adopted, *found, flush=True)
sys.stdin.readline()
spool.close()
"""


def started(code: str, directory: Path) -> AbstractContextManager[subprocess.Popen[str]]:
    return under_way([sys.executable, "-c", code, str(directory)], stdout=subprocess.PIPE)


# --- killed


@pytest.mark.parametrize("seed", range(8))
def test_all_that_was_answered_true_survives_a_kill(spooling: Spooling, directory: Path, seed: int) -> None:
    chance = random.Random(seed)
    with started(_APPENDS, directory) as process:
        assert process.stdout is not None
        answered = [process.stdout.readline() for _ in range(chance.randrange(1, 120))]
        for _ in range(chance.randrange(20_000)):  # somewhere in the middle of what it does next
            pass
        process.kill()
        answered += process.stdout.readlines()
        process.wait(PATIENCE)
    told = [int(line) for line in answered]
    assert told == list(range(1, len(told) + 1))
    heir = spooling()
    number = heir.adopt()
    assert len(told) <= number <= len(told) + 1  # the last may have been written and not been told
    for expected, data in enumerate(drain(heir), 1):
        assert data == b"%d " % expected + b"x" * (expected * 37 % 5000)
    assert heir.stats()["corrupt"] == 0
    assert heir.stats()["acknowledged"] == number
    assert folders(directory) == []


def test_a_living_process_is_not_robbed(spooling: Spooling, directory: Path) -> None:
    with started(_APPENDS, directory) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "1\n"
        heir = spooling()
        assert heir.adopt() == 0
        process.kill()
        process.wait(PATIENCE)
        assert heir.adopt() > 0


def test_of_two_processes_one_adopts(spooling: Spooling, directory: Path) -> None:
    for number in range(10):
        spool = spooling()
        fill(spool, b"%d" % number)
        crash(spool)
    with started(_ADOPTS, directory) as first, started(_ADOPTS, directory) as second:
        both = (first, second)
        for process in both:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in both:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        answers = [process.stdout.readline().split() for process in both if process.stdout is not None]
    assert sum(int(answer[0]) for answer in answers) == 10
    assert sorted(answers[0][1:] + answers[1][1:]) == [str(number) for number in range(10)]
    assert folders(directory) == []


def test_two_threads_adopt_and_make_folders_at_once(spooling: Spooling, directory: Path) -> None:
    """None takes a folder that is just being made for an orphan."""
    found: list[bytes] = []
    end = threading.Event()

    def adopt() -> None:
        heir = spooling()
        while not end.is_set():
            heir.adopt()
            found.extend(drain(heir))
        while heir.adopt():  # so many at a time
            found.extend(drain(heir))

    thread = threading.Thread(target=adopt)
    thread.start()
    try:
        for number in range(300):
            spool = spooling()
            fill(spool, b"%d" % number)
            spool.close()
    finally:
        end.set()
        thread.join(PATIENCE)
    assert sorted(found) == sorted(b"%d" % number for number in range(300))
    assert folders(directory) == []


# --- forked


def test_a_child_starts_empty_in_a_folder_of_its_own(spooling: Spooling, directory: Path) -> None:
    spool = spooling()
    fill(spool, b"of the parent")
    record = spool.oldest()
    assert record is not None

    def work() -> list[object]:
        seen: list[object] = [spool.records, spool.spans, spool.oldest(), spool.adopt()]
        spool.acknowledge(record)
        fill(spool, b"of the child")
        return [*seen, len(folders(directory)), [data.decode() for data in drain(spool)]]

    assert in_child(work) == [0, 0, None, 0, 2, ["of the child"]]
    assert drain(spool) == [b"of the parent"]
    assert spool.adopt() == 0  # the child left nothing that waits
    assert len(folders(directory)) == 1


def test_what_a_child_leaves_is_adopted_by_its_parent(spooling: Spooling) -> None:
    spool = spooling()
    fill(spool, b"of the parent")
    in_child(lambda: fill(spool, b"of the child"))
    assert spool.adopt() == 1
    assert drain(spool) == [b"of the parent", b"of the child"]


def test_the_child_does_not_hold_the_parent_s_lock(spooling: Spooling, directory: Path) -> None:
    """Also when it never calls the spool: else what the parent left would wait for the child's end."""
    spool = spooling()
    fill(spool, b"of the parent")
    (end, ended), (here, is_here) = os.pipe(), os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # see tests/forks.py
        child = os.fork()
    if child == 0:
        die_in(PATIENCE)
        os.close(ended)
        os.write(is_here, b"x")
        os.read(end, 1)
        os._exit(0)
    try:
        os.read(here, 1)
        heir = spooling()
        assert heir.adopt() == 0
        assert spool._own is not None
        os.close(spool._own._lock)  # all that the end of the parent would do
        spool._own._lock = -1
        assert heir.adopt() == 1
    finally:
        os.close(ended)
        os.waitpid(child, 0)
        for fd in (end, here, is_here):
            os.close(fd)


def test_a_child_where_no_hooks_run(spooling: Spooling, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = spooling()
    fill(spool, b"of the parent")
    monkeypatch.setattr("otlpfast._spool.spool._spools", weakref.WeakSet())

    def work() -> list[object]:
        seen: list[object] = [spool.records, spool.oldest()]
        fill(spool, b"of the child")
        return [*seen, spool.records, [data.decode() for data in drain(spool)]]

    assert in_child(work) == [0, None, 1, ["of the child"]]
    assert drain(spool) == [b"of the parent"]


def test_a_fork_while_another_thread_is_inside(spooling: Spooling, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = spooling()
    inside, go_on = threading.Event(), threading.Event()

    def slow() -> int:
        inside.set()
        assert go_on.wait(PATIENCE)
        return time.time_ns()

    monkeypatch.setattr("otlpfast._spool.spool.time_ns", slow)
    thread = threading.Thread(target=spool.append, args=([b"of the parent"], 1))
    thread.start()
    assert inside.wait(PATIENCE)

    def work() -> list[object]:
        monkeypatch.setattr("otlpfast._spool.spool.time_ns", time.time_ns)
        fill(spool, b"of the child")
        return [spool.records, [data.decode() for data in drain(spool)]]

    assert in_child(work) == [1, ["of the child"]]
    go_on.set()
    thread.join(PATIENCE)
    assert drain(spool) == [b"of the parent"]


def test_closed_in_the_parent_is_closed_in_the_child(spooling: Spooling) -> None:
    spool = spooling()
    spool.close()
    assert in_child(lambda: spool.append([b"x"], 1)) is False


def test_programs_that_are_started_inherit_nothing(spooling: Spooling, directory: Path) -> None:
    spool = spooling()
    fill(spool, b"x")
    descriptors = Path("/proc/self/fd")
    if not descriptors.is_dir():
        pytest.skip("this system does not list descriptors")
    held = [os.path.realpath(path) for path in descriptors.iterdir()]
    assert sum(path.startswith(str(directory)) for path in held) == 3  # folder, lock, segment
    listing = "import os; print(*map(os.path.realpath, os.scandir('/proc/self/fd')))"
    answer = subprocess.run(
        [sys.executable, "-c", listing], capture_output=True, text=True, close_fds=False, check=True
    )
    assert str(directory) not in answer.stdout


def test_a_spool_that_is_dropped_lets_go_of_its_folder(directory: Path, spooling: Spooling) -> None:
    spool = Spool(directory, min_free_bytes=0)
    fill(spool, b"x")
    del spool
    heir = spooling()
    assert heir.adopt() == 1


# --- signal handlers


@pytest.fixture(autouse=True)
def _alarms_end_with_the_test() -> Iterator[None]:
    before = signal.getsignal(signal.SIGALRM)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def call_after(seconds: float, handler: Callable[[], None]) -> None:
    """Has a signal handler called once, unless ``call_never()`` comes first."""
    signal.signal(signal.SIGALRM, lambda *_: handler())
    signal.setitimer(signal.ITIMER_REAL, seconds)


def call_never() -> None:
    signal.setitimer(signal.ITIMER_REAL, 0)


def test_a_handler_that_interrupts_the_spool_is_sent_back(
    spooling: Spooling, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = spooling()
    fill(spool, b"first")
    record = spool.oldest()
    assert record is not None
    answers: list[object] = []

    def interrupted() -> int:
        monkeypatch.setattr("otlpfast._spool.spool.time_ns", time.time_ns)
        answers.append(spool.append([b"nested"], 1))
        answers.append(spool.oldest())
        spool.acknowledge(record)
        answers.extend((spool.expire(), spool.adopt(), spool.records))
        spool.sync()
        spool.close()
        return time.time_ns()

    monkeypatch.setattr("otlpfast._spool.spool.time_ns", interrupted)
    fill(spool, b"outer")
    assert answers == [False, None, 0, 0, 1]
    assert spool.stats()["refused"] == 1
    assert drain(spool) == [b"first", b"outer"]


def test_handlers_that_come_at_any_moment(spooling: Spooling) -> None:
    """What every call was answered is true in the end, whoever made it."""
    spool = spooling(segment_bytes=500)
    kept: list[bytes] = []
    taken: list[bytes] = []
    number = 0

    def use() -> None:
        nonlocal number
        number += 1
        request = b"%d" % number * 10
        if spool.append([request], 1):
            kept.append(request)
        if number % 3:
            record = spool.oldest()
            if record is not None:
                before = spool.stats()["acknowledged"]
                spool.acknowledge(record)
                if spool.stats()["acknowledged"] > before:
                    taken.append(record.data)

    def use_and_come_again() -> None:
        use()
        if number < 3000:
            call_after(0.0005, use_and_come_again)

    call_after(0.0005, use_and_come_again)
    while number < 3000:
        use()
    call_never()
    taken += drain(spool)
    assert sorted(set(taken)) == sorted(kept)
    assert (spool.records, spool.spans, spool.nbytes) == (0, 0, 0)
    assert spool.stats()["corrupt"] == 0


# What a handler raises in the middle of a finaliser that Python runs then, Python only reports.
reported = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


class Interrupt(Exception):
    """What a handler raises."""


def interrupt() -> None:
    raise Interrupt


@reported
def test_a_handler_that_raises_while_records_come(spooling: Spooling, directory: Path) -> None:
    """The spool goes on, and no record that was kept is lost or damaged."""
    spool = spooling(segment_bytes=500)
    kept: list[bytes] = []
    for number in range(400):
        request = b"%d" % number * 10
        with suppress(Interrupt):
            call_after(0.0005, interrupt)
            for _ in range(5):
                if spool.append([request], 1):
                    kept.append(request)
                spool.sync()
            call_never()
    fill(spool, b"last")
    crash(spool)
    heir = spooling()
    heir.adopt()
    found = drain(heir)
    assert heir.stats()["corrupt"] == 0
    assert set(kept) <= set(found)
    assert len(found) - 1 >= len(kept)
    assert found[-1] == b"last"
    assert segments(directory) == []


@reported
def test_a_handler_that_raises_while_records_come_and_go(spooling: Spooling) -> None:
    spool = spooling(segment_bytes=500)
    kept: list[bytes] = []
    seen: list[bytes] = []
    for number in range(600):
        request = b"%d" % number * 10
        with suppress(Interrupt):
            call_after(0.0004 + number % 7 * 0.0001, interrupt)
            for _ in range(5000):  # for ever, but that a finaliser or the collector's callback may swallow it
                if spool.append([request], 1):
                    kept.append(request)
                record = spool.oldest()
                if record is not None:
                    seen.append(record.data)
                    spool.acknowledge(record)
                    spool.expire()
    fill(spool, b"last")
    seen += drain(spool)
    assert set(kept) <= set(seen)
    assert seen[-1] == b"last"
    assert spool.stats()["corrupt"] == 0

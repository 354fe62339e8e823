"""What a spool refuses and forgets: caps on bytes, free disk and age; and how it goes on after trouble."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from otlpfast._spool import records as format

from .forks import in_child
from .spooling import (
    Clock,
    Spooling,
    clock_fixture,  # noqa: F401
    crash,
    directory_fixture,  # noqa: F401
    drain,
    fill,
    folders,
    posix,
    segments,
    spooling_fixture,  # noqa: F401
)

pytestmark = posix

PER_FILE = len(format.MAGIC)
PER_RECORD = format.HEADER


# --- caps


def test_max_bytes_counts_the_files(spooling: Spooling, directory: Path) -> None:
    spool = spooling(max_bytes=2 * PER_FILE + 2 * (PER_RECORD + 100))
    fill(spool, b"1" * 100, b"2" * 100)
    assert not spool.append([b""], 1)
    assert spool.refusal == f"max_bytes={2 * PER_FILE + 2 * (PER_RECORD + 100)} is reached"
    assert sum(path.stat().st_size for path in segments(directory)) == PER_FILE + 2 * (PER_RECORD + 100)
    assert drain(spool) == [b"1" * 100, b"2" * 100]
    fill(spool, b"there is room again")
    assert spool.stats()["refused"] == 1


def test_what_was_adopted_counts_for_max_bytes(spooling: Spooling) -> None:
    for _ in range(3):
        spool = spooling()
        fill(spool, b"x" * 1000)
        crash(spool)
    heir = spooling(max_bytes=1500)
    assert heir.adopt() == 2  # the second one crosses the line: the third has to wait
    assert not heir.append([b"own"], 1)
    drain(heir)
    assert heir.adopt() == 1
    fill(heir, b"own")


def test_so_much_of_the_disk_stays_free(spooling: Spooling, directory: Path) -> None:
    disk = os.statvfs(directory.parent)
    more_than_there_is = disk.f_bavail * disk.f_frsize * 2
    spool = spooling(min_free_bytes=more_than_there_is)
    assert not spool.append([b"x"], 1)
    assert "free" in spool.refusal
    assert spool.records == 0
    spool.close()
    assert folders(directory) == []


def test_a_request_beyond_what_a_collector_takes_is_refused(spooling: Spooling, directory: Path) -> None:
    spool = spooling()
    half = bytes(32 * 1024 * 1024)
    assert not spool.append([half, half, b"x"], 1)
    assert "larger" in spool.refusal
    assert not folders(directory)


def test_a_count_that_can_not_be_written_is_refused(spooling: Spooling) -> None:
    spool = spooling()
    assert not spool.append([b"x"], -1)
    assert not spool.append([b"x"], 1 << 32)
    assert spool.append([b"x"], (1 << 32) - 1)
    assert spool.spans == (1 << 32) - 1


def test_what_is_too_old_is_forgotten(spooling: Spooling, clock: Clock, directory: Path) -> None:
    spool = spooling(max_age=60, segment_bytes=200)
    for number in range(10):
        assert spool.append([b"%d" % number * 100], 5)
        clock.pass_(10)
    assert spool.expire() == 20  # those of 100, 90, 80 and 70 seconds ago
    assert spool.expire() == 0
    assert (spool.records, spool.spans, spool.stats()["expired"]) == (6, 30, 4)
    crash(spool)
    heir = spooling(max_age=60)
    assert heir.adopt() == 6
    clock.pass_(35)
    assert heir.expire() == 0  # not its own
    assert heir.stats()["expired"] == 4
    assert [data[:1] for data in drain(heir)] == [b"8", b"9"]


@pytest.mark.parametrize("step", [-3600.0, 3600.0, -1e9, 1e8])
def test_a_wall_clock_that_is_set_makes_nothing_older_or_younger(
    spooling: Spooling, clock: Clock, step: float
) -> None:
    spool = spooling(max_age=60)
    fill(spool, b"before")
    clock.pass_(30)
    clock.wall += step
    fill(spool, b"after")
    assert spool.expire() == 0
    clock.pass_(31)
    assert spool.expire() == 1
    assert spool.records == 1
    clock.pass_(30)
    assert spool.expire() == 1
    assert spool.records == 0


def test_an_orphan_of_the_future_is_as_old_as_its_adoption(spooling: Spooling, clock: Clock) -> None:
    spool = spooling()
    fill(spool, b"from a time to come")
    crash(spool)
    clock.wall -= 1_000_000
    heir = spooling(max_age=60)
    assert heir.adopt() == 1
    heir.expire()
    assert heir.records == 1
    clock.pass_(61)
    heir.expire()
    assert heir.records == 0


# --- trouble


@pytest.mark.parametrize("segment_bytes", [100, 10_000])
@pytest.mark.parametrize("waiting", [0, 1, 3])
def test_a_directory_that_is_deleted_meanwhile(
    spooling: Spooling, directory: Path, waiting: int, segment_bytes: int
) -> None:
    spool = spooling(segment_bytes=segment_bytes)
    fill(spool, b"delivered")
    drain(spool)
    fill(spool, *[b"gone" * 20] * waiting)
    shutil.rmtree(directory)
    fill(spool, b"new")
    assert spool.stats()["corrupt"] == waiting
    assert drain(spool) == [b"new"]


def test_a_segment_that_is_deleted_meanwhile(spooling: Spooling, directory: Path) -> None:
    spool = spooling(segment_bytes=100)
    fill(spool, b"1" * 90, b"2" * 90, b"3" * 90)
    segments(directory)[1].unlink()
    assert [data[:1] for data in drain(spool)] == [b"1", b"3"]
    assert (spool.records, spool.spans, spool.stats()["corrupt"]) == (0, 0, 1)


def test_a_folder_that_can_not_be_made(spooling: Spooling, directory: Path) -> None:
    spool = spooling()
    directory.rmdir()
    directory.write_text("a file in its place")
    assert not spool.append([b"x"], 1)
    assert "it" in spool.refusal
    assert (spool.oldest(), spool.adopt(), spool.records) == (None, 0, 0)
    directory.unlink()
    fill(spool, b"x")


def test_an_interrupt_in_the_middle_of_a_write_leaves_no_record(
    spooling: Spooling, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = spooling()
    fill(spool, b"before")
    write = format.write

    def interrupted(fd: int, parts: Any, offset: int) -> None:
        write(fd, parts, offset)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(format, "write", interrupted)
        with pytest.raises(KeyboardInterrupt):
            spool.append([b"interrupted, and longer than what comes next"], 1)
    fill(spool, b"after")
    crash(spool)
    heir = spooling()
    assert heir.adopt() == 2
    assert drain(heir) == [b"before", b"after"]
    assert heir.stats()["corrupt"] == 0


def test_out_of_descriptors(spooling: Spooling) -> None:
    """What can't be opened now is neither lost nor damaged."""
    resource = pytest.importorskip("resource")

    def work() -> list[object]:
        spool = spooling(segment_bytes=100)
        fill(spool, b"1" * 90, b"2" * 90, b"3" * 90)
        orphan = spooling()
        fill(orphan, b"orphan")
        crash(orphan)
        first = spool.oldest()
        assert first is not None
        spool.acknowledge(first)
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
        answers = [spool.append([b"4" * 90], 1), spool.oldest(), spool.expire()]
        spool.sync()
        allowed, adopted = 3, 0
        while not adopted:  # fails at one open() after the other
            allowed += 1
            resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, limits[1]))
            adopted = spool.adopt()
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        found = [data[:1].decode() for data in drain(spool)]
        return [*answers, adopted, found, spool.stats()["corrupt"]]

    assert in_child(work) == [False, None, 0, 1, ["2", "3", "o"], 0]


def test_a_system_that_writes_a_little_at_a_time(spooling: Spooling, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.pwritev

    def write_a_little(fd: int, buffers: list[memoryview], offset: int) -> int:
        few = [buffers[0][:3]] if len(buffers[0]) > 3 else [*buffers[:1], *(b[:2] for b in buffers[1:2])]
        return write(fd, few, offset)

    monkeypatch.setattr(os, "pwritev", write_a_little)
    spool = spooling()
    requests = [[b"1234567890", b"", b"ab", b"c" * 50], [b"x"], []]
    for parts in requests:
        assert spool.append(parts, 1)
    assert drain(spool) == [b"".join(parts) for parts in requests]

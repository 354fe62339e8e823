"""The spool: what goes in comes out, oldest first, once, under caps, and in no hands but ours."""

from __future__ import annotations

import os
import stat
import tempfile
import threading
from pathlib import Path
from typing import Any

import pytest

from otlpfast._spool import Record, Spool
from otlpfast._spool import folders as folders_module
from otlpfast._spool import records as format
from otlpfast._spool.segments import Segment

from .forks import in_child
from .spooling import Spooling, crash, drain, fill, folders, posix, segments, spooling_fixture  # noqa: F401

pytestmark = posix

PER_FILE = len(format.MAGIC)
PER_RECORD = format.HEADER


@pytest.fixture(name="directory")
def directory_fixture(tmp_path: Path) -> Path:
    return tmp_path / "spool"


class Clock:
    """A wall clock and a monotonic one, to be moved."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.wall = 1_700_000_000.0
        self.steady = 1000.0
        monkeypatch.setattr("otlpfast._spool.spool.time_ns", lambda: int(self.wall * 1e9))
        monkeypatch.setattr("otlpfast._spool.segments.time", lambda: self.wall)
        monkeypatch.setattr("otlpfast._spool.segments.monotonic", lambda: self.steady)

    def pass_(self, seconds: float) -> None:
        self.wall += seconds
        self.steady += seconds


@pytest.fixture(name="clock")
def clock_fixture(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


# --- in and out


def test_what_goes_in_comes_out_in_its_order(spooling: Spooling) -> None:
    spool = spooling()
    assert spool.oldest() is None
    assert spool.append([b"one ", memoryview(b"request"), b""], 3)
    assert spool.append([b"another"], 2)
    record = spool.oldest()
    assert isinstance(record, Record)
    assert (record.data, record.count, record.own, record.nbytes) == (b"one request", 3, True, 11)
    assert repr(record) == "<Record of 3 spans, 11 bytes>"
    assert (spool.records, spool.spans, spool.own_spans, spool.nbytes) == (2, 5, 5, 18)
    again = spool.oldest()
    assert again is not None
    assert again.data == record.data
    spool.acknowledge(record)
    spool.acknowledge(again)
    assert (spool.records, spool.spans, spool.nbytes) == (1, 2, 7)
    assert drain(spool) == [b"another"]
    assert (spool.records, spool.spans, spool.own_spans, spool.nbytes) == (0, 0, 0, 0)


def test_a_request_of_no_bytes_or_spans(spooling: Spooling) -> None:
    spool = spooling()
    assert spool.append([], 0)
    assert spool.append([b""], 0)
    assert drain(spool) == [b"", b""]


def test_a_request_in_more_parts_than_one_call_of_the_system_takes(spooling: Spooling) -> None:
    spool = spooling()
    parts = [bytes([number % 256]) * (number % 7) for number in range(5000)]
    assert spool.append(parts, 5000)
    assert drain(spool) == [b"".join(parts)]


def test_buffers_of_any_item_size(spooling: Spooling) -> None:
    spool = spooling()
    assert spool.append([memoryview(b"12345678").cast("I"), b"9"], 1)
    assert drain(spool) == [b"123456789"]


def test_many_segments(spooling: Spooling, directory: Path) -> None:
    spool = spooling(segment_bytes=200)
    requests = [b"request %d " % number * 5 for number in range(50)]
    fill(spool, *requests)
    assert len(segments(directory)) == 25
    assert all(path.stat().st_size <= 200 for path in segments(directory))
    assert drain(spool) == requests
    assert segments(directory) == []


def test_a_request_that_is_larger_than_a_segment_gets_one_of_its_own(
    spooling: Spooling, directory: Path
) -> None:
    spool = spooling(segment_bytes=100)
    requests = [b"a", b"b" * 1000, b"c"]
    fill(spool, *requests)
    assert len(segments(directory)) == 3
    assert drain(spool) == requests


def test_a_segment_is_deleted_with_its_last_acknowledgement(spooling: Spooling, directory: Path) -> None:
    spool = spooling(segment_bytes=PER_FILE + 2 * (PER_RECORD + 4))
    fill(spool, b"1111", b"2222", b"3333")
    first, second = segments(directory)
    for gone in ([], [], [first]):
        assert [path for path in (first, second) if not path.exists()] == gone
        record = spool.oldest()
        assert record is not None
        spool.acknowledge(record)
    assert segments(directory) == []
    fill(spool, b"4444")
    assert len(segments(directory)) == 1
    assert drain(spool) == [b"4444"]


def test_appending_and_reading_take_turns(spooling: Spooling) -> None:
    spool = spooling(segment_bytes=150)
    expected: list[bytes] = []
    for number in range(200):
        request = b"%d" % number * (number % 11)
        fill(spool, request)
        expected.append(request)
        if number % 3:
            record = spool.oldest()
            assert record is not None
            assert record.data == expected.pop(0)
            spool.acknowledge(record)
    assert drain(spool) == expected


def test_threads_append_and_one_delivers(spooling: Spooling) -> None:
    spool = spooling(segment_bytes=5000)
    wanted = {b"%d of %d" % (number, thread) for thread in range(4) for number in range(300)}

    def append(thread: int) -> None:
        fill(spool, *(b"%d of %d" % (number, thread) for number in range(300)))

    threads = [threading.Thread(target=append, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    found: list[bytes] = []
    while any(thread.is_alive() for thread in threads):
        spool.sync()
        found += drain(spool)
    for thread in threads:
        thread.join()
    found += drain(spool)
    assert len(found) == len(wanted)
    assert set(found) == wanted


def test_an_unknown_acknowledgement_changes_nothing(spooling: Spooling, tmp_path: Path) -> None:
    spool, other = spooling(), spooling(tmp_path / "other")
    fill(spool, b"mine")
    fill(other, b"other")
    record = other.oldest()
    assert record is not None
    spool.acknowledge(record)
    assert (spool.records, other.records) == (1, 1)
    assert drain(other) == [b"other"]
    other.acknowledge(record)


def test_sync_syncs_each_file_once(spooling: Spooling, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(
        "otlpfast._spool.spool._fdatasync", lambda fd: synced.append(os.fstat(fd).st_ino) or os.fsync(fd)
    )
    spool = spooling(segment_bytes=100)
    spool.sync()
    assert synced == []
    fill(spool, b"x" * 90, b"y" * 90, b"z")
    spool.sync()
    assert len(synced) == len(set(synced)) == 4  # three segments, and the folder in which they are new
    spool.sync()
    assert len(synced) == 4
    fill(spool, b"z")
    spool.sync()
    assert len(synced) == 5


def test_appending_does_not_wait_for_a_slow_sync(spooling: Spooling, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def slow(fd: int) -> None:
        begun.set()
        assert go_on.wait(30)

    monkeypatch.setattr("otlpfast._spool.spool._fdatasync", slow)
    spool = spooling()
    fill(spool, b"before")
    thread = threading.Thread(target=spool.sync)
    thread.start()
    assert begun.wait(30)
    fill(spool, b"meanwhile")
    assert drain(spool) == [b"before", b"meanwhile"]
    go_on.set()
    thread.join(30)
    assert not thread.is_alive()


# --- the next process


def test_what_a_crash_leaves_is_adopted(spooling: Spooling, directory: Path) -> None:
    before = spooling(segment_bytes=100)
    fill(before, b"1" * 50, b"2" * 50, b"3" * 50)
    record = before.oldest()
    assert record is not None
    before.acknowledge(record)
    crash(before)
    after = spooling()
    assert after.adopt() == 2
    assert after.adopt() == 0
    assert (after.records, after.spans, after.own_spans, after.nbytes) == (2, 2, 0, 100)
    fill(after, b"own")
    record = after.oldest()
    assert record is not None
    assert not record.own
    assert drain(after) == [b"2" * 50, b"3" * 50, b"own"]
    assert len(folders(directory)) == 1
    after.close()
    assert folders(directory) == []


def test_what_is_closed_is_adopted(spooling: Spooling) -> None:
    first, second = spooling(), spooling()
    fill(first, b"left over")
    assert second.adopt() == 0
    first.close()
    assert second.adopt() == 1
    assert drain(second) == [b"left over"]


def test_a_closed_spool_takes_and_gives_nothing(spooling: Spooling) -> None:
    spool = spooling()
    fill(spool, b"left over")
    spool.close()
    spool.close()
    assert not spool.append([b"late"], 1)
    assert spool.refusal == "the spool is closed"
    assert spool.oldest() is None
    assert (spool.adopt(), spool.expire(), spool.records) == (0, 0, 1)
    spool.sync()


def test_the_oldest_of_all_folders_comes_first(spooling: Spooling, clock: Clock) -> None:
    first, second = spooling(), spooling()
    for number in range(10):
        fill(first if number % 3 else second, b"%d" % number)
        clock.pass_(1)
    crash(first)
    assert second.adopt() == 6
    assert drain(second) == [b"%d" % number for number in range(10)]


def test_adoption_in_turn_when_there_are_many_orphans(spooling: Spooling, directory: Path) -> None:
    for number in range(40):
        spool = spooling()
        fill(spool, b"%d" % number)
        crash(spool)
    heir = spooling()
    assert heir.adopt() == 16
    assert heir.adopt() == 0
    found = drain(heir)
    while heir.adopt():
        found += drain(heir)
    assert sorted(found) == sorted(b"%d" % number for number in range(40))
    assert folders(directory) == []


def test_one_adoption_looks_at_so_many_folders_and_the_next_at_others(
    spooling: Spooling, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("otlpfast._spool.spool._MOST_LOOKED_AT", 7)
    living = [spooling() for _ in range(20)]
    for spool in living:
        fill(spool, b"alive")
    crash(living[0])
    heir = spooling()
    adopted = [heir.adopt() for _ in range(4)]
    assert sorted(adopted) == [0, 0, 0, 1]
    assert drain(heir) == [b"alive"]


def test_two_spools_of_a_process_don_t_adopt_each_other(spooling: Spooling, directory: Path) -> None:
    first, second = spooling(), spooling()
    fill(first, b"first")
    fill(second, b"second")
    assert len(folders(directory)) == 2
    assert (first.adopt(), second.adopt()) == (0, 0)
    assert (drain(first), drain(second)) == ([b"first"], [b"second"])


def test_an_orphan_with_nothing_in_it_is_cleared_away(spooling: Spooling, directory: Path) -> None:
    spool = spooling()
    fill(spool, b"delivered")
    drain(spool)
    crash(spool)
    assert len(folders(directory)) == 1
    assert spooling().adopt() == 0
    assert folders(directory) == []


def test_an_orphan_without_a_lock_file_is_adopted(spooling: Spooling, directory: Path) -> None:
    spool = spooling()
    fill(spool, b"here")
    crash(spool)
    (folders(directory)[0] / "lock").unlink()
    heir = spooling()
    assert heir.adopt() == 1
    assert drain(heir) == [b"here"]


def test_a_folder_that_was_not_finished_is_cleared_away_when_it_is_old(
    spooling: Spooling, directory: Path
) -> None:
    heir = spooling()
    young, old = directory / ".1-0123456789abcdef", directory / ".2-0123456789abcdef"
    for path in (young, old):
        path.mkdir()
        (path / "lock").touch()
    os.utime(old, (1e9, 1e9))
    assert heir.adopt() == 0
    assert folders(directory) == [young]


def test_what_is_no_folder_of_a_spool_is_left_alone(spooling: Spooling, directory: Path) -> None:
    spool = spooling()
    fill(spool, b"here")
    crash(spool)
    (orphan,) = folders(directory)
    (orphan / "notes.txt").write_text("not ours")
    (directory / "documents").mkdir()
    (directory / "1-0123456789abcdef").write_text("a file of that name")
    heir = spooling()
    assert heir.adopt() == 1
    assert drain(heir) == [b"here"]
    assert [path.name for path in orphan.iterdir()] == ["notes.txt"]
    assert (directory / "documents").exists()
    assert heir.adopt() == 0


def test_acknowledgements_outlive_a_crash_in_any_order(spooling: Spooling) -> None:
    spool = spooling()
    for number in range(4):
        fill(spool, b"%d" % number)
    records = []
    for _ in range(3):
        record = spool.oldest()
        assert record is not None
        records.append(record)
        assert spool._own is not None
        spool._own.segments[0]._entries.rotate(-1)  # type: ignore[union-attr]
    spool._own.segments[0]._entries.rotate(3)  # type: ignore[union-attr]
    for record in (records[2], records[0]):
        spool.acknowledge(record)
    crash(spool)
    heir = spooling()
    heir.adopt()
    assert drain(heir) == [b"1", b"3"]


# --- caps


def test_max_bytes_counts_the_files(spooling: Spooling, directory: Path) -> None:
    spool = spooling(max_bytes=PER_FILE + 2 * (PER_RECORD + 100))
    fill(spool, b"1" * 100, b"2" * 100)
    assert not spool.append([b""], 1)
    assert spool.refusal == f"max_bytes={PER_FILE + 2 * (PER_RECORD + 100)} is reached"
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


def test_a_directory_that_is_deleted_meanwhile(spooling: Spooling, directory: Path) -> None:
    spool = spooling()
    fill(spool, b"gone")
    for path in (*segments(directory), folders(directory)[0] / "lock"):
        path.unlink()
    folders(directory)[0].rmdir()
    directory.rmdir()
    fill(spool, b"new")
    assert spool.stats()["corrupt"] == 1
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
        during = [spool.append([b"4" * 90], 1), spool.oldest(), spool.adopt(), spool.expire()]
        spool.sync()
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        after = [spool.adopt(), [data[:1].decode() for data in drain(spool)], spool.stats()["corrupt"]]
        return during + after

    assert in_child(work) == [False, None, 0, 0, 1, ["2", "3", "o"], 0]


# --- nobody else's hands


def test_modes(spooling: Spooling, directory: Path) -> None:
    before = os.umask(0)
    try:
        fill(spooling(), b"x")
    finally:
        os.umask(before)
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    (folder,) = folders(directory)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}


def test_nothing_is_on_disk_before_the_first_append(spooling: Spooling, directory: Path) -> None:
    spool = spooling()
    spool.sync()
    spool.adopt()
    assert list(directory.iterdir()) == []
    spool.close()
    assert list(directory.iterdir()) == []


def test_a_directory_that_is_a_symbolic_link_is_refused(directory: Path, tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    directory.symlink_to(tmp_path / "target")
    with pytest.raises(ValueError, match=r"directory='.*/spool': it is a symbolic link"):
        Spool(directory)


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o1777])
def test_a_directory_that_others_can_write_is_refused(directory: Path, mode: int) -> None:
    directory.mkdir()
    directory.chmod(mode)
    with pytest.raises(ValueError, match=f"its mode is {mode:04o}"):
        Spool(directory)


def test_a_directory_that_others_can_read_is_taken(spooling: Spooling, directory: Path) -> None:
    directory.mkdir()
    directory.chmod(0o755)
    fill(spooling(), b"x")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can give a file away")
def test_a_directory_of_another_user_is_refused(directory: Path) -> None:
    directory.mkdir()
    os.chown(directory, 12345, -1)
    with pytest.raises(ValueError, match="it belongs to user 12345"):
        Spool(directory)


def test_a_directory_that_can_not_be_written() -> None:
    with tempfile.TemporaryDirectory() as directory:  # not in tmp_path, into which only its owner gets
        os.chmod(directory, 0o500)

        def work() -> str:
            if os.geteuid() == 0:
                os.chown(directory, 12345, -1)
                os.setuid(12345)
            with pytest.raises(ValueError) as caught:
                Spool(directory)
            return str(caught.value)

        assert in_child(work) == f"directory={directory!r}: it can't be written"


def test_a_directory_that_can_not_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file" / "spool", tmp_path / "file"):
        with pytest.raises(ValueError, match=f"directory='{path}': it "):
            Spool(path)


def test_a_directory_that_is_swapped_for_a_link_later(spooling: Spooling, directory: Path) -> None:
    spool = spooling()
    directory.rename(directory.parent / "elsewhere")
    directory.symlink_to(directory.parent / "elsewhere")
    assert not spool.append([b"x"], 1)
    assert "symbolic link" in spool.refusal
    assert list((directory.parent / "elsewhere").iterdir()) == []


@pytest.mark.parametrize("name", ["folder", "lock", "00000001.segment"])
def test_links_in_the_place_of_what_is_adopted_are_not_followed(
    spooling: Spooling, directory: Path, tmp_path: Path, name: str
) -> None:
    spool = spooling()
    fill(spool, b"x" * 50)
    crash(spool)
    (folder,) = folders(directory)
    path = folder if name == "folder" else folder / name
    target = tmp_path / "target"
    path.rename(target)
    path.symlink_to(target)
    before = target.stat().st_size
    heir = spooling()
    assert heir.adopt() == 0
    assert heir.oldest() is None
    assert target.stat().st_size == before
    assert target.exists()


@pytest.mark.parametrize("mode", [0o770, 0o702])
def test_a_folder_that_others_can_write_is_not_adopted(
    spooling: Spooling, directory: Path, mode: int
) -> None:
    spool = spooling()
    fill(spool, b"x")
    crash(spool)
    folders(directory)[0].chmod(mode)
    assert spooling().adopt() == 0


def test_a_pipe_in_the_place_of_a_segment_stops_nobody(spooling: Spooling, directory: Path) -> None:
    spool = spooling()
    fill(spool, b"x")
    crash(spool)
    (path,) = segments(directory)
    path.unlink()
    os.mkfifo(path)
    assert spooling().adopt() == 0


# --- arguments


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"directory": 7}, TypeError, "directory=7: a path"),
        ({"directory": b"bytes"}, TypeError, "directory=b'bytes': a path"),
        ({"directory": ""}, ValueError, "directory='': a path that is not empty"),
        ({"directory": "a\0b"}, ValueError, r"directory='a\\x00b'"),
        ({"max_bytes": 0}, ValueError, "max_bytes=0: a whole number from 1"),
        ({"max_bytes": 1.5}, TypeError, "max_bytes=1.5: a whole number from 1"),
        ({"max_age": 0}, ValueError, "max_age=0: a positive number of seconds"),
        ({"max_age": float("nan")}, ValueError, "max_age=nan: a positive number"),
        ({"max_age": True}, TypeError, "max_age=True: a positive number"),
        ({"max_age": "1h"}, TypeError, "max_age='1h': a positive number"),
        ({"min_free_bytes": -1}, ValueError, "min_free_bytes=-1: a whole number from 0"),
        ({"segment_bytes": 0}, ValueError, "segment_bytes=0: a whole number from 1"),
        ({"segment_bytes": 1 << 31}, ValueError, "segment_bytes=2147483648: a whole number"),
    ],
)
def test_wrong_arguments_name_themselves(
    tmp_path: Path, settings: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        Spool(**{"directory": tmp_path, **settings})


def test_parents_are_made_too(tmp_path: Path) -> None:
    Spool(tmp_path / "a" / "b" / "spool").close()
    assert (tmp_path / "a" / "b" / "spool").is_dir()


def test_a_relative_directory_stays_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    spool = Spool("spool", min_free_bytes=0)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    fill(spool, b"x")
    assert len(folders(tmp_path / "spool")) == 1
    spool.close()


def test_a_system_that_is_no_posix_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders_module, "fcntl", None)
    with pytest.raises(ValueError, match="POSIX system"):
        Spool(tmp_path)
    monkeypatch.undo()
    monkeypatch.delattr(os, "pwritev")
    with pytest.raises(ValueError, match="POSIX system"):
        Spool(tmp_path)


def test_its_repr_and_stats(spooling: Spooling, directory: Path) -> None:
    spool = spooling()
    fill(spool, b"abc", b"de")
    assert repr(spool) == f"<Spool {str(directory)!r}: 2 records, 2 spans>"
    drain(spool)
    assert spool.stats() == {
        "records": 0,
        "spans": 0,
        "bytes": 0,
        "appended": 2,
        "acknowledged": 2,
        "refused": 0,
        "corrupt": 0,
        "expired": 0,
        "adopted": 0,
    }


def test_sums_are_those_of_the_segments(spooling: Spooling) -> None:
    spool = spooling(segment_bytes=300)
    for number in range(100):
        assert spool.append([b"x" * number], number)
        if number % 2:
            record = spool.oldest()
            assert record is not None
            spool.acknowledge(record)
    assert spool._own is not None
    parts: list[Segment] = spool._own.segments
    tally = spool._tally
    assert tally.records == sum(part.records for part in parts) == 50
    assert tally.on_disk == sum(part.size for part in parts)
    assert tally.spans == sum(part._spans for part in parts)
    assert tally.nbytes == sum(part._nbytes for part in parts)

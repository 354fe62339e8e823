"""The spool: what goes in comes out, oldest first, once, also in the next process."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from otlpfast._spool import Record
from otlpfast._spool import records as format
from otlpfast._spool.segments import Segment

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


def test_a_buffer_that_was_released_is_refused(spooling: Spooling) -> None:
    spool = spooling()
    released = memoryview(b"x")
    released.release()
    assert not spool.append([b"a", released], 1)
    assert "released" in spool.refusal
    assert spool.records == 0


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

    def note(fd: int) -> None:
        synced.append(os.fstat(fd).st_ino)
        os.fsync(fd)

    monkeypatch.setattr("otlpfast._spool.spool._fdatasync", note)
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
    monkeypatch.setattr("otlpfast._spool.folders._MOST_LOOKED_AT", 7)
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


# --- sums


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

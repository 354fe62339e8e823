"""What a crash, a power failure or a bad disk leaves of a segment: what is sound comes back, nothing else."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otlpfast._spool import Spool
from otlpfast._spool import records as format
from otlpfast._spool.records import Entry, Gap

from .forks import in_child
from .spooling import Spooling, crash, drain, fill, folders, posix, segments, spooling_fixture  # noqa: F401

pytestmark = posix

REQUESTS = [b"the first request", b"", b"the third \xf5SP\xfa", b"and the fourth one"]
STARTS = [len(format.MAGIC)]
for _request in REQUESTS:
    STARTS.append(STARTS[-1] + format.HEADER + len(_request))


@pytest.fixture(name="segment", scope="module")
def segment_fixture(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The bytes of a segment with four records that wait."""
    directory = tmp_path_factory.mktemp("spool")
    spool = Spool(directory, min_free_bytes=0)
    fill(spool, *REQUESTS)
    (path,) = segments(directory)
    data = path.read_bytes()
    drain(spool)
    spool.close()
    assert len(data) == STARTS[-1]
    return data


class Orphans:
    """Folders as a process leaves them, with a segment of any bytes."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def leave(self, *contents: bytes) -> None:
        folder = self.directory / "4711-0123456789abcdef"
        folder.mkdir(0o700)
        for number, data in enumerate(contents, 1):
            (folder / f"{number:08d}.segment").write_bytes(data)

    def adopted(self) -> tuple[list[bytes], int]:
        """All that comes back, and how many records were counted as damaged; afterwards nothing is there."""
        heir = Spool(self.directory, min_free_bytes=0)
        heir.adopt()
        found = drain(heir)
        assert (heir.records, heir.spans, heir.nbytes, heir._tally.on_disk) == (0, 0, 0, 0)
        heir.close()
        assert folders(self.directory) == []
        return found, heir.stats()["corrupt"]


@pytest.fixture(name="orphans", scope="module")
def orphans_fixture(tmp_path_factory: pytest.TempPathFactory) -> Orphans:
    return Orphans(tmp_path_factory.mktemp("orphans"))


def test_as_it_was(orphans: Orphans, segment: bytes) -> None:
    orphans.leave(segment)
    assert orphans.adopted() == (REQUESTS, 0)


def test_cut_off_at_every_byte(orphans: Orphans, segment: bytes) -> None:
    for end in range(len(segment)):
        orphans.leave(segment[:end])
        whole = sum(start <= end for start in STARTS[1:])
        assert orphans.adopted() == (REQUESTS[:whole], 0), end


def test_cut_off_and_zeros_to_the_length_it_had(orphans: Orphans, segment: bytes) -> None:
    for end in range(len(format.MAGIC), len(segment)):
        orphans.leave(segment[:end] + bytes(4096))
        found, corrupt = orphans.adopted()
        whole = sum(start <= end for start in STARTS[1:])
        assert found == REQUESTS[:whole] or found == REQUESTS[: whole + 1]  # what is missing was zeros
        assert corrupt == (end not in STARTS and len(found) == whole), end


@pytest.mark.parametrize("bit", [0, 3, 7])
def test_a_bit_of_every_byte_flipped(orphans: Orphans, segment: bytes, bit: int) -> None:
    for position in range(len(segment)):
        damaged = bytearray(segment)
        damaged[position] ^= 1 << bit
        orphans.leave(bytes(damaged))
        found, corrupt = orphans.adopted()
        if position < len(format.MAGIC):
            assert (found, corrupt) == (REQUESTS, 1), position
            continue
        number = max(n for n, start in enumerate(STARTS) if start <= position)
        if position == STARTS[number] + format.HEADER - 1:  # the state: it waits, as before
            assert (found, corrupt) == (REQUESTS, 0), position
        else:
            assert (found, corrupt) == (REQUESTS[:number] + REQUESTS[number + 1 :], 1), position


def test_a_bit_of_every_byte_flipped_while_the_process_lives(
    spooling: Spooling, segment: bytes, tmp_path: Path
) -> None:
    spool = spooling()
    for position in range(len(segment)):
        fill(spool, *REQUESTS)
        (path,) = segments(tmp_path / "spool")
        with open(path, "r+b") as file:
            file.seek(position)
            (byte,) = file.read(1)
            file.seek(position)
            file.write(bytes([byte ^ 0x10]))
        before = spool.stats()["corrupt"]
        found = drain(spool)
        state = position in [start + format.HEADER - 1 for start in STARTS[:-1]]
        lost = position >= len(format.MAGIC) and not state
        assert spool.stats()["corrupt"] - before == lost
        assert len(found) == len(REQUESTS) - lost
        assert [request for request in REQUESTS if request in found] == found
        assert (spool.records, spool.spans, spool.nbytes) == (0, 0, 0)


def test_a_segment_of_its_own_that_loses_records_while_it_is_sealed(
    spooling: Spooling, tmp_path: Path
) -> None:
    spool = spooling(segment_bytes=300)
    requests = [b"%d" % number * 50 for number in range(9)]
    fill(spool, *requests)
    second = segments(tmp_path / "spool")[1]
    data = bytearray(second.read_bytes())
    data[len(format.MAGIC) + 1] ^= 1
    second.write_bytes(data)
    found = drain(spool)
    assert len(found) == 8
    assert [request for request in requests if request in found] == found
    assert (spool.records, spool.spans, spool.nbytes, spool.stats()["corrupt"]) == (0, 0, 0, 1)


def test_damage_costs_its_own_segment_alone(orphans: Orphans, segment: bytes) -> None:
    orphans.leave(b"", segment, b"rubbish", segment[: STARTS[2] + 5], os.urandom(3000), segment)
    found, corrupt = orphans.adopted()
    assert found == REQUESTS + REQUESTS[:2] + REQUESTS
    assert corrupt == 2  # of what is random, the head and the rest; what is shorter than a head is torn


def test_a_length_beyond_all_limits(orphans: Orphans, segment: bytes) -> None:
    huge = Entry(len(format.MAGIC), format.MAX_PAYLOAD + 1, 1, 1, 0, True)
    orphans.leave(format.MAGIC + format.pack_header(huge) + segment[len(format.MAGIC) :])
    found, corrupt = orphans.adopted()
    assert (found, corrupt) == ([], 1)  # the others are not where their headers say


def test_what_looks_like_a_record_inside_of_another_is_none(
    orphans: Orphans, segment: bytes, spooling: Spooling, tmp_path: Path
) -> None:
    spool = spooling()
    fill(spool, segment, segment, b"last")
    (path,) = segments(tmp_path / "spool")
    data = bytearray(path.read_bytes())
    data[len(format.MAGIC) + 5] ^= 0xFF  # the length of the first one
    orphans.leave(bytes(data))
    assert orphans.adopted() == ([segment, b"last"], 1)


def test_a_payload_full_of_markers_is_searched_in_one_go(
    orphans: Orphans, spooling: Spooling, tmp_path: Path
) -> None:
    spool = spooling()
    payload = b"\xf5SP\xfa" * 100_000
    fill(spool, payload, b"next")
    (path,) = segments(tmp_path / "spool")
    data = bytearray(path.read_bytes())
    data[len(format.MAGIC) + 5] ^= 0xFF
    orphans.leave(bytes(data))
    assert orphans.adopted() == ([b"next"], 1)


@settings(max_examples=150)
@given(st.data())
def test_any_damage(data: st.DataObject) -> None:
    """Changed, cut, inserted or doubled: no record comes back that was not written, and none twice."""
    segment = _SEGMENT[0]
    damaged = bytearray(segment)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(damaged)))
        end = min(at + data.draw(st.integers(0, 60)), len(damaged))
        damaged[at:end] = data.draw(st.binary(max_size=40) | st.just(damaged[at:end] * 2))
    _ORPHANS[0].leave(bytes(damaged))
    found, _ = _ORPHANS[0].adopted()
    assert [request for request in REQUESTS if request in found] == found


_SEGMENT: list[bytes] = []
_ORPHANS: list[Orphans] = []


@pytest.fixture(autouse=True)
def _for_hypothesis(segment: bytes, orphans: Orphans) -> Iterator[None]:
    _SEGMENT[:], _ORPHANS[:] = [segment], [orphans]
    yield


@given(st.binary(max_size=3000))
def test_any_bytes_are_read_to_their_end(data: bytes) -> None:
    _check_scan(data)


@given(st.lists(st.sampled_from([b"\xf5SP\xfa", b"\xf5", b"\0" * 30, b"x" * 29]), max_size=40))
def test_any_markers_are_read_to_their_end(parts: list[bytes]) -> None:
    _check_scan(format.MAGIC + b"".join(parts))


def _check_scan(data: bytes) -> None:
    with open(_ORPHANS[0].directory / "bytes", "w+b") as file:
        file.write(data)
        file.flush()
        at = len(format.MAGIC) if data.startswith(format.MAGIC) else 0
        for found in format.scan(file.fileno()):
            assert isinstance(found, (Entry, Gap))
            assert found.offset == at < found.end
            at = found.end
        assert at == len(data)


# --- a disk that is full


def test_a_file_that_may_not_grow(spooling: Spooling, tmp_path: Path) -> None:
    """A write that is cut short by the system, at every length, is taken back."""
    resource = pytest.importorskip("resource")

    def work() -> list[object]:
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        spool = spooling()
        fill(spool, b"before")
        (path,) = segments(tmp_path / "spool")
        size = path.stat().st_size
        for allowed in range(size, size + format.HEADER + 6):
            resource.setrlimit(resource.RLIMIT_FSIZE, (allowed, limits[1]))
            if spool.append([b"short", b"ly"], 1):
                return ["written"]
            assert path.stat().st_size == size
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        reason = spool.refusal
        fill(spool, b"after")
        crash(spool)
        heir = spooling()
        heir.adopt()
        return [reason, *(data.decode() for data in drain(heir)), heir.stats()["corrupt"]]

    assert in_child(work) == ["File too large", "before", "after", 0]


@pytest.fixture(name="small_disk")
def small_disk_fixture(tmp_path: Path) -> Iterator[Path]:
    """A disk of 256 KiB."""
    where = tmp_path / "disk"
    where.mkdir()
    mount = shutil.which("mount")
    if mount is None or os.geteuid() != 0:
        pytest.skip("only root can mount a disk of its own")
    command = [mount, "-t", "tmpfs", "-o", "size=256k,mode=0700", "tmpfs", str(where)]
    made = subprocess.run(command, capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"no disk can be mounted here: {made.stderr.strip()}")
    try:
        yield where
    finally:
        subprocess.run(["umount", str(where)], check=True)


def test_a_full_disk(small_disk: Path, spooling: Spooling) -> None:
    spool = spooling(small_disk / "spool", segment_bytes=40_000)
    written = 0
    while spool.append([bytes([written]) * 10_000], 1):
        written += 1
    assert 15 < written < 26
    assert spool.refusal == "No space left on device"
    for _ in range(50):
        assert not spool.append([b"more" * 5000], 1)
    record = spool.oldest()
    while record is not None and record.data[0] < 10:
        spool.acknowledge(record)
        record = spool.oldest()
    fill(spool, b"there is room again")
    crash(spool)
    heir = spooling(small_disk / "spool")
    heir.adopt()
    assert [data[:1] for data in drain(heir)] == [bytes([n]) for n in range(10, written)] + [b"t"]
    assert heir.stats()["corrupt"] == 0


def test_enough_of_a_small_disk_stays_free(small_disk: Path, spooling: Spooling) -> None:
    spool = spooling(small_disk / "spool", min_free_bytes=100_000)
    while spool.append([b"x" * 10_000], 1):
        pass
    disk = os.statvfs(small_disk)
    assert 90_000 <= disk.f_bavail * disk.f_frsize <= 120_000
    assert spool.refusal == "less than 100000 bytes would be left free on the disk"

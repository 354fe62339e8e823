"""A spool's directory is in nobody else's hands; wrong arguments name themselves."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path
from typing import Any

import pytest

from otlpfast._spool import Spool
from otlpfast._spool import folders as folders_module

from .forks import in_child
from .spooling import (
    Spooling,
    clock_fixture,  # noqa: F401
    crash,
    directory_fixture,  # noqa: F401
    fill,
    folders,
    posix,
    segments,
    spooling_fixture,  # noqa: F401
)

pytestmark = posix


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


def test_a_lock_that_was_replaced_while_it_was_taken_is_not_it(
    spooling: Spooling, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = spooling()
    fill(spool, b"x")
    crash(spool)
    lock = folders(directory)[0] / "lock"
    flock = folders_module.fcntl.flock

    def slow(fd: int, operation: int) -> None:
        lock.unlink()
        lock.touch()
        flock(fd, operation)

    with monkeypatch.context() as patched:
        patched.setattr(folders_module.fcntl, "flock", slow)
        assert spooling().adopt() == 0
    assert spooling().adopt() == 1


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

"""The spool's directory, and the folders in it: one of each spool, under a lock for as long as that lives.

A folder is taken by whoever gets its lock, and only under the lock is anything in it changed or deleted.
Locks are flock()s: the kernel frees them when a process ends, however it ends, and they keep apart also the
spools of one process.
"""

from __future__ import annotations

import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import suppress
from time import time

from .segments import OPEN, Segment, Tally

try:
    import fcntl
except ModuleNotFoundError:  # Windows
    fcntl = None  # type: ignore[assignment]

LOCK = "lock"
_NAME = re.compile(r"\.?[0-9]{1,20}-[0-9a-f]{16}", re.ASCII)
_SEGMENT = re.compile(r"([0-9]{8,18})\.segment", re.ASCII)
_UNFINISHED = "."  # starts the name of a folder that its maker has not locked yet
_UNFINISHED_FOR = 3600.0  # seconds after which nobody goes on making it
_MOST_LOOKED_AT = 1000  # names of one search
_NEEDED = ("pwritev", "pwrite", "pread", "fstatvfs", "O_NOFOLLOW", "O_DIRECTORY")


def check_directory(path: str) -> None:
    """Makes the directory where it is missing. ValueError where a spool can't be kept there safely."""
    _check_system(path)
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with suppress(FileExistsError):
            os.mkdir(path, 0o700)
        os.close(open_directory(path))
    except OSError as error:
        why = f"{error.strerror}: {error.filename!r}"
        raise ValueError(f"directory={path!r}: it can't be made or opened: {why}") from None
    # By the rights that count for files, which are those of the effective user where the system can say.
    effective = os.access in os.supports_effective_ids
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK, effective_ids=effective):
        raise ValueError(f"directory={path!r}: it can't be written")


def _check_system(path: str) -> None:
    if fcntl is None or not all(hasattr(os, name) for name in _NEEDED):
        raise ValueError(f"directory={path!r}: a spool needs a POSIX system with flock() and pwritev()")


def open_directory(path: str, *, only_read: bool = False) -> int:
    """A descriptor of a spool's directory.

    ValueError where others could write there, or where it is none; OSError where it can't be opened.
    """
    _check_system(path)
    what = os.lstat(path)
    if stat.S_ISLNK(what.st_mode):
        raise ValueError(f"directory={path!r}: it is a symbolic link; the directory itself is allowed")
    if not stat.S_ISDIR(what.st_mode):
        raise ValueError(f"directory={path!r}: it is no directory")
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | OPEN)
    reason = "" if only_read else _unsafe(fd)
    if reason:
        os.close(fd)
        raise ValueError(f"directory={path!r}: {reason}")
    return fd


def _unsafe(fd: int) -> str:
    """Why nothing that is in there can be trusted, if so."""
    what = os.fstat(fd)
    if what.st_uid != os.geteuid():
        return f"it belongs to user {what.st_uid}; one of user {os.geteuid()} is allowed"
    if what.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return f"its mode is {stat.S_IMODE(what.st_mode):04o}; one that only its owner can write is allowed"
    return ""


def folder_names(directory: int) -> Iterator[str]:
    """Of all folders in a spool's directory, as the system lists them."""
    with os.scandir(directory) as entries:
        for entry in entries:
            if _NAME.fullmatch(entry.name):
                yield entry.name


class Search:
    """Goes through the folders of a spool's directory, a limited number at a time."""

    def __init__(self) -> None:
        self._names: Iterator[str] | None = None

    def names(self, directory: int) -> Iterator[str]:
        """From where the last call stopped, each at most once."""
        renewed = False
        for _ in range(_MOST_LOOKED_AT):
            if self._names is None:
                if renewed:
                    return
                self._names, renewed = folder_names(directory), True
            name = next(self._names, None)
            if name is None:
                self._names = None
            else:
                yield name

    def stop(self) -> None:
        """The next call starts anew; nothing stays open."""
        self._names = None


def is_finished(name: str) -> bool:
    """Whether a folder's maker had its lock when it was named so."""
    return not name.startswith(_UNFINISHED)


def _clear_unfinished(directory: int, name: str) -> None:
    """Deletes a folder whose maker was killed before it had locked it."""
    with suppress(OSError):
        made = os.stat(name, dir_fd=directory, follow_symlinks=False)
        if stat.S_ISDIR(made.st_mode) and time() - made.st_mtime > _UNFINISHED_FOR:
            _delete(directory, name)


def _delete(directory: int, name: str) -> None:
    """Deletes a folder in which nothing but a lock is."""
    with suppress(OSError):
        os.unlink(f"{name}/{LOCK}", dir_fd=directory)
    with suppress(OSError):
        os.rmdir(name, dir_fd=directory)


def segment_numbers(fd: int) -> list[int]:
    """Of the segments in a folder, oldest first."""
    found = (_SEGMENT.fullmatch(name) for name in os.listdir(fd))
    return sorted(int(match[1]) for match in found if match)


def is_held(fd: int) -> bool:
    """Whether a process that lives holds the lock of a folder. Takes it from nobody."""
    try:
        lock = os.open(LOCK, os.O_RDONLY | OPEN, dir_fd=fd)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(lock)
    return False


class Folder:
    """A folder whose lock is ours.

    Attributes:
        fd: a descriptor of it; -1 once it was closed.
        adopted: another spool made it.
        has_new_names: files were made in it since this was last unset.
        segments: oldest first.
    """

    def __init__(self, name: str, fd: int, lock: int, adopted: bool) -> None:
        self.name = name
        self.fd = fd
        self._lock = lock
        self.adopted = adopted
        self.has_new_names = not adopted
        self.segments: list[Segment] = []
        self._last = 0  # the number of the newest segment

    @classmethod
    def make(cls, directory: int) -> Folder:
        """A new one, empty and locked; OSError where there can be none."""
        name = f"{os.getpid()}-{secrets.token_hex(8)}"
        unlocked = _UNFINISHED + name  # nobody takes it for an orphan
        os.mkdir(unlocked, 0o700, dir_fd=directory)
        try:
            folder = cls._take(directory, unlocked, adopted=False)
            os.rename(unlocked, name, src_dir_fd=directory, dst_dir_fd=directory)
        except OSError:
            _delete(directory, unlocked)
            raise
        folder.name = name
        return folder

    @classmethod
    def adopt(cls, directory: int, name: str, tally: Tally) -> Folder | None:
        """One whose process is gone, with what waits in it; None where it is not, or another was faster.

        One in which nothing waits is deleted.
        """
        if not is_finished(name):
            _clear_unfinished(directory, name)
            return None
        try:
            folder = cls._take(directory, name, adopted=True)
        except OSError:
            return None
        for number in folder._numbers():
            segment = Segment(folder, number, tally)
            try:
                segment.take_stock()
            except OSError:  # it stays where it is, and with it the folder
                segment.give_up()
                continue
            if segment.records:
                folder.segments.append(segment)
            else:
                segment.remove()
        if folder.segments:
            return folder
        folder.remove(directory)
        return None

    @classmethod
    def _take(cls, directory: int, name: str, adopted: bool) -> Folder:
        """Locks a folder; OSError where that is not possible."""
        fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | OPEN, dir_fd=directory)
        lock = -1
        try:
            if _unsafe(fd):
                raise PermissionError
            lock = os.open(LOCK, os.O_RDWR | os.O_CREAT | OPEN, 0o600, dir_fd=fd)
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Between the two calls someone else may have had it, and deleted it and the folder.
            if not os.path.samestat(os.fstat(lock), os.stat(LOCK, dir_fd=fd, follow_symlinks=False)):
                raise FileNotFoundError
        except BaseException:
            os.close(fd)
            if lock >= 0:
                os.close(lock)
            raise
        return cls(name, fd, lock, adopted)

    def _numbers(self) -> list[int]:
        try:
            return segment_numbers(self.fd)
        except OSError:
            return []

    def add_segment(self, tally: Tally) -> Segment:
        """A new one, the last; OSError where there can be none."""
        self._last += 1  # first of all: an exception of a signal handler may leave a file behind
        segment = Segment(self, self._last, tally)
        segment.create()
        self.has_new_names = True
        self.segments.append(segment)
        return segment

    def first_segment(self) -> Segment | None:
        """The oldest in which something waits."""
        return next((segment for segment in self.segments if segment.records), None)

    def free_bytes(self) -> int:
        """What an ordinary user may still write to this disk; OSError if the system does not say."""
        disk = os.fstatvfs(self.fd)
        return disk.f_bavail * disk.f_frsize

    def remove(self, directory: int) -> None:
        """Deletes an empty folder. What was not put there by a spool stays, and the folder with it."""
        _delete(directory, self.name)
        self.close()

    def give_up(self) -> None:
        """Counts all that waits as lost: the files are gone."""
        for segment in self.segments:
            segment.give_up()
        self.close()

    def close(self) -> None:
        """Closes all descriptors, the lock's among them: it is free unless another process inherited it."""
        for segment in self.segments:
            segment.close()
        descriptors, self.fd, self._lock = (self.fd, self._lock), -1, -1
        for fd in descriptors:
            if fd >= 0:
                with suppress(OSError):
                    os.close(fd)

"""A directory of profiles that several processes write to, each of them keeping it within its limits."""

from __future__ import annotations

import errno
import os
import re
import secrets
import stat
import time
from contextlib import suppress
from datetime import datetime, timezone
from typing import NamedTuple

_NAME = re.compile(
    r"otlpfast-[0-9]{8}T[0-9]{9}Z-[0-9]{1,10}-[a-z]{1,10}-[0-9a-f]{8}\.(?:pb\.gz|zip)", re.ASCII
)
_UNFINISHED = re.compile(r"\.otlpfast-[0-9a-f]{16}\.tmp", re.ASCII)
_UNFINISHED_FOR = 3600.0  # seconds after which nobody goes on writing it


class _File(NamedTuple):
    name: str  # sorts by time
    nbytes: int


class TooLarge(ValueError):
    """A profile that is larger than all that the directory may hold."""


class ProfileDirectory:
    """Keeps the newest profiles. Deletes nothing but files that are named as its own and belong to this user.

    Args:
        path: made where it is missing, for this user alone.
        max_bytes: of all profiles in it.
        max_files: profiles in it.

    Raises:
        OSError: it can't be made, is no directory or can't be written.
    """

    def __init__(self, path: str, max_bytes: int, max_files: int) -> None:
        self.path = path
        self._max_bytes = max_bytes
        self._max_files = max_files
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with suppress(FileExistsError):
            os.mkdir(path, 0o700)
        if not stat.S_ISDIR(os.stat(path).st_mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
        if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)

    def add(self, kind: str, data: bytes, time_unix_nano: int, suffix: str = "pb.gz") -> str:
        """Writes a profile, for this user alone, and gives its path.

        Whoever looks sees all of it or nothing. The oldest profiles go to make room.

        Raises:
            TooLarge: it is larger than ``max_bytes``.
            OSError: it can't be written.
        """
        if len(data) > self._max_bytes:
            raise TooLarge(f"a {kind} profile of {len(data)} bytes: at most {self._max_bytes} are allowed")
        moment = datetime.fromtimestamp(time_unix_nano // 10**6 / 1e3, timezone.utc)
        stamp = f"{moment:%Y%m%dT%H%M%S}{moment.microsecond // 1000:03d}Z"
        name = f"otlpfast-{stamp}-{os.getpid()}-{kind}-{secrets.token_hex(4)}.{suffix}"
        self._make_room(len(data))
        path = os.path.join(self.path, name)
        unfinished = os.path.join(self.path, f".otlpfast-{secrets.token_hex(8)}.tmp")
        try:
            write_private(unfinished, data)
            os.rename(unfinished, path)
        except BaseException:
            with suppress(OSError):
                os.unlink(unfinished)
            raise
        return path

    def _make_room(self, nbytes: int) -> None:
        files = sorted(self._files())
        total = sum(file.nbytes for file in files)
        many = len(files)
        for file in files:
            if total + nbytes <= self._max_bytes and many < self._max_files:
                break
            with suppress(FileNotFoundError):  # another process was faster
                os.unlink(os.path.join(self.path, file.name))
            total -= file.nbytes
            many -= 1

    def _files(self) -> list[_File]:
        found = []
        with os.scandir(self.path) as entries:
            for entry in entries:
                is_unfinished = _UNFINISHED.fullmatch(entry.name) is not None
                if not is_unfinished and _NAME.fullmatch(entry.name) is None:
                    continue
                try:
                    what = entry.stat(follow_symlinks=False)
                except OSError:
                    continue
                if not stat.S_ISREG(what.st_mode) or (hasattr(os, "geteuid") and what.st_uid != os.geteuid()):
                    continue
                if not is_unfinished:
                    found.append(_File(entry.name, what.st_size))
                elif time.time() - what.st_mtime > _UNFINISHED_FOR:
                    with suppress(OSError):
                        os.unlink(entry.path)
        return found


def write_private(path: str, data: bytes) -> None:
    """Writes a file that is not there yet, for this user alone."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    with open(os.open(path, flags | getattr(os, "O_CLOEXEC", 0), 0o600), "wb") as file:
        file.write(data)

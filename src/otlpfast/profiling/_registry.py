"""Where processes that serve their profiles say so, for ``otlpfast profile --pid`` to find them.

A file of each process, in a directory that only its user can write or read: the address, and the token where
there is one. What a process has left that is gone is removed by the next who looks.
"""

from __future__ import annotations

import atexit
import errno
import json
import os
import re
import secrets
import stat
import tempfile
from contextlib import suppress
from typing import NamedTuple

from ._directory import write_private


class Served(NamedTuple):
    """Where a process serves its profiles."""

    pid: int
    url: str
    token: str | None


def announce(url: str, token: str | None = None) -> None:
    """Tells where this process serves its profiles; the last that is told counts. Never raises.

    A forked child has to announce its own.
    """
    global _announced
    entry = json.dumps({"url": url, "token": token, "started": _started(os.getpid())})
    for directory in _directories(_uid()):
        try:
            with suppress(FileExistsError):
                os.mkdir(directory, 0o700)
            _check(directory, _uid())
            path = os.path.join(directory, _name(os.getpid()))
            unfinished = f"{path}.{secrets.token_hex(8)}"
            try:
                write_private(unfinished, entry.encode())
                os.replace(unfinished, path)
            finally:
                with suppress(OSError):
                    os.unlink(unfinished)
        except OSError:
            continue
        _announced = os.getpid(), path, url
        _sweep(directory)
        return


def withdraw(url: str | None = None) -> None:
    """Takes back what this process has announced, or that address alone. Never raises."""
    global _announced
    announced = _announced
    if announced is None or url not in (None, announced[2]):
        return
    _announced = None
    if announced[0] == os.getpid():
        with suppress(OSError):
            os.unlink(announced[1])


def find(pid: int) -> Served | None:
    """Where a process serves its profiles; None where it has not said so, or not to this user."""
    uid = owner(pid)
    if uid is None or _uid() not in (0, uid):
        return None
    for directory in _directories(uid):
        path = os.path.join(directory, _name(pid))
        try:
            _check(directory, uid)
            with open(os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0)), encoding="utf-8") as file:
                if _owner_of(os.fstat(file.fileno())) != uid:
                    continue
                entry = json.load(file)
            if entry["started"] != _started(pid):  # of an earlier process with this number
                os.unlink(path)
                continue
            return Served(pid, str(entry["url"]), None if entry["token"] is None else str(entry["token"]))
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return None


def owner(pid: int) -> int | None:
    """The user to whom a process belongs; None where there is no such process."""
    try:
        return _owner_of(os.stat(f"/proc/{pid}"))
    except OSError:
        if os.path.isdir("/proc/self"):
            return None
    if os.name != "posix":
        return _uid()
    try:
        os.kill(pid, 0)
    except (OSError, OverflowError):
        return None
    return _uid()


def _owner_of(what: os.stat_result) -> int:
    return what.st_uid if hasattr(os, "geteuid") else 0


def _uid() -> int:
    return os.geteuid() if hasattr(os, "geteuid") else 0


def _directories(uid: int) -> list[str]:
    """Where a process of that user may have announced itself, the best place first."""
    own = os.environ.get("XDG_RUNTIME_DIR", "") if uid == _uid() else ""
    runtime = [os.path.join(folder, "otlpfast") for folder in (own, f"/run/user/{uid}") if folder]
    folders = ["/tmp"]
    with suppress(OSError):  # there is none that can be written
        folders.insert(0, tempfile.gettempdir())
    temporary = [os.path.join(folder, f"otlpfast-{uid}") for folder in folders]
    return list(dict.fromkeys([*runtime, *temporary]))


def _check(directory: str, uid: int) -> None:
    """PermissionError for a directory that others than that user could have written in."""
    what = os.lstat(directory)
    private = os.name != "posix" or not what.st_mode & (stat.S_IRWXG | stat.S_IRWXO)
    if not stat.S_ISDIR(what.st_mode) or _owner_of(what) != uid or not private:
        raise PermissionError(errno.EACCES, "not a private directory", directory)


def _name(pid: int) -> str:
    # Containers that share a directory each count their processes from 1.
    return f"{pid}-{_namespace()}.json"


def _namespace() -> str:
    try:
        return "".join(filter(str.isdigit, os.readlink("/proc/self/ns/pid"))) or "0"
    except OSError:
        return "0"


def _started(pid: int) -> str:
    """What tells a process from an earlier one with its number; empty where the system does not say."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def _sweep(directory: str) -> None:
    """Removes what processes have left that are gone."""
    ours = re.compile(rf"([0-9]{{1,10}})-{_namespace()}\.json(?:\.[0-9a-f]{{16}})?", re.ASCII)
    with suppress(OSError):
        for name in os.listdir(directory):
            found = ours.fullmatch(name)
            if found and owner(int(found[1])) is None:
                with suppress(OSError):
                    os.unlink(os.path.join(directory, name))


_announced: tuple[int, str, str] | None = None
atexit.register(withdraw)

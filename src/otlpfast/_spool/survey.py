"""Looks at a spool's directory without changing anything, also while processes use it."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from . import records
from .folders import folder_names, is_finished, is_held, open_directory, segment_numbers
from .segments import OPEN, segment_name


@dataclass(frozen=True, slots=True)
class Damage:
    """Bytes that are no record, or a record whose payload is not what it was."""

    file: str
    offset: int
    torn: bool


@dataclass(slots=True)
class Survey:
    """What waits in one folder.

    Attributes:
        folder: its name.
        live: a process holds it; otherwise it is an orphan.
        nbytes: of the requests.
        oldest: when the first of them was created, seconds since 1970; None where nothing waits.
    """

    folder: str
    live: bool
    segments: int = 0
    records: int = 0
    spans: int = 0
    nbytes: int = 0
    oldest: float | None = None
    damage: list[Damage] = field(default_factory=list)


def survey(directory: str, *, thorough: bool = False) -> Iterator[Survey]:
    """What is in each folder, in order of their names. Thoroughly: the payloads of all that waits are read.

    ValueError or OSError where the directory, or what is in it, can't be looked at.
    """
    fd = open_directory(directory, only_read=True)
    try:
        for name in sorted(filter(is_finished, folder_names(fd))):
            with _what_is_there():
                yield _survey_folder(fd, name, thorough)
    finally:
        os.close(fd)


@contextmanager
def _what_is_there() -> Iterator[None]:
    """Passes over what is delivered and deleted just now, and what is no folder or file at all."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP):
            raise


def _survey_folder(directory: int, name: str, thorough: bool) -> Survey:
    fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | OPEN, dir_fd=directory)
    try:
        found = Survey(name, is_held(fd))
        numbers = segment_numbers(fd)
        for number in numbers:
            with _what_is_there():
                _survey_segment(fd, segment_name(number), found, thorough, number == numbers[-1])
        return found
    finally:
        os.close(fd)


def _survey_segment(folder: int, name: str, found: Survey, thorough: bool, last: bool) -> None:
    fd = os.open(name, os.O_RDONLY | OPEN, dir_fd=folder)
    try:
        found.segments += 1
        for item in records.scan(fd):
            if isinstance(item, records.Gap):
                if not (item.torn and last and found.live):  # else it may just be being written
                    found.damage.append(Damage(name, item.offset, item.torn))
            elif item.waiting:
                found.records += 1
                found.spans += item.spans
                found.nbytes += item.length
                created = item.created / 1e9
                found.oldest = created if found.oldest is None else min(found.oldest, created)
                if thorough and records.read_payload(fd, item) is None:
                    found.damage.append(Damage(name, item.offset, torn=False))
    finally:
        os.close(fd)

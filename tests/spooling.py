"""What the tests of the spool share: spools that are closed after the test, and looks into their files."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from otlpfast._spool import Spool

posix = pytest.mark.skipif(os.name != "posix", reason="a spool needs a POSIX system")


@pytest.fixture(name="directory")
def directory_fixture(tmp_path: Path) -> Path:
    return tmp_path / "spool"


@pytest.fixture(name="spooling")
def spooling_fixture(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., Spool]:
    """Spools in the same directory, without a care for the free disk, that are closed after the test."""

    def new(directory: str | os.PathLike[str] | None = None, **settings: Any) -> Spool:
        made = Spool(directory or tmp_path / "spool", **{"min_free_bytes": 0, **settings})
        request.addfinalizer(made.close)
        return made

    return new


Spooling = Callable[..., Spool]


def folders(spool: Path) -> list[Path]:
    return sorted(path for path in spool.iterdir() if path.is_dir()) if spool.exists() else []


def segments(spool: Path) -> list[Path]:
    return sorted(path for folder in folders(spool) for path in folder.glob("*.segment"))


def crash(spool: Spool) -> None:
    """What the end of its process does to a spool: its descriptors are closed, and nothing else happens."""
    spool.forget()


def drain(spool: Spool) -> list[bytes]:
    """What waits, oldest first; all of it acknowledged."""
    found = []
    while (record := spool.oldest()) is not None:
        found.append(record.data)
        spool.acknowledge(record)
    return found


def fill(spool: Spool, *requests: bytes) -> None:
    for request in requests:
        assert spool.append([request], 1), spool.refusal


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

"""Periodic profiles: files that appear, a directory that stays within its limits, forks and the end."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from otlpfast.profiling import Profile, ProfileConfig, Profiler
from otlpfast.profiling._directory import ProfileDirectory, TooLarge
from otlpfast.profiling._native import sampler

from .forks import in_child
from .starting import NO_INSTRUMENTATION, environment, finished, python, run

PATIENCE = 30  # seconds
NAME = re.compile(r"otlpfast-\d{8}T\d{9}Z-(\d+)-(\w+)-[0-9a-f]{8}\.pb\.gz")
SOON: dict[str, Any] = {"every": 0.2, "seconds": 0.05}
DAY = 86_400 * 10**9


def wait_for(condition: Callable[[], Any]) -> Any:
    """What it gives, once that is true."""
    deadline = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)
    return found


def profiles(directory: Path, kind: str = "cpu", pid: int | None = None) -> list[Path]:
    """The files of one kind and process, the oldest first."""
    if not directory.is_dir():
        return []
    wanted = (str(pid or os.getpid()), kind)
    found = [(path, NAME.fullmatch(path.name)) for path in sorted(directory.iterdir())]
    return [path for path, match in found if match and match.groups() == wanted]


# --- files


def test_profiles_appear_again_and_again_until_the_end(tmp_path: Path) -> None:
    directory = tmp_path / "deep" / "profiles"
    with Profiler().start_periodic(directory, kinds=("cpu", "threads"), **SOON) as periodic:
        first = wait_for(lambda: profiles(directory)[2:])[0]
        wait_for(lambda: profiles(directory, "threads"))
        assert periodic.directory == str(directory)
    assert Profile.load(first).kind == "cpu"
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert stat.S_IMODE(first.stat().st_mode) == 0o600
    assert periodic.saved == len(os.listdir(directory))
    assert periodic.failed == 0
    assert "otlpfast-profiles" not in {thread.name for thread in threading.enumerate()}


@pytest.mark.skipif(sampler is None, reason="each block is counted without the native sampler")
def test_the_heap_is_sampled_also_between_two_profiles(tmp_path: Path) -> None:
    config = ProfileConfig(heap_sample_bytes=1)

    def hoard() -> list[bytes]:
        return [bytes(1000) for _ in range(100)]

    with Profiler(config).start_periodic(tmp_path, **SOON):
        wait_for(lambda: profiles(tmp_path, "heap"))
        kept = hoard()
        seen = len(profiles(tmp_path, "heap"))
        path = wait_for(lambda: profiles(tmp_path, "heap")[seen + 1 :])[0]
    assert kept
    assert "hoard" in "".join(frame.function for s in Profile.load(path).samples for frame in s.stack)


def test_a_directory_that_was_filled_stays_within_its_limits(tmp_path: Path) -> None:
    config = ProfileConfig(max_files=3)
    with Profiler(config).start_periodic(tmp_path, kinds=("threads",), **SOON) as periodic:
        wait_for(lambda: periodic.saved > 6)
    assert len(profiles(tmp_path, "threads")) == 3


def test_while_such_a_profile_is_under_way_there_is_none_and_one_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Profiler(), Profiler().start_periodic(tmp_path, kinds=("cpu",), **SOON) as periodic:
        wait_for(lambda: periodic.failed > 2)
    assert profiles(tmp_path) == []
    assert [record.getMessage() for record in caplog.records] == [
        "no periodic cpu profile: cpu profiling already in use"
    ]


def test_where_none_can_be_taken_it_is_one_line_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError("no timers")

    monkeypatch.setattr("otlpfast.profiling.periodic.Run", refuse)
    monkeypatch.setattr("otlpfast.profiling.periodic.HeapHold", refuse)
    with Profiler().start_periodic(tmp_path, kinds=("heap",), **SOON) as periodic:
        wait_for(lambda: periodic.failed > 2)
    assert caplog.messages == [
        "no periodic heap profiles: no timers",
        "no periodic profile: OSError: no timers",
    ]


def test_a_directory_that_is_gone_is_one_line_and_it_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    directory = tmp_path / "profiles"
    with Profiler().start_periodic(directory, kinds=("threads",), **SOON) as periodic:
        wait_for(lambda: periodic.saved)
        directory.rename(tmp_path / "elsewhere")
        wait_for(lambda: periodic.failed > 2)
        (tmp_path / "elsewhere").rename(directory)
        seen = periodic.saved
        wait_for(lambda: periodic.saved > seen)
    [record] = caplog.records
    assert f"a periodic threads profile can't be kept in {str(directory)!r}" in record.getMessage()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "directory=None: a path is needed"),
        ({"directory": 5}, "directory=5: a path"),
        ({"directory": "here", "every": 0}, "every=0: a number of seconds"),
        (
            {"directory": "here", "every": 1, "seconds": 2},
            "seconds=2: a number of seconds above 0, at most 1",
        ),
        ({"directory": "here", "kinds": ("goroutine",)}, "are allowed"),
    ],
)
def test_what_is_not_allowed_is_said_at_once(options: dict[str, Any], words: str) -> None:
    with pytest.raises((TypeError, ValueError), match=words):
        Profiler().start_periodic(**options)


def test_a_directory_that_can_not_be_is_said_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        Profiler().start_periodic(tmp_path / "file")
    with pytest.raises(OSError, match="file"):
        Profiler().start_periodic(tmp_path / "file" / "below")


def test_a_directory_that_can_not_be_written_is_said_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)  # the tests may be root's, who may all
    with pytest.raises(PermissionError, match=re.escape(str(tmp_path))):
        Profiler().start_periodic(tmp_path)


# --- the directory


def filled(path: Path, sizes: list[int], **limits: int) -> list[int]:
    """The sizes of the files that are there after such files were added, one a day."""
    directory = ProfileDirectory(str(path), **{"max_bytes": 10_000, "max_files": 100, **limits})
    for day, size in enumerate(sizes):
        directory.add("cpu", bytes(size), day * DAY)
    return [file.stat().st_size for file in sorted(path.iterdir())]


def test_the_oldest_go_to_make_room(tmp_path: Path) -> None:
    assert filled(tmp_path / "bytes", [4000, 3000, 2000, 5000]) == [3000, 2000, 5000]
    assert filled(tmp_path / "all", [4000, 3000, 10_000]) == [10_000]
    assert filled(tmp_path / "files", [1, 2, 3, 4], max_files=2) == [3, 4]


def test_a_profile_that_is_larger_than_all_may_be_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TooLarge, match="10001 bytes: at most 10000"):
        filled(tmp_path, [10_001])
    assert os.listdir(tmp_path) == []


def test_files_of_others_are_neither_counted_nor_deleted(tmp_path: Path) -> None:
    theirs = "notes.txt", "otlpfast-20260101T000000000Z-1-cpu.pb.gz", ".otlpfast-x.tmp", "otlpfast"
    for name in theirs:
        (tmp_path / name).write_bytes(bytes(20_000))
    link = tmp_path / "otlpfast-20200101T000000000Z-1-cpu-00000000.pb.gz"
    link.symlink_to(tmp_path / "notes.txt")
    (tmp_path / "otlpfast-20200101T000000000Z-1-cpu-00000001.pb.gz").mkdir()
    before = set(os.listdir(tmp_path))
    filled(tmp_path, [6000, 6000, 6000])
    assert before < set(os.listdir(tmp_path))
    assert len(os.listdir(tmp_path)) == len(before) + 1


def test_what_was_never_finished_is_deleted_when_it_is_old(tmp_path: Path) -> None:
    old, new = (tmp_path / f".otlpfast-{digit * 16}.tmp" for digit in "01")
    old.write_text("")
    new.write_text("")
    os.utime(old, (0, 0))
    filled(tmp_path, [1])
    assert not old.exists() and new.exists()


def test_names_tell_when_and_sort_by_that(tmp_path: Path) -> None:
    directory = ProfileDirectory(str(tmp_path), 10_000, 10)
    path = directory.add("heap", b"x", 1_767_225_599_999_999_999)
    assert os.path.basename(path).startswith(f"otlpfast-20251231T235959999Z-{os.getpid()}-heap-")
    later = directory.add("cpu", b"x", 1_767_225_600_000_000_000)
    assert path < later


def test_processes_share_a_directory(tmp_path: Path) -> None:
    code = (
        "import sys, time\n"
        "from otlpfast.profiling import ProfileConfig, Profiler\n"
        "profiler = Profiler(ProfileConfig(directory=sys.argv[1], max_files=4))\n"
        "with profiler.start_periodic(every=0.05, seconds=0.01, kinds=('threads',)) as periodic:\n"
        "    while periodic.saved + periodic.failed < 20: time.sleep(0.01)\n"
        "assert not periodic.failed\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    others = [
        subprocess.Popen(command, env=environment(), stderr=subprocess.PIPE, text=True) for _ in range(3)
    ]
    for process in others:
        _, errors = process.communicate(timeout=4 * PATIENCE)
        assert process.returncode == 0, errors
        assert errors == ""
    directory = ProfileDirectory(str(tmp_path), 1 << 20, 4)
    directory.add("cpu", b"x", time.time_ns())
    assert len(os.listdir(tmp_path)) == 4


# --- processes


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_child_takes_its_own(tmp_path: Path) -> None:
    with Profiler().start_periodic(tmp_path, kinds=("cpu",), **SOON):
        wait_for(lambda: profiles(tmp_path))
        child = in_child(lambda: bool(wait_for(lambda: profiles(tmp_path)[1:])) and os.getpid())
        seen = len(profiles(tmp_path))
        wait_for(lambda: len(profiles(tmp_path)) > seen)
    assert child != os.getpid()
    assert len(profiles(tmp_path, pid=child)) >= 2


def test_the_end_of_the_process_does_not_wait_for_a_profile(tmp_path: Path) -> None:
    code = (
        "import sys, time\n"
        "from otlpfast.profiling import Profiler\n"
        "Profiler().start_periodic(sys.argv[1], seconds=500)\n"
        "time.sleep(0.5)\n"
    )
    done = python(code, None, str(tmp_path))  # which has a time limit below 500 s
    assert done.stderr == ""
    assert os.listdir(tmp_path) == []


CONFIGURE = "import otlpfast; otlpfast.configure()\n"
SHOW = (
    "import threading; print(any(t.name == 'otlpfast-profiles' for t in threading.enumerate()))\n"
    "from otlpfast.profiling import starting; print(starting._periodic and starting._periodic.directory)\n"
)


def test_a_variable_begins_them_where_otlpfast_is_configured(tmp_path: Path) -> None:
    wanted = {"OTLPFAST_PROFILE_DIR": str(tmp_path / "profiles"), "OTEL_TRACES_EXPORTER": "none"}
    shown = f"True\n{tmp_path / 'profiles'}\n"
    assert python(CONFIGURE + SHOW, **wanted).stdout == shown
    (tmp_path / "app.py").write_text(SHOW)
    done = finished(run("app.py"), cwd=tmp_path, **wanted, **NO_INSTRUMENTATION)
    assert done.stdout == shown, done.stderr
    assert python(CONFIGURE + SHOW, **{**wanted, "OTLPFAST_DISABLED": "true"}).stdout == "False\nNone\n"
    assert python(CONFIGURE + SHOW, **{**wanted, "OTLPFAST_PROFILE_DIR": ""}).stdout == "False\nNone\n"


def test_a_variable_that_can_not_be_followed_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    path = str(tmp_path / "file")
    done = python(CONFIGURE + SHOW, OTLPFAST_PROFILE_DIR=path, OTEL_TRACES_EXPORTER="none")
    assert done.stdout == "False\nNone\n"
    assert done.stderr.startswith(f"OTLPFAST_PROFILE_DIR={path!r}: no periodic profiles of process ")
    assert done.stderr.count("\n") == 1

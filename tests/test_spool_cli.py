"""``otlpfast spool``: what it says of a directory, and that it sends what is left, to a real collector."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from otlpfast.cli import main

from .collector import Collector, Reply
from .exporting import collector_fixture, free_port  # noqa: F401
from .pipeline import SANITIZED, names
from .spooling import Spooling, crash, directory_fixture, fill, folders, posix, segments, spooling_fixture  # noqa: F401
from .test_parse import request_of

pytestmark = posix

Capture = pytest.CaptureFixture[str]


def leave(spooling: Spooling, *counts: int, **settings: Any) -> None:
    """An orphan with requests of so many spans."""
    spool = spooling(**settings)
    for count in counts:
        assert spool.append([request_of(count)], count)
    crash(spool)


def damage(path: Path, position: int) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 0x40
    path.write_bytes(data)


# --- ls


def test_ls_lists_what_waits(spooling: Spooling, directory: Path, capsys: Capture) -> None:
    leave(spooling, 3, 4)
    live = spooling()
    assert live.append([b"x" * 2000], 5)
    assert main(["spool", "ls", str(directory)]) == 0
    head, *rows, sums = capsys.readouterr().out.splitlines()
    assert head.split() == ["FOLDER", "STATE", "SEGMENTS", "RECORDS", "SPANS", "BYTES", "OLDEST"]
    size = len(request_of(3)) + len(request_of(4))
    assert sorted(row.split()[1:6] for row in rows) == [
        ["live", "1", "1", "5", "2,000"],
        ["orphan", "1", "2", "7", str(size)],
    ]
    assert all(row.endswith(" s") for row in rows)
    assert sums.split() == ["2", "folders", "2", "3", "12", f"{size + 2000:,}"]


def test_ls_as_json(spooling: Spooling, directory: Path, capsys: Capture) -> None:
    leave(spooling, 3)
    assert main(["spool", "ls", "--json", str(directory)]) == 0
    (folder,) = json.loads(capsys.readouterr().out)
    assert isinstance(folder.pop("oldest_unix_seconds"), float)
    assert folder == {
        "folder": folders(directory)[0].name,
        "live": False,
        "segments": 1,
        "records": 1,
        "spans": 3,
        "bytes": len(request_of(3)),
        "damage": [],
    }


def test_ls_of_nothing(spooling: Spooling, directory: Path, capsys: Capture) -> None:
    directory.mkdir()
    assert main(["spool", "ls", str(directory)]) == 0
    assert capsys.readouterr().out.splitlines()[1].split() == ["0", "folders", "0", "0", "0", "0"]


@pytest.mark.parametrize("command", ["ls", "verify", "drain"])
def test_a_directory_that_is_not_there_is_not_made(directory: Path, capsys: Capture, command: str) -> None:
    assert main(["spool", command, str(directory)]) == 1
    assert capsys.readouterr() == ("", f"otlpfast spool {command}: {directory}: no such file or directory\n")
    assert not directory.exists()


def test_ls_passes_over_what_is_no_folder_or_segment(
    spooling: Spooling, directory: Path, capsys: Capture
) -> None:
    leave(spooling, 3)
    (directory / "1-0123456789abcdef").write_text("a file")
    (directory / "2-0123456789abcdef").symlink_to(directory)
    (directory / ".3-0123456789abcdef").mkdir()
    (folders(directory)[-1] / "00000007.segment").mkdir()
    (folders(directory)[-1] / "00000008.segment").symlink_to(segments(directory)[0])
    for command in ("ls", "verify"):
        assert main(["spool", command, str(directory)]) == 0
        assert "1 folder" in capsys.readouterr().out


def test_a_file_is_no_directory(directory: Path, capsys: Capture) -> None:
    directory.write_text("")
    assert main(["spool", "ls", str(directory)]) == 1
    assert "it is no directory" in capsys.readouterr().err


# --- verify


def test_verify_finds_nothing_wrong(spooling: Spooling, directory: Path, capsys: Capture) -> None:
    leave(spooling, 3, 4)
    fill(spooling(), b"x")
    assert main(["spool", "verify", str(directory)]) == 0
    assert capsys.readouterr().out == "3 records in 2 folders: 0 torn, 0 damaged\n"


def test_verify_says_what_is_wrong_and_changes_nothing(
    spooling: Spooling, directory: Path, capsys: Capture
) -> None:
    leave(spooling, 3, 3, 3)
    (path,) = segments(directory)
    size = path.stat().st_size
    one = (size - 8) // 3
    damage(path, 8 + one + 40)  # the payload of the second
    os.truncate(path, size - 1)
    before = path.read_bytes(), path.stat().st_mtime_ns
    assert main(["spool", "verify", str(directory)]) == 1
    assert capsys.readouterr().out.splitlines() == [
        f"{path}: byte {8 + one}: damaged",
        f"{path}: byte {8 + 2 * one}: torn",
        "2 records in 1 folder: 1 torn, 1 damaged",
    ]
    assert main(["spool", "verify", "--json", str(directory)]) == 1
    (folder,) = json.loads(capsys.readouterr().out)
    assert folder["damage"] == [
        {"file": path.name, "byte": 8 + one, "torn": False},
        {"file": path.name, "byte": 8 + 2 * one, "torn": True},
    ]
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before


def test_verify_takes_no_write_under_way_for_a_torn_one(
    spooling: Spooling, directory: Path, capsys: Capture
) -> None:
    spool = spooling()
    fill(spool, b"x" * 100, b"y" * 100)
    (path,) = segments(directory)
    os.truncate(path, path.stat().st_size - 30)
    assert main(["spool", "verify", str(directory)]) == 0
    crash(spool)
    assert main(["spool", "verify", str(directory)]) == 1
    assert capsys.readouterr().out.splitlines()[-1] == "1 record in 1 folder: 1 torn, 0 damaged"


def test_looking_takes_no_orphan_from_who_wants_to_adopt_it(spooling: Spooling, directory: Path) -> None:
    leave(spooling, 3)
    for command in ("ls", "verify"):
        assert main(["spool", command, str(directory)]) == 0
    assert spooling().adopt() == 1


# --- drain


def drain_to(collector: Collector, directory: Path, *options: str) -> int:
    return main(["spool", "drain", "--endpoint", collector.endpoint, *options, str(directory)])


def test_drain_sends_orphans_and_leaves_the_living_alone(
    spooling: Spooling, directory: Path, collector: Collector, capsys: Capture
) -> None:
    for count in (3, 4, 5):
        leave(spooling, count, count + 10)
    live = spooling()
    fill(live, b"x")
    assert drain_to(collector, directory) == 0
    assert sorted(len(request.spans) for request in collector.requests) == [3, 4, 5, 13, 14, 15]
    assert names(collector.requests[0].spans) == ["span 0", "span 1", "span 2"]
    assert capsys.readouterr().out.splitlines() == [
        "54 spans sent",
        "left alone: 1 record in 1 folder of running processes",
    ]
    assert len(folders(directory)) == 1
    assert live.records == 1


def test_drain_stops_where_nobody_listens(spooling: Spooling, directory: Path, capsys: Capture) -> None:
    leave(spooling, 3, 4)
    endpoint = f"http://127.0.0.1:{free_port()}/v1/traces"
    assert main(["spool", "drain", "--endpoint", endpoint, "--timeout", "0.3", str(directory)]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "connection refused" in err
    assert err.splitlines()[-1] == "otlpfast spool drain: stopped after 0 spans; 2 records with 7 spans left"
    assert spooling().adopt() == 2
    assert logging.getLogger("otlpfast").handlers == []


def test_drain_goes_on_where_it_stopped(
    spooling: Spooling, directory: Path, collector: Collector, capsys: Capture
) -> None:
    leave(spooling, 3, 4, 5)
    collector.script(Reply(), then=Reply(500))
    assert drain_to(collector, directory) == 1
    err = capsys.readouterr().err
    assert "HTTP 500" in err
    assert err.splitlines()[-1] == "otlpfast spool drain: stopped after 3 spans; 2 records with 9 spans left"
    collector.script(then=Reply())
    assert drain_to(collector, directory) == 0
    assert [len(request.spans) for request in collector.requests] == [3, 4, 4, 5]
    assert folders(directory) == []


def test_what_a_collector_refuses_for_good_is_not_sent_again(
    spooling: Spooling, directory: Path, collector: Collector, capsys: Capture
) -> None:
    leave(spooling, 3, 4, 5)
    collector.script(Reply(400), Reply.partial_success(2))
    assert drain_to(collector, directory) == 0
    assert capsys.readouterr().out == "7 spans sent, 5 spans refused by the collector\n"
    assert folders(directory) == []


def test_drain_skips_what_is_damaged(
    spooling: Spooling, directory: Path, collector: Collector, capsys: Capture
) -> None:
    leave(spooling, 3, 4)
    damage(segments(directory)[0], 50)
    assert drain_to(collector, directory) == 0
    assert capsys.readouterr().out == "4 spans sent, 1 damaged record skipped\n"


def test_drain_sends_many_orphans(
    spooling: Spooling, directory: Path, collector: Collector, capsys: Capture
) -> None:
    for _ in range(40):
        leave(spooling, 1)
    assert drain_to(collector, directory) == 0
    assert capsys.readouterr().out == "40 spans sent\n"
    assert folders(directory) == []


def test_drain_takes_the_standard_variables(
    spooling: Spooling, directory: Path, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave(spooling, 3)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.base)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "api-key=secret")
    assert main(["spool", "drain", str(directory)]) == 0
    assert collector.wait_for_request().headers["api-key"] == "secret"


@pytest.mark.skipif(SANITIZED, reason="gRPC's threads hold locks of the sanitizers while other tests fork")
def test_drain_by_grpc(spooling: Spooling, directory: Path, capsys: Capture) -> None:
    from .grpc_collector import GRPCCollector

    leave(spooling, 3, 4)
    with GRPCCollector() as collector:
        options = ["--protocol", "grpc", "--endpoint", collector.endpoint]
        assert main(["spool", "drain", *options, str(directory)]) == 0
    assert capsys.readouterr().out == "7 spans sent\n"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--timeout", "0"], "a positive number of seconds is allowed, not '0'"),
        (["--timeout", "soon"], "a positive number of seconds is allowed, not 'soon'"),
        (["--protocol", "udp"], "invalid choice: 'udp'"),
    ],
)
def test_wrong_options(directory: Path, capsys: Capture, options: list[str], words: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["spool", "drain", *options, str(directory)])
    assert ended.value.code == 2
    assert words in capsys.readouterr().err


def test_a_wrong_endpoint(spooling: Spooling, directory: Path, capsys: Capture) -> None:
    leave(spooling, 3)
    assert main(["spool", "drain", "--endpoint", "localhost", str(directory)]) == 1
    assert capsys.readouterr().err.startswith("otlpfast spool drain: endpoint='localhost'")


def test_a_directory_that_others_can_write_is_not_drained(
    spooling: Spooling, directory: Path, capsys: Capture
) -> None:
    leave(spooling, 3)
    directory.chmod(0o777)
    assert main(["spool", "ls", str(directory)]) == 0
    assert main(["spool", "drain", str(directory)]) == 1
    assert "its mode is 0777" in capsys.readouterr().err


# --- the command


def test_help_teaches() -> None:
    for command in ([], ["ls"], ["verify"], ["drain"]):
        answer = subprocess.run(
            [sys.executable, "-m", "otlpfast.cli", "spool", *command, "--help"],
            capture_output=True,
            text=True,
            check=True,
        )
        assert answer.stdout.startswith("usage: otlpfast spool")
        assert all(len(line) < 120 for line in answer.stdout.splitlines())
        if command in ([], ["drain"]):
            assert "examples:" in answer.stdout


def test_a_command_is_wanted(capsys: Capture) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["spool"])
    assert ended.value.code == 2

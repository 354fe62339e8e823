"""What the tests of ``otlpfast doctor`` share: how he is asked, and what he says."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from otlpfast.cli import main

Patch, Capture = pytest.MonkeyPatch, pytest.CaptureFixture[str]
Doctor = Callable[..., dict[str, Any]]


@pytest.fixture(name="doctor")
def doctor_fixture(monkeypatch: Patch, capsys: Capture) -> Doctor:
    """What ``otlpfast doctor --json`` says, with variables."""
    monkeypatch.setenv("GRPC_VERBOSITY", "NONE")  # as the doctor would, and for longer
    for name in ("http_proxy", "all_proxy", "no_proxy", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)

    def ask(*arguments: str, **variables: str) -> dict[str, Any]:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        status = main(["doctor", "--json", *arguments])
        said: dict[str, Any] = json.loads(capsys.readouterr().out)
        assert status == (0 if said["ok"] else 1)
        assert said["ok"] == (not problems(said))
        return said

    return ask


@pytest.fixture(name="refusing")
def refusing_fixture() -> Iterator[int]:
    """A port that is taken, and at which nobody listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


def problems(said: dict[str, Any]) -> list[dict[str, str]]:
    found = [finding for finding in said["findings"] if finding["level"] == "problem"]
    assert all(finding["fix"] for finding in found)
    return found


def the_problem(said: dict[str, Any]) -> dict[str, str]:
    assert len(problems(said)) == 1, problems(said)
    return problems(said)[0]


def setting(said: dict[str, Any], name: str) -> tuple[str, str]:
    return next((s["value"], s["source"]) for s in said["settings"] if s["name"] == name)


def finding(said: dict[str, Any], check: str) -> dict[str, str]:
    found: dict[str, str] = next(f for f in said["findings"] if f["check"] == check)
    return found


def install(folder: Path, name: str, version: str) -> None:
    """What the metadata of an installed package say; the folder has to be on the path."""
    metadata = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")

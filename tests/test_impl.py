"""Which implementation is chosen, and that a broken one is never passed over in silence."""

from __future__ import annotations

import importlib.machinery
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

import otlpfast
from otlpfast import _choice, _impl, _pure

PACKAGE = Path(otlpfast.__file__).parent
SUFFIXES = importlib.machinery.EXTENSION_SUFFIXES


class Answer(NamedTuple):
    """What a fresh interpreter says: the implementation, or the last line of its error."""

    implementation: str
    error: str


def imported(wanted: str | None, source: Path = PACKAGE.parent) -> Answer:
    environment = {name: value for name, value in os.environ.items() if name != "OTLPFAST_IMPL"}
    environment["PYTHONPATH"] = str(source)
    if wanted is not None:
        environment["OTLPFAST_IMPL"] = wanted
    code = "import otlpfast; print(otlpfast.__file__); print(otlpfast.IMPLEMENTATION)"
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command, env=environment, cwd=source, capture_output=True, text=True, timeout=60, check=False
    )
    if done.returncode:
        return Answer("", done.stderr.splitlines()[-1])
    file, implementation = done.stdout.splitlines()
    assert Path(file).is_relative_to(source)
    return Answer(implementation, "")


@pytest.fixture(name="without_core")
def without_core_fixture(tmp_path: Path) -> Path:
    """A copy of the package that has no compiled core; a source tree's folder of its parts is there."""
    built = shutil.ignore_patterns("__pycache__", *(f"_core*{suffix}" for suffix in SUFFIXES))
    folder = tmp_path / "copy_without_core"  # .ci/coverage.toml knows that name
    shutil.copytree(PACKAGE, folder / "otlpfast", ignore=built)
    (folder / "otlpfast" / "_core").mkdir(exist_ok=True)
    return folder


def test_this_run_has_the_implementation_that_it_asked_for() -> None:
    assert otlpfast.IMPLEMENTATION in ("c", "py")
    wanted = os.environ.get("OTLPFAST_IMPL", "auto")
    assert wanted in ("auto", otlpfast.IMPLEMENTATION)


def test_each_by_name() -> None:
    assert imported("py") == Answer("py", "")
    assert imported(otlpfast.IMPLEMENTATION) == Answer(otlpfast.IMPLEMENTATION, "")


@pytest.mark.parametrize("wanted", [None, "", "auto", " AUTO "])
def test_the_compiled_one_where_it_was_built(wanted: str | None) -> None:
    built = any(path for suffix in SUFFIXES for path in PACKAGE.glob(f"_core*{suffix}"))
    assert imported(wanted).implementation == ("c" if built else "py")


@pytest.mark.parametrize("wanted", ["bogus", "cc", "0", "python", "c,py"])
def test_any_other_value_raises(wanted: str) -> None:
    error = imported(wanted).error
    assert error.startswith("ValueError: ")
    for part in (f"OTLPFAST_IMPL={wanted!r}", "auto", "c", "py"):
        assert part in error


def test_a_missing_core_falls_back_only_on_auto(without_core: Path) -> None:
    assert imported(None, without_core) == Answer("py", "")
    assert imported("auto", without_core) == Answer("py", "")
    assert imported("py", without_core) == Answer("py", "")
    error = imported("c", without_core).error
    assert error.startswith("ImportError: ")
    assert "OTLPFAST_IMPL=c" in error


@pytest.mark.parametrize("content", [b"", b"no library at all", b"\x7fELF" + b"\0" * 100], ids=len)
@pytest.mark.parametrize("wanted", [None, "auto", "c"])
def test_a_broken_core_raises(without_core: Path, wanted: str | None, content: bytes) -> None:
    (without_core / "otlpfast" / f"_core{SUFFIXES[0]}").write_bytes(content)
    answer = imported(wanted, without_core)
    assert answer.implementation == ""
    assert "ImportError" in answer.error
    assert imported("py", without_core) == Answer("py", "")


def test_a_core_that_misses_a_module_raises(without_core: Path) -> None:
    """ModuleNotFoundError, but not of the core itself."""
    (without_core / "otlpfast" / "_core.py").write_text("import a_module_that_nobody_has\n")
    shutil.rmtree(without_core / "otlpfast" / "_core")
    for wanted in ("auto", "c"):
        assert "a_module_that_nobody_has" in imported(wanted, without_core).error


@pytest.mark.parametrize("wanted", ["auto", "c"])
def test_a_core_that_lacks_a_name_raises(without_core: Path, wanted: str) -> None:
    """As one that an older version left behind would."""
    shutil.rmtree(without_core / "otlpfast" / "_core")
    (without_core / "otlpfast" / "_core.py").write_text("IMPLEMENTATION = 'c'\n")
    assert "AttributeError" in imported(wanted, without_core).error


@pytest.fixture(name="free_threaded")
def free_threaded_fixture(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """As in a free-threaded Python without a GIL, where a core was built."""
    monkeypatch.setattr(sys, "_is_gil_enabled", lambda: False, raising=False)
    monkeypatch.setattr(_choice, "has_core", lambda: True)
    for name in ("OTLPFAST_IMPL", "PYTHON_GIL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setitem(sys._xoptions, "gil", "1")
    return monkeypatch


def test_a_core_that_switches_the_gil_on_is_taken(free_threaded: pytest.MonkeyPatch) -> None:
    assert _choice.choose() == "_core"


@pytest.mark.parametrize("said_by", ["-X gil=0", "PYTHON_GIL=0"])
def test_where_the_gil_stays_off_the_core_is_not_taken(
    free_threaded: pytest.MonkeyPatch, said_by: str
) -> None:
    if said_by.startswith("-X"):
        free_threaded.setitem(sys._xoptions, "gil", "0")
    else:
        free_threaded.delitem(sys._xoptions, "gil")
        free_threaded.setenv("PYTHON_GIL", "0")
    assert _choice.choose() == "_pure"
    free_threaded.setenv("OTLPFAST_IMPL", "c")
    with pytest.raises(ImportError, match="the compiled core needs the GIL"):
        _choice.choose()


def test_both_have_the_same_names(core: object) -> None:
    names = {name for name in vars(_impl) if not name.startswith("_") and hasattr(core, name)}
    assert names >= {"IMPLEMENTATION", "SpanQueue", "BatchBuilder", "encode_spans", "PaddedCounters"}
    for name in names:
        assert hasattr(_pure, name)


def test_only_two_packages_are_needed() -> None:
    """NumPy, protobuf and the official exporter may be absent."""
    code = (
        "import sys, otlpfast, otlpfast.cli\n"
        "roots = {name.partition('.')[0] for name in sys.modules}\n"
        "print(sorted(roots & {'numpy', 'google', 'grpc', 'requests', 'urllib3', 'Cython'}))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE.parent)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"

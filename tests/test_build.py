"""setup.py: a core of a few lines instead of the real one, and the real compiler; what is in its archives."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
GCC = shutil.which("gcc")
FILES = ("setup.py", "pyproject.toml", "README.md", "LICENSE")

pytestmark = [
    pytest.mark.skipif(not (ROOT / "setup.py").exists(), reason="needs the source tree"),
    pytest.mark.skipif(sys.platform != "linux" or GCC is None, reason="needs gcc"),
    pytest.mark.skipif(
        not Path(sysconfig.get_path("include"), "Python.h").exists(), reason="needs the headers of Python"
    ),
]
pytest.importorskip("setuptools", minversion="77")

CORE = """
#include <Python.h>
static PyObject *work(PyObject *self, PyObject *count) {
    long sum = 0, n = PyLong_AsLong(count);
    for (long i = 0; i < n; i++) sum += i & 3 ? i : 1;
    return PyLong_FromLong(sum);
}
static PyMethodDef methods[] = {{"work", work, METH_O, NULL}, {NULL, NULL, 0, NULL}};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_core", NULL, -1, methods, 0, 0, 0, 0};
PyMODINIT_FUNC PyInit__core(void) { return PyModule_Create(&module); }
"""
# Translates nothing, but puts what it is given where Cython would.
CYTHON = """
from pathlib import Path
from setuptools import Extension
def cythonize(extensions, build_dir, **options):
    file = Path(build_dir, "src", "otlpfast", "_core.c")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(Path("core.c").read_text())
    return [Extension(extensions[0].name, [str(file)])]
"""
TRAINING = """
from pathlib import Path
import otlpfast._core as core
core.work(1000)
Path("trained").write_text(core.__file__)
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A source tree with such a core."""
    for name in FILES:
        shutil.copy(ROOT / name, tmp_path)
    written = {
        "core.c": CORE,
        "Cython/__init__.py": "",
        "Cython/Build.py": CYTHON,
        "bench/training.py": TRAINING,
        "src/otlpfast/__init__.py": "",
        "src/otlpfast/_core.pyx": "",
    }
    for name, text in written.items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return tmp_path


def build(tree: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "setup.py", "build", "--build-base", "build", "--build-lib", "lib"]
    chosen = {"OTLPFAST_BUILD": "require", "OTLPFAST_PGO": "1", "CC": "gcc", "PYTHONPATH": str(tree)}
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OTLPFAST_")}
    return subprocess.run(
        command, cwd=tree, env={**kept, **chosen, **variables}, capture_output=True, text=True, timeout=300
    )


def built(tree: Path) -> bytes:
    """The core, which also has to work."""
    (core,) = tree.glob("lib/otlpfast/_core*.so")
    command = [sys.executable, "-c", "import otlpfast._core as core; print(core.work(5))"]
    environment = {**os.environ, "PYTHONPATH": str(tree / "lib")}
    done = subprocess.run(
        command, cwd=tree / "lib", env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "8\n", done.stderr
    return core.read_bytes()


def test_the_core_is_compiled_with_a_profile_of_the_training(tree: Path) -> None:
    done = build(tree)
    assert done.returncode == 0, done.stderr
    instrumented = Path((tree / "trained").read_text())
    assert b"__gcov" in instrumented.read_bytes() and tree / "build" in instrumented.parents
    assert b"__gcov" not in built(tree)
    assert "-fprofile-use" in done.stdout and "otlpfast: warning" not in done.stderr


def test_another_compiler_gives_one_line_and_a_core_without_a_profile(tree: Path) -> None:
    other = tree / "other-cc"
    other.write_text(f'#!/bin/sh\n[ "$1" = --version ] && echo other 1.0 && exit\nexec {GCC} "$@"\n')
    other.chmod(0o755)
    done = build(tree, CC=str(other), LDSHARED=f"{other} -shared")
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("otlpfast: warning: ")]
    assert len(lines) == 1 and "OTLPFAST_PGO=1 takes gcc" in lines[0]
    assert not (tree / "trained").exists() and "-fprofile" not in done.stdout
    built(tree)


def test_a_training_that_fails_is_a_line_or_where_the_core_is_required_an_error(tree: Path) -> None:
    (tree / "bench" / "training.py").write_text("raise SystemExit('no training today')")
    refused = build(tree)
    assert refused.returncode != 0 and "no training today" in refused.stderr
    done = build(tree, OTLPFAST_BUILD="auto")
    assert done.returncode == 0, done.stderr
    (line,) = (line for line in done.stderr.splitlines() if line.startswith("otlpfast: warning: "))
    assert "built without a profile" in line and "no training today" in line
    assert b"__gcov" not in built(tree)


def test_flags_of_the_user_win(tree: Path) -> None:
    done = build(tree, OTLPFAST_PGO="0", CFLAGS="-O1 -DOURS=1")
    assert done.returncode == 0, done.stderr
    assert " -O3 -g0 -fvisibility=hidden -O1 -DOURS=1" in done.stdout and "-fprofile" not in done.stdout


def packed(tree: Path, command: str, **variables: str) -> Path:
    """What setup.py makes of the tree, in its dist/."""
    chosen = {"OTLPFAST_BUILD": "pure", "SOURCE_DATE_EPOCH": "1700000000", "PYTHONPATH": str(tree)}
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OTLPFAST_")}
    itself = "ignore:setup.py install is deprecated"  # setuptools of what its own command does
    done = subprocess.run(
        [sys.executable, "-W", itself, "setup.py", "--quiet", command],
        cwd=tree,
        env={**kept, **chosen, **variables},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    (archive,) = tree.glob("dist/*")
    return archive


def bill(wheel: Path) -> dict[str, Any]:
    """The bill of materials in it."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if "/sboms/" in name)
        assert name.endswith(".dist-info/sboms/otlpfast.cdx.json")
        return dict(json.loads(archive.read(name)))


def test_a_wheel_says_what_it_is_and_what_it_needs(tree: Path) -> None:
    found = bill(packed(tree, "bdist_wheel"))
    assert (found["bomFormat"], found["specVersion"]) == ("CycloneDX", "1.6")
    assert found["metadata"]["component"]["name"] == "otlpfast"
    assert [part["name"] for part in found["components"]] == ["opentelemetry-api", "opentelemetry-sdk"]
    references = {part["bom-ref"] for part in [found["metadata"]["component"], *found["components"]]}
    assert references == {entry["ref"] for entry in found["dependencies"]}


def test_a_compiled_wheel_names_the_cython_whose_code_it_has(tree: Path) -> None:
    (tree / "Cython" / "__init__.py").write_text("__version__ = '3.9.9'\n")
    wheel = packed(tree, "bdist_wheel", OTLPFAST_BUILD="require", OTLPFAST_PGO="0", CC="gcc")
    assert bill(wheel)["components"][0]["purl"] == "pkg:pypi/cython@3.9.9"


@pytest.mark.parametrize("command", ["sdist", "bdist_wheel"])
def test_an_archive_that_is_built_again_elsewhere_is_the_same(
    tree: Path, command: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    again = tmp_path_factory.mktemp("elsewhere") / "tree"
    shutil.copytree(tree, again, copy_function=shutil.copy)  # its files are newer
    for file in again.rglob("*.py"):
        os.utime(file, (1, 1))
    assert packed(tree, command).read_bytes() == packed(again, command).read_bytes()


def test_an_sdist_knows_nothing_of_who_packed_it(tree: Path) -> None:
    (tree / "src" / "otlpfast" / "__init__.py").chmod(0o600)
    with tarfile.open(packed(tree, "sdist")) as archive:
        members = archive.getmembers()
    assert {(m.uid, m.gid, m.uname, m.gname, m.mtime) for m in members} == {(0, 0, "", "", 1700000000)}
    assert {m.mode for m in members} <= {0o644, 0o755}


def test_a_wrong_setting_is_refused(tree: Path) -> None:
    done = build(tree, OTLPFAST_PGO="yes")
    assert done.returncode == 1 and "OTLPFAST_PGO='yes' is not understood: allowed are 0, 1" in done.stderr


def test_the_training_of_the_real_core_runs() -> None:
    import otlpfast

    command = [sys.executable, str(ROOT / "bench" / "training.py")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    if otlpfast.IMPLEMENTATION == "c":
        assert (done.returncode, done.stderr) == (0, "")
    else:
        assert done.returncode == 1 and "no compiled core" in done.stderr

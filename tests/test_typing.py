"""A user's program with every public name runs, and type checkers find no fault with it."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import otlpfast

from .collector import PATIENCE, Collector
from .exporting import collector_fixture  # noqa: F401
from .starting import environment

PROGRAM = Path(__file__).with_name("public_names.py")
PACKAGE = Path(otlpfast.__file__).parent


def public_names() -> set[str]:
    """As ``module.name``: what ``__all__`` has, of modules without an underscore anywhere in their path."""
    found = set()
    for file in PACKAGE.rglob("*.py"):
        path = file.relative_to(PACKAGE.parent).with_suffix("").as_posix().removesuffix("/__init__")
        if "/_" not in path:
            module = path.rpartition("/")[2]
            for statement in ast.parse(file.read_text(encoding="utf-8")).body:
                if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "__all__":
                    found.update(f"{module}.{name}" for name in ast.literal_eval(statement.value))
    return found


def test_the_program_has_every_public_name() -> None:
    tree = ast.parse(PROGRAM.read_text(encoding="utf-8"))
    used = {ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    names = public_names()
    assert {"otlpfast.Span", "sampling.TailSampler", "profiling.Stack", "stacks.Leak"} <= names
    assert not names - used


def test_the_program_runs_where_every_warning_is_an_error(collector: Collector, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", str(PROGRAM), str(tmp_path)],
        env=environment(collector),
        capture_output=True,
        text=True,
        timeout=4 * PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith(f"{otlpfast.__version__} {otlpfast.IMPLEMENTATION}\n")
    assert collector.wait_for_spans(1)
    for fault in ("Traceback", "Exception ignored", "Warning:", "Error:"):
        assert fault not in done.stderr, done.stderr


def test_mypy_finds_nothing_in_it(tmp_path: Path) -> None:
    pytest.importorskip("mypy", reason="mypy is not installed")
    user = tmp_path / "program.py"  # away from the tests and what configures them
    user.write_text(PROGRAM.read_text(encoding="utf-8"), encoding="utf-8")
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--cache-dir=cache", user.name]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=10 * PATIENCE, check=False
    )
    assert done.stdout == "Success: no issues found in 1 source file\n", done.stdout + done.stderr

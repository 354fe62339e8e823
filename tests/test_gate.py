"""The instruction gate: a regression of more than 1 % fails and is named, whatever else the counts did."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

gate = pytest.importorskip("bench.gate", reason="the benchmarks are not part of this installation")

PUT, ADD = "SpanQueue.put, a span of 10 attributes and 1 event", "PaddedCounters.add"
BASELINE = {PUT: 10_000.0, ADD: 400.0}


@pytest.fixture
def baseline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A baseline of its own, for what this runs on and for something else."""
    path = tmp_path / "baseline.json"
    path.write_text(json.dumps({gate.key(): BASELINE, "another interpreter": {PUT: 1.0}}))
    monkeypatch.setattr(gate, "BASELINE", path)
    return path


def gate_with(counts: dict[str, float], monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Any:
    monkeypatch.setattr(gate, "measure", lambda operations: counts)
    return gate.main(list(arguments))


def test_the_same_counts_pass(baseline: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert gate_with(BASELINE, monkeypatch) == 0


def test_two_percent_more_fail_and_are_named(
    baseline: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert gate_with({PUT: 10_200.0, ADD: 400.0}, monkeypatch) == 1
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("regression")]
    assert lines == [f"regression: {PUT}: 10000.0 → 10200.0 instructions (+2.00%)"]


def test_one_regression_is_not_made_up_for_by_a_gain(baseline: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert gate_with({PUT: 5_000.0, ADD: 408.0}, monkeypatch) == 1


@pytest.mark.parametrize("change", [0.99, 0.995, 1.005, 1.0099])
def test_what_is_within_the_tolerance_passes(
    baseline: Path, monkeypatch: pytest.MonkeyPatch, change: float
) -> None:
    assert gate_with({name: count * change for name, count in BASELINE.items()}, monkeypatch) == 0


def test_a_gain_passes_and_asks_to_be_kept(
    baseline: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert gate_with({PUT: 9_000.0, ADD: 400.0}, monkeypatch) == 0
    assert "better than the baseline: --update keeps it that way" in capsys.readouterr().out


def test_an_operation_without_a_baseline_is_shown_and_passes(
    baseline: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert gate_with({**BASELINE, "a new one": 7.0}, monkeypatch) == 0
    assert any("a new one" in line and "no baseline" in line for line in capsys.readouterr().out.splitlines())


def test_an_unknown_interpreter_has_nothing_to_compare_with(
    baseline: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gate, "key", lambda: "CPython 4.0")
    assert gate_with({PUT: 1e9}, monkeypatch) == 0
    assert "baseline.json has no counts for this" in capsys.readouterr().out


def test_update_writes_the_counts_and_leaves_the_others(
    baseline: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert gate_with({PUT: 20_000.0}, monkeypatch, "--update") == 0
    known = json.loads(baseline.read_text())
    assert known == {gate.key(): {PUT: 20_000.0}, "another interpreter": {PUT: 1.0}}
    assert gate_with({PUT: 20_000.0}, monkeypatch) == 0


def test_some_operations_are_counted_and_kept_by_themselves(
    baseline: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(gate, "measure", lambda operations: asked.append(operations) or {ADD: 500.0})
    assert gate.main(["--only", ADD]) == 1
    assert gate.main(["--only", ADD, "--update"]) == 0
    assert asked == [[ADD], [ADD]]
    assert json.loads(baseline.read_text())[gate.key()] == {PUT: 10_000.0, ADD: 500.0}


def test_what_can_not_be_counted_is_no_pass(
    baseline: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def measure(operations: Any) -> Any:
        raise gate.Unmeasurable("valgrind is not installed")

    monkeypatch.setattr(gate, "measure", measure)
    assert gate.main([]) == 2
    assert "nothing was counted: valgrind is not installed" in capsys.readouterr().err


def test_counts_are_a_long_run_minus_a_short_one_minus_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    def instructions(name: str, n: int, library: str) -> int:
        each = {"an empty loop": 50, gate.BATCHED: 700}.get(name, 450)
        return 123_456_789 + each * n

    monkeypatch.setattr(gate, "instructions", instructions)
    assert gate.measure() == {name: 700 if name == gate.BATCHED else 400 for name in gate.OPERATIONS}


def test_a_missing_valgrind_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(gate.Unmeasurable, match="valgrind is not installed"):
        gate.instructions("PaddedCounters.add", 1)


@pytest.mark.parametrize("name", ["an empty loop", *gate.OPERATIONS])
def test_what_is_counted_runs(name: str) -> None:
    command = [sys.executable, "-m", "bench.gate", "--run", name, "1000"]
    root = Path(gate.__file__).parents[1]
    finished = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=120, check=False)
    if gate_refuses := "the gate counts the compiled core" in finished.stderr:
        assert finished.returncode == 1
    else:
        assert (finished.returncode, finished.stderr) == (0, "")
    import otlpfast

    assert gate_refuses == (otlpfast.IMPLEMENTATION == "py")


def test_the_baseline_of_the_repository_is_for_these_operations() -> None:
    known = json.loads(Path(gate.BASELINE).read_text())
    assert known
    for counts in known.values():
        assert set(counts) == set(gate.OPERATIONS)

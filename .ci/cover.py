"""What the tests run of both implementations: lines and branches of Python, lines of native code.

Tests run by subject, each in a process of its own that gets so much time, two at once; what fails is
said and changes nothing else: the test suite itself is for that. The table goes to the terminal, each line
that was not run to build/coverage: to justified.txt if .ci/not_run.toml says why it need not be, otherwise to
uncovered.txt. That there are others is an error after a run of all files, and with --report.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from native_lines import native_lines
from not_run import FILE, Rules

BUILD = Path("build/coverage")
LIBRARY = BUILD / "lib"
COVERAGE = [sys.executable, "-m", "coverage"]
RC = "--rcfile=.ci/coverage.toml"
IMPLEMENTATIONS = ("c", "py")
# Tools and browsers of others: minutes, and hardly a line that no other test runs.
SLOW = ("build", "deploy", "documentation_blocks", "gate", "measuring", "official_collector")
SLOW += ("profiling_flame_browser", "propagation_proxies", "web_browser")
NOT_THOSE = "not busy_threads"  # coverage.py has locks of its own, which other threads hold at a fork


def subjects(files: Iterable[Path]) -> dict[str, list[str]]:
    """The files by the first word of their names."""
    found = defaultdict[str, list[str]](list)
    for file in sorted(files):
        found[file.stem.removeprefix("test_").partition("_")[0]].append(str(file))
    return found


def run_all(those: dict[str, list[str]], seconds: float) -> None:
    """Runs all, and says how each ended."""
    tasks = [(implementation, subject) for subject in those for implementation in IMPLEMENTATIONS]
    with ThreadPoolExecutor(2) as pool:
        try:
            for line in pool.map(lambda task: run(*task, those[task[1]], seconds), tasks):
                print(line, flush=True)
        finally:
            pool.shutdown(cancel_futures=True)


def run(implementation: str, subject: str, files: list[str], seconds: float) -> str:
    """Runs tests under coverage; a line that says how that ended."""
    data = BUILD.resolve() / "data" / implementation / "of"
    data.parent.mkdir(parents=True, exist_ok=True)
    environment = {
        **os.environ,
        "PYTHONPATH": str(LIBRARY.resolve()),
        "OTLPFAST_IMPL": implementation,
        "COVERAGE_FILE": str(data),
    }
    log = BUILD / f"{implementation}-{subject}.log"
    command = [*COVERAGE, "run", RC, "-m", "pytest", "-q", "--no-header", "-k", NOT_THOSE, *files]
    with log.open("w") as out, subprocess.Popen(command, env=environment, stdout=out, stderr=out) as process:
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)  # as Ctrl-C: what was measured so far is kept
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
    last = (log.read_text(encoding="utf-8", errors="replace").strip().splitlines() or [""])[-1]
    failed = f" (exit status {process.returncode}, see {log})" if process.returncode else ""
    return f"{implementation:>2} {subject}: {last}{failed}"


def measured() -> dict[str, dict[str, list[int]]]:
    """Of each file the lines that can be run, those that were not, and branches: all and taken ones."""
    combined = {"PYTHONPATH": str(LIBRARY.resolve()), "COVERAGE_FILE": str(BUILD / "combined")}
    data = sorted(map(str, (BUILD / "data").glob("*/of*")))
    if not data:
        raise SystemExit("nothing was measured yet: without --report the tests run")
    for command in (
        ("combine", RC, "--quiet", "--keep", *data),
        ("json", RC, "--quiet", f"-o{BUILD}/all.json"),
    ):
        called = [*COVERAGE, *command]
        subprocess.run(called, env={**os.environ, **combined}, check=True)
    found = {}
    for name, file in json.loads((BUILD / "all.json").read_text(encoding="utf-8"))["files"].items():
        branches = file["summary"].get("num_branches", 0), file["summary"].get("covered_branches", 0)
        lines = sorted(file["executed_lines"] + file["missing_lines"])
        found[name] = {"lines": lines, "missing": file["missing_lines"], "branches": list(branches)}
    for name, lines in native_lines(BUILD / "c", Path("src")).items():
        missing = sorted(line for line, was_run in lines.items() if not was_run)
        found[name] = {"lines": sorted(lines), "missing": missing, "branches": [0, 0]}
    return found


def part(name: str) -> str:
    """What a file belongs to."""
    words = Path(name).relative_to("src/otlpfast").parts
    if words[0].startswith("_core"):
        return "_core"
    if words[0] == "profiling" and words[1].startswith("_sampler"):
        return "profiling/_sampler"
    return words[0] if len(words) > 1 else "otlpfast"


def row(name: str, lines: int, missing: int, justified: int, branches: tuple[int, int]) -> str:
    """A line of the table."""
    share = 100 * (1 - missing / lines) if lines else 100
    taken = f"{branches[1]:>6} of {branches[0]}" if branches[0] else ""
    counts = f"{lines:>7} {missing:>7} {justified:>9} {missing - justified:>6}"
    return f"{name:<34} {counts} {share:>7.1f} %  {taken}"


def ranges(numbers: Iterable[int]) -> str:
    """1-3, 7."""
    found: list[list[int]] = []
    for number in numbers:
        if found and found[-1][1] == number - 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return ", ".join(f"{first}" if first == last else f"{first}-{last}" for first, last in found)


def report(files: dict[str, dict[str, list[int]]]) -> bool:
    """The table, by part and by file; and the lines themselves, for whoever looks into them.

    Returns whether each line was run or justified.
    """
    rules = Rules()
    reasons = {name: rules.reasons(name, file["missing"]) for name, file in files.items()}
    print(f"\n{'':<34} {'lines':>7} {'not run':>7} {'justified':>9} {'left':>6} {'run':>9}  branches")
    for wanted in sorted({part(name) for name in files}):
        those = {name: file for name, file in files.items() if part(name) == wanted}
        print(row(wanted, *sums(those, reasons)))
    print(row("all", *sums(files, reasons)), end="\n\n")
    left = {name: [n for n in file["missing"] if n not in reasons[name]] for name, file in files.items()}
    write(BUILD / "uncovered.txt", files, left)
    write(BUILD / "justified.txt", files, {name: sorted(those) for name, those in reasons.items()}, reasons)
    for rule in rules.excuse_nothing():
        print(f"all was run that {FILE} justifies with {rule.pattern!r} in {rule.files}")
    for rule in rules.fit_nothing():
        print(f"no line is what {FILE} justifies with {rule.pattern!r} in {rule.files}")
    if lines := sum(map(len, left.values())):
        print(f"{lines} lines are neither run nor justified, see {BUILD / 'uncovered.txt'}")
    return not lines and not rules.fit_nothing()


def write(
    to: Path,
    files: dict[str, dict[str, list[int]]],
    missing: dict[str, list[int]],
    reasons: dict[str, dict[int, str]] | None = None,
) -> None:
    """Lines, those of files with many first."""
    with to.open("w", encoding="utf-8") as out:
        for name, numbers in sorted(missing.items(), key=lambda entry: -len(entry[1])):
            if numbers:
                short = name.removeprefix("src/otlpfast/")
                print(f"{short}: {len(numbers)} of {len(files[name]['lines'])}: {ranges(numbers)}", file=out)
                source = Path(name).read_text(encoding="utf-8").splitlines()
                for number in numbers:
                    why = f"  <- {reasons[name][number]}" if reasons else ""
                    print(f"{name}:{number}: {source[number - 1]}{why}", file=out)


def sums(
    files: dict[str, dict[str, list[int]]], reasons: dict[str, dict[int, str]]
) -> tuple[int, int, int, tuple[int, int]]:
    """Lines, lines that were not run, justified ones of them, and branches, of several files."""
    lines, missing = (sum(len(file[what]) for file in files.values()) for what in ("lines", "missing"))
    branches = [sum(file["branches"][n] for file in files.values()) for n in (0, 1)]
    return lines, missing, sum(len(reasons[name]) for name in files), (branches[0], branches[1])


def main() -> None:
    """Runs the tests, unless --report, and reports."""
    parser = argparse.ArgumentParser(prog="make coverage ARGS=…", description=__doc__)
    parser.add_argument("files", nargs="*", type=Path, help="test files; by default all but the slow ones")
    parser.add_argument("--seconds", type=float, default=600, help="for each subject (default: 600)")
    parser.add_argument("--add", action="store_true", help="to what earlier runs have measured")
    parser.add_argument("--report", action="store_true", help="only show what was measured")
    arguments = parser.parse_args()
    if not arguments.report:
        for old in () if arguments.add else (*(BUILD / "data").glob("*/of*"), *BUILD.rglob("*.gcda")):
            old.unlink()
        slow = tuple(f"test_{name}" for name in SLOW)
        files = arguments.files or [f for f in Path("tests").glob("test_*.py") if not f.stem.startswith(slow)]
        run_all(subjects(files), arguments.seconds)
    if not report(measured()) and not arguments.files:
        sys.exit(1)


if __name__ == "__main__":
    main()

"""What the documentation tells users to write and to type does what it says."""

from __future__ import annotations

import json
import re
import sys
from contextlib import nullcontext, suppress
from importlib.util import find_spec
from pathlib import Path

import pytest

from otlpfast import IMPLEMENTATION, cli, environment_variables

from .collector import Collector
from .documents import PAGES, ROOT, Block, blocks
from .starting import NO_INSTRUMENTATION, finished

if not (ROOT / "docs").is_dir():
    pytest.skip("the documentation is not here", allow_module_level=True)

KNOWN = {"", "json", "python", "text", "yaml"}
# Read when otlpfast is built.
BUILD = {"OTLPFAST_BUILD", "OTLPFAST_PGO", "OTLPFAST_SANITIZE"}

# Each block as if it were the page, so that a traceback names the page's line.
RUN = """\
import json, pathlib, sys
page, path = sys.argv[1:]
names = {"__name__": "__main__"}
for line, code in json.loads(pathlib.Path(path).read_text(encoding="utf-8")):
    exec(compile("\\n" * (line - 1) + code, page, "exec"), names)
"""


def python_of(page: str) -> list[Block]:
    return [block for block in blocks(page) if block.language == "python"]


@pytest.mark.parametrize("page", [page for page in PAGES if python_of(page)])
def test_the_python_of_a_page_runs_from_its_top_to_its_end(page: str, tmp_path: Path) -> None:
    found = python_of(page)
    for block in found:
        compile(block.code, f"{page}:{block.line}", "exec")
    (tmp_path / "blocks.json").write_text(
        json.dumps([(block.line, block.code) for block in found if not (block.reason or block.program)]),
        encoding="utf-8",
    )
    (tmp_path / "home").mkdir()
    with Collector() as collector:
        strict = ["-W", "error::DeprecationWarning:__main__"]  # what a page uses is not to be on its way out
        command = [sys.executable, *strict, "-c", RUN, page, str(tmp_path / "blocks.json")]
        done = finished(command, collector, cwd=tmp_path / "home")
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr, done.stderr


PROGRAMS = [(page, block) for page in PAGES for block in blocks(page) if block.program]


@pytest.mark.parametrize(
    ("page", "block"), PROGRAMS, ids=[f"{page}:{block.line}" for page, block in PROGRAMS]
)
def test_a_program_runs_as_the_page_says(page: str, block: Block, tmp_path: Path) -> None:
    *assigned, otlpfast, run, file = block.program.split()
    assert (otlpfast, run) == ("otlpfast", "run"), f"{page}:{block.line}: {block.program}"
    (tmp_path / file).write_text(block.code, encoding="utf-8")
    variables = dict(assignment.split("=", 1) for assignment in assigned)
    command = [sys.executable, "-m", "otlpfast.cli", "run", file]
    with Collector() as collector:
        done = finished(command, collector, cwd=tmp_path, **NO_INSTRUMENTATION, **variables)
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr, done.stderr
        assert collector.wait_for_spans(1)


@pytest.mark.parametrize("page", PAGES)
def test_each_block_is_of_a_kind_that_is_checked_or_says_why_not(page: str) -> None:
    for block in blocks(page):
        where = f"{page}:{block.line}"
        assert block.reason or block.language in KNOWN, f"{where}: what is {block.language!r}?"
        if block.language == "json" and not block.reason:
            assert json.loads(block.code), where
        if block.language == "yaml" and not block.reason:
            yaml = pytest.importorskip("yaml")
            assert yaml.safe_load(block.code), where


@pytest.mark.parametrize("page", PAGES)
def test_commands_are_as_the_documentation_has_them(page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for block in blocks(page):
        for words in block.commands if not (block.language or block.reason) else ():
            with suppress(SystemExit) if "--help" in words else nullcontext():
                check(words, monkeypatch, f"{page}:{block.line}: {' '.join(words)}")


def check(words: list[str], monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    match words:
        case ["otlpfast", *arguments]:
            understood(arguments, monkeypatch)
        case ["make", *arguments]:
            targets = [word for word in arguments if not re.match(r"-|[A-Z_]+=", word)]
            makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
            for target in targets:
                assert re.search(rf"^{re.escape(target)}:", makefile, re.M), f"{where}: no target {target}"
        case ["pip", "install", *requirements]:
            project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
            for extra in re.findall(r"otlpfast\[([\w,]+)\]", " ".join(requirements)):
                for name in extra.split(","):
                    assert re.search(rf"^{name} = \[", project, re.M), f"{where}: no extra {name}"
        case ["python", "-m", module, *_]:
            assert find_spec(module) is not None, f"{where}: no module {module}"
        case ["python", script, *_]:
            assert (ROOT / script).is_file(), f"{where}: no {script}"


def test_the_quick_start_shows_and_sends_its_spans(tmp_path: Path) -> None:
    found = blocks("docs/quickstart.md")
    program = next(block.code for block in found if block.language == "python")
    shown = next(block.code for block in found if "otlpfast_console" in block.code)
    (tmp_path / "app.py").write_text(program, encoding="utf-8")
    command = [sys.executable, "-m", "otlpfast.cli", "run", "app.py"]
    variables = {**NO_INSTRUMENTATION, "OTEL_SERVICE_NAME": "shop"}
    done = finished(command, cwd=tmp_path, **variables, OTEL_TRACES_EXPORTER="otlpfast_console")
    assert (done.returncode, done.stdout) == (0, "total: 19.0\n"), done.stderr
    printed = done.stderr.replace(f"({IMPLEMENTATION})", "(c)").splitlines()
    expected = [line for line in shown.splitlines()[1:] if not line.startswith("total")]
    assert [_without_figures(line) for line in printed] == [_without_figures(line) for line in expected]
    with Collector() as collector:
        done = finished(command, collector, cwd=tmp_path, **variables)
        assert done.returncode == 0, done.stderr
        assert sorted(span.name for span in collector.wait_for_spans(3)) == ["order", "price", "price"]


def _without_figures(line: str) -> str:
    """Times, durations and ids are others in each run."""
    return re.sub(r"[\d.:]+ +[\d.]+ [µm]?s|\b[0-9a-f]{32}\b|(?<=otlpfast )[\d.]+\S*", "…", line)


def understood(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The command line has it so; SystemExit where not."""
    parsed = cli._parser().parse_args(arguments)
    if parsed.run.__module__ == "otlpfast.cli.run":
        assert parsed.command or parsed.web or parsed.pprof
    elif parsed.run.__module__ == "otlpfast.cli.profile":
        for target in ("attach.profile_process", "program.profile_program", "remote.profile_server"):
            monkeypatch.setattr(f"otlpfast.cli.profile.{target}", lambda *_: 0)
        monkeypatch.setattr("otlpfast.cli.profile.show.show", lambda *_: 0)
        monkeypatch.setattr("otlpfast.cli.profile._output", lambda *_: None)
        assert parsed.run(parsed) == 0


@pytest.mark.parametrize("page", PAGES)
def test_variables_are_those_that_there_are(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    known = {name for name in vars(environment_variables) if name.startswith("OTLPFAST_")}
    assert set(re.findall(r"\bOTLPFAST_[A-Z_]+\b", text)) <= known | BUILD

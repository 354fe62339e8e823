"""Which lines of the compiled core and of the sampler were run, by what gcov counted of the C made of them.

Cython's own line tracing calls Python code in the middle of what the core does, where it holds that none
runs, and knows nothing of a signal handler. Counters in the C do neither: Cython says in a comment which line
of the source the C after it is of, and a line was run if the first statement after one of its comments was.
C that stands in the source stands in what is made of it as well.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

_SAYS = re.compile(r' */\* "(?:.*/)?(otlpfast/[\w/]+\.(?:pyx|pxi|pxd))":(\d+)$')
# What comes after these is of no line: cleaning up at the end of a function, and code of Cython.
_ENDS = re.compile(r" */\* function exit code \*/|\}$")
_FINALLY = "/*finally:*/"  # a line has several copies after it: one for each way to get there
_WRITTEN = re.compile(r'^cdef extern from \*:\n    """\n(.*?)\n    """$', re.MULTILINE | re.DOTALL)

Lines = dict[str, dict[int, bool]]


def native_lines(build: Path, source: Path) -> Lines:
    """Of each file that native code was made of: its lines, and whether they were run."""
    found: defaultdict[str, dict[int, bool]] = defaultdict(dict)
    for notes in sorted(build.rglob("otlpfast/**/*.gcno")):
        for file, counts in _counted(notes).items():
            ours = file[file.rfind("otlpfast/") :]
            if "/_sampler/" in file:  # C by hand: a header is in several
                for line, count in counts.items():
                    _add(found[str(source / ours)], line, count)
            elif ours.startswith("otlpfast/") and file.endswith(".c"):
                _attribute(build / "src" / ours, counts, source, found)
    return dict(found)


def _add(lines: dict[int, bool], line: int, count: int) -> None:
    lines[line] = lines.get(line, False) or count > 0


def _counted(notes: Path) -> dict[str, dict[int, int]]:
    """How often each line of C was run, by file."""
    command = ["gcov", "--json-format", "--stdout", notes.name]
    said = subprocess.run(command, cwd=notes.parent, capture_output=True, check=True).stdout
    counts: defaultdict[str, dict[int, int]] = defaultdict(dict)
    for file in json.loads(said)["files"]:
        lines = counts[file["file"]]
        for line in file["lines"]:  # of each function that has the line
            lines[line["line_number"]] = lines.get(line["line_number"], 0) + line["count"]
        ran = {line.get("function_name") for line in file["lines"] if line["count"]}
        for function in file["functions"]:  # what gcov says of the head of a small one may be 0
            lines[function["start_line"]] = lines.get(function["start_line"], 0) or function["name"] in ran
    return counts


def _attribute(
    generated: Path, counts: dict[int, int], source: Path, found: defaultdict[str, dict[int, bool]]
) -> None:
    """Adds what Cython generated to the lines that it is of."""
    text = generated.read_text(encoding="utf-8")
    here: tuple[str, int] | None = None
    several = False
    for number, line in enumerate(text.splitlines(), 1):
        if says := _SAYS.match(line):
            here = str(source / says[1]), int(says[2])
            several = False
        elif _ENDS.match(line):
            here = None
        elif _FINALLY in line:
            several = True
        elif here and number in counts:
            _add(found[here[0]], here[1], counts[number])
            here = here if several else None
    for file in (*source.rglob("*.pxd"), *source.rglob("*.pxi")):
        for ours, theirs in _written(file.read_text(encoding="utf-8"), text):
            if theirs in counts:
                _add(found[str(file)], ours, counts[theirs])


def _written(source: str, generated: str) -> Iterator[tuple[int, int]]:
    """Numbers of the lines of C in a source, and of the same lines in what was generated."""
    for block in _WRITTEN.finditer(source):
        at = generated.find(block[1])
        if at >= 0:
            ours, theirs = source.count("\n", 0, block.start(1)), generated.count("\n", 0, at)
            for line in range(1, block[1].count("\n") + 2):
                yield ours + line, theirs + line

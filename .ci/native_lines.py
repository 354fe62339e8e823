"""Which lines of the compiled core and of the sampler were run, by what gcov counted of the C made of them.

Cython's own line tracing calls Python code in the middle of what the core does, where it holds that none
runs, and knows nothing of a signal handler. Counters in the C do neither: Cython says in a comment which line
of the source the C after it is of, and a line was run if the first statement after one of its comments was.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections import defaultdict
from pathlib import Path

_SAYS = re.compile(r' */\* "(?:.*/)?(otlpfast/[\w/]+\.(?:pyx|pxi|pxd))":(\d+)$')
# What comes after these is of no line: cleaning up at the end of a function, and code of Cython.
_ENDS = re.compile(r" */\* function exit code \*/|\}$")

Lines = dict[str, dict[int, bool]]


def native_lines(build: Path, source: Path) -> Lines:
    """Of each file that native code was made of: its lines, and whether they were run."""
    found: defaultdict[str, dict[int, bool]] = defaultdict(dict)
    for notes in sorted(build.rglob("*.gcno")):
        for file, counts in _counted(notes).items():
            ours = file[file.rfind("otlpfast/") :]
            if "/_sampler/" in file:  # C by hand
                found[str(source / ours)].update({line: count > 0 for line, count in counts.items()})
            elif ours.startswith("otlpfast/") and file.endswith(".c"):
                _attribute(build / "src" / ours, counts, source, found)
    return dict(found)


def _counted(notes: Path) -> dict[str, dict[int, int]]:
    """How often each line of C was run, by file."""
    command = ["gcov", "--json-format", "--stdout", notes.name]
    said = subprocess.run(command, cwd=notes.parent, capture_output=True, check=True).stdout
    counts: defaultdict[str, dict[int, int]] = defaultdict(dict)
    for file in json.loads(said)["files"]:
        lines = counts[file["file"]]
        for line in file["lines"]:  # of each function that has the line
            lines[line["line_number"]] = lines.get(line["line_number"], 0) + line["count"]
    return counts


def _attribute(
    generated: Path, counts: dict[int, int], source: Path, found: defaultdict[str, dict[int, bool]]
) -> None:
    """Adds what Cython generated to the lines that it is of."""
    here: tuple[str, int] | None = None
    for number, text in enumerate(generated.read_text(encoding="utf-8").splitlines(), 1):
        if says := _SAYS.match(text):
            here = str(source / says[1]), int(says[2])
        elif _ENDS.match(text):
            here = None
        elif here and number in counts:
            file, line = here
            found[file][line] = found[file].get(line, False) or counts[number] > 0
            here = None

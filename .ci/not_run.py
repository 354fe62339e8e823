"""Why lines that no test runs need none: the rules of .ci/not_run.toml."""

from __future__ import annotations

import re
import sys
from fnmatch import fnmatch
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # which coverage.py reads its own settings with

FILE = Path(".ci/not_run.toml")
_SOURCE = Path("src/otlpfast")
# What closes the first line of a block that began with several: it is of the block.
_CLOSES = re.compile(r" *[)\]}](?! else\b).*[:{]$")


class Rule:
    """A pattern of a line; it speaks of what is indented below that line too."""

    def __init__(self, reason: str, files: str, pattern: str) -> None:
        self.reason, self.files, self.pattern = reason, files, pattern
        self.fits = self.excuses = False
        self._finds = re.compile(pattern).search

    def speaks_of(self, name: str, lines: list[str]) -> set[int]:
        """Numbers of the lines of a file."""
        if not fnmatch(name, self.files):
            return set()
        found = set[int]()
        for number, line in enumerate(lines, 1):
            if self._finds(line):
                found.update((number, *_below(lines, number)))
        self.fits = self.fits or bool(found)
        return found


class Rules:
    """All of the file."""

    def __init__(self) -> None:
        read = tomllib.loads(FILE.read_text(encoding="utf-8"))
        self.all = [
            Rule(reason, files, pattern)
            for reason, places in read.items()
            for files, patterns in places.items()
            for pattern in patterns
        ]

    def reasons(self, name: str, missing: list[int]) -> dict[int, str]:
        """Why lines of a file were not run: of those that a rule speaks of, by number."""
        lines = Path(name).read_text(encoding="utf-8").splitlines()
        found: dict[int, str] = {}
        for rule in self.all:
            those = rule.speaks_of(Path(name).relative_to(_SOURCE).as_posix(), lines).intersection(missing)
            rule.excuses = rule.excuses or bool(those)
            for number in those:
                found.setdefault(number, rule.reason)
        return found

    def fit_nothing(self) -> list[Rule]:
        """Rules that speak of no line any more."""
        return [rule for rule in self.all if not rule.fits]

    def excuse_nothing(self) -> list[Rule]:
        """Rules whose lines were all run."""
        return [rule for rule in self.all if rule.fits and not rule.excuses]


def _below(lines: list[str], number: int) -> list[int]:
    """The lines that are indented below one."""
    depth = _depth(lines[number - 1])
    found = list[int]()
    for below, line in enumerate(lines[number:], number + 1):
        if line.strip() and _depth(line) <= depth and not _CLOSES.match(line):
            break
        found.append(below)
    return found


def _depth(line: str) -> int:
    return len(line) - len(line.lstrip())

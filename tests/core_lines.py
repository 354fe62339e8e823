"""Tells coverage.py of the lines of the compiled core; a plugin of it, which ``make coverage`` puts in place.

Cython has one, too, but that runs Python code at each call of a function, in the middle of what the core
does, where it holds that none can. This one is asked once for each file, and tells no more than its name. As
coverage.py runs some itself where a file is new to it, tests with several threads in the core may yet crash.
"""

from __future__ import annotations

import re
from collections import defaultdict
from functools import cache
from pathlib import Path
from typing import Any

from coverage.plugin import CoveragePlugin, FileReporter, FileTracer

BUILD = Path(__file__).parents[1]  # build/coverage, which has this file in lib/
SOURCE = BUILD.parents[1] / "src"

_WHERE = re.compile(r' */\* "(?:.*/)?(otlpfast/_core(?:\.pyx|/\w+\.p(?:xi|xd)))":\d+$')
_LINE = re.compile(r" *__Pyx_TraceLine\((\d+),")
_OURS = re.compile(r"(?:.*/)?(otlpfast/_core(?:\.pyx|/\w+\.p(?:xi|xd)))$")


@cache
def lines() -> dict[str, set[int]]:
    """The lines that can be run, by file: those of which the generated C tells."""
    found = defaultdict[str, set[int]](set)
    here = ""
    with (BUILD / "c" / "src" / "otlpfast" / "_core.c").open(encoding="utf-8") as file:
        for text in file:
            if place := _WHERE.match(text):
                here = str(SOURCE / place[1])
            elif here and (line := _LINE.match(text)):
                found[here].add(int(line[1]))
    return dict(found)


class _File(FileTracer):
    def __init__(self, path: str) -> None:
        self._path = path

    def source_filename(self) -> str:
        return self._path


class _Lines(FileReporter):
    def lines(self) -> set[int]:
        return lines()[self.filename]


class CoreLines(CoveragePlugin):
    """Knows the files of the core: the unit, its headers and its rooms."""

    def file_tracer(self, filename: str) -> FileTracer | None:
        """Asked when a file is met for the first time."""
        ours = _OURS.match(filename)
        return _File(str(SOURCE / ours[1])) if ours else None

    def file_reporter(self, filename: str) -> FileReporter:
        """Asked when there is something to report."""
        return _Lines(filename)


def coverage_init(registry: Any, options: object) -> None:
    """Called by coverage.py."""
    registry.add_file_tracer(CoreLines())

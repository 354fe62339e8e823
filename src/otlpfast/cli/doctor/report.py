"""How an examination is shown: to people, and to programs."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import sys
import textwrap

from .examination import Examination, Finding

_MARKS = {"ok": "ok", "hint": "hint", "problem": "PROBLEM"}
_COLOURS = {"ok": "\x1b[32m", "hint": "\x1b[33m", "problem": "\x1b[1;31m"}
_END = "\x1b[0m"
_WIDTH = 110
_INDENT = 27


def as_json(examination: Examination) -> str:
    """One object: `version`, `python`, `ok`, and lists of `settings` and `findings` with their fields."""
    from ... import __version__

    shown = {
        "version": __version__,
        "python": platform.python_version(),
        "ok": not examination.problems,
        "settings": [dataclasses.asdict(setting) for setting in examination.settings],
        "findings": [dataclasses.asdict(finding) for finding in examination.findings],
    }
    return json.dumps(shown, indent=2, ensure_ascii=False)


def as_text(examination: Examination) -> str:
    """A page; in colour on a terminal, unless ``NO_COLOR`` is set."""
    from ... import __version__

    colour = (
        sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM", "dumb") != "dumb"
    )
    python = f"{platform.python_implementation()} {platform.python_version()}"
    lines = [f"otlpfast {__version__}, {python}, {platform.system()} {platform.machine()}", ""]
    if examination.settings:
        values = max(len(setting.value) for setting in examination.settings if len(setting.value) <= 60)
        lines.append("configuration")
        lines += [f"  {s.name:<20} {s.value:<{values}}  {s.source}" for s in examination.settings]
        lines.append("")
    lines.append("checks")
    for finding in examination.findings:
        lines += _lines(finding, colour)
    count = len(examination.problems)
    lines += ["", f"{count} problem{'s' * (count != 1)}" if count else "no problem found"]
    return "\n".join(lines)


def _lines(finding: Finding, colour: bool) -> list[str]:
    mark = f"{_MARKS[finding.level]:<8}"
    if colour:
        mark = f"{_COLOURS[finding.level]}{mark}{_END}"
    text = textwrap.wrap(finding.text, _WIDTH - _INDENT, break_long_words=False) or [""]
    fix = textwrap.wrap(finding.fix, _WIDTH - _INDENT - 3, break_long_words=False)
    return [
        f"  {mark} {finding.check:<15} {text[0]}",
        *(" " * _INDENT + line for line in text[1:]),
        *(" " * _INDENT + ("-> " if number == 0 else "   ") + line for number, line in enumerate(fix)),
    ]

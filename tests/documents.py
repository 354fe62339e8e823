"""The fenced blocks of the documentation, and the comments that say how tests run them.

A comment before a block, unseen by readers, is about that block:

    <!-- not run: why -->                                 python is compiled, and nothing more
    <!-- run with "127.0.0.1:6060" as "127.0.0.1:0", … --> these texts are others for the test
    <!-- program: A=b otlpfast run app.py -->             a file of its own, which that command runs
    <!-- given                                             python that readers have in mind, run before it
    serve = time.sleep
    -->
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for pattern in ("*.md", "docs/**/*.md", "deploy/**/*.md", ".github/**/*.md")
    for path in ROOT.glob(pattern)
)

_PIECE = re.compile(
    r"^<!--\s*(?P<comment>.*?)-->|^(?P<fence>`{3,})(?P<language>[^`\n]*)\n(?P<code>.*?)^(?P=fence)$",
    re.M | re.S,
)
_AS = re.compile(r'"([^"]+)" as "([^"]*)"')


@dataclass(frozen=True)
class Block:
    """What stands between two fences, or in a ``given`` comment."""

    language: str  # "" for commands and what they print, "text" for the latter alone
    line: int  # of its first line in the page, from 1
    code: str
    reason: str = ""  # why it is not run
    program: str = ""  # the command that runs it as a file of its own

    @property
    def commands(self) -> list[list[str]]:
        """The words of its commands: where lines begin with "$ ", of these, else of all."""
        lines = self.code.replace("\\\n", " ").splitlines()
        if any(line.startswith("$ ") for line in lines):
            lines = [line[2:] for line in lines if line.startswith("$ ")]
        parts = [part for line in lines for part in re.split(r"\s*(?:;|&&|\|)\s+", _without_comment(line))]
        return [_unquoted(part) for part in parts if part.strip()]


def _without_comment(line: str) -> str:
    return re.split(r"(?:^|\s+)#(?:\s|$)", line, maxsplit=1)[0]


def _unquoted(command: str) -> list[str]:
    # Not shlex: what a command prints has apostrophes.
    words = re.findall(r"""(?:"[^"]*"|'[^']*'|\S)+""", command.strip())
    while words and re.match(r"[A-Z_]+=", words[0]):
        del words[0]
    return [re.sub(r"""["']""", "", word) for word in words]


def blocks(page: str) -> list[Block]:
    """All blocks of a page, in their order."""
    return list(_blocks((ROOT / page).read_text(encoding="utf-8")))


def _blocks(text: str) -> Iterator[Block]:
    reason, program, others = "", "", list[tuple[str, str]]()
    for piece in _PIECE.finditer(text):
        comment = piece["comment"]
        line = text.count("\n", 0, piece.start()) + 2
        if comment is None:
            code = piece["code"]
            for here, there in others:
                assert here in code, f"line {line}: the block has no {here!r}"
                code = code.replace(here, there)
            yield Block(piece["language"].strip(), line, code, reason, program)
            reason, program, others = "", "", []
        elif comment.startswith("not run:"):
            reason = comment.removeprefix("not run:").strip()
            assert reason, f"line {line}: why is it not run?"
        elif comment.startswith("run with"):
            others = _AS.findall(comment)
            assert others, f"line {line}: run with what?"
        elif comment.startswith("program:"):
            program = comment.removeprefix("program:").strip()
        elif comment.startswith("given\n"):
            yield Block("python", line, comment.removeprefix("given\n"))

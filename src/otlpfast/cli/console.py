"""Progress on standard error: one line that renews itself on a terminal, plain lines elsewhere."""

from __future__ import annotations

import os
import sys
from typing import TextIO


class Console:
    """``step`` says what happens now, ``update`` how far it is, ``note`` adds a line that stays.

    NO_COLOR is respected.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream if stream is not None else sys.stderr
        self._live = self._stream.isatty() and os.environ.get("TERM") != "dumb"
        self._colour = self._live and not os.environ.get("NO_COLOR")
        self._step = ""

    def step(self, text: str) -> None:
        self.clear()
        self._step = text
        if self._live:
            self._renew(text)
        else:
            self._line(text)

    def update(self, progress: str) -> None:
        if self._live:
            self._renew(f"{self._step} {progress}")

    def note(self, text: str) -> None:
        self.clear()
        self._line(f"\x1b[33m{text}\x1b[0m" if self._colour else text)

    def clear(self) -> None:
        """Leaves nothing half written on a terminal's line."""
        if self._live and self._step:
            self._write("\r\x1b[K")
        self._step = ""

    def _renew(self, text: str) -> None:
        self._write(f"\r\x1b[K\x1b[2m{text}\x1b[0m" if self._colour else f"\r\x1b[K{text}")

    def _line(self, text: str) -> None:
        self._write(text + "\n")

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except OSError:
            pass  # Progress is not worth a failure: nobody reads it any more.

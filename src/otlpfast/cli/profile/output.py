"""What becomes of a profile: a table on standard output, or a file."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

from ...profiling._files import FORMATS
from ...profiling._top import By
from ...profiling.profile import Profile

_ROWS = 20


class Nothing(Exception):
    """Why there is nothing to show."""


class Output:
    """Shows or writes profiles, by the options of the command line.

    Args:
        kind: of the profile; ``full`` is an archive.
        path: a file; None: a table.
        top: rows of the table; None: 20, and no table where a file is written.
        trace: the id of a trace that alone is of interest.
        base: a saved profile that is subtracted.
        value, by: of the table.

    Raises:
        ValueError: an option that can't be followed. Nothing was profiled yet.
    """

    def __init__(
        self,
        kind: str,
        path: str | None,
        *,
        top: int | None = None,
        trace: str | None = None,
        base: str | None = None,
        value: str | None = None,
        cum: bool = False,
    ) -> None:
        suffixes = (".zip",) if kind == "full" else tuple(FORMATS)
        if path is not None:
            if not path.endswith(suffixes):
                raise ValueError(f"--output {path}: the suffix says the format: one of {', '.join(suffixes)}")
            if not Path(path).absolute().parent.is_dir():
                raise ValueError(f"--output {path}: there is no such directory")
        if kind == "full" and (trace or base):
            raise ValueError("--trace and --diff are for one kind of profile, not for --kind full")
        if trace is not None and not re.fullmatch(r"(?:0x)?[0-9A-Fa-f]{1,32}", trace):
            raise ValueError(f"--trace {trace}: an id of a trace is allowed: 32 hexadecimal digits")
        self._kind = kind
        self._path = path
        self._top = top
        self._trace = None if trace is None else trace.lower().removeprefix("0x").zfill(32)
        self._base = None if base is None else _load(base)
        self._value = value
        self._by: By = "cum" if cum else "flat"

    def give(self, profile: Profile, stream: TextIO | None = None) -> str | None:
        """Shows or writes one; gives the path of the file.

        Raises:
            Nothing: there is nothing in it.
            OSError: the file can't be written.
        """
        if self._trace is not None:
            profile = self._focused(profile, self._trace)
        if self._base is not None:
            try:
                profile = profile.diff(self._base)
            except ValueError as error:
                raise Nothing(f"the two profiles can't be compared: {error}") from None
        if self._path is None or self._top is not None:
            try:
                table = str(profile.top(self._top or _ROWS, self._value, self._by))
            except ValueError as error:
                raise Nothing(str(error)) from None
            print(table, file=stream or sys.stdout)
        if self._path is not None:
            return self._write(lambda path: profile.save(path))
        return None

    def give_archive(self, data: bytes, summary: str, stream: TextIO | None = None) -> str | None:
        """Shows a full profile's summary, or writes it; gives the path of the file."""
        if self._path is None or self._top is not None:
            print(summary, end="", file=stream or sys.stdout)
        if self._path is not None:
            return self._write(lambda path: path.write_bytes(data))
        return None

    def _focused(self, profile: Profile, trace: str) -> Profile:
        found = profile.focus(trace_id=trace)
        if found.samples:
            return found
        known = {value for sample in profile.samples for key, value in sample.labels if key == "trace_id"}
        if not known:
            raise Nothing(
                "no sample carries a trace id: the program has to record spans, "
                "such as under `otlpfast profile -- otlpfast run app.py`"
            )
        raise Nothing(f"no sample carries the trace id {trace}; {len(known)} others are in the profile")

    def _write(self, write: Callable[[Path], object]) -> str:
        assert self._path is not None
        write(Path(self._path))
        return self._path


def _load(path: str) -> Profile:
    try:
        return Profile.load(path)
    except OSError as error:
        raise ValueError(f"--diff {path}: {(error.strerror or str(error)).lower()}") from None
    except ValueError as error:
        raise ValueError(f"--diff {error}") from None

"""What has come of an order so far: who is at it, what was left, what went wrong."""

from __future__ import annotations

import io
import sys
import zipfile
from typing import TextIO

from ...profiling.profile import Profile
from .client import Client, Event, merged
from .output import Nothing, Output


class Gathering:
    """Follows the events of a Client.

    Attributes:
        met: whether any process has begun.
        reasons: why processes have left no profile.
    """

    def __init__(self, client: Client, is_full: bool) -> None:
        self._client = client
        self._is_full = is_full
        self._active: dict[int, int] = {}
        self._left: dict[int, list[str]] = {}
        self.met = False
        self.reasons: list[str] = []

    @property
    def idle(self) -> bool:
        """Whether nobody is at it."""
        return not self._active

    def take(self, event: Event) -> None:
        """Something has happened."""
        if event.what == "begun":
            self.met = True
            self._active[event.guest] = event.pid
        elif event.what == "done":
            self._active.pop(event.guest, None)
            self._left.setdefault(event.pid, []).append(str(event.detail))
        elif event.what == "abandoned":
            self._active.pop(event.guest, None)
        elif event.what == "failed":
            self._active.pop(event.guest, None)
            self.reasons.append(f"process {event.pid}: {event.detail}")
        elif event.what == "gone" and self._active.pop(event.guest, None) is not None:
            self.reasons.append(
                f"process {event.pid} ended, or became another program, before its profile could be taken"
            )

    def give(self, output: Output, first: int, stream: TextIO | None = None) -> str | None:
        """Shows or writes all that was left; gives the path of the file.

        Args:
            first: the process whose full profile it is, where several have one.

        Raises:
            Nothing: there is nothing.
            OSError: the file can't be written.
        """
        if not self._left:
            raise Nothing("; ".join(self.reasons) or "no process has left a profile")
        if self._is_full:
            [name, *_] = self._left.get(first) or next(iter(self._left.values()))
            data = self._client.read(name)
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                summary = archive.read("summary.txt").decode("utf-8", "replace")
            return output.give_archive(data, summary, stream)
        profiles = {
            pid: [Profile.from_pprof(self._client.read(name)) for name in names]
            for pid, names in self._left.items()
        }
        for reason in self.reasons:
            print(f"otlpfast profile: not in it: {reason}", file=sys.stderr)
        return output.give(merged(profiles), stream)

"""The demo's child processes: started here, asked here, ended here."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

Answer = dict[str, Any]
_GRACE_SECONDS = 5.0

# Runs a module of this package without the package's own __init__, which would import all of otlpfast.
_BARE = """
import runpy, sys, types
package = sys.modules["otlpfast"] = types.ModuleType("otlpfast")
package.__path__ = [sys.argv.pop(1)]
runpy.run_module(sys.argv.pop(1), run_name="__main__", alter_sys=True)
"""


class DemoError(RuntimeError):
    """What keeps the demo from going on; its text is for the user."""


class Deadline:
    """A point on the monotonic clock by which the whole demo is over."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._end = time.monotonic() + seconds

    def check(self) -> float:
        """Seconds left; raises DemoError when there are none."""
        left = self._end - time.monotonic()
        if left <= 0:
            raise DemoError(
                f"not finished after {self._seconds:g} s: try fewer --requests, or a longer --timeout"
            )
        return left


class Child:
    """A Python module run as a process, asked and answering with lines of JSON on its standard streams.

    The end of its input tells it to leave, so that none outlives a parent that was killed. Its standard error
    is kept. A ``bare`` child has this command's modules, but not otlpfast itself.
    """

    def __init__(
        self,
        module: str,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        deadline: Deadline,
        bare: bool = False,
    ) -> None:
        start = ["-c", _BARE, str(Path(__file__).parents[2])] if bare else ["-m"]
        self._module = module
        self._deadline = deadline
        self._stderr: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 (lives as long as the child)
        self._process = subprocess.Popen(
            [sys.executable, *start, module, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            env=dict(environment),
            # Ctrl-C is the parent's to handle: it ends its children in order.
            start_new_session=os.name == "posix",
            text=True,
        )
        self._lines: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put("")

    def ask(self, what: str, **parameters: Any) -> Answer:
        """Sends a command and waits for its answer; raises DemoError if the child or the time ends first."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"do": what, **parameters}) + "\n")
            self._process.stdin.flush()
        except OSError:
            raise self._ended() from None
        return self.answer()

    def answer(self) -> Answer:
        """The next answer; the first one, unasked, says that the child is ready."""
        while True:
            try:
                line = self._lines.get(timeout=self._deadline.check())
            except queue.Empty:
                continue
            if not line:
                raise self._ended()
            answer: Answer = json.loads(line)
            return answer

    def _ended(self) -> DemoError:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_GRACE_SECONDS)
        last = "\n  ".join(self.complaints()[-12:]) or "(it said nothing)"
        return DemoError(f"{self._module} ended with code {self._process.returncode}:\n  {last}")

    def complaints(self) -> list[str]:
        """The lines that the child has written to its standard error."""
        # Read at an offset of our own: the child writes at the file's shared position.
        size = os.fstat(self._stderr.fileno()).st_size
        if hasattr(os, "pread"):
            text = os.pread(self._stderr.fileno(), size, 0)
        else:
            self._stderr.seek(0)
            text = self._stderr.read()
        return [line for line in text.decode(errors="replace").splitlines() if line.strip()]

    def close(self, at_once: bool = False) -> None:
        """Ends the child: by asking, or ``at_once``, or by force. Idempotent."""
        if self._process.stdin:
            with contextlib.suppress(OSError):  # It may be gone already.
                self._process.stdin.close()
        if at_once:
            self._process.terminate()
        for end in (self._process.terminate, self._process.kill):
            try:
                self._process.wait(_GRACE_SECONDS)
                break
            except subprocess.TimeoutExpired:
                end()
        self._process.wait()
        self._reader.join()
        if self._process.stdout:
            self._process.stdout.close()
        self._stderr.close()

    def __enter__(self) -> Child:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self.close(at_once=kind is not None)


def answer(**content: Any) -> None:
    """In a child: answers the parent."""
    sys.stdout.write(json.dumps(content) + "\n")
    sys.stdout.flush()


def questions() -> Iterator[Answer]:
    """In a child: the parent's commands, until it closes its end."""
    for line in sys.stdin:
        yield json.loads(line)

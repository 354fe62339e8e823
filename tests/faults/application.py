"""An application in a process of its own, traced by otlpfast or by the stock SDK, and the handle on it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

NEVER_MILLIS = 3_600_000  # a schedule delay that nobody lives to see
LIMIT = 30.0  # seconds after which an application hangs

_RUN = """
import importlib, sys
from tests.faults.traced import main
main({side!r}, getattr(importlib.import_module({module!r}), {name!r}), sys.argv[1])
"""


@dataclass(frozen=True)
class Ended:
    """How an application ended, and what it left behind: the value of its work, its log."""

    returncode: int | None  # None: it did not end and was killed
    value: Any
    log: str

    @property
    def well(self) -> bool:
        return self.returncode == 0 and self.value is not None

    @property
    def logged(self) -> list[str]:
        return self.log.splitlines()

    @property
    def how(self) -> str:
        """In words, where it did not end well."""
        if self.returncode is None:
            return "**hung**, and was killed"
        if self.returncode < 0:
            return f"**crashed** by {signal.Signals(-self.returncode).name}"
        return f"**failed**: {self.logged[-1][:100] if self.log else 'without a word'}"


class Application:
    """A process that runs some work. It writes lines, and reads them."""

    def __init__(self, process: subprocess.Popen[str], log: IO[bytes], limit: float) -> None:
        self._process = process
        self._log = log
        self._deadline = time.monotonic() + limit

    @property
    def pid(self) -> int:
        return self._process.pid

    def answer(self) -> Any:
        """The next thing that it says; None where it ends without a word."""
        assert self._process.stdout
        line = self._process.stdout.readline()
        return json.loads(line)["said"] if line else None

    def tell(self) -> None:
        """Lets it go on from where it waits to be told."""
        assert self._process.stdin
        with suppress(BrokenPipeError):  # it has ended: end() tells how
            self._process.stdin.write("\n")
            self._process.stdin.flush()

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def end(self) -> Ended:
        """Waits for the end, or makes one where it does not come within the limit."""
        returncode: int | None
        try:
            out, _ = self._process.communicate(timeout=max(self._deadline - time.monotonic(), 0))
            returncode = self._process.returncode
        except subprocess.TimeoutExpired:
            _kill_group(self._process.pid)
            out, _ = self._process.communicate()
            returncode = None
        self._log.seek(0)
        log = self._log.read().decode(errors="replace")
        self._log.close()
        values = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
        value = next((found["value"] for found in values if "value" in found), None)
        return Ended(returncode, value, log)


def _kill_group(leader: int) -> None:
    # Its children too, which may hang as well and keep its pipes open. It leads a group of its own.
    os.killpg(leader, signal.SIGKILL)


def start(
    side: str, work: Callable[..., Any], *arguments: Any, limit: float = LIMIT, **variables: str
) -> Application:
    """Starts a process that calls ``work(traced, *arguments)`` of a module, traced by the side given."""
    # A file and no pipe: what nobody reads must not hold up who writes it. Application.end() closes it.
    log = tempfile.TemporaryFile()  # noqa: SIM115
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            _RUN.format(side=side, module=work.__module__, name=work.__name__),
            json.dumps(arguments),
        ],
        env=environment(**variables),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
        start_new_session=True,
    )
    return Application(process, log, limit)


def environment(**variables: str) -> dict[str, str]:
    """Of a process that imports this otlpfast and these tests, without the OTEL_ variables of this one."""
    import otlpfast

    paths = [str(Path(otlpfast.__file__).parents[1]), str(Path(__file__).parents[2])]
    inherited = os.environ.get("PYTHONPATH")
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("OTEL_")},
        "PYTHONPATH": os.pathsep.join(paths + ([inherited] if inherited else [])),
        "OTLPFAST_IMPL": otlpfast.IMPLEMENTATION,
        "NO_PROXY": "*",
        **variables,
    }

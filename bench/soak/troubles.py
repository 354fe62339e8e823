"""A collector process that can be put in trouble, and the troubles, at random but by a seed."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

_HERE = Path(__file__).parents[2]


class CollectorProcess:
    """The soak's collector, which comes back on the same port after it was killed."""

    def __init__(self, ids: Path) -> None:
        self._ids = ids
        self.port = 0
        self.start()
        self.endpoint = f"http://127.0.0.1:{self.port}/v1/traces"

    def start(self) -> None:
        command = [sys.executable, "-m", "bench.soak.collector", "--port", str(self.port)]
        self._process = subprocess.Popen(
            [*command, "--ids", str(self._ids)], cwd=_HERE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout
        self.port = int(self._process.stdout.readline())

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate()

    def signal(self, number: int) -> None:
        self._process.send_signal(number)


def down(collector: CollectorProcess, seconds: float) -> None:
    collector.kill()
    time.sleep(seconds)
    collector.start()


def hung(collector: CollectorProcess, seconds: float) -> None:
    collector.signal(signal.SIGSTOP)
    time.sleep(seconds)
    collector.signal(signal.SIGCONT)


def resetting(collector: CollectorProcess, seconds: float) -> None:
    collector.signal(signal.SIGUSR1)
    time.sleep(seconds)
    collector.signal(signal.SIGUSR2)


def restarted(collector: CollectorProcess, seconds: float) -> None:
    collector.kill()
    collector.start()
    time.sleep(seconds)


TROUBLES: dict[str, Callable[[CollectorProcess, float], None]] = {
    "killed, and down": down,
    "hung by SIGSTOP": hung,
    "resetting connections": resetting,
    "killed, and restarted at once": restarted,
}


class Troubles:
    """One after the other, with pauses between; the same for the same seed.

    scale: the longest that one lasts, in seconds.
    """

    def __init__(self, seed: int, scale: float) -> None:
        self._random = random.Random(seed)
        self._scale = scale
        self._coming: list[str] = []
        self.counts = dict.fromkeys(TROUBLES, 0)

    def next(self) -> tuple[str, float, float]:
        """Which, how many seconds it lasts, and how long after it nothing happens."""
        if not self._coming:  # each of them as often
            self._coming = self._random.sample(list(TROUBLES), len(TROUBLES))
        name = self._coming.pop()
        self.counts[name] += 1
        lasts = self._random.uniform(0.1, 1) * self._scale
        return name, lasts, self._random.uniform(0.1, 0.5) * self._scale

"""``otlpfast profile PROGRAM``: from its start until it ends, or the seconds have passed."""

from __future__ import annotations

import argparse
import math
import os
import queue
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

from ...profiling._order import FULL, VARIABLE, Order
from ...profiling.autostart import FOLDER
from ..run import NOT_EXECUTABLE, NOT_FOUND, find_command, not_found, put_first
from . import fail
from .client import Client, Event, check_system
from .gathering import Gathering
from .output import Nothing, Output

_LATE = 15.0  # seconds for what the program has left behind to leave its profiles
_HOLD = 5.0  # seconds for which a signal waits until they are there
_NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT")
_SIGNALS = [getattr(signal, name) for name in _NAMES if hasattr(signal, name)]


def profile_program(arguments: argparse.Namespace, words: Sequence[str], output: Output) -> int:
    """Runs a program and profiles it; returns its exit status, or 1 where it has none of its own to tell."""
    check_system()
    command = find_command(words, module=arguments.module)
    if command is None:
        fail(not_found(words[0], "profile"))
        return NOT_FOUND
    order = Order(
        arguments.kind,
        arguments.seconds,
        frequency=arguments.frequency,
        children=arguments.kind != FULL,
    )
    with Client(order) as client, _signals(client):
        environment = {**os.environ, VARIABLE: client.directory}
        put_first(environment, FOLDER)
        try:
            program = subprocess.Popen(command, env=environment)
        except OSError as error:
            fail(f"{command[0]!r} can't be run: {error.strerror}")
            return NOT_EXECUTABLE
        return _Watch(client, program, Gathering(client, arguments.kind == FULL), arguments.seconds).run(
            output
        )


class _Watch:
    """A program under way, and the profiles of its processes."""

    def __init__(
        self, client: Client, program: subprocess.Popen[bytes], gathering: Gathering, seconds: float | None
    ) -> None:
        self._client = client
        self._program = program
        self._gathering = gathering
        self._seconds = seconds
        self._until = math.inf
        self._status: int | None = None
        self._stopping = False
        self._marked = False
        self._held: list[int] = []  # signals for the program, until its profiles are there
        self._held_until = 0.0
        threading.Thread(target=self._wait, name="otlpfast-wait", daemon=True).start()

    def run(self, output: Output) -> int:
        """Until it has ended; returns the exit status."""
        self._listen(lambda: self._status is not None or self._is_profiled())
        if self._status is not None:
            self._stop_all()  # whatever it has left behind
            self._listen(self._are_all_done, time.monotonic() + _LATE)
        failed = self._give(output)
        self._listen(lambda: self._status is not None)
        status = self._status or 0
        return 128 - status if status < 0 else status or failed

    def _wait(self) -> None:
        self._client.events.put(Event("ended", self._program.wait()))

    def _is_profiled(self) -> bool:
        return self._stopping and self._gathering.met and self._gathering.idle

    def _listen(self, enough: Callable[[], bool], deadline: float = math.inf) -> None:
        """Takes events until there is enough."""
        while not enough() and time.monotonic() < deadline:
            with suppress(queue.Empty):
                event = self._client.events.get(timeout=0.25)
                if event.what == "ended":
                    self._status = int(str(event.detail))
                elif event.what == "marked":
                    self._marked = True
                elif event.what == "signal":
                    self._take_signal(int(str(event.detail)))
                else:
                    self._gathering.take(event)
                    if self._seconds is not None and self._gathering.met:
                        self._until = min(self._until, time.monotonic() + self._seconds)
            if time.monotonic() >= self._until and not self._stopping:
                self._stopping = True
                self._client.stop()  # also those that have begun later
            if self._held and (self._are_all_done() or time.monotonic() >= self._held_until):
                self._pass_on()

    def _stop_all(self) -> None:
        self._marked = False
        self._client.stop()
        self._client.mark()

    def _are_all_done(self) -> bool:
        """Whether all who had connected when they were stopped have left what they had to leave."""
        return self._marked and self._client.alone

    def _take_signal(self, number: int) -> None:
        """Ends the profiles first: the signal may end the processes at once."""
        first, self._stopping = not self._stopping, True
        self._stop_all()
        if not _is_from_terminal(number):  # which gives it to the program, too
            self._held.append(number)
        if first:
            self._held_until = time.monotonic() + _HOLD
        else:
            self._pass_on()  # somebody is in a hurry

    def _pass_on(self) -> None:
        held, self._held = self._held, []
        for number in held:
            with suppress(ProcessLookupError):
                self._program.send_signal(number)

    def _give(self, output: Output) -> int:
        if not self._gathering.met and not self._gathering.reasons:
            return fail(
                "nothing was profiled: no Python process that has otlpfast has begun "
                "(a Python with the options -I, -E or -S does not look for it)"
            )
        try:
            path = self._gathering.give(output, self._program.pid, sys.stderr)
        except (Nothing, OSError, ValueError, zipfile.BadZipFile) as error:
            return fail(error)
        if path is not None:
            print(f"otlpfast profile: {path}", file=sys.stderr)
        return 0


@contextmanager
def _signals(client: Client) -> Iterator[None]:
    """They are events here, so that the profile is written whatever comes."""

    def handle(number: int, _: object) -> None:
        client.events.put(Event("signal", number))

    old = {number: signal.signal(number, handle) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


def _is_from_terminal(number: int) -> bool:
    """Whether the terminal has given a signal to all of its foreground processes."""
    if number not in (signal.SIGINT, getattr(signal, "SIGQUIT", 0)):
        return False
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)

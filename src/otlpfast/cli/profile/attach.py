"""``otlpfast profile --pid``: a process that serves its profiles; from CPython 3.14 on others as well."""

from __future__ import annotations

import argparse
import os
import queue
import sys
import time
import zipfile
from contextlib import suppress

from ...profiling import _registry
from ...profiling._order import FULL, Order
from ..console import Console
from . import fail, seconds_of
from .client import SCRIPT, Client, check_system
from .gathering import Gathering
from .output import Nothing, Output
from .remote import Problem, Server, fetch_and_give

_BEGIN_SECONDS = 15.0  # in which a process has to come to run what it is asked to
_END_SECONDS = 15.0  # in which it has to leave its profile

_HOW = """\
Switch it on where that process is started, then ask again:
  OTLPFAST_PPROF=127.0.0.1:0 otlpfast run app.py     or OTLPFAST_PPROF where otlpfast.configure() is called
  otlpfast.profiling.enable_pprof_http()             in its code; then --url works too
or profile it from its start: otlpfast profile -- app.py"""


def profile_process(arguments: argparse.Namespace, output: Output) -> int:
    """Takes a profile of the process of --pid; returns the exit status."""
    pid = arguments.pid
    owner = _registry.owner(pid)
    if owner is None:
        return fail(f"there is no process {pid} here")
    served = _registry.find(pid)
    if served is not None:
        try:
            return fetch_and_give(Server.of(served.url, served.token), arguments, output)
        except Problem as problem:
            return fail(problem)
    if not hasattr(sys, "remote_exec"):
        return fail(f"process {pid} does not serve its profiles{_whose(owner)}.\n{_HOW}")
    check_system()
    return _ask(arguments, owner, output)


def _whose(owner: int) -> str:
    if hasattr(os, "geteuid") and os.geteuid() not in (0, owner):
        return f", or not to you: it belongs to user {owner}"
    return ""


def _ask(arguments: argparse.Namespace, owner: int, output: Output) -> int:
    """By sys.remote_exec: the process itself runs what takes the profile."""
    pid = arguments.pid
    seconds = seconds_of(arguments) or 0.001  # a look now
    order = Order(arguments.kind, seconds, frequency=arguments.frequency)
    with Client(order, owner, _script) as client:
        script = os.path.join(client.directory, SCRIPT)
        try:
            sys.remote_exec(pid, script)  # type: ignore[attr-defined]
        except (OSError, RuntimeError, ValueError) as error:
            return fail(f"process {pid} can't be asked: {error}{_whose(owner)}.\n{_HOW}")
        gathering = Gathering(client, arguments.kind == FULL)
        try:
            _follow(client, gathering, f"{arguments.kind} profile of process {pid}", seconds)
            path = gathering.give(output, pid)
        except (Nothing, OSError, ValueError, zipfile.BadZipFile) as error:
            return fail(error)
    if path is not None:
        print(path)
    return 0


def _script(directory: str) -> bytes:
    # It runs between two instructions of whatever the process is doing.
    return (
        "try:\n"
        "    from otlpfast.profiling._ordered import begin\n"
        "except Exception as error:\n"
        "    import json, os, socket\n"
        "    client = socket.socket(socket.AF_UNIX)\n"
        f"    client.connect({os.path.join(directory, 'socket')!r})\n"
        "    text = f'otlpfast can not be imported there: {error}'\n"
        "    client.sendall(json.dumps({'pid': os.getpid(), 'failed': text}).encode() + b'\\n')\n"
        "    client.close()\n"
        "else:\n"
        f"    begin({directory!r})\n"
    ).encode()


def _follow(client: Client, gathering: Gathering, what: str, seconds: float) -> None:
    """Until the process has left its profile; Nothing where it does not. Ctrl-C ends it early."""
    console = Console()
    console.step(what)
    begun = time.monotonic()
    deadline = begun + _BEGIN_SECONDS
    try:
        while not (gathering.idle and (gathering.met or gathering.reasons)):
            if time.monotonic() >= deadline:
                raise Nothing(_silence(gathering.met))
            try:
                with suppress(queue.Empty):
                    event = client.events.get(timeout=0.25)
                    gathering.take(event)
                    if event.what == "begun":
                        begun, deadline = time.monotonic(), time.monotonic() + seconds + _END_SECONDS
                if gathering.met:
                    console.update(f"{min(time.monotonic() - begun, seconds):.0f} of {seconds:g} s")
            except KeyboardInterrupt:
                if client.stopping:
                    raise
                console.note("ending early; Ctrl-C once more gives up")
                client.stop()
                deadline = time.monotonic() + _END_SECONDS
    finally:
        console.clear()


def _silence(met: bool) -> str:
    if met:
        return "the process has begun a profile, but does not leave it"
    return (
        f"the process has not come to it within {_BEGIN_SECONDS:g} s: its main thread has to run Python code "
        "now and then, and is waiting or in C code"
    )

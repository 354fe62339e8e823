"""Runs work in a forked child and gives what it returned."""

from __future__ import annotations

import json
import os
import signal
import traceback
import warnings
from collections.abc import Callable
from typing import Any

import pytest

PATIENCE = 30  # seconds until a child that hangs is ended by its alarm


def in_child(work: Callable[[], Any]) -> Any:
    """What ``work()`` returns in a forked child, by way of JSON; the test fails where the child did."""
    if not hasattr(os, "fork"):
        pytest.skip("this system does not fork")
    receiver, sender = os.pipe()
    with warnings.catch_warnings():
        # That other threads may hold locks is known: nothing here waits for one.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        _work_and_exit(work, sender)
    os.close(sender)
    with open(receiver) as answer:
        text = answer.read()
    _, status = os.waitpid(child, 0)
    assert status == 0, f"the child ended with status {status}: {text}"
    return json.loads(text)


def die_in(seconds: float) -> None:
    """Ends this process then, also where it hangs in C: the handler of the tests' own limit would not."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(int(seconds))


def _work_and_exit(work: Callable[[], Any], sender: int) -> None:
    die_in(PATIENCE)
    code = 0
    try:
        text = json.dumps(work())
    except BaseException:
        text, code = traceback.format_exc(), 1
    finally:
        os.write(sender, text.encode())
        os._exit(code)

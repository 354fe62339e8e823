"""Processes that gevent has patched: spans stay with their greenlet, and nothing stops the others."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

import pytest

import otlpfast

from .collector import Collector
from .exporting import collector_fixture  # noqa: F401
from .pipeline import account, names, starts_threads_at_exit

pytestmark = [
    pytest.mark.skipif(find_spec("gevent") is None, reason="gevent is not installed"),
    pytest.mark.skipif(not hasattr(os, "fork"), reason="gevent as it is on POSIX"),
]

WHEN = ["before", "after"]


def run(when: str, what: str, collector: str = "") -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(otlpfast.__file__).parents[1]),
        "OTLPFAST_IMPL": otlpfast.IMPLEMENTATION,
        "COLLECTOR": collector,
    }
    command = [sys.executable, str(Path(__file__).parent / "life" / "greenlets.py"), when, what]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    # What gevent says of a patch, or of the end of a thread, that comes late is not the subject.
    assert when != "before" or done.stderr == ""
    return done


def spans(count: int) -> Counter[str]:
    return Counter(f"{where} {number}" for where in ("outer", "inner") for number in range(count))


@pytest.mark.parametrize("when", WHEN)
def test_other_greenlets_run_during_a_flush_and_during_shutdown(when: str) -> None:
    """One of them is the collector."""
    value = json.loads(run(when, "cooperate").stdout)
    assert Counter(value.pop("received")) == spans(61)
    assert value == {"parents": True, "flushed": True, "ticks": True, "stats": account(122, exported=122)}


@starts_threads_at_exit
@pytest.mark.parametrize("when", [*WHEN, "late"])
def test_what_ended_in_greenlets_arrives_at_exit(collector: Collector, when: str) -> None:
    assert run(when, "just end", collector.endpoint).returncode == 0
    assert Counter(names(collector.spans)) == spans(5) + Counter({"early": int(when == "late")})


@pytest.mark.parametrize("when", WHEN)
def test_a_flush_on_a_signal_that_interrupts_the_event_loop(collector: Collector, when: str) -> None:
    assert run(when, "be terminated", collector.endpoint).returncode == -signal.SIGTERM
    assert Counter(names(collector.spans)) == spans(1)

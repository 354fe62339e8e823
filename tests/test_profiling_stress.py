"""A short run of the stress: ``make stress SECONDS=600`` is the long one."""

from __future__ import annotations

import json
import sys

import pytest

from otlpfast.profiling._native import sampler

from . import starting

if sampler is None or not sampler.can_sample_cpu():
    pytest.skip("it is the native sampler that could crash", allow_module_level=True)


def test_fifty_threads_are_profiled_while_they_recurse_fork_import_and_end() -> None:
    done = starting.finished([sys.executable, "-m", "tests.profiling_stress", "--seconds", "8"])
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(done.stdout)
    assert result["troubles"] == []
    assert result["found"]["samples"] > 0


def test_profiles_begin_and_end_while_threads_do_and_where_a_signal_handler_raises() -> None:
    done = starting.finished([sys.executable, "-W", "ignore", "-m", "tests.life.profiled_threads"])
    assert (done.returncode, done.stdout) == (0, "ended\n"), done.stderr

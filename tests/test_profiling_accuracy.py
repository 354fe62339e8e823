"""Whether CPU profiles tell the truth, which the CPU clocks of threads know: shares within five points."""

from __future__ import annotations

import hashlib
import threading
import time
from collections import Counter
from collections.abc import Callable

import pytest

from otlpfast.profiling import Profile, start_cpu
from otlpfast.profiling._native import sampler

if sampler is None or not sampler.can_sample_cpu():
    pytest.skip("what needs the GIL is biased, and says so", allow_module_level=True)

FREQUENCY = 1000
POINTS = 0.05

# CPU time of functions, by their own account.
truth: Counter[str] = Counter()


def accounted(work: Callable[[float], None], seconds: float) -> None:
    """Does work that takes about that much CPU time, and writes down how much it was."""
    start = time.thread_time_ns()
    work(seconds)
    truth[work.__name__] += time.thread_time_ns() - start


def compute(seconds: float) -> None:
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        for number in range(50):
            number * number


NUMBERS = [number * 7919 % 100_003 for number in range(100_003)]


def hold_the_gil(seconds: float) -> None:
    """In calls that never let go of it, each some ten milliseconds long."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        sorted(NUMBERS)


def let_go_of_the_gil(seconds: float) -> None:
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        hashlib.sha256(bytes(1 << 20)).digest()


def profile_of(*works: tuple[str, Callable[[], None]]) -> Profile:
    """Of threads that do this; the CPU time of each is in `truth`, by its name."""

    def run(name: str, work: Callable[[], None]) -> None:
        start = time.thread_time_ns()
        work()
        truth[name] += time.thread_time_ns() - start

    truth.clear()
    threads = [threading.Thread(target=run, args=(name, work), name=name) for name, work in works]
    recording = start_cpu(FREQUENCY)
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return recording.stop()


def found(profile: Profile, names: list[str]) -> Counter[str]:
    """CPU time by function or thread, as the profile has it."""
    seen: Counter[str] = Counter()
    for sample in profile.samples:
        inside = {frame.function for frame in sample.stack} | {value for _, value in sample.labels}
        for name in inside & set(names):
            seen[name] += sample.values[1]
    return seen


def shares(times: Counter[str], total: float) -> dict[str, float]:
    return {name: time / total for name, time in times.items()}


def test_a_web_like_loop_computes_nearly_all_the_time() -> None:
    """One millisecond of work and two of waiting: a sampler that needs the GIL sees none of the work."""

    def loop() -> None:
        while truth["compute"] < 1e9:
            accounted(compute, 0.001)
            time.sleep(0.002)

    profile = profile_of(("web", loop))
    seen = found(profile, ["compute", "web"])
    assert seen["web"] / truth["web"] == pytest.approx(1, abs=POINTS)
    assert seen["compute"] / seen["web"] == pytest.approx(truth["compute"] / truth["web"], abs=POINTS)


def test_what_holds_the_gil_and_what_does_not_have_their_shares() -> None:
    def mixed() -> None:
        for _ in range(6):
            accounted(hold_the_gil, 0.10)
            accounted(compute, 0.06)
            accounted(let_go_of_the_gil, 0.04)

    names = ["hold_the_gil", "compute", "let_go_of_the_gil"]
    profile = profile_of(("mixed", mixed))
    seen, total = found(profile, names), truth["mixed"]
    expected = shares(Counter({name: truth[name] for name in names}), total)
    assert shares(seen, total) == pytest.approx(expected, abs=POINTS)


def test_two_threads_that_fight_for_the_gil_have_their_shares() -> None:
    def loud() -> None:
        accounted(hold_the_gil, 0.9)

    def soft() -> None:
        accounted(compute, 0.3)

    profile = profile_of(("loud", loud), ("soft", soft))
    total = truth["loud"] + truth["soft"]
    expected = shares(Counter({name: truth[name] for name in ("loud", "soft")}), total)
    assert shares(found(profile, ["loud", "soft"]), total) == pytest.approx(expected, abs=POINTS)
    inside = shares(Counter({name: truth[name] for name in ("hold_the_gil", "compute")}), total)
    assert shares(found(profile, ["hold_the_gil", "compute"]), total) == pytest.approx(inside, abs=POINTS)

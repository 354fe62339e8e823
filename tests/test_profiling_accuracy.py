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


Works = tuple[tuple[str, Callable[[], None]], ...]


def profile_of(works: Works) -> Profile:
    """Of threads that do this; the CPU time of each is added to `truth`, by its name."""

    def run(name: str, work: Callable[[], None]) -> None:
        start = time.thread_time_ns()
        work()
        truth[name] += time.thread_time_ns() - start

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
        inside = {frame.function.rpartition(".")[2] for frame in sample.stack}
        for name in (inside | {value for _, value in sample.labels}) & set(names):
            seen[name] += sample.values[1]
    return seen


def check(names: list[str], *works: tuple[str, Callable[[], None]]) -> None:
    """That each of the names has its share of all CPU time of the threads.

    The kernel looks at CPU clocks a few hundred times a second, so that a second of work is a few hundred
    samples, whose shares are off by three points as often as not. All samples of up to ten rounds count:
    chance evens out, and what is biased stays so.
    """
    truth.clear()
    seen: Counter[str] = Counter()
    for _ in range(10):
        seen.update(found(profile_of(works), names))
        total = sum(truth[name] for name, _ in works)
        off = {name: (seen[name] - truth[name]) / total for name in names}
        if all(abs(points) <= POINTS for points in off.values()):
            return
    raise AssertionError(f"off by {off} after {total / 1e9:.1f} s of CPU time")


def test_a_web_like_loop_computes_nearly_all_the_time() -> None:
    """One millisecond of work and two of waiting: a sampler that needs the GIL sees none of the work."""

    def loop() -> None:
        end = time.thread_time() + 0.7
        while time.thread_time() < end:
            accounted(compute, 0.001)
            time.sleep(0.002)

    check(["web", "compute"], ("web", loop))


def test_what_holds_the_gil_and_what_does_not_have_their_shares() -> None:
    def mixed() -> None:
        for _ in range(6):
            accounted(hold_the_gil, 0.10)
            accounted(compute, 0.06)
            accounted(let_go_of_the_gil, 0.04)

    check(["mixed", "hold_the_gil", "compute", "let_go_of_the_gil"], ("mixed", mixed))


def test_two_threads_that_fight_for_the_gil_have_their_shares() -> None:
    def loud() -> None:
        accounted(hold_the_gil, 0.9)

    def soft() -> None:
        accounted(compute, 0.3)

    check(["loud", "soft", "hold_the_gil", "compute"], ("loud", loud), ("soft", soft))

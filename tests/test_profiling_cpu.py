"""CPU profiles: whose CPU time is seen where, and what becomes of them when processes fork, exec and end."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from otlpfast.profiling import Frame, Profile, ProfilerBusyError, start_cpu
from otlpfast.profiling._native import sampler

from . import starting
from .forks import in_child

native = pytest.mark.skipif(
    sampler is None or not sampler.can_sample_cpu(), reason="there is no native sampler here"
)
FREQUENCY = 1000
BURN = 0.1  # seconds of CPU time: at any frequency used here far more than one period
PATIENCE = 60


def burn(seconds: float = BURN) -> int:
    """Python code that uses that much CPU time of its thread; how much, in nanoseconds."""
    start = time.thread_time_ns()
    while time.thread_time_ns() - start < seconds * 1e9:
        sum(range(100))
    return time.thread_time_ns() - start


def in_thread(name: str, work: Callable[[], object]) -> None:
    thread = threading.Thread(target=work, name=name)
    thread.start()
    thread.join()


def nanos(profile: Profile, function: str | None = None, thread: str | None = None) -> int:
    """CPU time of stacks that have a function, and of a thread."""
    return sum(
        sample.values[1]
        for sample in profile.samples
        if (function is None or any(frame.function.split(".")[-1] == function for frame in sample.stack))
        and (thread is None or ("thread", thread) in sample.labels)
    )


@pytest.fixture(autouse=True)
def _nothing_goes_on() -> Iterator[None]:
    """A test that failed does not make the others fail."""
    yield
    from otlpfast.profiling import cpu

    if cpu._running is not None:
        cpu._running.stop()


def test_a_profile_says_what_it_is_of() -> None:
    before = time.time_ns()
    recording = start_cpu(50)
    burn()
    profile = recording.stop()
    assert profile.kind == "cpu"
    assert profile.value_types == (("samples", "count"), ("cpu", "nanoseconds"))
    assert profile.default_type == "cpu"
    assert (profile.period_type, profile.period) == (("cpu", "nanoseconds"), 20_000_000)
    assert before <= profile.time_unix_nano <= time.time_ns()
    assert profile.duration_nanos >= BURN * 1e9
    assert all(comment.startswith("cpu: ") for comment in profile.comments)


def test_stopping_twice_gives_the_same_profile() -> None:
    recording = start_cpu(FREQUENCY)
    burn()
    assert recording.stop() is recording.stop()


def test_threads_that_stop_it_at_once_get_the_same_profile() -> None:
    recording = start_cpu(FREQUENCY)
    found: list[Profile] = []
    threads = [threading.Thread(target=lambda: found.append(recording.stop())) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 5
    assert len({id(profile) for profile in found}) == 1


def test_there_is_one_at_a_time() -> None:
    recording = start_cpu()
    with pytest.raises(ProfilerBusyError, match=r"^cpu profiling already in use$"):
        start_cpu()
    recording.stop()
    start_cpu().stop()


@pytest.mark.parametrize("frequency", [0, -1, 10_001, float("nan"), float("inf")])
def test_a_frequency_that_makes_no_sense_is_refused(frequency: float) -> None:
    with pytest.raises(ValueError, match="frequency="):
        start_cpu(frequency)
    start_cpu().stop()


def test_samples_are_merged_and_their_stacks_go_from_the_innermost_frame_out() -> None:
    recording = start_cpu(FREQUENCY)
    in_thread("burner", burn)
    profile = recording.stop()
    keys = [(sample.stack, sample.labels) for sample in profile.samples]
    assert len(keys) == len(set(keys))
    burning = next(s for s in profile.samples if s.stack[0].function == "burn")
    assert burning.stack[0].filename == __file__
    assert burning.stack[0].first_line == burn.__code__.co_firstlineno
    assert burning.stack[0].line > burn.__code__.co_firstlineno
    assert burning.stack[-1].function.endswith("_bootstrap")
    assert burning.labels == (("thread", "burner"),)


def test_a_thread_that_waits_has_next_to_no_samples() -> None:
    woken = threading.Event()
    waiting = threading.Thread(target=woken.wait, name="waiting")
    waiting.start()
    recording = start_cpu(FREQUENCY)
    used = burn()
    profile = recording.stop()
    woken.set()
    waiting.join()
    assert nanos(profile, thread="waiting") < used / 10


def test_the_cpu_time_of_a_thread_is_right_whatever_it_does() -> None:
    used = {}

    def python() -> None:
        used["python"] = burn()

    def c() -> None:
        start = time.thread_time_ns()
        numbers = list(range(300_000))
        while time.thread_time_ns() - start < BURN * 1e9:
            sorted(numbers, reverse=True)
        used["c"] = time.thread_time_ns() - start

    recording = start_cpu(FREQUENCY)
    in_thread("python", python)
    in_thread("c", c)
    profile = recording.stop()
    for name, truth in used.items():
        assert nanos(profile, thread=name) == pytest.approx(truth, rel=0.25), name


@native
def test_threads_that_live_shorter_than_a_look_are_seen() -> None:
    used = []
    recording = start_cpu(FREQUENCY)
    for _ in range(20):
        in_thread("short", lambda: used.append(burn(0.02)))
    profile = recording.stop()
    assert nanos(profile, thread="short") == pytest.approx(sum(used), rel=0.25)
    assert nanos(profile, "burn", "short") > sum(used) / 2


@native
def test_threads_that_threading_does_not_know_are_seen() -> None:
    import _thread

    ended = threading.Lock()
    ended.acquire()

    def work() -> None:
        burn(2 * BURN)
        ended.release()

    recording = start_cpu(FREQUENCY)
    _thread.start_new_thread(work, ())
    assert ended.acquire(timeout=PATIENCE)
    profile = recording.stop()
    assert nanos(profile, "burn", "(unnamed)") > BURN * 1e9 / 2


@native
def test_starting_threads_is_as_it_was_when_the_profile_has_ended() -> None:
    begin = threading.Thread._bootstrap_inner  # type: ignore[attr-defined]
    recording = start_cpu()
    assert threading.Thread._bootstrap_inner is not begin  # type: ignore[attr-defined]
    recording.stop()
    assert threading.Thread._bootstrap_inner is begin  # type: ignore[attr-defined]


def test_an_exception_in_a_thread_is_reported_as_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[type[BaseException]] = []
    monkeypatch.setattr(threading, "excepthook", lambda arguments: seen.append(arguments.exc_type))
    recording = start_cpu(FREQUENCY)
    in_thread("failing", lambda: 1 / 0)
    recording.stop()
    assert seen == [ZeroDivisionError]


def test_a_name_that_a_thread_takes_later_is_the_one_that_counts() -> None:
    def work() -> None:
        threading.current_thread().name = "renamed"
        burn()

    recording = start_cpu(FREQUENCY)
    in_thread("first", work)
    profile = recording.stop()
    assert nanos(profile, "burn", "renamed") > BURN * 1e9 / 2


@native
def test_code_is_profiled_that_is_destroyed_before_anybody_looks() -> None:
    """At a high rate: what has been freed is not touched, and its samples have its name."""
    burned = 0
    recording = start_cpu(5 * FREQUENCY)
    deadline = time.monotonic() + 2
    while time.monotonic() < deadline:
        names: dict[str, Callable[[], int]] = {}
        exec("def short_lived():\n    return sum(n * n for n in range(20_000))", names)
        names["short_lived"]()
        burned += 1
    profile = recording.stop()
    assert nanos(profile, "short_lived") > nanos(profile, "<unreadable>")
    assert nanos(profile, "short_lived") > nanos(profile) / 2


@native
def test_code_that_was_sampled_is_freed_when_the_profile_is_there() -> None:
    names: dict[str, Callable[[], object]] = {"burn": burn}
    exec("def passing():\n    return burn()", names)
    gone = weakref.ref(names["passing"].__code__)
    recording = start_cpu(FREQUENCY)
    names["passing"]()
    del names
    profile = recording.stop()
    assert nanos(profile, "passing") > 0
    gc.collect()  # a function and its globals
    assert gone() is None


@native
def test_deep_recursion_shows_its_innermost_frames() -> None:
    def recurse(depth: int) -> None:
        if depth:
            recurse(depth - 1)
        else:
            burn()

    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(3000)
    recording = start_cpu(FREQUENCY)
    try:
        in_thread("deep", lambda: recurse(900))
    finally:
        sys.setrecursionlimit(limit)
    profile = recording.stop()
    deep = [sample for sample in profile.samples if sample.stack[0].function == "burn"]
    assert max(len(sample.stack) for sample in deep) == 512
    assert any(sample.stack[1].function.endswith("recurse") for sample in deep)


@contextmanager
def handler_of_sigprof(handler: Callable[[int, object], None]) -> Iterator[None]:
    before = signal.signal(signal.SIGPROF, handler)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


@native
def test_a_handler_of_sigprof_that_was_there_goes_on_getting_its_signals_and_no_others() -> None:
    seen: list[int] = []
    with handler_of_sigprof(lambda number, frame: seen.append(number)):
        recording = start_cpu(FREQUENCY)
        burn()
        assert seen == []  # ours are not shown
        signal.raise_signal(signal.SIGPROF)
        assert seen == [signal.SIGPROF]
        signal.setitimer(signal.ITIMER_PROF, 0.01, 0.01)
        burn()
        signal.setitimer(signal.ITIMER_PROF, 0)
        assert len(seen) > 1
        profile = recording.stop()
        count = len(seen)
        signal.raise_signal(signal.SIGPROF)
        assert len(seen) == count + 1
    assert nanos(profile, "burn") > BURN * 1e9


@native
def test_a_handler_that_comes_later_is_left_in_place_and_the_profile_says_so() -> None:
    program = """
import signal, time
from otlpfast.profiling import start_cpu
def burn():
    end = time.thread_time() + 0.1
    while time.thread_time() < end: pass
seen = []
recording = start_cpu(1000)
burn()
signal.signal(signal.SIGPROF, lambda number, frame: seen.append(number))
burn()
profile = recording.stop()
assert any("took SIGPROF" in comment for comment in profile.comments), profile.comments
count = len(seen)
signal.raise_signal(signal.SIGPROF)
assert len(seen) == count + 1
# One that hands it on would be handed it back: it is left alone, and the GIL tells what it can.
recording = start_cpu(1000)
burn()
assert any("biased" in comment for comment in recording.stop().comments)
"""
    starting.python(program)


@native
def test_the_default_action_of_a_signal_from_elsewhere_is_as_ever() -> None:
    program = """
import signal, time
from otlpfast.profiling import start_cpu
start_cpu(1000)
signal.raise_signal(signal.SIGPROF)
time.sleep(60)
"""
    done = starting.finished([sys.executable, "-c", program])
    assert done.returncode == -signal.SIGPROF


@native
def test_ticks_that_wait_for_a_thread_which_blocks_the_signal_do_no_harm() -> None:
    program = """
import signal, threading, time
from otlpfast.profiling import start_cpu
go_on, blocked = threading.Event(), threading.Event()
def burn():
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGPROF})
    end = time.thread_time() + 0.2
    while time.thread_time() < end: pass
    blocked.set()
    go_on.wait(60)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGPROF})
recording = start_cpu(1000)
thread = threading.Thread(target=burn, name="blocked")
thread.start()
assert blocked.wait(60)
profile = recording.stop()
go_on.set()
thread.join()
blocked = [s for s in profile.samples if ("thread", "blocked") in s.labels]
unseen = sum(s.values[1] for s in blocked if s.stack[0].function == "<unseen>")
assert unseen > 150_000_000, blocked
"""
    starting.python(program)


def test_a_child_has_no_profile_and_can_take_one_while_the_parents_goes_on() -> None:
    recording = start_cpu(FREQUENCY)
    burn()

    def work() -> list[object]:
        inherited = recording.stop()
        own = start_cpu(FREQUENCY)
        burn()
        profile = own.stop()
        in_thread("in the child", burn)
        return [len(inherited.samples), list(inherited.comments), nanos(profile, "burn")]

    samples, comments, used = in_child(work)
    assert samples == 0
    assert comments == ["cpu: the process forked: its parent has what was found"]
    assert used > BURN * 1e9 / 2
    burn()
    profile = recording.stop()
    assert nanos(profile, "burn") > 1.5 * BURN * 1e9


@native
def test_the_signal_is_blocked_in_nobody_when_a_fork_is_over() -> None:
    recording = start_cpu(FREQUENCY)

    def is_blocked() -> bool:
        return signal.SIGPROF in signal.pthread_sigmask(signal.SIG_BLOCK, set())

    assert in_child(is_blocked) is False
    assert is_blocked() is False
    recording.stop()


def test_a_program_that_is_executed_meanwhile_runs() -> None:
    recording = start_cpu(FREQUENCY)
    for _ in range(5):
        subprocess.run([sys.executable, "-S", "-c", "sum(range(10**6))"], check=True, timeout=PATIENCE)
    recording.stop()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="exec is POSIX's")
def test_a_process_that_becomes_another_program_is_not_killed() -> None:
    program = """
import os, sys, threading, time
from otlpfast.profiling import start_cpu
start_cpu(10_000)
def burn():
    while True: sum(range(100))
threading.Thread(target=burn, daemon=True).start()
time.sleep(0.05)
os.execv(sys.executable, [sys.executable, "-S", "-c", "print(sum(range(10**6)))"])
"""
    assert starting.python(program).stdout == "499999500000\n"


@pytest.mark.parametrize("daemon", [True, False])
def test_a_process_that_ends_with_a_profile_under_way_ends_well(daemon: bool) -> None:
    program = f"""
import threading, time
from otlpfast.profiling import start_cpu
start_cpu(10_000)
def burn():
    end = time.monotonic() + ({daemon} and 60 or 0.2)
    while time.monotonic() < end: sum(range(100))
for _ in range(3):
    threading.Thread(target=burn, daemon={daemon}).start()
time.sleep(0.1)
"""
    assert starting.python(program).stderr == ""


def test_a_profile_can_be_stopped_at_exit() -> None:
    program = """
import atexit, time
from otlpfast.profiling import start_cpu
recording = None
atexit.register(lambda: print(len(recording.stop().samples) > 0))
recording = start_cpu(1000)
end = time.thread_time() + 0.2
while time.thread_time() < end: sum(range(100))
"""
    assert starting.python(program).stdout == "True\n"


def test_a_signal_handler_may_stop_it() -> None:
    recording = start_cpu(FREQUENCY)
    found: list[Profile] = []
    before = signal.signal(signal.SIGALRM, lambda *_: found.append(recording.stop()))
    try:
        burn()
        signal.raise_signal(signal.SIGALRM)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert found == [recording.stop()]


def test_without_the_native_sampler_the_profile_says_how_it_is_biased() -> None:
    program = """
import threading, time
from otlpfast.profiling import start_cpu
def burn():
    end = time.thread_time() + 0.3
    while time.thread_time() < end: sum(range(100))
recording = start_cpu(200)
thread = threading.Thread(target=burn, name="burner")
thread.start()
thread.join()
profile = recording.stop()
print(sum(s.values[1] for s in profile.samples if ("thread", "burner") in s.labels) // 1000)
print(*profile.comments, sep="\\n")
"""
    used, *comments = starting.python(program, OTLPFAST_IMPL="py").stdout.splitlines()
    assert comments[0].startswith("cpu: biased: taken by a thread that needs the GIL")
    if sys.platform == "linux":
        assert 200_000 < int(used) < 600_000


def test_frames_that_are_none_have_a_name_alone() -> None:
    assert Frame("<unreadable>", "", 0).first_line == 0

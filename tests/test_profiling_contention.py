"""Block and mutex profiles: what waits, for how long, where."""

from __future__ import annotations

import inspect
import queue
import re
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

from otlpfast.profiling import Frame, _waits, contention
from otlpfast.profiling.contention import Contention, block, mutex, start_contention

from .contending import PATIENCE, at, held_elsewhere, later, profiled_fixture, seen, those  # noqa: F401

pytestmark = pytest.mark.usefixtures("profiled")


def line_of(function: Callable[..., Any], text: str) -> int:
    lines, first = inspect.getsourcelines(function)
    return first + next(number for number, line in enumerate(lines) if text in line)


def contend(lock: Any) -> None:
    with held_elsewhere(lock) as release, later(release), lock:
        pass


@pytest.mark.parametrize("name", ["Lock", "RLock"])
def test_a_wait_for_a_lock_is_at_the_line_that_waits_and_says_who_held_it(name: str) -> None:
    lock = getattr(threading, name)()
    sample = seen(mutex, "contend", lambda: contend(lock))
    assert sample.stack[0].function == "contend"
    assert sample.stack[0].line == line_of(contend, "with held_elsewhere")
    labels = dict(sample.labels)
    assert labels["thread"] == threading.current_thread().name
    assert re.fullmatch(r"(held_elsewhere\.<locals>\.)?hold \(contending\.py:\d+\)", str(labels["holder"]))
    assert not at(block(), "contend")


@pytest.mark.parametrize("name", ["Lock", "RLock"])
def test_the_holder_is_who_held_it_the_longest_not_who_came_last(name: str) -> None:
    lock, near = getattr(threading, name)(), threading.Barrier(5)

    def hold_long() -> None:
        with lock:
            near.wait(PATIENCE)
            time.sleep(0.3)

    def hold_shortly() -> None:
        near.wait(PATIENCE)
        with lock:
            pass

    threads = [threading.Thread(target=work) for work in (hold_long, *[hold_shortly] * 4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    holders = {str(dict(sample.labels)["holder"]).partition(" ")[0] for sample in at(mutex(), "hold_shortly")}
    assert {holder.rpartition(".")[2] for holder in holders} == {"hold_long"}


@pytest.mark.parametrize("name", ["Lock", "RLock"])
def test_the_delay_is_what_the_threads_measured(name: str) -> None:
    lock, threads = getattr(threading, name)(), 4
    truths: list[int] = []

    def wait_in_line(near: threading.Barrier) -> None:
        near.wait(PATIENCE)
        began = time.monotonic_ns()
        lock.acquire()
        truths.append(time.monotonic_ns() - began)
        time.sleep(0.05)
        lock.release()

    near = threading.Barrier(threads + 1)
    waiting = [threading.Thread(target=wait_in_line, args=(near,)) for _ in range(threads)]
    with lock:
        for thread in waiting:
            thread.start()
        near.wait(PATIENCE)
        time.sleep(0.5)  # some threads may come later than at once: the truth is theirs
    for thread in waiting:
        thread.join()
    samples = at(mutex(), "wait_in_line")
    assert sum(sample.values[0] for sample in samples) == threads
    assert 0.5 * sum(truths) < sum(sample.values[1] for sample in samples) <= sum(truths)


def test_before_it_is_begun_the_profiles_say_how_to_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contention, "_waits", None)
    for profile in (block(), mutex()):
        assert profile.samples == ()
        assert profile.comments == ("It is off: start_contention() begins it.",)


def test_where_locks_are_gevents_it_is_refused_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("otlpfast._threads.are_real", lambda: False)
    with pytest.raises(RuntimeError, match=r"gevent or eventlet has .*: profile its wall time instead"):
        start_contention()


def test_locks_that_are_free_are_not_counted() -> None:
    lock, again, semaphore = threading.Lock(), threading.RLock(), threading.Semaphore(2)
    for _ in range(1000):
        with lock, again, again, semaphore:
            assert not lock.acquire(blocking=False) and not lock.acquire(timeout=0)
            assert semaphore.acquire() and not semaphore.acquire(timeout=0) and not semaphore.acquire(False)
            semaphore.release()
    assert not those(mutex(), "test_locks_that_are_free_are_not_counted")


def test_a_wait_that_ends_in_vain_is_counted() -> None:
    lock = threading.Lock()
    with lock:
        assert not lock.acquire(timeout=0.02)
    (sample,) = at(mutex(), "test_a_wait_that_ends_in_vain_is_counted")
    assert sample.values[0] == 1
    assert sample.values[1] >= 20_000_000


def wait_for_a_condition() -> None:
    condition = threading.Condition()

    def notify() -> None:
        with condition:
            condition.notify()

    with later(notify), condition:
        condition.wait(0.5)


def wait_for_an_event() -> None:
    event = threading.Event()
    with later(event.set):
        assert event.wait(PATIENCE)


def wait_for_a_queue() -> None:
    items: queue.Queue[int] = queue.Queue()
    with later(lambda: items.put(1)):
        assert items.get() == 1


def wait_for_a_simple_queue() -> None:
    items: queue.SimpleQueue[int] = queue.SimpleQueue()
    with later(lambda: items.put(1)):
        assert items.get() == 1


def wait_for_a_thread() -> None:
    thread = threading.Thread(target=lambda: time.sleep(0.02))
    thread.start()
    thread.join()


def wait_at_a_barrier() -> None:
    barrier = threading.Barrier(2)
    with later(barrier.wait):
        barrier.wait(PATIENCE)


def wait_for_a_future() -> None:
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(lambda: time.sleep(0.02)).result() is None


@pytest.mark.parametrize(
    ("scenario", "frames"),
    [
        (wait_for_a_condition, ["Condition.wait", "wait_for_a_condition"]),
        (wait_for_an_event, ["Condition.wait", "Event.wait", "wait_for_an_event"]),
        (wait_for_a_queue, ["Condition.wait", "Queue.get", "wait_for_a_queue"]),
        (wait_for_a_simple_queue, ["SimpleQueue.get", "wait_for_a_simple_queue"]),
        (wait_for_a_thread, ["Thread.join", "wait_for_a_thread"]),
        (wait_at_a_barrier, ["Condition.wait", "Condition.wait_for", "Barrier._wait", "Barrier.wait"]),
        (wait_for_a_future, ["Condition.wait", "Future.result", "wait_for_a_future"]),
    ],
)
def test_a_wait_for_an_event_is_in_the_block_profile(scenario: Callable[[], None], frames: list[str]) -> None:
    def profile() -> Any:
        return block()

    deadline = time.monotonic() + PATIENCE
    names: list[list[str]] = []
    wanted = [frame.rpartition(".")[2] for frame in frames]  # CPython 3.10 knows no qualified names
    while wanted not in names and time.monotonic() < deadline:
        seen(profile, scenario.__name__, scenario)
        stacks = [sample.stack for sample in those(block(), scenario.__name__)]
        names = [[frame.function.rpartition(".")[2] for frame in stack[: len(frames)]] for stack in stacks]
    assert wanted in names
    assert not any(s.stack[0].function.endswith("Condition.wait") for s in mutex().samples)


@pytest.mark.parametrize("made", [threading.Semaphore, threading.BoundedSemaphore])
def test_a_wait_for_a_semaphore_is_one_for_a_lock(made: Callable[[], threading.Semaphore]) -> None:
    semaphore = made()

    def contend_for_it() -> None:
        with held_elsewhere(semaphore) as release, later(release), semaphore:
            pass

    sample = seen(mutex, "contend_for_it", contend_for_it)
    assert [frame.function.rpartition(".")[2] for frame in sample.stack[:2]] == ["acquire", "contend_for_it"]
    inside = [s for s in those(block(), "contend_for_it") if s.stack[1].function.endswith("acquire")]
    assert not inside, "it is counted once"


def test_short_waits_are_sampled_and_weighted() -> None:
    waits, leaf = _waits.Waits(block_rate=10_000, mutex_fraction=10), _waits.Frame("wait", "file.py", 1)
    for _ in range(20_000):
        waits.blocked(1_000, leaf)
        waits.locked_out(700, None, 0)
    (sample,) = waits.profile("block").samples
    # Of 20,000 one in ten on average: 15 % are seven standard deviations.
    assert sample.values[0] == pytest.approx(20_000, rel=0.15)
    assert sample.values[1] == pytest.approx(20_000 * 1_000, rel=0.15)
    assert sample.values[1] % 10_000 == 0
    (sample,) = waits.profile("mutex").samples
    assert sample.values == (200_000, 140_000_000)


def test_of_so_many_waits_for_locks_one_is_told(profiled: Contention) -> None:
    lock, fraction = threading.Lock(), 4
    with start_contention(mutex_fraction=fraction), lock:
        for _ in range(1_000):
            lock.acquire(timeout=1e-6)
    (sample,) = at(mutex(), "test_of_so_many_waits_for_locks_one_is_told")
    assert sample.values[0] % fraction == 0
    assert sample.values[0] == pytest.approx(1_000, rel=0.4)  # seven standard deviations


def test_rates_of_zero_count_nothing() -> None:
    lock, event = threading.Lock(), threading.Event()
    with start_contention(block_rate=0, mutex_fraction=0), lock:
        assert not lock.acquire(timeout=0.01)
        assert not event.wait(0.01)
    name = "test_rates_of_zero_count_nothing"
    assert not those(mutex(), name) and not those(block(), name)


def test_the_current_span_is_on_the_label() -> None:
    tracer = TracerProvider().get_tracer("contention")
    lock = threading.Lock()
    with tracer.start_as_current_span("checkout") as span, lock:
        assert not lock.acquire(timeout=0.01)
    (sample,) = at(mutex(), "test_the_current_span_is_on_the_label")
    context = span.get_span_context()
    assert dict(sample.labels) == {
        "span_id": f"{context.span_id:016x}",
        "span_name": "checkout",
        "thread": threading.current_thread().name,
        "trace_id": f"{context.trace_id:032x}",
    }


def test_a_span_that_waits_for_locks_itself_is_no_deadlock_and_not_counted() -> None:
    asked = []

    class Waiting(trace.NonRecordingSpan):
        def get_span_context(self) -> trace.SpanContext:
            asked.append(lock.acquire(timeout=0.001))
            return super().get_span_context()

    lock = threading.Lock()
    with lock, trace.use_span(Waiting(trace.SpanContext(1, 2, False))):
        assert not lock.acquire(timeout=0.01)
    (sample,) = at(mutex(), "test_a_span_that_waits_for_locks_itself_is_no_deadlock_and_not_counted")
    assert asked == [False]
    assert sample.values[0] == 1
    assert ("span_id", f"{2:016x}") in sample.labels


def test_a_span_that_is_broken_costs_its_labels() -> None:
    class Broken(trace.NonRecordingSpan):
        def get_span_context(self) -> trace.SpanContext:
            raise AttributeError("broken")

    lock = threading.Lock()
    with lock, trace.use_span(Broken(trace.SpanContext(1, 2, False))):
        assert not lock.acquire(timeout=0.01)
    (sample,) = at(mutex(), "test_a_span_that_is_broken_costs_its_labels")
    assert [key for key, _ in sample.labels] == ["thread"]


def test_what_has_no_room_has_no_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_waits, "MOST_SAMPLES", 1)
    waits, leaf = _waits.Waits(block_rate=1, mutex_fraction=1), _waits.Frame("wait", "file.py", 1)
    for number in range(3):
        with trace.use_span(trace.NonRecordingSpan(trace.SpanContext(1, 2 + number, False))):
            waits.blocked(100, leaf)
    first, rest = waits.profile("block").samples
    assert first.values == (1, 100) and ("span_id", f"{2:016x}") in first.labels
    assert rest == (first.stack, (2, 200), ())


def test_the_profile_says_what_it_is(profiled: Contention) -> None:
    for profile, period in (
        (profiled.block(), ("delay", "nanoseconds")),
        (mutex(), ("contentions", "count")),
    ):
        assert profile.value_types == (("contentions", "count"), ("delay", "nanoseconds"))
        assert (profile.period_type, profile.period, profile.default_type) == (period, 1, "delay")
        assert profile.duration_nanos > 0 and profile.time_unix_nano > 0
        assert profile.comments
    assert (profiled.block().kind, profiled.mutex().kind) == ("block", "mutex")


def test_the_newest_rates_are_in_force_and_names_are_given_back_at_the_end(profiled: Contention) -> None:
    newer = start_contention(block_rate=5_000)
    assert (newer.block_rate, newer.mutex_fraction) == (5_000, 1)
    assert contention.block().period == 5_000
    newer.stop()
    newer.stop()
    assert contention.block().period == 1
    assert contention.is_on()


@pytest.mark.parametrize("rates", [{"block_rate": -1}, {"mutex_fraction": -5}])
def test_a_rate_below_zero_is_an_error(rates: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"=-\d: 0 or more"):
        start_contention(**rates)


def test_who_has_waited_does_not_wait_for_who_looks() -> None:
    # Who looks may be in a finaliser that waits for a lock, whose holder has waited.
    waits = _waits.Waits(1, 1)
    leaf = Frame("wait", "a.py", 1)
    with waits._changing:
        thread = threading.Thread(target=waits.blocked, args=(1000, leaf), daemon=True)
        thread.start()
        thread.join(PATIENCE)
        assert not thread.is_alive()
    assert waits.profile("block").total("contentions") == 1


def test_what_was_in_force_is_the_period_after_the_end() -> None:
    waits = _waits.Waits(123, 4)
    waits.end()
    assert [waits.profile(kind).period for kind in ("block", "mutex")] == [123, 4]

"""The locks and methods that stand in for those of threading while contention is profiled do as they do."""

from __future__ import annotations

import _thread
import copy
import copyreg
import gc
import inspect
import os
import pickle
import queue
import re
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import otlpfast
from otlpfast.profiling import _patches, contention

from .contending import PATIENCE, held_elsewhere, later, profiled_fixture, those  # noqa: F401
from .forks import in_child

PLAIN = {"Lock": _thread.allocate_lock, "RLock": _thread.RLock}
both = pytest.mark.parametrize("name", ["Lock", "RLock"])


def outcome(work: Callable[[Any], Any], lock: Any) -> Any:
    """What it returns or raises, but for addresses and threads."""
    try:
        said = repr(work(lock))
    except Exception as error:
        said = f"{type(error).__name__}: {error}"
    said = re.sub(r"0x[0-9a-f]+", "0x", said)
    return re.sub(r"positional arguments|arguments", "arguments", said)


def again(lock: Any) -> Any:
    return [
        lock.acquire(),
        lock.acquire(False),
        lock.acquire(blocking=0),
        lock.acquire(timeout=0),
        repr(lock),
    ]


SAME: dict[str, Callable[[Any], Any]] = {
    "acquire": lambda lock: [lock.acquire(), lock.release(), lock],
    "acquire again": again,
    "with": lambda lock: [lock.__enter__(), lock, lock.__exit__(None, None, None), lock],
    "exit without arguments": lambda lock: [lock.acquire(), lock.__exit__()],
    "release": lambda lock: lock.release(),
    "exit": lambda lock: lock.__exit__(None, None, None),
    "timeout and no blocking": lambda lock: lock.acquire(False, 1),
    "negative timeout": lambda lock: lock.acquire(timeout=-2),
    "large timeout": lambda lock: lock.acquire(timeout=1e100),
    "largest timeout": lambda lock: lock.acquire(timeout=threading.TIMEOUT_MAX),
    "no number": lambda lock: lock.acquire(True, timeout="1"),
    "not a number": lambda lock: lock.acquire(timeout=float("nan")),
    "whole timeout": lambda lock: lock.acquire(True, 3),
    "true in other words": lambda lock: [lock.acquire(1), lock],
    "pickle": pickle.dumps,
    "copy": copy.copy,
    "class": lambda lock: lock.__class__,
    "attribute": lambda lock: setattr(lock, "new", 1) if False else hasattr(lock, "__dict__"),
    "is a plain one": lambda lock: [isinstance(lock, type(plain())) for plain in PLAIN.values()],
    "what a condition asks": lambda lock: [hasattr(lock, "_release_save"), hasattr(lock, "_is_owned")],
}


@both
@pytest.mark.parametrize("what", SAME)
@pytest.mark.usefixtures("profiled")
def test_it_does_what_a_plain_one_does(name: str, what: str) -> None:
    assert outcome(SAME[what], getattr(threading, name)()) == outcome(SAME[what], PLAIN[name]())


@both
@pytest.mark.usefixtures("profiled")
def test_arguments_are_taken_or_refused_as_by_a_plain_one(name: str) -> None:
    assert outcome(getattr(threading, name), 1).split(":")[0] == outcome(PLAIN[name], 1).split(":")[0]


@both
@pytest.mark.usefixtures("profiled")
def test_what_stands_for_the_lock_is_a_class(name: str) -> None:
    made, plain = getattr(threading, name), PLAIN[name]()
    assert isinstance(made(), made) and isinstance(plain, made) and not isinstance(3, made)
    assert issubclass(type(plain), made) and not issubclass(int, made)
    assert isinstance(made(), made | None) and isinstance(None, made | None)
    assert pickle.loads(pickle.dumps(made)) is made
    with pytest.raises(
        TypeError, match=f"type '_thread.{name.replace('Lo', 'lo', name == 'Lock')}' is not an"
    ):
        type("Mine", (made,), {})


@both
@pytest.mark.usefixtures("profiled")
def test_it_says_by_itself_that_it_cannot_be_pickled(name: str) -> None:
    with pytest.raises(TypeError, match=r"cannot pickle '_thread.R?[lL]ock' object"):
        getattr(threading, name)().__reduce__()


@both
@pytest.mark.usefixtures("profiled")
def test_whoever_can_pickle_plain_locks_can_pickle_these(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = PLAIN[name]
    monkeypatch.setitem(copyreg.dispatch_table, type(plain()), lambda lock: (plain, ()))
    assert type(pickle.loads(pickle.dumps(getattr(threading, name)()))) is type(plain())


@both
@pytest.mark.usefixtures("profiled")
def test_weak_references_and_the_end_of_one_that_is_held(name: str) -> None:
    lock = getattr(threading, name)()
    reference = weakref.ref(lock)
    lock.acquire()
    assert reference() is lock
    del lock
    gc.collect()
    assert reference() is None


@pytest.mark.usefixtures("profiled")
def test_an_rlock_knows_its_owner() -> None:
    lock: Any = threading.RLock()
    with lock, lock:
        assert lock._is_owned() and lock._recursion_count() == 2
        assert f"owner={threading.get_ident()} count=2" in repr(lock)
        state = lock._release_save()
        assert not lock._is_owned() and lock._recursion_count() == 0
        lock._acquire_restore(state)
        assert lock._recursion_count() == 2
    with lock:
        state = lock._release_save()
        with held_elsewhere(lock) as done, later(done):
            lock._acquire_restore(state)
        assert lock._recursion_count() == 1
    with held_elsewhere(lock):
        assert not lock._is_owned() and lock._recursion_count() == 0 and lock.locked()
        with pytest.raises(RuntimeError, match=r"cannot release un-acquired lock"):
            lock.release()
    with pytest.raises(RuntimeError, match=r"cannot release un-acquired lock"):
        lock._release_save()


@pytest.mark.usefixtures("profiled")
def test_subclasses_of_what_threading_has_in_python_go_on() -> None:
    class Mine(threading.Condition):
        def wait(self, timeout: float | None = None) -> bool:
            waited.append(timeout)
            return super().wait(timeout)

    class Worker(threading.Thread):
        def join(self, timeout: float | None = None) -> None:
            super().join(timeout)

    waited: list[float | None] = []
    condition = Mine(threading.Lock())
    with condition:
        assert not condition.wait_for(lambda: False, timeout=0.01)
    assert waited
    worker = Worker(target=lambda: None)
    with pytest.raises(RuntimeError, match="cannot join thread before it is started"):
        worker.join()
    worker.start()
    worker.join()
    assert not worker.is_alive()
    with pytest.raises(RuntimeError, match=r"cannot wait on un-acquired lock"):
        condition.wait()


@pytest.mark.usefixtures("profiled")
def test_a_simple_queue_is_one() -> None:
    items: queue.SimpleQueue[int] = queue.SimpleQueue()
    plain = _patches._queue.SimpleQueue()
    assert isinstance(items, queue.SimpleQueue) and isinstance(plain, queue.SimpleQueue)
    assert not isinstance(3, queue.SimpleQueue)

    class Mine(queue.SimpleQueue[int]):
        pass

    assert isinstance(Mine(), queue.SimpleQueue) and issubclass(Mine, queue.SimpleQueue)
    assert not isinstance(plain, Mine) and not issubclass(type(plain), Mine)
    for made in (items, plain):
        with pytest.raises(queue.Empty):
            made.get(timeout=0.01)
        with pytest.raises(queue.Empty):
            made.get_nowait()
        with pytest.raises(ValueError, match="non-negative"):
            made.get(timeout=-1)
        with pytest.raises(TypeError, match=r"cannot pickle '_queue\.SimpleQueue' object"):
            pickle.dumps(made)
        made.put(7)
        assert made.get(timeout=5) == 7


def names() -> dict[str, Any]:
    methods = [(owner, name) for owner, name, _ in _patches._METHODS if hasattr(owner, name)]
    found = {f"{owner}.{name}": vars(owner).get(name) for owner, name in methods}
    return {**found, "Lock": threading.Lock, "RLock": threading.RLock, "queue": queue.SimpleQueue}


def test_all_names_are_given_back_and_what_was_made_works_on() -> None:
    before = names()
    with contention.start_contention(1, 1) as handle:
        during = names()
        assert not [name for name, value in during.items() if value is before[name] and value is not None]
        made = [threading.Lock(), threading.RLock(), threading.Semaphore(), threading.Condition()]
        items: queue.SimpleQueue[int] = queue.SimpleQueue()
    assert names() == before
    counted = handle.mutex().samples, handle.block().samples
    for lock in made:
        with held_elsewhere(lock) as release, later(release), lock:
            pass
    with later(lambda: items.put(1)):
        assert items.get() == 1
    handle.stop()
    assert (handle.mutex().samples, handle.block().samples) == counted
    assert handle.mutex().duration_nanos == contention.mutex().duration_nanos > 0


def test_what_someone_else_has_changed_since_is_left_to_him(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        threading.Condition, "wait", threading.Condition.wait
    )  # to be given back after the test
    handle = contention.start_contention()
    ours = threading.Condition.wait

    def theirs(self: threading.Condition, timeout: float | None = None) -> bool:
        return ours(self, timeout)

    threading.Condition.wait = theirs  # type: ignore[method-assign]
    handle.stop()
    assert threading.Condition.wait is theirs
    assert not threading.Event().wait(0.01)


def test_the_first_to_stop_leaves_the_rest() -> None:
    first, second = contention.start_contention(), contention.start_contention()
    first.stop()
    assert contention.is_on() and threading.Lock is not _thread.allocate_lock
    lock = threading.Lock()
    with lock:
        lock.acquire(timeout=0.01)
    assert second.mutex().samples
    second.stop()
    assert not contention.is_on()


class Interrupted(Exception):
    pass


@pytest.fixture
def alarm() -> Iterator[Callable[[Callable[[], None], float, float], None]]:
    def ring(work: Callable[[], None], seconds: float, every: float) -> None:
        signal.signal(signal.SIGALRM, lambda *_: work())
        signal.setitimer(signal.ITIMER_REAL, seconds, every)

    before = signal.getsignal(signal.SIGALRM)
    yield ring
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def interrupt() -> None:
    signal.setitimer(signal.ITIMER_REAL, 0)
    raise Interrupted


@both
@pytest.mark.parametrize("timeout", [-1, PATIENCE])
@pytest.mark.usefixtures("profiled")
def test_a_signal_ends_a_wait_where_its_handler_raises(name: str, timeout: float, alarm: Any) -> None:
    lock = getattr(threading, name)()
    with held_elsewhere(lock) as release:
        with pytest.raises(Interrupted):
            # A signal that comes just before a thread falls asleep does not wake it: the next one does.
            alarm(interrupt, 0.05, 0.05)
            lock.acquire(timeout=timeout)
        release()
    assert lock.acquire(timeout=PATIENCE)
    lock.release()


@both
@pytest.mark.usefixtures("profiled")
def test_a_signal_does_not_end_a_wait_where_its_handler_returns(name: str, alarm: Any) -> None:
    lock, rung = getattr(threading, name)(), []
    with held_elsewhere(lock):
        began = time.monotonic()
        alarm(lambda: rung.append(1), 0.01, 0.01)
        assert not lock.acquire(timeout=0.3)
        assert time.monotonic() - began >= 0.3
    assert rung


@both
def test_a_lock_is_given_back_where_telling_of_the_wait_raises(name: str) -> None:
    def tell(waited: int, code: object, line: int) -> None:
        raise Interrupted

    with contention.start_contention():
        lock = getattr(threading, name)()
        _patches._made.watch_locks(tell)
        caught = []

        def contend() -> None:
            with held_elsewhere(lock) as release, later(release):
                try:
                    with lock:
                        pass
                except Interrupted as error:
                    caught.append(error)

        deadline = time.monotonic() + PATIENCE
        while not caught and time.monotonic() < deadline:
            contend()
        assert caught
        assert lock.acquire(blocking=False)
        lock.release()


@pytest.mark.usefixtures("profiled")
def test_handlers_that_wait_for_locks_come_between_without_a_deadlock(alarm: Any) -> None:
    """Also while a wait is being counted, and while a snapshot is taken."""
    inner, outer, rung = threading.Lock(), threading.Lock(), []

    def handle() -> None:
        rung.append(inner.acquire(timeout=0.0001))
        contention.mutex()

    with inner, outer:
        deadline = time.monotonic() + PATIENCE
        while len(rung) < 200 and time.monotonic() < deadline:
            alarm(handle, 0.0002, 0)  # once: a handler must not come upon itself
            assert not outer.acquire(timeout=0.0001)
            contention.block()
    assert len(rung) >= 200 and not any(rung)


@both
@pytest.mark.usefixtures("profiled")
def test_a_child_counts_its_own_waits_alone(name: str) -> None:
    lock: Any = getattr(threading, name)()
    here = "test_a_child_counts_its_own_waits_alone"
    with held_elsewhere(lock):
        assert not lock.acquire(timeout=0.01)
        assert those(contention.mutex(), here)

        def work() -> list[Any]:
            inherited = len(those(contention.mutex(), here))
            taken = lock.acquire(timeout=0.01)
            lock._at_fork_reinit()
            with lock:
                own = [sample.values[0] for sample in those(contention.mutex(), here)]
            contention._handles[-1].stop()
            return [
                inherited,
                taken,
                own,
                threading.Lock is _thread.allocate_lock or sys.version_info >= (3, 13),
            ]

        assert in_child(work) == [0, False, [1], True]
    assert contention.is_on()


PROGRAM = """
import asyncio, logging, multiprocessing, sys, threading, time
from concurrent.futures import ThreadPoolExecutor
from otlpfast.profiling import contention

def double(n):
    return 2 * n

def main():
    contention.start_contention(1, 1)
    logging.basicConfig(stream=sys.stdout, format="%(message)s")
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(double, range(50))) == [2 * n for n in range(50)]
    context = multiprocessing.get_context(sys.argv[1])
    with context.Pool(2) as pool:
        assert pool.map(double, range(50)) == [2 * n for n in range(50)]
    items = context.Queue()
    process = context.Process(target=items.put, args=(1,))
    process.start()
    assert items.get(timeout=30) == 1
    process.join()
    assert process.exitcode == 0
    lock = threading.Lock()
    lock.acquire()
    for _ in range(3):
        threading.Thread(target=lock.acquire, daemon=True).start()
        threading.Thread(target=threading.Event().wait, daemon=True).start()
    threading.Thread(target=time.sleep, args=(0.1,)).start()
    assert asyncio.run(asyncio.wait_for(asyncio.sleep(0.01, 5), 30)) == 5
    assert contention.block().samples
    logging.warning("done")

if __name__ == "__main__":
    main()
"""


def run(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *arguments]
    environment = {"OTLPFAST_IMPL": otlpfast.IMPLEMENTATION, "PATH": ""}
    environment["PYTHONPATH"] = str(Path(otlpfast.__file__).parents[1])
    return subprocess.run(
        command, env=environment, input=program, capture_output=True, text=True, timeout=2 * PATIENCE
    )


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_a_program_with_pools_and_processes_ends_as_ever(start: str, tmp_path: Path) -> None:
    path = tmp_path / "program.py"
    path.write_text(PROGRAM)
    done = run("", "-W", "ignore::DeprecationWarning", str(path), start)
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")


def test_importing_changes_nothing() -> None:
    program = """
import threading
before = threading.Lock, threading.RLock, threading.Condition.wait, threading.Thread.join
import otlpfast.profiling.contention as contention
assert not contention.block().samples and "It is off" in contention.mutex().comments[0]
assert before == (threading.Lock, threading.RLock, threading.Condition.wait, threading.Thread.join)
"""
    done = run(program, "-")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(find_spec("gevent") is None, reason="gevent is not installed")
def test_where_gevent_has_replaced_the_locks_it_says_so() -> None:
    program = """
from gevent import monkey
monkey.patch_all()
import threading
before = threading.Lock, threading.RLock
from otlpfast.profiling import contention
try:
    contention.start_contention()
except RuntimeError as error:
    print(error)
assert (threading.Lock, threading.RLock) == before and not contention.is_on()
"""
    done = run(program, "-")
    assert done.stdout.startswith("contention can't be profiled where gevent or eventlet")
    assert done.returncode == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_everything_at_once_neither_hangs_nor_crashes() -> None:
    done = run("", "-X", "faulthandler", str(Path(__file__).parent / "life" / "contending.py"), "3")
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")


CPYTHON = """
import inspect, sys, threading, unittest
from otlpfast.profiling import contention
contention.start_contention(1, 1)
from test import lock_tests

def usable(cls, **attributes):
    # Those that bet on how long something takes are left out.
    timed = ("_wait(", "Timeout", "time.", "wait_phase", "_thread")
    for name in dir(cls):
        if name.startswith("test_") and any(word in inspect.getsource(getattr(cls, name)) for word in timed):
            attributes[name] = None
    made = type(cls.__name__, (cls,), attributes)
    return unittest.defaultTestLoader.loadTestsFromTestCase(made)

suite = unittest.TestSuite([
    usable(lock_tests.LockTests, locktype=staticmethod(threading.Lock)),
    usable(lock_tests.RLockTests, locktype=staticmethod(threading.RLock)),
])
done = unittest.TextTestRunner().run(suite)
assert done.testsRun >= 20, done.testsRun
sys.exit(not done.wasSuccessful())
"""


@pytest.mark.skipif(find_spec("test.lock_tests") is None, reason="this Python has no tests of its own")
def test_locks_pass_the_tests_of_cpython() -> None:
    done = run(CPYTHON, "-W", "ignore", "-")
    assert done.returncode == 0, done.stderr


def test_signatures_are_those_of_the_plain_methods() -> None:
    def signatures() -> list[str]:
        methods = [(owner, name) for owner, name, _ in _patches._METHODS if hasattr(owner, name)]
        return [str(inspect.signature(getattr(owner, name))) for owner, name in methods[:-1]]

    before = signatures()
    with contention.start_contention():
        assert signatures() == before

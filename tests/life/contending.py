"""Everything that waits, at once, while profiling starts and stops: ``python contending.py SECONDS``.

Threads with locks that are replaced all the time, conditions, queues, asyncio, forks, finalisers and a signal
handler that takes locks. Ends with status 0 and says "done", or hangs, crashes or raises.
"""

from __future__ import annotations

import asyncio
import gc
import os
import queue
import random
import signal
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable
from typing import Any

from otlpfast.profiling import contention

locks: list[Any] = []
end = time.monotonic() + float(sys.argv[1])


def remake() -> None:
    locks[:] = [threading.Lock(), threading.Lock(), threading.RLock(), threading.RLock()]


def touch(*_: object) -> None:
    lock = random.choice(locks)
    if lock.acquire(timeout=0.0001):
        lock.release()


class Cycle:
    """Takes a lock when the garbage collector comes."""

    def __init__(self) -> None:
        self.me = self

    def __del__(self) -> None:
        touch()


def take_locks() -> None:
    with random.choice(locks):
        Cycle()
        if random.random() < 0.05:
            time.sleep(0.0001)
        touch()
    if random.random() < 0.01:
        gc.collect(0)


def wait_for_others() -> None:
    items: queue.Queue[int] = queue.Queue(1)
    thread = threading.Thread(target=items.put, args=(1,))
    items.put(0)
    thread.start()
    assert [items.get(), items.get()] == [0, 1]
    thread.join()
    condition = threading.Condition()
    with condition:
        condition.wait(0.001)


def run_tasks() -> None:
    async def work(lock: asyncio.Lock) -> None:
        for _ in range(10):
            async with lock:
                await asyncio.sleep(0)

    async def several() -> None:
        lock = asyncio.Lock()
        await asyncio.gather(*(work(lock) for _ in range(5)))

    asyncio.run(several())


def profile() -> None:
    with contention.start_contention(random.choice([0, 1, 10_000]), random.choice([0, 1, 3])):
        time.sleep(0.01)
        contention.block()
        contention.mutex()
        if random.random() < 0.3:
            remake()


def fork() -> None:
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(30)
        lock = threading.Lock()
        with lock:
            lock.acquire(timeout=0.001)
        contention.mutex()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert status == 0, status
    time.sleep(0.01)


def repeat(work: Callable[[], None]) -> None:
    while time.monotonic() < end:
        try:
            work()
        except BaseException:
            traceback.print_exc()
            os._exit(1)


def main() -> None:
    warnings.simplefilter("ignore")  # of forks beside threads
    remake()
    sys.setswitchinterval(1e-5)
    signal.signal(signal.SIGALRM, touch)
    signal.setitimer(signal.ITIMER_REAL, 0.002, 0.002)
    parts = [take_locks] * 4 + [wait_for_others, run_tasks, profile, profile, fork]
    threads = [threading.Thread(target=repeat, args=(part,)) for part in parts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    signal.setitimer(signal.ITIMER_REAL, 0)
    assert not contention.is_on()
    print("done")


if __name__ == "__main__":
    main()

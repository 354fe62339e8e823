"""Takes one CPU profile after the other while threads begin and end, in a forked child as well, and while a
signal handler raises in whatever there is. Says how often, or dies."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

from otlpfast.profiling import start_cpu

SECONDS = 3.0


def work() -> None:
    sum(range(2000))


def spawn() -> None:
    while True:
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def spawn_aside() -> None:
    for _ in range(3):
        threading.Thread(target=spawn, daemon=True).start()


def profiles() -> int:
    count, end = 0, time.monotonic() + SECONDS
    while time.monotonic() < end:
        recording = start_cpu(2000)
        work()
        recording.stop()
        count += 1
    return count


class Raised(Exception):
    pass


is_armed = False


def handle(*_: object) -> None:
    global is_armed
    if is_armed:
        is_armed = False
        raise Raised


def interrupted_profiles() -> None:
    global is_armed
    signal.signal(signal.SIGALRM, handle)
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        recording = start_cpu(1000)
        try:
            is_armed = True
            signal.setitimer(signal.ITIMER_REAL, 0.0007)
            work()
            recording.stop()
            is_armed = False
        except Raised:
            pass
        recording.stop()


sys.setswitchinterval(1e-4)
spawn_aside()
under_way = start_cpu(1000)
child = os.fork()
if child == 0:
    spawn_aside()
    os._exit(not profiles())
under_way.stop()
assert profiles()
assert os.waitpid(child, 0)[1] == 0
interrupted_profiles()
print("ended")

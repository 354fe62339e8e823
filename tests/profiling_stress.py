"""Fifty threads that do what makes a walk of frames hard, while CPU profiles are taken of them.

``python -m tests.profiling_stress --seconds 20 --frequency 1000`` prints what was done as JSON. A crash, a
child that crashes or hangs, or an exception in a thread is an exit status other than 0.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import faulthandler
import gc
import hashlib
import importlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import warnings
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from otlpfast.profiling import start_cpu
from otlpfast.profiling._native import sampler

try:
    import numpy
except ImportError:
    numpy = None  # type: ignore[assignment]

CHILD_SECONDS = 60

done: Counter[str] = Counter()
troubles: list[str] = []
is_over = threading.Event()


def recursion() -> None:
    def descend(depth: int) -> int:
        return 1 + descend(depth - 1) if depth else 0

    for depth in (5, 50, 400):
        descend(depth)
    with contextlib.suppress(RecursionError):
        descend(10**6)


def generators() -> None:
    def numbers(count: int) -> Iterator[int]:
        yield from range(count)

    def chained(depth: int) -> Iterator[int]:
        if depth:
            yield from chained(depth - 1)
        else:
            yield from numbers(50)

    assert sum(chained(20)) == 1225
    half_way = chained(10)
    next(half_way)
    del half_way  # closed with all its frames
    assert len(sorted((n % 7 for n in range(500)), key=lambda n: -n)) == 500


def loops() -> None:
    async def leaf(number: int) -> int:
        await asyncio.sleep(0)
        return sum(range(number % 200))

    async def branch(depth: int) -> int:
        if depth:
            return await branch(depth - 1)
        return sum(await asyncio.gather(*(leaf(n) for n in range(20))))

    async def stream() -> int:
        async def values() -> Any:
            for number in range(20):
                yield await leaf(number)

        return sum([value async for value in values()])

    async def main() -> None:
        await asyncio.gather(branch(10), stream())
        task = asyncio.ensure_future(branch(3))
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    asyncio.run(main())


def extensions() -> None:
    data = [{"name": f"n{n}", "values": list(range(n % 20))} for n in range(200)]
    text = json.dumps(data, default=str)
    assert json.loads(text, object_hook=dict) == data
    re.sub(r"n(\d+)", lambda match: match.group(1) * 2, text)
    assert zlib.decompress(zlib.compress(text.encode() * 20, 6)) == text.encode() * 20
    hashlib.sha256(text.encode() * 200).hexdigest()
    assert pow(3, 20_000, 10**500) > 0
    if numpy is not None:
        numpy.linalg.inv(numpy.eye(60) + 0.01)
        numpy.apply_along_axis(lambda row: row.sum(), 1, numpy.ones((20, 20)))


def code_that_comes_and_goes() -> None:
    for _ in range(20):
        number = random.randrange(10**9)
        names: dict[str, Any] = {}
        body = f"def made(x):\n    return [x * {number} for _ in range({number % 50})]\n"
        body += "class Made:\n    made = made"
        exec(compile(body, f"<{number}>", "exec"), names)
        names["made"](3)
        eval(f"[n + {number} for n in range(20)]")
        type(f"Class{number}", (names["Made"],), {"call": lambda self: self.made()})


def imports() -> None:
    name = f"stress_{threading.get_ident()}"
    path = Path(sys.path[0], f"{name}.py")
    path.write_text(f"def work():\n    return sum(range({random.randrange(5000)}))\nVALUE = work()\n")
    importlib.invalidate_caches()
    module = importlib.import_module(name)
    module.work()
    del sys.modules[name]


def exceptions() -> None:
    def fail(depth: int) -> None:
        try:
            if depth == 0:
                raise ValueError(depth)
            fail(depth - 1)
        except ValueError as error:
            if depth % 3 == 0:
                raise RuntimeError(depth) from error
            raise
        except RuntimeError:
            sys.exc_info()
            raise

    with contextlib.suppress(RuntimeError, ValueError):
        fail(30)
    sys._getframe().f_locals.copy()


def threads_that_come_and_go() -> None:
    threads = [threading.Thread(target=sum, args=(range(20_000),)) for _ in range(5)]
    for thread in threads:
        thread.start()
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(hash, [str(n) for n in range(50)]))
    for thread in threads:
        thread.join()


def traced() -> None:
    sys.setprofile(lambda frame, event, argument: None)
    try:
        generators()
    finally:
        sys.setprofile(None)


def forks() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # other threads run
        pid = os.fork()
    if pid == 0:
        status = 1
        try:
            recording = start_cpu(1000) if random.random() < 0.5 else None
            generators()
            code_that_comes_and_goes()
            if recording is not None:
                recording.stop()
            status = 0
        finally:
            os._exit(status)
    deadline = time.monotonic() + CHILD_SECONDS
    while time.monotonic() < deadline:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            assert status == 0, f"a child ended with {status}"
            return
        time.sleep(0.01)
    os.kill(pid, signal.SIGABRT)
    os.waitpid(pid, 0)
    raise AssertionError("a child hangs")


def executions() -> None:
    subprocess.run([sys.executable, "-S", "-E", "-c", "sum(range(1000))"], check=True, timeout=CHILD_SECONDS)


def collections() -> None:
    cycle: list[Any] = []
    cycle.append(cycle)
    del cycle
    gc.collect(0)


MANY: tuple[Callable[[], None], ...] = (
    recursion,
    generators,
    loops,
    extensions,
    code_that_comes_and_goes,
    exceptions,
    threads_that_come_and_go,
    traced,
    collections,
)
FEW: tuple[Callable[[], None], ...] = (imports, executions, forks)


def keep_doing(work: Callable[[], None], pause: float) -> None:
    while not is_over.wait(pause):
        try:
            work()
        except Exception as error:
            troubles.append(f"{work.__name__}: {type(error).__name__}: {error}")
            return
        done[work.__name__] += 1


def take_profiles(seconds: float, frequency: float) -> Counter[str]:
    found: Counter[str] = Counter()
    end = time.monotonic() + seconds
    while time.monotonic() < end and not troubles:
        recording = start_cpu(frequency)
        is_over.wait(min(random.choice((0.05, 1.0, 5.0)), max(end - time.monotonic(), 0.05)))
        profile = recording.stop()
        found["profiles"] += 1
        for sample in profile.samples:
            found["samples"] += sample.values[0]
            name = sample.stack[0].function
            if name.startswith("<") and not sample.stack[0].filename:
                found[name] += sample.values[0]
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--frequency", type=float, default=1000)
    parser.add_argument("--threads", type=int, default=50)
    arguments = parser.parse_args()
    faulthandler.enable()
    assert sampler is not None and sampler.can_sample_cpu(), "this needs the native sampler"
    signal.signal(signal.SIGALRM, lambda number, frame: collections())
    signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)
    with tempfile.TemporaryDirectory() as folder:
        sys.path.insert(0, folder)
        threads = [threading.Thread(target=keep_doing, args=(work, 0.05)) for work in FEW]
        for number in range(arguments.threads - len(FEW)):
            work = MANY[number % len(MANY)]
            threads.append(threading.Thread(target=keep_doing, args=(work, 0.001)))
        for thread in threads:
            thread.start()
        found = take_profiles(arguments.seconds, arguments.frequency)
        is_over.set()
        for thread in threads:
            thread.join()
    signal.setitimer(signal.ITIMER_REAL, 0)
    print(json.dumps({"found": found, "done": done, "troubles": troubles}))
    return 1 if troubles else 0


if __name__ == "__main__":
    sys.exit(main())

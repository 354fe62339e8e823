"""Real servers that fork: every span of master and workers arrives exactly once when they are terminated."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import otlpfast

from .collector import PATIENCE, Collector
from .exporting import collector_fixture  # noqa: F401
from .pipeline import names, until

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")

APPS = Path(__file__).parent / "life"
WORKERS = 2


def needs(package: str) -> pytest.MarkDecorator:
    missing = find_spec(package) is None and shutil.which(package, path=str(BIN)) is None
    return pytest.mark.skipif(missing, reason=f"{package} is not installed: pip install --group servers")


BIN = Path(sys.executable).parent


@pytest.fixture(name="folder")
def folder_fixture() -> Iterator[Path]:
    """A path that is short enough for a socket."""
    with tempfile.TemporaryDirectory(prefix="life-") as made:
        yield Path(made)


@contextmanager
def server(collector: Collector, folder: Path, *command: str, **variables: str) -> Iterator[Any]:
    """A process that is terminated at the end, and has to end well, having complained of nothing."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(APPS), str(Path(otlpfast.__file__).parents[1])]),
        "PYTHONWARNINGS": "ignore",
        "OTLPFAST_IMPL": otlpfast.IMPLEMENTATION,
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": collector.endpoint,
        **variables,
    }
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
    try:
        yield process
        process.terminate()
        process.wait(3 * PATIENCE)
    except BaseException:
        print(log.read_text())
        raise
    finally:
        process.kill()
        process.wait()
    assert "Traceback" not in log.read_text(), log.read_text()


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=PATIENCE)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(PATIENCE)
        self.sock.connect(str(self.path))


def get(folder: Path, path: str) -> str:
    """One request on a connection of its own."""
    connection = _Connection(folder / "socket")
    try:
        connection.request("GET", path)
        return connection.getresponse().read().decode()
    finally:
        connection.close()


def requests(folder: Path, count: int, workers: int = WORKERS) -> Counter[str]:
    """So many, once all workers have answered some; the paths of all."""
    pids, paths = set(), Counter(f"/{number}" for number in range(count))

    def all_answer() -> bool:
        # One that is told to end while it begins may never end, whatever it runs.
        with contextlib.suppress(OSError, http.client.HTTPException):
            pids.add(get(folder, "/ready"))
            paths["/ready"] += 1
        return len(pids) == workers

    until(all_answer, f"answers of {workers} workers")
    for number in range(count):
        get(folder, f"/{number}")
    return paths


def found(collector: Collector) -> tuple[int, Counter[str]]:
    """How many processes were the ones to load the application; all other spans."""
    spans = Counter(names(collector.spans))
    return spans.pop("loaded", 0), spans


@needs("gunicorn")
@pytest.mark.parametrize("preload", [[], ["--preload"]], ids=["", "preload"])
@pytest.mark.parametrize("worker", ["sync", "gthread", pytest.param("gevent", marks=needs("gevent"))])
def test_gunicorn(collector: Collector, folder: Path, worker: str, preload: list[str]) -> None:
    provider = "sdk" if worker == "gthread" else "otlpfast"
    command = [str(BIN / "gunicorn"), "web", "--bind", "unix:socket", "--no-control-socket", *preload]
    command += ["--workers", str(WORKERS), "--worker-class", worker]
    with server(collector, folder, *command, PROVIDER=provider) as process:
        expected = requests(folder, 10)
    assert process.returncode == 0
    assert found(collector) == (1 if preload else WORKERS, expected)


def statuses(folder: Path) -> list[str]:
    """What uWSGI says its workers are doing."""
    with socket.socket(socket.AF_UNIX) as sock, contextlib.suppress(OSError, ValueError):
        sock.connect(str(folder / "stats"))
        with sock.makefile() as answer:
            return [worker["status"] for worker in json.load(answer)["workers"]]
    return []


@needs("uwsgi")
@pytest.mark.parametrize("threads", [[], ["--enable-threads"]], ids=["", "threads"])
@pytest.mark.parametrize("lazy", [[], ["--lazy-apps"]], ids=["", "lazy"])
def test_uwsgi(collector: Collector, folder: Path, lazy: list[str], threads: list[str]) -> None:
    """It forks in C; its master runs nothing of Python's when it ends: what that made is flushed before."""
    provider = "sdk" if threads else "otlpfast"
    command = [str(BIN / "uwsgi"), "--master", "--die-on-term", "--processes", str(WORKERS), *lazy, *threads]
    command += ["--module", "web", "--need-app", "--http-socket", "socket", "--virtualenv", sys.prefix]
    command += ["--stats", "stats"]
    flush = {} if lazy else {"FLUSH_WHEN_LOADED": "yes"}
    with server(collector, folder, *command, PROVIDER=provider, **flush) as process:
        expected = requests(folder, 10)
        # A worker that is told to end in the middle of a request runs no exit handler. It may still be in the
        # middle of one when its client has the answer.
        until(lambda: statuses(folder) == ["idle"] * WORKERS, "workers without requests")
    assert process.returncode == 0
    assert found(collector) == (WORKERS if lazy else 1, expected)


@needs("uvicorn")
@pytest.mark.parametrize("workers", [1, WORKERS])
def test_uvicorn(collector: Collector, folder: Path, workers: int) -> None:
    """Once it has shut down, it has the signal that ended it end the process: no atexit function runs."""
    command = [str(BIN / "uvicorn"), "web:asgi", "--uds", "socket", "--workers", str(workers)]
    with server(
        collector, folder, *command, PROVIDER="otlpfast", OTLPFAST_FLUSH_ON_SIGTERM="true"
    ) as process:
        expected = requests(folder, 10, workers)
    assert process.returncode == (-signal.SIGTERM if workers == 1 else 0)
    assert found(collector) == (workers, expected)


@needs("celery")
@pytest.mark.skipif(find_spec("opentelemetry.instrumentation.celery") is None, reason="not installed")
def test_a_trace_goes_on_in_tasks_of_celery(collector: Collector, folder: Path) -> None:
    """By the official instrumentation, in a worker that forks; from there to another task; with baggage."""
    command = [str(BIN / "celery"), "--app", "carried_tasks", "worker", "--pool", "prefork"]
    command += ["--concurrency", "1", "--without-mingle"]
    environment = {"PROVIDER": "otlpfast", "PYTHONPATH": os.pathsep.join([str(APPS), *sys.path])}
    variables = {**os.environ, **environment, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": collector.endpoint}
    send = [sys.executable, str(APPS / "carried_tasks.py")]
    subprocess.run(send, cwd=folder, env=variables, check=True, timeout=6 * PATIENCE)
    with server(collector, folder, *command, **environment):
        until(lambda: (folder / "done").exists(), "the end of the second task", 6 * PATIENCE)
    spans = {span.span_id: span for span in collector.spans}
    [last] = [span for span in spans.values() if span.name == "found blue"]
    path = [last]
    while path[-1].parent_span_id:
        path.append(spans[path[-1].parent_span_id])
    tasks = ["run/second", "apply_async/second", "run/first", "apply_async/first"]
    assert names(path) == ["found blue", *tasks, "request"]
    assert {span.trace_id for span in path} == {last.trace_id}


@needs("celery")
def test_celery(collector: Collector, folder: Path) -> None:
    """Some children end after two tasks, some with the worker."""
    tasks = 7
    command = [str(BIN / "celery"), "--app", "tasks", "worker", "--pool", "prefork"]
    command += ["--concurrency", str(WORKERS), "--max-tasks-per-child", "2", "--without-mingle"]
    # Before there is a worker: who binds a queue of this broker while another does, may read half a file.
    send = [sys.executable, str(APPS / "tasks.py"), str(tasks)]
    subprocess.run(send, cwd=folder, check=True, timeout=6 * PATIENCE)
    with server(collector, folder, *command, PROVIDER="otlpfast") as process:
        until(lambda: len(list(folder.glob("done-*"))) == tasks, f"the end of {tasks} tasks", 6 * PATIENCE)
    assert process.returncode == 0
    assert found(collector) == (1, Counter(f"task {number}" for number in range(tasks)))

"""Processes that are ended, forked, pooled and served; interpreters within interpreters."""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
import warnings
from pathlib import Path
from typing import IO, Any

from tests.collector import Collector
from tests.faults import Outcome, Pipeline, fault
from tests.faults.application import environment
from tests.faults.network import at, free_port
from tests.faults.traced import Traced, say, wait_to_be_told

# --- 15


def waits_for_sigterm(traced: Traced, endpoint: str, handles: bool) -> Any:
    if handles:
        signal.signal(signal.SIGTERM, lambda *_: (say("handled"), os._exit(7)))
    traced.to(endpoint)
    traced.end_spans(100)
    say("ready")
    wait_to_be_told()


def _terminated(pipeline: Pipeline, handles: bool) -> tuple[Outcome, int | None, Any]:
    outcome = Outcome()
    with Collector() as collector:
        application = pipeline.start(
            waits_for_sigterm, collector.endpoint, handles, OTLPFAST_FLUSH_ON_SIGTERM="true"
        )
        application.answer()
        application.signal(signal.SIGTERM)
        said = application.answer()
        ended = application.end()
        outcome.delivery(len(collector.accepted), 100)
    outcome.promise("Traceback" not in ended.log, f"no traceback: {ended.log}")
    return outcome, ended.returncode, said


@fault("15", "SIGTERM without a handler", "flushed with `OTLPFAST_FLUSH_ON_SIGTERM=true`; ends by the signal")
def terminated(pipeline: Pipeline) -> Outcome:
    outcome, returncode, _ = _terminated(pipeline, handles=False)
    outcome.promise(returncode == -signal.SIGTERM, f"the process ends by the signal: {returncode}")
    return outcome


@fault("15b", "SIGTERM, the application's handler calls `os._exit()`", "flushed, then the handler is called")
def terminated_with_a_handler(pipeline: Pipeline) -> Outcome:
    outcome, returncode, said = _terminated(pipeline, handles=True)
    outcome.promise((returncode, said) == (7, "handled"), f"the handler ran: {returncode}, {said}")
    return outcome


# --- 16


def spools_and_waits(traced: Traced, endpoint: str, spool: str, timeout: float, leaves: bool) -> Any:
    traced.to(endpoint, exporter={"timeout": timeout}, own={"spool_dir": spool}, schedule_delay_millis=50)
    traced.end_spans(100)
    traced.flush()
    say(traced.stats())
    if leaves:
        os._exit(9)
    wait_to_be_told()


def takes_over(traced: Traced, endpoint: str, spool: str) -> Any:
    """Makes one span of its own; what the other left is to arrive, too."""
    traced.to(endpoint, own={"spool_dir": spool}, schedule_delay_millis=50)
    traced.end_spans(1, "later")
    traced.flush()
    say("flushed")
    wait_to_be_told()
    return {"stats": traced.stats()}


def _killed(pipeline: Pipeline, leaves: bool) -> Outcome:
    outcome, port = Outcome(), free_port()
    with tempfile.TemporaryDirectory() as spool:
        application = pipeline.start(
            spools_and_waits, at(port), spool, pipeline.lasting(0.5, 10), leaves, limit=60
        )
        spooled = application.answer()
        if not leaves:
            application.signal(signal.SIGKILL)
        ended = application.end()
        with Collector(port=port) as collector:
            later = pipeline.start(takes_over, at(port), spool)
            later.answer()
            wait_for(lambda: len(collector.accepted) >= 101, 15 if pipeline.side == "otlpfast" else 1)
            later.tell()
            outcome.ended_well(later.end())
            delivered = sum(span.name.startswith("span") for span in collector.accepted)
    outcome.promise(ended.returncode == (9 if leaves else -signal.SIGKILL), f"it was ended: {ended}")
    outcome.delivery(delivered, 100)
    outcome.account(spooled, spooled=100)
    return outcome


def wait_for(condition: Any, seconds: float) -> bool:
    """Whether it came true within so many seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


@fault("16", "SIGKILL while the collector is down", "what was spooled is sent by the next process")
def killed(pipeline: Pipeline) -> Outcome:
    return _killed(pipeline, leaves=False)


@fault("16b", "`os._exit()` while the collector is down", "what was spooled is sent by the next process")
def left(pipeline: Pipeline) -> Outcome:
    return _killed(pipeline, leaves=True)


# --- 17

_traced: list[Traced] = []


def works(number: int) -> int:
    _traced[0].end_spans(5, f"work {number}")
    return number


def has_workers(traced: Traced, endpoint: str, kind: str) -> Any:
    warnings.simplefilter("ignore", DeprecationWarning)  # that forking with threads is dangerous is known
    traced.to(endpoint)
    _traced.append(traced)
    context = multiprocessing.get_context("fork")
    if kind == "Process":
        processes = [context.Process(target=works, args=(number,)) for number in range(4)]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
    elif kind == "Pool":
        pool = context.Pool(2)
        pool.map(works, range(4), chunksize=1)
        pool.close()
        pool.join()
    else:
        with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as executor:
            list(executor.map(works, range(4)))
    return {"done": True}


@fault("17", "multiprocessing by fork: Process, Pool, ProcessPoolExecutor", "children flush as they end")
def workers(pipeline: Pipeline) -> Outcome:
    outcome, delivered = Outcome(), 0
    for kind in ("Process", "Pool", "ProcessPoolExecutor"):
        with Collector() as collector:
            ended = pipeline.run(has_workers, collector.endpoint, kind)
            found = len(collector.accepted)
        if outcome.ended_well(ended):
            outcome.say(f"{kind}: {found} of 20")
        delivered += found
    outcome.facts.update(delivered=delivered, ended=60)
    outcome.promise(delivered == 60, "all are delivered")
    return outcome


# --- 18


def _served(pipeline: Pipeline, *options: str) -> Outcome:
    """A WSGI application on gunicorn: 40 requests, one span each, then SIGTERM as a deployment sends it."""
    outcome, port = Outcome(), free_port()
    with Collector() as collector, tempfile.TemporaryFile() as log:
        # One that is told to end while a worker of it still starts waits for that as long as for a request.
        listen = ["-w", "2", "-b", f"127.0.0.1:{port}", "--graceful-timeout", "5"]
        command = [sys.executable, "-m", "gunicorn", *listen, *options, "tests.faults.wsgi:application"]
        variables = environment(FAULTS_SIDE=pipeline.side, FAULTS_ENDPOINT=collector.endpoint)
        server = subprocess.Popen(command, env=variables, stdout=log, stderr=log)
        try:
            answers = sum(_ask(f"http://127.0.0.1:{port}/{number}") for number in range(40))
        finally:
            ended, said = _end(server, log)
        delivered = len(collector.accepted)
    outcome.delivery(delivered, 40)
    outcome.promise(answers == 40, f"all requests are answered: {answers}, {said}")
    outcome.promise(ended, f"it ends when it is told to: {said}")
    outcome.promise("Traceback" not in said, f"no traceback: {said}")
    return outcome


def _end(server: subprocess.Popen[bytes], log: IO[bytes]) -> tuple[bool, str]:
    """Ends a server as a deployment does; whether it did end, and what it has logged."""
    server.send_signal(signal.SIGTERM)
    ended = wait_for(lambda: server.poll() is not None, 40)
    server.kill()
    server.wait()
    log.seek(0)
    return ended, log.read().decode(errors="replace")


def _ask(url: str) -> bool:
    """Whether it answers; a server that starts gets some time to."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def answers() -> bool:
        try:
            return bool(direct.open(url, timeout=10).status == 200)
        except OSError:
            return False

    return wait_for(answers, 20)


@fault("18", "gunicorn, sync workers", "all delivered", needs=("gunicorn",))
def gunicorn_sync(pipeline: Pipeline) -> Outcome:
    return _served(pipeline)


@fault("18b", "gunicorn, sync workers, `--preload`", "all delivered", needs=("gunicorn",))
def gunicorn_preload(pipeline: Pipeline) -> Outcome:
    return _served(pipeline, "--preload")


@fault("18c", "gunicorn, gevent workers", "all delivered", needs=("gunicorn", "gevent"))
def gunicorn_gevent(pipeline: Pipeline) -> Outcome:
    return _served(pipeline, "-k", "gevent")


@fault("18d", "celery, prefork workers", "all delivered", needs=("celery",))
def celery_prefork(pipeline: Pipeline) -> Outcome:
    outcome, tasks = Outcome(), 10
    with Collector() as collector, tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as log:
        variables = environment(
            FAULTS_SIDE=pipeline.side, FAULTS_ENDPOINT=collector.endpoint, FAULTS_FOLDER=folder
        )
        options = ["--pool", "prefork", "--concurrency", "2", "--without-mingle", "--without-gossip"]
        root = "ignore:You're running the worker with superuser privileges"  # as containers do
        command = [sys.executable, "-W", root, "-m", "celery", "-A", "tests.faults.tasks", "worker", *options]
        worker = subprocess.Popen(command, env=variables, cwd=folder, stdout=log, stderr=log)
        try:
            send = [sys.executable, "-m", "tests.faults.tasks", str(tasks)]
            subprocess.run(send, env=variables, cwd=folder, check=True, timeout=60)
            done = wait_for(lambda: len(list(Path(folder).glob("done-*"))) == tasks, 60)
        finally:
            ended, said = _end(worker, log)
        delivered = len(collector.accepted)
    outcome.delivery(delivered, tasks)
    outcome.promise(done and ended, f"all tasks are done, and the worker ends when it is told to: {said}")
    return outcome


# --- 19


def forks_while_a_span_is_locked(traced: Traced, endpoint: str, children: int) -> Any:
    """Another thread sets attributes of a span all the time; each child does so once, and ends."""
    warnings.simplefilter("ignore", DeprecationWarning)
    tracer = traced.to(endpoint)
    span, stop = tracer.start_span("shared"), threading.Event()

    def busy() -> None:
        values = {f"key {number}": "value" for number in range(100)}
        while not stop.is_set():
            span.set_attributes(values)

    threads = [threading.Thread(target=busy) for _ in range(2)]
    for thread in threads:
        thread.start()
    born = []
    for _ in range(children):
        child = os.fork()
        if child == 0:
            span.set_attribute("child", 1)
            span.end()
            os._exit(0)
        born.append(child)
        time.sleep(0.003)
    hung = set(born)
    deadline = time.monotonic() + 6
    while hung and time.monotonic() < deadline:
        hung -= {child for child in hung if os.waitpid(child, os.WNOHANG)[0]}
        time.sleep(0.01)
    for child in hung:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    stop.set()
    for thread in threads:
        thread.join()
    span.end()
    flushed = traced.flush()
    return {"flushed": flushed, "hung": len(hung), "stats": traced.stats()}


@fault("19", "fork while another thread holds a span's lock", "no child hangs")
def locked_fork(pipeline: Pipeline) -> Outcome:
    outcome = Outcome()
    children = int(pipeline.lasting(20, 60))
    with Collector() as collector:
        ended = pipeline.run(forks_while_a_span_is_locked, collector.endpoint, children, limit=60)
        delivered = len(collector.accepted)
    if outcome.ended_well(ended):
        outcome.say(f"{ended.value['hung']} of {children} children hung")
        outcome.delivery(delivered, 1)
        outcome.promise(ended.value["hung"] == 0, "no child hangs")
        outcome.account(ended.value["stats"], exported=1)
    return outcome


# --- 32

_WITHIN = """
import sys
sys.path[:] = {path!r}
{imports}
"""
_IMPORTS = {
    "otlpfast": "from otlpfast import TracerProvider",
    "SDK": "from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter",
}


def imports_in_a_subinterpreter(traced: Traced) -> Any:
    try:
        import _interpreters as interpreters  # CPython 3.13 and newer
    except ModuleNotFoundError:
        import _xxsubinterpreters as interpreters
    within = interpreters.create()
    code = _WITHIN.format(path=sys.path, imports=_IMPORTS[traced.side])
    try:
        failure = interpreters.run_string(within, code)
        text = str(getattr(failure, "formatted", failure) or "") if failure else ""
    except Exception as error:  # 3.12 and older raise
        text = str(error)
    interpreters.destroy(within)
    return {"error": text}


@fault("32", "subinterpreter", "a clear error, and no crash", needs=("grpc",))
def subinterpreter(pipeline: Pipeline) -> Outcome:
    outcome = Outcome()
    ended = pipeline.run(imports_in_a_subinterpreter)
    if outcome.ended_well(ended):
        error = ended.value["error"]
        outcome.say(f"the import raises {error[:90]!r}" if error else "the import succeeds")
        if pipeline.side == "otlpfast":
            outcome.promise("subinterpreter" in error, f"the error says what it is about: {error}")
    return outcome

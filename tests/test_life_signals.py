"""flush_on_signal() and OTLPFAST_FLUSH_ON_SIGTERM: spans are flushed, then the signal does what it did."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk import trace as sdk

import otlpfast
from otlpfast import BatchSpanProcessor, OTLPSpanExporter, TracerProvider, flush_on_signal

from .collector import PATIENCE, Collector, Reply
from .exporting import collector_fixture  # noqa: F401
from .pipeline import NEVER_MILLIS, account, end_spans, names, ran, run
from .traced import native

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="signals as POSIX has them")

KINDS: dict[str, Any] = {"otlpfast": TracerProvider, "sdk": sdk.TracerProvider}
HANGS = Reply(delay=float("inf"))


def make(endpoint: str, kind: str = "otlpfast") -> tuple[Any, BatchSpanProcessor]:
    """The global provider, which does nothing at exit, and its processor."""
    processor = BatchSpanProcessor(OTLPSpanExporter(endpoint), schedule_delay_millis=NEVER_MILLIS)
    trace.set_tracer_provider(native(processor, kind=KINDS[kind]))
    return trace.get_tracer("tests"), processor


def terminate(number: int = signal.SIGTERM) -> None:
    os.kill(os.getpid(), number)


def test_it_is_public() -> None:
    assert {"flush_on_signal", "SignalFlush"} <= set(otlpfast.__all__)


# --- how the process ends


def is_terminated(endpoint: str, kind: str, asks: bool) -> None:
    tracer, _ = make(endpoint, kind)
    end_spans(tracer, 100)
    if asks:
        flush_on_signal()
    terminate()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("asks", [True, False])
def test_sigterm_loses_nothing_and_ends_the_process_as_ever(
    collector: Collector, kind: str, asks: bool
) -> None:
    variable = {} if asks else {"OTLPFAST_FLUSH_ON_SIGTERM": " TRUE "}
    finished = run(is_terminated, collector.endpoint, kind, asks, **variable)
    assert (finished.returncode, finished.stderr) == (-signal.SIGTERM, "")
    assert names(collector.spans) == [f"span {n}" for n in range(100)]


@pytest.mark.parametrize("value", ["", "false", "False "])
def test_nothing_is_flushed_that_nobody_asked_for(collector: Collector, value: str) -> None:
    finished = run(is_terminated, collector.endpoint, "otlpfast", False, OTLPFAST_FLUSH_ON_SIGTERM=value)
    assert (finished.returncode, finished.stderr) == (-signal.SIGTERM, "")
    assert collector.spans == []


def has_a_handler(endpoint: str) -> list[Any]:
    tracer, processor = make(endpoint)
    calls: list[Any] = []
    handler = lambda number, frame: calls.append((number, frame is not None, processor.stats()["exported"]))  # noqa: E731
    signal.signal(signal.SIGTERM, handler)
    signal.signal(signal.SIGUSR1, handler)
    flush_on_signal(processor, (signal.SIGTERM, signal.SIGUSR1, signal.SIGTERM))
    for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGTERM):
        end_spans(tracer, 3)
        terminate(number)
    return calls


def test_the_handler_that_was_there_is_called_after_the_flush(collector: Collector) -> None:
    assert ran(has_a_handler, collector.endpoint) == [
        [signal.SIGTERM, True, 3],
        [signal.SIGUSR1, True, 6],
        [signal.SIGTERM, True, 9],
    ]


def has_a_handler_that_exits(endpoint: str) -> None:
    tracer, _ = make(endpoint)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
    flush_on_signal()
    end_spans(tracer, 3)
    terminate()


def test_a_handler_that_exits(collector: Collector) -> None:
    assert run(has_a_handler_that_exits, collector.endpoint).returncode == 7
    assert len(collector.spans) == 3


def is_interrupted(endpoint: str) -> str:
    tracer, _ = make(endpoint)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # what runs in the background ignores it
    flush_on_signal(signals=[signal.SIGINT])
    end_spans(tracer, 3)
    try:
        terminate(signal.SIGINT)
    except KeyboardInterrupt as error:
        return type(error).__name__
    return "nothing"


def test_pythons_own_handler_of_sigint(collector: Collector) -> None:
    assert ran(is_interrupted, collector.endpoint) == "KeyboardInterrupt"
    assert len(collector.spans) == 3


def ignores(endpoint: str) -> bool:
    tracer, _ = make(endpoint)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    flush_on_signal()
    end_spans(tracer, 3)
    terminate()
    return signal.getsignal(signal.SIGTERM) is signal.SIG_IGN


def test_a_signal_that_is_ignored_stays_so(collector: Collector) -> None:
    assert ran(ignores, collector.endpoint) is True
    assert collector.spans == []


def survives(endpoint: str) -> dict[str, Any]:
    """As the first process of a container does: what ends nothing by default is flushed for each time."""
    tracer, processor = make(endpoint)
    flush_on_signal(signals=[signal.SIGURG])
    for _ in range(3):
        end_spans(tracer, 2)
        terminate(signal.SIGURG)
    return dict(processor.stats())


def test_a_signal_that_does_not_end_the_process_is_handled_again(collector: Collector) -> None:
    assert ran(survives, collector.endpoint) == account(6, exported=6)


def test_there_may_be_no_provider() -> None:
    assert run(is_terminated_without_a_provider).returncode == -signal.SIGTERM


def is_terminated_without_a_provider() -> None:
    flush_on_signal()
    terminate()


# --- deadlines


def is_terminated_with_little_patience(endpoint: str) -> None:
    logging.getLogger("otlpfast").addHandler(logging.NullHandler())
    tracer, _ = make(endpoint)
    end_spans(tracer, 3)
    flush_on_signal(timeout_millis=200.5)
    terminate()


def test_a_collector_that_hangs_holds_nobody_up(collector: Collector) -> None:
    collector.script(then=HANGS)
    finished = run(is_terminated_with_little_patience, collector.endpoint, patience=30)
    assert (finished.returncode, finished.stderr) == (-signal.SIGTERM, "")


@pytest.mark.parametrize("handled", [False, True])
def test_a_second_signal_waits_for_no_flush(handled: bool) -> None:
    with Collector() as collector:
        collector.script(then=HANGS)
        finished = run(twice, collector.endpoint, handled)
    assert finished.returncode == (0 if handled else -signal.SIGTERM)
    assert finished.value == ([signal.SIGTERM, signal.SIGTERM] if handled else None)


def twice(endpoint: str, handled: bool) -> list[int]:
    tracer, processor = make(endpoint)
    calls: list[int] = []
    if handled:
        signal.signal(signal.SIGTERM, lambda number, _: calls.append(number))
    flush_on_signal(timeout_millis=3_600_000)
    end_spans(tracer, 3)

    def once_more() -> None:
        while not processor.stats()["queued"] or processor._queue.waiting:
            pass  # until the export is under way
        terminate()

    threading.Thread(target=once_more, daemon=True).start()
    terminate()
    return calls


# --- interrupted in the middle of something


class Locked(sdk.SpanProcessor):
    """Its flush needs a lock that the interrupted thread holds."""

    def __init__(self) -> None:
        self.lock = threading.Lock()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        with self.lock:
            return True


def interrupted_while_it_holds_a_lock() -> str:
    processor = Locked()
    signal.signal(signal.SIGTERM, lambda *_: None)
    flush_on_signal(processor, timeout_millis=200)
    with processor.lock:
        terminate()
    return "alive"


def test_a_flush_that_needs_a_lock_of_the_interrupted_thread() -> None:
    assert ran(interrupted_while_it_holds_a_lock) == "alive"


def interrupted(endpoint: str) -> dict[str, Any]:
    """The main thread ends spans and flushes; so do signals, all the time."""
    tracer, processor = make(endpoint)
    handled = [0]

    def handler(*_: Any) -> None:
        handled[0] += 1

    signal.signal(signal.SIGALRM, handler)
    flush_on_signal(signals=[signal.SIGALRM])
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.002)
    turn, flushes = 0, []
    while handled[0] < 200:
        end_spans(tracer, 5, f"turn {turn}")
        turn += 1
        flushes.append(processor.force_flush())
    signal.setitimer(signal.ITIMER_REAL, 0)
    flushes.append(processor.force_flush())
    return {"last": flushes[-1], "ended": 5 * turn, "stats": processor.stats()}


def test_signals_in_the_middle_of_flushes(collector: Collector) -> None:
    value = ran(interrupted, collector.endpoint)
    assert value["last"] is True
    assert value["stats"] == account(value["ended"], exported=value["ended"])
    assert set(Counter(names(collector.spans)).values()) == {1}


# --- forks


def has_a_child(endpoint: str) -> list[Any]:
    tracer, processor = make(endpoint)
    flush_on_signal()
    end_spans(tracer, 3, "parent")
    child = os.fork()
    if child == 0:
        signal.alarm(30)
        end_spans(tracer, 2, "child")
        terminate()
        os._exit(1)
    status = os.waitpid(child, 0)[1]
    return [os.WTERMSIG(status), processor.force_flush(), processor.stats()]


@pytest.mark.parametrize("variable", [False, True])
def test_a_forked_child_is_terminated(collector: Collector, variable: bool) -> None:
    more = {"OTLPFAST_FLUSH_ON_SIGTERM": "true"} if variable else {}
    finished = run(has_a_child, collector.endpoint, **more)
    assert finished.value == [signal.SIGTERM, True, account(3, exported=3)]
    expected = [("parent", 3), ("child", 2)]
    assert Counter(names(collector.spans)) == Counter(f"{who} {i}" for who, n in expected for i in range(n))


# --- undoing


def handlers() -> tuple[Any, Any]:
    return signal.getsignal(signal.SIGUSR1), signal.getsignal(signal.SIGUSR2)


@pytest.fixture(name="calls")
def calls_fixture() -> Any:
    found: list[int] = []
    old = [signal.signal(number, lambda n, _: found.append(n)) for number in (signal.SIGUSR1, signal.SIGUSR2)]
    yield found
    for number, handler in zip((signal.SIGUSR1, signal.SIGUSR2), old, strict=True):
        signal.signal(number, handler)


class Counts(sdk.SpanProcessor):
    flushes = 0

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        self.flushes += 1
        return True


def test_undone_by_hand_or_at_the_end_of_a_block(calls: list[int]) -> None:
    before = handlers()
    counts = Counts()
    with flush_on_signal(counts, [signal.SIGUSR1, signal.SIGUSR2]):
        assert set(before) & set(handlers()) == set()
        terminate(signal.SIGUSR1)
    assert handlers() == before
    undone = flush_on_signal(counts, [signal.SIGUSR2])
    undone.undo()
    undone.undo()
    assert handlers() == before
    terminate(signal.SIGUSR2)
    assert (calls, counts.flushes) == ([signal.SIGUSR1, signal.SIGUSR2], 1)


def test_undone_in_another_order_than_made(calls: list[int]) -> None:
    before = handlers()
    first, second = Counts(), Counts()
    made = [flush_on_signal(counts, [signal.SIGUSR1]) for counts in (first, second)]
    terminate(signal.SIGUSR1)
    made[0].undo()
    terminate(signal.SIGUSR1)
    made[1].undo()
    terminate(signal.SIGUSR1)
    assert (calls, first.flushes, second.flushes) == ([signal.SIGUSR1] * 3, 1, 2)
    assert signal.getsignal(signal.SIGUSR1) in (before[0], made[0]._handle)


def test_one_that_is_undone_takes_nothing_from_one_that_is_not() -> None:
    """The signal ends nothing by default, and had no handler."""
    first, second = Counts(), Counts()
    with flush_on_signal(first, [signal.SIGURG]) as undone, flush_on_signal(second, [signal.SIGURG]):
        undone.undo()
        for _ in range(2):
            terminate(signal.SIGURG)
    signal.signal(signal.SIGURG, signal.SIG_DFL)
    assert (first.flushes, second.flushes) == (0, 2)


def test_a_handler_that_was_set_later_stays(calls: list[int]) -> None:
    made = flush_on_signal(Counts(), [signal.SIGUSR1])
    later: Callable[..., None] = lambda *_: None  # noqa: E731
    signal.signal(signal.SIGUSR1, later)
    made.undo()
    assert handlers()[0] is later


def test_a_flush_that_raises_stops_nothing(calls: list[int], caplog: pytest.LogCaptureFixture) -> None:
    class Raises(sdk.SpanProcessor):
        def force_flush(self, timeout_millis: int = 30_000) -> bool:
            raise RuntimeError("broken")

    with flush_on_signal(Raises(), [signal.SIGUSR1]):
        terminate(signal.SIGUSR1)
    assert calls == [signal.SIGUSR1]
    assert "RuntimeError: broken" in caplog.text


# --- wrong arguments


def test_a_handler_that_only_c_code_can_call_is_not_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signal, "getsignal", lambda _: None)
    with pytest.raises(ValueError, match="its handler was not set by Python and can't be called"):
        flush_on_signal(signals=[signal.SIGUSR1])


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"signals": [signal.SIGKILL]}, ValueError, "signals=.*it can't be handled"),
        ({"signals": [0]}, ValueError, "signals=0: numbers of signals"),
        ({"signals": ["SIGTERM"]}, ValueError, "signals='SIGTERM': numbers of signals"),
        ({"timeout_millis": 0}, ValueError, "timeout_millis=0: a positive number"),
        ({"timeout_millis": float("nan")}, ValueError, "timeout_millis=nan: a positive number"),
        ({"timeout_millis": float("inf")}, ValueError, "timeout_millis=inf: a positive number"),
        ({"timeout_millis": True}, TypeError, "timeout_millis=True: a positive number"),
        ({"provider_or_processor": 1}, TypeError, "provider_or_processor=1: "),
    ],
)
def test_wrong_arguments_raise_and_change_nothing(
    arguments: dict[str, Any], error: type[Exception], words: str
) -> None:
    before = [signal.getsignal(number) for number in signal.valid_signals()]
    with pytest.raises(error, match=words):
        flush_on_signal(**arguments)
    assert [signal.getsignal(number) for number in signal.valid_signals()] == before


def test_another_thread_is_told_so() -> None:
    errors: list[ValueError] = []

    def work() -> None:
        try:
            flush_on_signal()
        except ValueError as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(PATIENCE)
    assert [str(error) for error in errors] == ["signal handlers can be set in the main thread only"]


# --- the variable


def makes_two(in_a_thread: bool) -> bool:
    logging.basicConfig(format="%(message)s")
    before = signal.getsignal(signal.SIGTERM)

    def work() -> None:
        for _ in range(2):
            make("http://127.0.0.1:1")

    if in_a_thread:
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    else:
        work()
    return signal.getsignal(signal.SIGTERM) == before


@pytest.mark.parametrize(
    ("value", "in_a_thread", "words"),
    [
        ("yes", False, ["OTLPFAST_FLUSH_ON_SIGTERM='yes' is ignored", "true or false is allowed"]),
        ("true", True, ["OTLPFAST_FLUSH_ON_SIGTERM=true has no effect", "main thread only"]),
    ],
)
def test_a_variable_that_is_wrong_is_one_warning(value: str, in_a_thread: bool, words: list[str]) -> None:
    finished = run(makes_two, in_a_thread, OTLPFAST_FLUSH_ON_SIGTERM=value)
    (line,) = [line for line in finished.stderr.splitlines() if "Overriding" not in line]
    assert finished.value is True
    assert all(word in line for word in words)

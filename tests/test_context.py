"""The current context goes along: by ``carry()``, and by what ``carry_context()`` puts in place."""

from __future__ import annotations

import asyncio
import copy
import gc
import inspect
import pickle
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from multiprocessing.pool import Pool, ThreadPool
from multiprocessing.process import BaseProcess
from typing import Any

import pytest
from opentelemetry import baggage, trace
from opentelemetry.context import Context, attach, detach, get_current
from opentelemetry.trace import Tracer

import otlpfast
from otlpfast import carry, carry_context

from .exporting import collector_fixture  # noqa: F401
from .pipeline import until
from .starting import environment
from .traced import native

PATIENCE = 60  # seconds
METHODS = {
    (kind, name): kind.__dict__[name]
    for kind, names in (
        (threading.Thread, ["start"]),
        (ThreadPoolExecutor, ["submit"]),
        (ProcessPoolExecutor, ["submit"]),
        (BaseProcess, ["start"]),
        (Pool, ["__init__", "apply_async", "imap", "imap_unordered"]),
        (Pool, ["map", "map_async", "starmap", "starmap_async"]),
    )
    for name in names
}


@pytest.fixture(name="tracer")
def tracer_fixture() -> Iterator[Tracer]:
    """With baggage in the context of the test."""
    token = attach(baggage.set_baggage("tenant", "blue"))
    yield native().get_tracer("tests")
    detach(token)


@pytest.fixture(name="carrying")
def carrying_fixture() -> Iterator[None]:
    with carry_context():
        yield


def seen(*_: object) -> tuple[int, object]:
    """The span that is current, and the baggage."""
    return trace.get_current_span().get_span_context().span_id, baggage.get_baggage("tenant")


NOTHING = (0, None)


class OwnRun(threading.Thread):
    """A thread by a class with a ``run()`` of its own."""

    def __init__(self, found: list[Any]) -> None:
        super().__init__()
        self._found = found

    def run(self) -> None:
        self._found.append(seen())


def joined(thread: threading.Thread) -> None:
    thread.start()
    thread.join(PATIENCE)
    assert not thread.is_alive()


def in_a_thread() -> Any:
    found: list[Any] = []
    joined(threading.Thread(target=lambda: found.append(seen())))
    return found[0]


def in_a_thread_of_its_own_class() -> Any:
    found: list[Any] = []
    joined(OwnRun(found))
    return found[0]


def in_a_timer() -> Any:
    found: list[Any] = []
    joined(threading.Timer(0, lambda: found.append(seen())))
    return found[0]


def in_an_executor() -> Any:
    with ThreadPoolExecutor(1) as executor:
        return executor.submit(seen).result(PATIENCE)


def in_the_map_of_an_executor() -> Any:
    with ThreadPoolExecutor(1) as executor:
        return next(iter(executor.map(seen, [1])))


def in_a_pool_of_threads() -> Any:
    with ThreadPool(1) as pool:
        found = {pool.apply(seen), *pool.map(seen, [1]), *pool.imap(seen, [1]), *pool.starmap(seen, [(1,)])}
        found.update(pool.imap_unordered(seen, [1]), pool.map_async(func=seen, iterable=[1]).get(PATIENCE))
    assert len(found) == 1
    return found.pop()


def in_the_executor_of_a_loop() -> Any:
    async def main() -> Any:
        return await asyncio.get_running_loop().run_in_executor(None, seen)

    return asyncio.run(main())


def in_a_thread_of_asyncio() -> Any:
    async def main() -> Any:
        return await asyncio.to_thread(seen)

    return asyncio.run(main())


WAYS = (
    in_a_thread,
    in_a_thread_of_its_own_class,
    in_a_timer,
    in_an_executor,
    in_the_map_of_an_executor,
    in_a_pool_of_threads,
    in_the_executor_of_a_loop,
    in_a_thread_of_asyncio,
)


@pytest.mark.parametrize("way", WAYS)
def test_a_span_and_baggage_are_current(carrying: None, tracer: Tracer, way: Callable[[], Any]) -> None:
    with tracer.start_as_current_span("a span") as span:
        assert way() == (span.get_span_context().span_id, "blue")
    assert way() == (0, "blue")


@pytest.mark.parametrize("way", WAYS)
def test_with_the_official_instrumentation_as_well(carrying: None, tracer: Tracer, way: Any) -> None:
    threads = pytest.importorskip("opentelemetry.instrumentation.threading").ThreadingInstrumentor()
    threads.instrument()
    try:
        with tracer.start_as_current_span("a span") as span, carry_context():
            assert way() == (span.get_span_context().span_id, "blue")
    finally:
        threads.uninstrument()


@pytest.mark.parametrize("way", [way for way in WAYS if way is not in_a_thread_of_asyncio])
@pytest.mark.skipif(getattr(sys.flags, "thread_inherit_context", 0) == 1, reason="here Python does it itself")
def test_without_being_asked_nothing_goes_along(tracer: Tracer, way: Callable[[], Any]) -> None:
    with tracer.start_as_current_span("a span"):
        assert way() == NOTHING


def test_threads_of_an_executor_belong_to_no_span(carrying: None, tracer: Tracer) -> None:
    """They serve others after the one whose submission started them."""
    with ThreadPoolExecutor(1) as executor:
        with tracer.start_as_current_span("first"):
            executor.submit(seen).result(PATIENCE)
        token = attach(Context())
        try:
            assert executor.submit(seen).result(PATIENCE) == NOTHING
        finally:
            detach(token)


def test_a_thread_starts_where_it_is_started(carrying: None, tracer: Tracer) -> None:
    """Not where it is made."""
    found: list[Any] = []
    with tracer.start_as_current_span("made"):
        thread = OwnRun(found)
    with tracer.start_as_current_span("started") as span:
        joined(thread)
    assert found == [(span.get_span_context().span_id, "blue")]
    assert "run" not in vars(thread)


def test_what_the_function_returns_and_raises_is_untouched(carrying: None, tracer: Tracer) -> None:
    error = ValueError("the application's own")

    def fail() -> None:
        raise error

    with tracer.start_as_current_span("a span"), ThreadPoolExecutor(1) as executor:
        assert executor.submit(divmod, 7, 2).result(PATIENCE) == (3, 1)
        assert executor.submit(dict, a=1).result(PATIENCE) == {"a": 1}
        assert executor.submit(fail).exception(PATIENCE) is error
        with pytest.raises(TypeError):
            executor.submit()  # type: ignore[call-arg]


def test_a_thread_that_can_not_start_is_left_as_it_was(carrying: None, tracer: Tracer) -> None:
    thread = OwnRun([])
    joined(thread)
    with tracer.start_as_current_span("a span"), pytest.raises(RuntimeError, match="once"):
        thread.start()
    assert "run" not in vars(thread)


@pytest.mark.skipif(sys.version_info < (3, 14), reason="threads have no context of their own")
def test_a_thread_that_is_given_a_context_has_that(carrying: None, tracer: Tracer) -> None:
    import contextvars

    found: list[Any] = []
    with tracer.start_as_current_span("a span"):
        joined(
            threading.Thread(
                target=lambda: found.append(seen()),
                context=contextvars.Context(),  # type: ignore[call-arg]
            )
        )
    assert found == [NOTHING]


# --- putting in place and undoing


def present() -> dict[tuple[type, str], Any]:
    return {(kind, name): kind.__dict__[name] for kind, name in METHODS}


def test_what_is_undone_is_as_it_was() -> None:
    first, second = carry_context(), carry_context()
    inside = present()
    assert all(inside[place] is not METHODS[place] for place in METHODS)
    assert all(inspect.signature(inside[p]) == inspect.signature(METHODS[p]) for p in METHODS)
    assert all(method.__wrapped__ is METHODS[place] for place, method in inside.items())  # once
    first.undo()
    first.undo()
    assert present() == inside
    second.undo()
    assert present() == METHODS


def test_what_others_have_put_back_is_wrapped_anew() -> None:
    original = threading.Thread.start
    first = carry_context()
    threading.Thread.start = original  # type: ignore[method-assign]  # what they had found before us
    second = carry_context()
    assert threading.Thread.start.__wrapped__ is original  # type: ignore[attr-defined]
    second.undo()
    first.undo()
    assert present() == METHODS


def test_what_others_have_wrapped_stays_and_carries_nothing(
    tracer: Tracer, monkeypatch: pytest.MonkeyPatch
) -> None:
    patch = carry_context()
    ours = threading.Thread.start

    def theirs(self: threading.Thread) -> None:
        ours(self)

    theirs.__wrapped__ = ours  # type: ignore[attr-defined]
    monkeypatch.setattr(threading.Thread, "start", theirs)
    patch.undo()
    assert threading.Thread.start is theirs
    with tracer.start_as_current_span("a span") as span:
        assert getattr(sys.flags, "thread_inherit_context", 0) == 1 or in_a_thread() == NOTHING
        with carry_context():
            assert threading.Thread.start is theirs
            assert in_a_thread() == (span.get_span_context().span_id, "blue")
    monkeypatch.undo()
    with carry_context():  # now that only it is there
        assert threading.Thread.start is ours
    assert present() == METHODS


def test_switched_off_nothing_is_put_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("otlpfast._choice.DISABLED", True)
    with carry_context():
        assert present() == METHODS


@pytest.mark.parametrize(
    ("argument", "variable", "carries"),
    [
        ("", "", False),
        ("", "true", True),
        ("carry_context=True", "", True),
        ("carry_context=False", "true", False),
    ],
)
def test_configure(argument: str, variable: str, carries: bool) -> None:
    code = f"import otlpfast, threading; otlpfast.configure(exporters=[], {argument})\n"
    code += "print(hasattr(threading.Thread.start, '__wrapped__'))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment(OTLPFAST_CARRY_CONTEXT=variable),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert (done.stdout, done.stderr) == (f"{carries}\n", "")


def test_a_wrong_argument_of_configure_raises() -> None:
    with pytest.raises(TypeError, match="carry_context='yes'"):
        otlpfast.configure(carry_context="yes")  # type: ignore[arg-type]


# --- carry()


def test_a_function_is_called_in_the_context_it_was_carried_from(tracer: Tracer) -> None:
    with tracer.start_as_current_span("a span") as span:
        function = carry(seen)
        own = get_current()
    assert function(1, 2) == (span.get_span_context().span_id, "blue")
    assert trace.get_current_span(own) is span
    found: list[Any] = []
    joined(threading.Thread(target=lambda: found.append(function())))
    assert found == [(span.get_span_context().span_id, "blue")]


def test_it_looks_like_the_function() -> None:
    def work(number: int) -> int:
        return number

    function = carry(work)
    assert inspect.signature(function) == inspect.signature(work)
    assert function.__name__ == "work"
    assert "work" in repr(function)
    assert carry(work)(number=3) == 3


def test_carried_by_hand_wins(carrying: None, tracer: Tracer) -> None:
    with tracer.start_as_current_span("by hand") as span:
        function = carry(seen)
    with tracer.start_as_current_span("another"), ThreadPoolExecutor(1) as executor:
        assert executor.submit(function).result(PATIENCE) == (span.get_span_context().span_id, "blue")


def test_what_can_not_be_called_is_refused() -> None:
    with pytest.raises(TypeError, match="function=7"):
        carry(7)  # type: ignore[arg-type]


def test_a_pickle_has_the_headers_of_w3c(tracer: Tracer) -> None:
    with tracer.start_as_current_span("a span") as span:
        there = pickle.dumps(carry(seen))
    context = span.get_span_context()
    parent = f"00-{context.trace_id:032x}-{context.span_id:016x}-0".encode()
    assert parent in there and b"tenant=blue" in there
    assert pickle.loads(there)() == (context.span_id, "blue")
    with tracer.start_as_current_span("another"):
        assert pickle.loads(pickle.dumps(pickle.loads(there)))() == (context.span_id, "blue")


def test_a_copy_calls_the_same(tracer: Tracer) -> None:
    with tracer.start_as_current_span("a span") as span:
        function = carry(seen)
    for made in (copy.copy(function), copy.deepcopy(function)):
        assert made() == (span.get_span_context().span_id, "blue")


def test_a_span_that_is_not_sampled_says_so_there() -> None:
    from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

    with native(sampler=ALWAYS_OFF).get_tracer("tests").start_as_current_span("not sampled") as span:
        arrived = pickle.loads(pickle.dumps(carry(trace.get_current_span)))().get_span_context()
    assert arrived.trace_id == span.get_span_context().trace_id
    assert arrived.is_remote and not arrived.trace_flags.sampled


def test_a_span_that_raises_for_its_context_costs_only_itself() -> None:
    class Broken(trace.NonRecordingSpan):
        def get_span_context(self) -> Any:
            raise RuntimeError

    context = trace.set_span_in_context(
        Broken(trace.INVALID_SPAN_CONTEXT), baggage.set_baggage("tenant", "x")
    )
    token = attach(context)
    try:
        there = pickle.dumps(carry(seen))
    finally:
        detach(token)
    assert pickle.loads(there)() == (0, "x")


@pytest.mark.usefixtures("carrying")
def test_a_thread_that_has_ended_is_held_by_nobody(tracer: Tracer) -> None:
    """Without the garbage collector: what it held may be large."""
    gc.disable()
    try:
        with tracer.start_as_current_span("span"):
            thread = OwnRun([])
            joined(thread)
        ended = weakref.ref(thread)
        del thread
        until(lambda: ended() is None, "nothing held the thread")
    finally:
        gc.enable()


@pytest.mark.skipif(sys.platform == "win32", reason="by fork")
@pytest.mark.usefixtures("carrying")
def test_a_process_whose_class_refuses_attributes_starts(tracer: Tracer) -> None:
    class Strict(get_context("fork").Process):  # type: ignore[misc, name-defined]
        def __setattr__(self, name: str, value: object) -> None:
            if name.startswith("_otlpfast"):
                raise AttributeError(name)
            super().__setattr__(name, value)

    process = Strict(target=seen)
    with tracer.start_as_current_span("span"):
        process.start()
    process.join(PATIENCE)
    assert process.exitcode == 0

"""Fork on otlpfast's provider: new ids, the child's own resource, spans that are open on both sides."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry.sdk import trace as sdk
from opentelemetry.sdk.resources import Resource
from opentelemetry.trace import Tracer

from otlpfast import IMPLEMENTATION, BatchSpanProcessor, OTLPSpanExporter, TracerProvider

from .collector import Collector
from .exporting import collector_fixture  # noqa: F401
from .forks import PATIENCE, die_in, in_child
from .pipeline import NEVER_MILLIS, account, ran
from .touching import hush
from .traced import current, native

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")

CHILDREN = 12
KINDS: dict[str, Any] = {"otlpfast": TracerProvider, "sdk": sdk.TracerProvider}


def pipeline(endpoint: str, kind: str = "otlpfast", **options: Any) -> tuple[Tracer, BatchSpanProcessor]:
    hush()
    processor = BatchSpanProcessor(OTLPSpanExporter(endpoint), schedule_delay_millis=NEVER_MILLIS)
    _kept.append(native(processor, kind=KINDS[kind], **options))
    return _kept[-1].get_tracer("tests"), processor


_kept: list[sdk.TracerProvider] = []  # the SDK's fork hook forgets a provider that nobody has


# --- ids


def ids(tracer: Tracer, count: int = 200) -> list[int]:
    """Trace and span ids of so many root spans."""
    contexts = [tracer.start_span("span").get_span_context() for _ in range(count)]
    return [number for context in contexts for number in (context.trace_id, context.span_id)]


def in_a_thread(work: Callable[[], Any]) -> Any:
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(work()))
    thread.start()
    thread.join()
    return found[0]


def ids_of_a_family(warm: bool) -> list[int]:
    """Of a parent, of its children, of their children, of threads of all of these that fork or do not."""
    tracer = native().get_tracer("tests")
    found = ids(tracer) if warm else []

    def grandchild() -> list[int]:
        return [*ids(tracer), *in_a_thread(lambda: ids(tracer))]

    def child() -> list[int]:
        own = in_child(grandchild) + ids(tracer) + in_child(grandchild)
        return list(own + in_a_thread(lambda: in_child(grandchild)) + in_a_thread(lambda: ids(tracer)))

    for _ in range(3):
        found += in_child(child)
        found += in_a_thread(lambda: in_child(child))
    found += in_a_thread(lambda: ids(tracer) + in_child(lambda: ids(tracer)) + ids(tracer))
    return found + ids(tracer)


@pytest.mark.parametrize("warm", [False, True])
def test_no_id_of_a_family_of_processes_comes_twice(warm: bool) -> None:
    found = ran(ids_of_a_family, warm)
    assert len(found) == 400 * (warm + 6 * (3 * 2 + 2) + 4)
    assert max(Counter(found).values()) == 1


def ids_of_a_worker(number: int) -> list[int]:
    die_in(PATIENCE)
    return ids(_inherited[0])


_inherited: list[Tracer] = []


def ids_of_a_pool() -> list[int]:
    _inherited.append(native().get_tracer("tests"))
    found = ids(_inherited[0])
    with multiprocessing.get_context("fork").Pool(4, maxtasksperchild=2) as pool:
        for some in pool.map(ids_of_a_worker, range(16), chunksize=1):
            found += some
    return found


def test_no_id_of_a_multiprocessing_pool_comes_twice() -> None:
    found = ran(ids_of_a_pool)
    assert len(found) == 400 * 17
    assert max(Counter(found).values()) == 1


def ids_of_unseen_children() -> list[list[int]]:
    """Forks as uWSGI does, in C: no hook of Python's runs. PyDLL keeps the GIL, which the child needs."""
    tracer = native().get_tracer("tests")
    libc = ctypes.PyDLL(None)
    found = [ids(tracer)]
    for depth in range(3):
        receiver, sender = os.pipe()
        child = libc.fork()
        if child == 0:
            die_in(PATIENCE)
            if depth == 2:
                in_the_child = libc.fork()
                if in_the_child:
                    os.waitpid(in_the_child, 0)
            os.write(sender, b"".join(number.to_bytes(16, "big") for number in ids(tracer, 20)))
            os._exit(0)
        os.waitpid(child, 0)
        os.close(sender)
        with open(receiver, "rb") as answer:
            data = answer.read()
        found.append([int.from_bytes(data[at : at + 16], "big") for at in range(0, len(data), 16)])
    return [*found, ids(tracer)]


@pytest.mark.skipif(
    IMPLEMENTATION != "c", reason="Python's random, which the SDK takes, learns of its own forks"
)
def test_no_id_comes_twice_after_a_fork_that_python_does_not_see() -> None:
    found = ran(ids_of_unseen_children)
    assert [len(some) for some in found] == [400, 40, 40, 80, 400]
    assert max(Counter(number for some in found for number in some).values()) == 1


# --- spans that are open when a process forks


def open_on_both_sides(endpoint: str, kind: str) -> list[Any]:
    tracer, processor = pipeline(endpoint, kind)
    with tracer.start_as_current_span("outer", attributes={"of": "parent"}) as outer:
        with tracer.start_as_current_span("inner") as inner:
            inner.set_attribute("before", "fork")
            inner.add_event("before")
            manager = tracer.start_as_current_span("left by hand")
            manager.__enter__()

            def child() -> list[Any]:
                seen = [current() == span_id for span_id in (0, inner.get_span_context().span_id)]
                manager.__exit__(None, None, None)
                seen.append(current() == inner.get_span_context().span_id)
                inner.set_attribute("in", "child")
                for number in range(100):
                    inner.set_attribute(f"child {number}", number)
                inner.add_event("child", {"a": [1, 2]})
                inner.end()
                inner.set_attribute("too", "late")
                with tracer.start_as_current_span("of the child"):
                    pass
                outer.update_name("outer in the child")
                outer.end()
                return [*seen, inner.is_recording(), processor.force_flush()]

            seen = in_child(child)
            manager.__exit__(None, None, None)
            inner.set_attribute("in", "parent")
            seen.append(inner.is_recording())
        seen.append(outer.name)  # type: ignore[attr-defined]
    return [*seen, processor.force_flush()]


def test_a_span_that_is_open_at_the_fork_ends_on_both_sides(collector: Collector) -> None:
    seen, trees = [], []
    for kind in KINDS:
        before = len(collector.spans)
        seen.append(ran(open_on_both_sides, collector.endpoint, kind))
        trees.append(tree(collector.spans[before:]))
    assert seen[0] == [False, False, True, False, True, True, "outer", True]
    assert seen[0] == seen[1]
    assert trees[0] == trees[1]
    names = [name for name, *_ in trees[0]]
    both = ["inner", "left by hand"] * 2
    assert sorted(names) == sorted([*both, "of the child", "outer", "outer in the child"])


def tree(spans: list[Any]) -> list[Any]:
    """Each span's name, the names of its parent, its attributes and its events."""
    names: dict[bytes, set[str]] = {}
    for span in spans:
        names.setdefault(span.span_id, set()).add(span.name)
    return sorted(
        (
            span.name,
            sorted(names.get(span.parent_span_id, ())),
            [(pair.key, str(pair.value)) for pair in span.attributes],
            [(event.name, len(event.attributes)) for event in span.events],
        )
        for span in spans
    )


def forked_while_reading(endpoint: str) -> list[Any]:
    """The fork comes in the middle of set_attribute(): both sides go on from there."""
    tracer, processor = pipeline(endpoint)
    side = ["parent"]
    children: list[int] = []

    class Forking:
        def __str__(self) -> str:
            children.append(os.fork())
            if children[-1] == 0:
                die_in(PATIENCE)
                side[0] = "child"
            return side[0]

    forking: Any = Forking()
    with tracer.start_as_current_span("operation") as span:
        span.set_attributes({"first": 1, "side": forking, "last": 2})
        tracer.start_span("inside", attributes={"side": side[0]}).end()
    flushed = processor.force_flush()
    if side[0] == "child":
        os._exit(0 if flushed and processor.stats() == account(2, exported=2) else 1)
    return [flushed, os.waitpid(children[0], 0)[1]]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_fork_in_the_middle_of_a_call_on_a_span(collector: Collector) -> None:
    assert ran(forked_while_reading, collector.endpoint) == [True, 0]
    found = [
        (span.name, {pair.key: pair.value.string_value or pair.value.int_value for pair in span.attributes})
        for span in collector.spans
    ]
    expected = [
        pair
        for side in ("parent", "child")
        for pair in [("inside", {"side": side}), ("operation", {"first": 1, "side": side, "last": 2})]
    ]
    assert sorted(map(str, found)) == sorted(map(str, expected))


# --- the resource


def resources_of_a_family(endpoint: str, kind: str) -> bool:
    tracer, processor = pipeline(endpoint, kind, resource=Resource.create({"service.name": "family"}))
    opened = tracer.start_span("opened by the parent")

    def finish(who: str) -> bool:
        tracer.start_span(who, attributes={"pid": os.getpid()}).end()
        return processor.force_flush()

    def grandchild() -> bool:
        return finish("grandchild")

    def child() -> bool:
        opened.end()
        return finish("child") and in_child(grandchild) and finish("child again")

    good = finish("parent") and in_child(child) and in_child(child)
    return finish("parent again") and good


@pytest.mark.parametrize("kind", KINDS)
def test_each_process_has_a_resource_of_its_own(collector: Collector, kind: str) -> None:
    detectors = {"OTEL_EXPERIMENTAL_RESOURCE_DETECTORS": "process,otel"}
    assert ran(resources_of_a_family, collector.endpoint, kind, **detectors) is True
    found: dict[str, set[tuple[Any, ...]]] = {}
    for request in collector.requests:
        for resource in request.message.resource_spans:
            pairs = {pair.key: pair.value for pair in resource.resource.attributes}
            assert pairs["service.name"].string_value == "family"
            of = pairs["process.pid"].int_value, pairs["service.instance.id"].string_value
            for span in (span for scope in resource.scope_spans for span in scope.spans):
                found.setdefault(span.name, set()).add(of)
                for pair in span.attributes:
                    assert pair.value.int_value == of[0]
    assert found["parent"] == found["parent again"] == found["opened by the parent"]
    assert found["child"] == found["child again"]
    assert [len(found[who]) for who in ("parent", "child", "grandchild")] == [1, 2, 2]
    family = found["parent"] | found["child"] | found["grandchild"]
    assert len(family) == len({pid for pid, _ in family}) == len({instance for _, instance in family}) == 5


# --- forks in the thick of it


def children_of_busy_threads(endpoint: str) -> dict[str, Any]:
    """Tracers that were there before the fork work after it, whatever the other threads were at."""
    tracer, processor = pipeline(endpoint)
    stop = threading.Event()

    def busy() -> None:
        while not stop.is_set():
            with tracer.start_as_current_span("busy", attributes={"a": 1, "b": [1, 2]}) as span:
                span.add_event("event", {"a": 1})
                with tracer.start_as_current_span("busy"):
                    pass

    threads = [threading.Thread(target=busy) for _ in range(4)]
    for thread in threads:
        thread.start()

    def child() -> list[bool]:
        provider = TracerProvider()
        with tracer.start_as_current_span("child") as span:
            for number in range(200):
                span.set_attribute(f"key {number}", number)
                span.add_event("event", {"number": number})
            provider.get_tracer("other").start_span("of another provider").end()
            tracer.start_span("grandchild").end()
        return [processor.force_flush(), processor.stats() == account(2, exported=2)]

    good = [in_child(child) for _ in range(CHILDREN)]
    stop.set()
    for thread in threads:
        thread.join()
    processor.force_flush()
    stats = processor.stats()
    return {"good": good, "balanced": stats["queued"] == 0, "ended": stats["ended"]}


def test_children_of_busy_threads_start_and_end_spans(collector: Collector) -> None:
    value = ran(children_of_busy_threads, collector.endpoint, patience=100)
    assert value["good"] == [[True, True]] * CHILDREN
    assert value["balanced"] and value["ended"] > 0
    children = [span for span in collector.spans if span.name == "child"]
    grandchildren = [span for span in collector.spans if span.name == "grandchild"]
    assert len({span.span_id for span in children}) == len(grandchildren) == CHILDREN
    assert {span.parent_span_id for span in grandchildren} == {span.span_id for span in children}
    assert all(len(span.attributes) == len(span.events) == 128 for span in children)

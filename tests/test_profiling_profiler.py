"""Profiler, ProfileConfig and @profiled: all kinds, under a span, and never in the way."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import stat
import sys
import threading
import time
import zipfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from otlpfast.profiling import (
    Profile,
    ProfileConfig,
    Profiler,
    ProfilerBusyError,
    cpu,
    profiled,
)
from otlpfast.profiling.full import FullRun
from otlpfast.profiling.profiler import wait

from .forks import in_child
from .starting import python

PATIENCE = 30  # seconds
SHORT = 0.1

Spans = Callable[[], list[ReadableSpan]]


@pytest.fixture(name="spans")
def spans_fixture(monkeypatch: pytest.MonkeyPatch) -> Spans:
    """Those that have ended."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "get_tracer", provider.get_tracer)
    return lambda: list(exporter.get_finished_spans())


@pytest.fixture(name="work")
def work_fixture() -> Iterator[None]:
    """A thread that has something to do, and allocates."""
    end = threading.Event()

    def toil() -> None:
        while not end.is_set():
            sum(list(range(1000)))

    thread = threading.Thread(target=toil, name="toil")
    thread.start()
    yield
    end.set()
    thread.join()


def functions(profile: Profile) -> set[str]:
    return {frame.function.rpartition(".")[2] for sample in profile.samples for frame in sample.stack}


def until_seen(take: Callable[[], Profile], function: str) -> Profile:
    """A profile that has the function: on a busy machine a short one may have nothing."""
    deadline = time.monotonic() + PATIENCE
    while True:
        profile = take()
        if function in functions(profile) or time.monotonic() > deadline:
            return profile


def id_of(profile: Profile) -> str:
    [found] = [c.partition("=")[2] for c in profile.comments if c.startswith("otlpfast.profile.id=")]
    return found


@contextmanager
def a_cpu_profile_under_way() -> Iterator[None]:
    with Profiler():
        yield


# --- kinds


@pytest.mark.parametrize("kind", ["cpu", "wall"])
def test_what_runs_is_in_the_profile(kind: str, work: None) -> None:
    profile = until_seen(lambda: getattr(Profiler(), kind)(SHORT), "toil")
    assert profile.kind == kind
    assert "toil" in functions(profile)
    assert profile.duration_nanos >= SHORT * 1e9


@pytest.mark.parametrize("kind", ["threads", "tasks", "heap", "block", "mutex"])
def test_each_other_kind(kind: str) -> None:
    profiler = Profiler()
    take = getattr(profiler, kind)
    profile = take(SHORT) if kind in ("block", "mutex") else take()
    profiler.close()
    assert profile.kind == kind
    assert len(id_of(profile)) == 16
    assert Profile.from_pprof(profile.to_pprof()).value_types == profile.value_types


def test_threads_are_those_of_now(work: None) -> None:
    assert "toil" in functions(Profiler().threads())


def test_the_heap_is_sampled_from_the_first_look_on_until_the_profiler_is_closed() -> None:
    profiler = Profiler(ProfileConfig(heap_sample_bytes=1))
    profiler.heap()

    def hoard() -> list[bytes]:
        return [bytes(1000) for _ in range(1000)]

    kept = hoard()
    try:
        assert "hoard" in functions(profiler.heap(gc=True))
    finally:
        profiler.close()
    assert kept
    assert "hoard" not in functions(profiler.heap())
    profiler.close()


def test_a_heap_profile_of_some_time_is_of_that_time_alone() -> None:
    profiler = Profiler(ProfileConfig(heap_sample_bytes=1))
    profiler.heap()

    def hoard() -> list[bytes]:
        return [bytes(1000) for _ in range(1000)]

    kept = hoard()
    try:
        assert "hoard" not in functions(profiler.heap(SHORT))
        assert "hoard" in functions(profiler.heap())
    finally:
        profiler.close()
    assert kept


# --- spans


def test_a_run_is_a_span_with_the_id_that_the_profile_has(spans: Spans) -> None:
    with trace.get_tracer("app").start_as_current_span("request") as request:
        profile = Profiler().cpu(SHORT)
    [span, _] = spans()
    assert span.name == "otlpfast.profile"
    assert span.attributes == {
        "otlpfast.profile.id": id_of(profile),
        "otlpfast.profile.kinds": ("cpu",),
        "otlpfast.profile.seconds": SHORT,
    }
    assert span.parent is not None and span.parent.span_id == request.get_span_context().span_id
    assert span.context is not None
    assert f"trace_id={span.context.trace_id:032x}" in profile.comments


def test_what_is_profiled_is_no_child_of_the_profile(spans: Spans) -> None:
    with Profiler(), trace.get_tracer("app").start_as_current_span("work"):
        pass
    work, run = spans()
    assert (work.name, work.parent, run.name) == ("work", None, "otlpfast.profile")


def test_a_full_profile_is_one_span(spans: Spans) -> None:
    full = Profiler().run_full_profile(SHORT)
    [span] = spans()
    assert span.attributes is not None
    assert span.attributes["otlpfast.profile.id"] == full.id
    assert {id_of(profile) for profile in full.profiles.values()} == {full.id}


def test_a_run_that_fails_is_a_span_with_an_error(spans: Spans, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("no more threads")

    monkeypatch.setattr(cpu, "start_cpu", fail)
    with pytest.raises(RuntimeError, match="no more threads"):
        Profiler().cpu(SHORT)
    (failed,) = spans()
    assert not failed.status.is_ok


def test_where_one_is_under_way_nothing_is_wrong_and_there_is_no_span(spans: Spans) -> None:
    with a_cpu_profile_under_way():
        before = len(spans())
        with pytest.raises(ProfilerBusyError):
            Profiler().cpu(SHORT)
        assert len(spans()) == before


# --- the full profile


def test_a_full_profile_is_an_archive_with_a_summary(work: None, tmp_path: Path) -> None:
    full = Profiler().run_full_profile(3 * SHORT)
    path = full.save(tmp_path / "full.zip")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == ["full.zip"]
    with zipfile.ZipFile(path) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    kinds = ["cpu", "wall", "heap", "threads", "tasks", "block", "mutex"]
    assert list(contents) == [
        "summary.txt",
        *(f"{kind}.pb.gz" for kind in kinds),
        "stacks.txt",
        "runtime.json",
    ]
    for kind in kinds:
        assert Profile.from_pprof(contents[f"{kind}.pb.gz"]).value_types == full.profiles[kind].value_types
    runtime = json.loads(contents["runtime.json"])
    assert runtime["after"]["python_threads"] >= 2 and runtime["gc"]["pauses"] >= 0
    assert b'thread "toil"' in contents["stacks.txt"]
    summary = contents["summary.txt"].decode()
    for words in (
        full.id,
        f"process    {os.getpid()}",
        "CPU time",
        "GC pauses",
        "go tool pprof -top cpu.pb.gz",
    ):
        assert words in summary
    assert full.to_bytes()[:2] == b"PK"


def test_threads_that_became_more_are_in_the_summary() -> None:
    begun, end = threading.Semaphore(0), threading.Event()

    def linger() -> None:
        begun.release()
        end.wait(PATIENCE)

    run = FullRun(ProfileConfig())
    for _ in range(5):
        threading.Thread(target=linger).start()
    for _ in range(5):
        assert begun.acquire(timeout=PATIENCE)
    full = run.stop()
    try:
        again = Profiler().run_full_profile(SHORT)
    finally:
        end.set()
    assert "linger" in full.leaks and full.leaks in full.summary
    assert "linger" not in again.leaks


def test_what_can_not_be_taken_is_missing_from_a_full_profile_with_the_reason() -> None:
    with a_cpu_profile_under_way():
        full = Profiler().run_full_profile(SHORT)
    assert "cpu" not in full.profiles and "wall" in full.profiles
    assert full.missing["cpu"] == "cpu profiling already in use"
    assert "cpu profiling already in use" in full.summary
    assert "cpu.pb.gz" not in full.files()


def test_a_full_profile_is_saved_as_a_zip_alone(tmp_path: Path) -> None:
    full = Profiler().run_full_profile(SHORT)
    with pytest.raises(ValueError, match=r"a full profile is a \.zip file"):
        full.save(tmp_path / "full.tar")


# --- beginning and ending


def test_a_block_is_profiled() -> None:
    with Profiler(ProfileConfig(kinds=("threads", "cpu"))) as profiler:
        assert profiler.running
        with pytest.raises(RuntimeError, match="there is no profile yet"):
            profiler.profile  # noqa: B018
    assert not profiler.running
    assert list(profiler.profiles) == ["cpu", "threads"]
    assert profiler.profile.kind == "cpu"


def test_stop_gives_the_same_again() -> None:
    profiler = Profiler()
    assert profiler.stop() == {}
    profiler.start("wall")
    with pytest.raises(ProfilerBusyError, match="stop"):
        profiler.start()
    assert profiler.stop() is profiler.stop()


def test_one_kind_that_can_not_begin_ends_the_others() -> None:
    with a_cpu_profile_under_way(), pytest.raises(ProfilerBusyError):
        Profiler().start("cpu", "wall")
    assert Profiler().wall(SHORT).kind == "wall"
    assert Profiler().cpu(SHORT).kind == "cpu"


def waits(thread: int) -> bool:
    frame = sys._current_frames().get(thread)
    return frame is not None and frame.f_code is wait.__code__


@pytest.fixture(name="interruptible")
def interruptible_fixture() -> Iterator[None]:
    """Whatever whoever started the tests has said: what runs in a shell's background ignores SIGINT."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="no signals of threads")
@pytest.mark.parametrize("take", ["cpu", "run_full_profile"])
def test_ctrl_c_ends_a_profile_and_goes_on(take: str, interruptible: None) -> None:
    here = threading.get_ident()

    def interrupt() -> None:
        while not waits(here):
            time.sleep(0.01)
        signal.pthread_kill(here, signal.SIGINT)

    thread = threading.Thread(target=interrupt, daemon=True)
    thread.start()
    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        getattr(Profiler(), take)(600)
    assert time.monotonic() - begun < 600
    thread.join(PATIENCE)
    assert Profiler().cpu(SHORT).kind == "cpu"


def test_a_forked_child_takes_profiles_of_its_own() -> None:
    with Profiler():
        assert in_child(lambda: Profiler().cpu(SHORT).kind) == "cpu"


# --- what is allowed


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"frequency": 0}, "frequency=0: a whole number from 1 to 1000"),
        ({"frequency": "fast"}, "frequency='fast'"),
        ({"labels": 1}, "labels=1: True or False"),
        ({"kinds": ("cpu", "goroutine")}, "of cpu, wall, heap, threads, tasks, block, mutex are allowed"),
        ({"kinds": ()}, "at least one"),
        ({"heap_sample_bytes": 0}, "heap_sample_bytes=0"),
        ({"block_rate": -1}, "block_rate=-1"),
        ({"mutex_fraction": 0}, "mutex_fraction=0"),
        ({"max_seconds": 0}, "max_seconds=0: a number of seconds above 0"),
        ({"max_bytes": 1}, "max_bytes=1"),
        ({"max_files": 0}, "max_files=0"),
        ({"directory": 5}, "directory=5: a path"),
    ],
)
def test_a_configuration_names_what_is_wrong(options: dict[str, Any], words: str) -> None:
    with pytest.raises((TypeError, ValueError), match=words.replace("(", r"\(")):
        ProfileConfig(**options)


def test_the_configuration_has_defaults_and_kinds_in_one_order() -> None:
    config = ProfileConfig()
    assert (config.frequency, config.labels, config.heap_sample_bytes) == (100, True, 512 * 1024)
    assert ProfileConfig(kinds=("wall", "cpu", "wall")).kinds == ("cpu", "wall")
    assert Profiler().config == config


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf"), 601, "1", True, None])
def test_seconds_are_limited(seconds: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="above 0, at most 600"):
        Profiler().cpu(seconds)


def test_a_profiler_takes_a_configuration_alone() -> None:
    with pytest.raises(TypeError, match="a ProfileConfig"):
        Profiler({"frequency": 100})  # type: ignore[arg-type]


# --- decorated functions


def profiles_of(function: Any) -> Any:
    return function.profiles


def test_calls_of_a_function_are_profiled() -> None:
    @profiled
    def work(a: int, *, b: int) -> int:
        """Adds."""
        return a + b

    assert work(1, b=2) == 3
    assert (work.__name__, work.__doc__) == ("work", "Adds.")
    assert profiles_of(work).taken == 1
    assert profiles_of(work).last.kind == "cpu"


def test_calls_of_a_coroutine_function_are_profiled_to_their_end() -> None:
    @profiled(kind="wall")
    async def pause() -> str:
        await asyncio.sleep(2 * SHORT)
        return "done"

    assert asyncio.run(pause()) == "done"
    assert profiles_of(pause).last.kind == "wall"
    assert profiles_of(pause).last.duration_nanos >= 2 * SHORT * 1e9


def test_a_generator_is_profiled_from_its_first_item_to_its_end() -> None:
    @profiled
    def count() -> Iterator[str]:
        try:
            sent = yield "first"
            yield sent
        except LookupError:
            yield "caught"

    items: Any = count()
    assert (next(items), items.send("sent")) == ("first", "sent")
    assert items.throw(LookupError) == "caught"
    assert profiles_of(count).taken == 0
    assert list(items) == []
    assert profiles_of(count).taken == 1


def test_an_async_generator_is_profiled_and_hears_what_is_sent_and_thrown() -> None:
    closed = []

    @profiled
    async def count() -> AsyncIterator[str]:
        try:
            sent = yield "first"
            yield sent
        except LookupError:
            yield "caught"
        finally:
            closed.append(True)

    async def use() -> list[str]:
        items: Any = count()
        seen = [await anext(items), await items.asend("sent"), await items.athrow(LookupError)]
        await items.aclose()
        return seen + [item async for item in count()]

    assert asyncio.run(use())[:4] == ["first", "sent", "caught", "first"]
    assert closed == [True, True]
    assert profiles_of(count).taken == 2


def test_an_exception_passes_through() -> None:
    @profiled
    def fail() -> None:
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        fail()
    assert profiles_of(fail).taken == 1


def test_calls_within_calls_and_during_another_profile_just_run() -> None:
    @profiled
    def down(depth: int) -> int:
        return down(depth - 1) + 1 if depth else 0

    assert down(3) == 3
    assert (profiles_of(down).taken, profiles_of(down).passed) == (1, 3)
    with a_cpu_profile_under_way():
        assert down(0) == 0
    assert (profiles_of(down).taken, profiles_of(down).passed) == (1, 4)


def test_calls_are_not_profiled_more_often_than_is_wanted() -> None:
    @profiled(every=3600)
    def work() -> None:
        pass

    for _ in range(3):
        work()
    assert (profiles_of(work).taken, profiles_of(work).passed) == (1, 2)


def test_profiles_of_calls_are_kept_in_a_directory(tmp_path: Path) -> None:
    @profiled(config=ProfileConfig(directory=str(tmp_path / "profiles"), max_files=2))
    def work() -> None:
        pass

    for _ in range(3):
        work()
    kept = sorted((tmp_path / "profiles").iterdir())
    assert len(kept) == 2
    assert Profile.load(kept[-1]).total() == profiles_of(work).last.total()


def test_where_a_profile_can_not_be_taken_calls_just_run(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    @profiled(kind="threads")
    def call() -> int:
        return 7

    def refuse(*_: object) -> None:
        raise OSError("no timers")

    monkeypatch.setattr("otlpfast.profiling.decorating.Run.stop", refuse)
    assert call() == 7
    monkeypatch.setattr("otlpfast.profiling.decorating.Run", refuse)
    assert call() == 7
    profiles = profiles_of(call)
    assert (profiles.taken, profiles.failed, profiles.last) == (0, 2, None)
    assert caplog.messages == ["no threads profile of a call: OSError: no timers"]


def test_a_directory_that_can_not_be_is_logged_once_and_calls_go_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")

    @profiled(config=ProfileConfig(directory=str(tmp_path / "file")))
    def work() -> str:
        return "done"

    assert [work(), work()] == ["done", "done"]
    [record] = caplog.records
    assert "can't be kept" in record.getMessage() and str(tmp_path) in record.getMessage()
    assert (profiles_of(work).taken, profiles_of(work).failed) == (2, 2)


@pytest.mark.parametrize("options", [{"kind": "goroutine"}, {"config": {}}, {"every": -1}])
def test_a_decorator_names_what_is_wrong(options: dict[str, Any]) -> None:
    with pytest.raises((TypeError, ValueError)):
        profiled(**options)
    with pytest.raises(TypeError, match="a function is allowed"):
        profiled(5)  # type: ignore[type-var]


def test_nothing_is_imported_or_started_before_it_is_used() -> None:
    code = (
        "import sys, threading, otlpfast\n"
        "assert not [name for name in sys.modules if name.startswith('otlpfast.profiling')]\n"
        "import otlpfast.profiling\n"
        "otlpfast.profiling.Profiler(otlpfast.profiling.ProfileConfig())\n"
        "assert threading.active_count() == 1\n"
        "assert 'otlpfast.profiling.cpu' not in sys.modules\n"
    )
    python(code)

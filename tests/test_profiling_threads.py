"""Threads by stack, as a profile and as text, and what there is more of than before."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable

import pytest

from otlpfast import profiling
from otlpfast.profiling import Frame, Profile, Sample, ValueType

from .walls import functions, held


def idle(rest: Callable[[], None]) -> None:
    rest()


def busy(rest: Callable[[], None]) -> None:
    rest()


def doing(profile: Profile, function: str) -> list[Sample]:
    return [sample for sample in profile.samples if function in functions(sample)]


def test_a_hundred_equal_workers_are_one_sample() -> None:
    with held(idle, *(f"worker-{number}" for number in range(100))):
        profile = profiling.threads()
    [sample] = doing(profile, "idle")
    assert sample.values == (100,)
    assert sample.labels == (("thread", "worker-*"),)
    assert profile.kind == profile.default_type == "threads"
    assert profile.value_types == (ValueType("threads", "count"),)
    assert profile.duration_nanos == 0


def test_threads_of_other_names_or_other_stacks_are_samples_of_their_own() -> None:
    with held(idle, "reader", "reader", "writer"), held(busy, "reader"):
        profile = profiling.threads()
    assert sorted((sample.labels, sample.values) for sample in doing(profile, "idle")) == [
        ((("thread", "reader"),), (2,)),
        ((("thread", "writer"),), (1,)),
    ]
    assert [sample.values for sample in doing(profile, "busy")] == [(1,)]


def test_a_stack_goes_from_where_the_thread_is_to_where_it_began() -> None:
    with held(idle, "one"):
        [sample] = doing(profiling.threads(), "idle")
    names = functions(sample)
    assert names[-1] == "_bootstrap"
    assert names.index("wait") < names.index("rest") < names.index("idle")
    frame = sample.stack[names.index("idle")]
    assert frame.filename == __file__
    assert frame.line == frame.first_line + 1 == idle.__code__.co_firstlineno + 1


def test_the_caller_is_seen_where_it_called() -> None:
    [sample] = doing(profiling.threads(), "test_the_caller_is_seen_where_it_called")
    assert functions(sample)[0] == "test_the_caller_is_seen_where_it_called"
    assert sample.labels == (("thread", "MainThread"),)


def test_the_text_has_counts_labels_and_stacks_the_most_first() -> None:
    with held(idle, "a-1", "a-2"), held(busy, 'b "quoted"'):
        profile = profiling.threads()
    lines = profiling.text(profile).splitlines()
    total = sum(sample.values[0] for sample in profile.samples)
    assert lines[0] == f"threads profile: total {total} (threads/count)"
    counts = [int(line.split()[0]) for line in lines if line.endswith(" @")]
    assert counts == sorted(counts, reverse=True)
    labels = [json.loads(line.removeprefix("# labels: ")) for line in lines if line.startswith("# labels: ")]
    assert {"thread": "a-*"} in labels and {"thread": 'b "quoted"'} in labels
    assert f"#\tidle\t{__file__}:{idle.__code__.co_firstlineno + 1}" in lines


def test_a_dump_has_a_paragraph_for_each_thread() -> None:
    with held(idle, "one", "two") as threads:
        paragraphs = profiling.dump().split("\n\n")
    for thread in threads:
        [found] = [text for text in paragraphs if text.startswith(f'thread "{thread.name}" ')]
        head, *stack = found.splitlines()
        said = f"[ident {thread.ident}, native id {thread.native_id}, daemon, alive]:"
        assert head == f'thread "{thread.name}" {said}'
        place = stack.index("idle")
        assert stack[place + 1] == f"\t{__file__}:{idle.__code__.co_firstlineno + 1}"
    assert sum(text.startswith('thread "MainThread"') for text in paragraphs) == 1


def test_leaks_are_stacks_that_there_are_more_of_those_that_grew_most_first() -> None:
    with held(idle, "old"):
        before = profiling.threads()
        with held(idle, *(f"new-{n}" for n in range(3))), held(busy, *(f"other-{n}" for n in range(7))):
            after = profiling.threads()
    found = profiling.leaks(before, after, least=2)
    assert [(leak.before, leak.after, leak.growth) for leak in found] == [(0, 7, 7), (1, 4, 3)]
    assert "busy" in [frame.function for frame in found[0].stack]
    assert "idle" in [frame.function for frame in found[1].stack]
    lines = str(found[1]).splitlines()
    assert lines[0] == "+3 threads (1 before, 4 after)"
    assert f"    idle {__file__}:{idle.__code__.co_firstlineno + 1}" in lines
    assert profiling.leaks(after, after) == ()
    assert len(profiling.leaks(before, after, least=4)) == 1


def test_leaks_of_a_heap_compare_what_is_in_use() -> None:
    stack = (Frame("f", "f.py", 1),)
    types = (ValueType("alloc_space", "bytes"), ValueType("inuse_space", "bytes"))
    before, after = (
        Profile("heap", types, (Sample(stack, values),), 0, default_type="inuse_space")
        for values in ((100, 10), (900, 15))
    )
    [leak] = profiling.leaks(before, after)
    assert (leak.growth, leak.kind) == (5, "heap")


def test_profiles_of_two_kinds_can_not_be_compared() -> None:
    with pytest.raises(ValueError, match="of one kind can be compared, not threads and tasks"):
        profiling.leaks(profiling.threads(), profiling.tasks())


def test_looking_while_threads_come_and_go() -> None:
    stop = threading.Event()

    def churn() -> None:
        while not stop.is_set():
            threads = [threading.Thread(target=int) for _ in range(5)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

    churning = [threading.Thread(target=churn) for _ in range(3)]
    for thread in churning:
        thread.start()
    try:
        for _ in range(200):
            assert doing(profiling.threads(), "test_looking_while_threads_come_and_go")
            assert 'thread "MainThread"' in profiling.dump()
    finally:
        stop.set()
        for thread in churning:
            thread.join()

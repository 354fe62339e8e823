"""What all threads and asyncio tasks are doing right now: as profiles, as text, and what there is more of."""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Iterable

from ._labels import thread_name, thread_of
from ._leaks import Leak, leaks
from ._look import Seen, look
from ._tasks import TaskSeen, all_tasks
from .profile import Label, Profile, Sample, Stack, ValueType

__all__ = ["Leak", "dump", "leaks", "tasks", "text", "threads"]

_NUMBERS = re.compile(r"\d+")


def threads() -> Profile:
    """All Python threads, those with equal stacks and names counted together.

    Numbers in names don't count: a hundred workers of a pool are one sample of value 100 with the label
    ``thread: ThreadPoolExecutor-*_*``.

    Returns:
        A profile with (threads, count). The caller's thread is in it, but for what it does in this package.
    """
    now = time.time_ns()
    found = [(seen.stack, ("thread", thread_name(seen.ident))) for seen in look()]
    return _profile("threads", now, found)


def tasks() -> Profile:
    """All asyncio tasks of all loops that run, those with equal stacks and names counted together.

    The stack of a task is what it awaits: at the bottom its coroutine, above it what that awaits, on through
    async generators and through other tasks, those of ``asyncio.gather()`` too, where all of them wait alike.
    Numbers in names don't count: ``task: Task-*``. Tasks of other threads are read as safely as one's own.

    Returns:
        A profile with (tasks, count).
    """
    now = time.time_ns()
    found = [(task.stack, ("task", task.name)) for task in all_tasks(look())]
    return _profile("tasks", now, found)


def _profile(kind: str, now: int, found: Iterable[tuple[Stack, Label]]) -> Profile:
    counts = Counter((stack, (key, _NUMBERS.sub("*", str(name)))) for stack, (key, name) in found)
    return Profile(
        kind=kind,
        value_types=(ValueType(kind, "count"),),
        samples=tuple(Sample(stack, (count,), (label,)) for (stack, label), count in counts.most_common()),
        time_unix_nano=now,
        default_type=kind,
        comments=(f"{kind}: numbers in names are shown as *",),
    )


def text(profile: Profile) -> str:
    """The samples of a profile one after the other, as Go's ``debug=1`` has them: values, labels, stack.

    The most comes first, by the profile's default type.
    """
    shown = profile.value_index()
    total = sum(sample.values[shown] for sample in profile.samples)
    kinds = ", ".join(f"{kind.type}/{kind.unit}" for kind in profile.value_types)
    lines = [f"{profile.kind} profile: total {total} ({kinds})"]
    lines += [f"# {comment}" for comment in profile.comments]
    for sample in sorted(profile.samples, key=lambda sample: -sample.values[shown]):
        lines += ["", " ".join(map(str, sample.values)) + " @"]
        if sample.labels:
            lines.append("# labels: " + json.dumps(dict(sample.labels), ensure_ascii=False))
        lines += [f"#\t{frame.function}\t{frame.filename}:{frame.line}" for frame in sample.stack]
    return "\n".join(lines) + "\n"


def dump() -> str:
    """Each thread and each asyncio task in a paragraph of its own, as Go's ``debug=2`` has goroutines.

    A thread has its name, ident, native id and state, a task its name, what it waits for and the thread of
    its loop; then comes the stack, the innermost frame first.
    """
    seen = look()
    paragraphs = [_thread_paragraph(entry) for entry in seen]
    paragraphs += [_task_paragraph(task) for task in all_tasks(seen)]
    return "\n".join(paragraphs)


def _thread_paragraph(seen: Seen) -> str:
    thread = thread_of(seen.ident)
    said = [f"ident {seen.ident}"]
    if thread is not None:
        said += [f"native id {thread.native_id}"] if thread.native_id else []
        said += ["daemon"] if thread.daemon else []
        said += ["alive" if thread.is_alive() else "ending"]
    return f'thread "{thread_name(seen.ident)}" [{", ".join(said)}]:\n' + _stack(seen.stack)


def _task_paragraph(task: TaskSeen) -> str:
    where = f', thread "{thread_name(task.ident)}"' if task.ident else ""
    return f'task "{task.name}" [{task.state}{where}]:\n' + _stack(task.stack)


def _stack(stack: Stack) -> str:
    return "".join(f"{frame.function}\n\t{frame.filename}:{frame.line}\n" for frame in stack)

"""The summary of a full profile: what a reader sees first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from ._run import ID, TRACE
from .config import KINDS
from .profile import Profile

if TYPE_CHECKING:
    from .full import FullProfile

_TOP = 10
_TITLES = {
    "cpu": "CPU time: what ran",
    "wall": "Wall time: what ran or waited",
    "heap": "Memory in use, of what was allocated meanwhile and sampled",
    "threads": "Threads at the end",
    "tasks": "asyncio tasks at the end",
    "block": "Waiting for conditions, queues, events and threads",
    "mutex": "Waiting for locks",
}

_OPENING = """\
go tool pprof -top cpu.pb.gz                     the same tables, and more of them
go tool pprof -http localhost:8080 cpu.pb.gz     flame graph and sources in a browser
otlpfast profile show cpu.pb.gz -o cpu.svg       a flame graph as one file
otlpfast profile show cpu.pb.gz --trace ID       what one request burned
otlpfast profile show cpu.pb.gz --diff OLD.pb.gz what has changed since another profile
"""


def summary(full: FullProfile) -> str:
    """See ``FullProfile.summary``."""
    begun = datetime.fromtimestamp(full.time_unix_nano / 1e9, timezone.utc)
    facts = {
        "profile": full.id,
        "begun": f"{begun:%Y-%m-%d %H:%M:%S} UTC",
        "seconds": f"{full.seconds:.1f}",
        **full.about,
    }
    parts = [_section("Full profile", "".join(f"{name:<10} {value}\n" for name, value in facts.items()))]
    for kind in KINDS:
        if kind in full.profiles:
            parts.append(_section(f"{_TITLES[kind]} ({kind}.pb.gz)", _table(full.profiles[kind])))
    if full.missing:
        reasons = "".join(f"{kind:<10} {reason}\n" for kind, reason in full.missing.items())
        parts.append(_section("Not to be had", reasons))
    if full.runtime:
        parts.append(_section("Threads and tasks that became more", full.leaks or "none\n"))
        parts.append(_section("Runtime (runtime.json)", "".join(_runtime(full.runtime))))
    parts.append(_section("How to open the files", _OPENING))
    return "\n".join(parts)


def _table(profile: Profile) -> str:
    if not profile.samples:
        return "none"
    comments = tuple(comment for comment in profile.comments if not comment.startswith((ID, TRACE)))
    return str(replace(profile, comments=comments).top(_TOP))


def _section(title: str, text: str) -> str:
    return f"{title}\n{'=' * len(title)}\n{text.rstrip()}\n"


def _runtime(runtime: Mapping[str, Any]) -> Iterator[str]:
    before, after, gc = runtime["before"], runtime["after"], runtime["gc"]
    cpu = sum(after["usage"][f"cpu_{mode}"] - before["usage"][f"cpu_{mode}"] for mode in ("user", "system"))
    yield f"{'CPU time':<20} {cpu:.2f} s\n"
    yield f"{'GC pauses':<20} {gc['pauses']}, {gc['pause_seconds'] * 1e3:.1f} ms in all, "
    yield f"the longest {gc['longest_pause_seconds'] * 1e3:.1f} ms\n"
    for name, then, now in (
        ("resident bytes", before["usage"]["memory_usage"], after["usage"]["memory_usage"]),
        ("Python threads", before["python_threads"], after["python_threads"]),
        ("file descriptors", before["usage"]["file_descriptors"], after["usage"]["file_descriptors"]),
        ("allocated blocks", before["allocated_blocks"], after["allocated_blocks"]),
    ):
        if then is not None and now is not None:
            yield f"{name:<20} {now:,} ({now - then:+,})\n"

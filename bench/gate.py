"""Counts the instructions of a few operations and compares them with a baseline: a regression of 1 % fails.

    python -m bench.gate             compare with bench/baseline.json; 1 on a regression, 2 if none can show
    python -m bench.gate --update    make what is counted the baseline
    python -m bench.slowed           see that a slower build fails

Instructions, unlike time, are the same in each run, so that a small change shows. They are counted by
valgrind's callgrind, for the compiled core alone: a run of 21,000 operations minus one of 1,000, so that
start and imports fall out, minus the same of an empty loop. The baseline has one set of counts for each
interpreter, Cython, compiler and platform; for another one there is nothing to compare with, which is said
and passes.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

BASELINE = Path(__file__).with_name("baseline.json")
TOLERANCE = 0.01
FEW, MANY = 1_000, 21_000
BATCH = 500

Counts = dict[str, float]


# --- what is counted: each gives a function that does its operation n times


def empty() -> Callable[[int], None]:
    def run(n: int) -> None:
        for _ in range(n):
            pass

    return run


def queue_put() -> Callable[[int], None]:
    from otlpfast._impl import SpanQueue

    from .spans import stock_spans

    (span,) = stock_spans(1)
    queue = SpanQueue(2 * BATCH, 1 << 30, BATCH)

    def run(n: int) -> None:
        for _ in range(n):
            if queue.put(span):
                taken = queue.take()
                assert taken is not None
                queue.done(taken[1], taken[2])

    return run


def encode_batch() -> Callable[[int], None]:
    from otlpfast import encode_spans

    from .spans import stock_spans

    spans = stock_spans(BATCH)

    def run(n: int) -> None:
        for _ in range(n // BATCH):
            encode_spans(spans)

    return run


def attribute_pool() -> Callable[[int], None]:
    from otlpfast._impl import AttributePool

    pool = AttributePool()

    def run(n: int) -> None:
        for _ in range(n):
            attributes = pool.acquire()
            attributes.append("http.request.method", "GET")
            attributes.append("http.route", "/items/{number}")
            attributes.append("http.response.status_code", 200)
            attributes.append("app.cache.hit", True)
            attributes.append("app.seconds", 0.25)
            attributes.release()

    return run


def counter_add() -> Callable[[int], None]:
    from otlpfast._impl import PaddedCounters

    counters = PaddedCounters(["ended", "exported"])

    def run(n: int) -> None:
        for _ in range(n):
            counters.add("exported")

    return run


def native(work: Callable[[Any, int], None], **options: Any) -> Callable[[int], None]:
    """``work(tracer, times)`` with otlpfast's own provider, which has ``options``, and batch processor.

    The queue is emptied here, after each batch: the export thread would run when it likes.
    """
    from .spans import traced

    of = traced("otlpfast", **options)
    queue = of.processor._queue

    def run(n: int) -> None:
        for _ in range(n // BATCH):
            work(of.tracer, BATCH)
            taken = queue.take()
            if taken:
                queue.done(taken[1], taken[2])

    return run


def start_end() -> Callable[[int], None]:
    def work(tracer: Any, times: int) -> None:
        for _ in range(times):
            tracer.start_span("span").end()

    return native(work)


def with_current_span(**options: Any) -> Callable[[int], None]:
    def work(tracer: Any, times: int) -> None:
        for _ in range(times):
            with tracer.start_as_current_span("span"):
                pass

    return native(work, **options)


def sampled_out_with() -> Callable[[int], None]:
    from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

    return with_current_span(sampler=ALWAYS_OFF)


def set_attribute(**options: Any) -> Callable[[int], None]:
    def work(tracer: Any, times: int) -> None:
        for _ in range(times):
            span = tracer.start_span("span")
            span.set_attribute("http.request.method", "GET")
            span.set_attribute("http.route", "/items/{number}")
            span.set_attribute("url.path", "/items/17")
            span.set_attribute("url.scheme", "https")
            span.set_attribute("server.address", "shop.example.com")
            span.set_attribute("server.port", "443")
            span.set_attribute("network.peer.address", "192.0.2.17")
            span.set_attribute("network.protocol.version", "1.1")
            span.set_attribute("user_agent.original", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0)")
            span.set_attribute("app.tenant", "atlas")
            span.end()

    return native(work, **options)


def redacted_by_keys() -> Callable[[int], None]:
    """Spans of which there is nothing to hide, here and below."""
    from otlpfast.redaction import RedactionRules

    from .spans import LARGE

    rules = RedactionRules(keys=RedactionRules.default().keys)
    return set_attribute(room={**LARGE, "redaction": rules})


def redacted() -> Callable[[int], None]:
    from otlpfast.redaction import RedactionRules

    from .spans import LARGE

    return set_attribute(room={**LARGE, "redaction": RedactionRules.default()})


def set_attributes_5() -> Callable[[int], None]:
    attributes = {
        "http.request.method": "GET",
        "http.route": "/items/{number}",
        "http.response.status_code": 200,
        "app.cache.hit": True,
        "app.seconds": 0.25,
    }

    def work(tracer: Any, times: int) -> None:
        for _ in range(times):
            span = tracer.start_span("span")
            span.set_attributes(attributes)
            span.end()

    return native(work)


def add_event_2() -> Callable[[int], None]:
    attributes = {"app.rows": 17, "app.table": "items"}

    def work(tracer: Any, times: int) -> None:
        for _ in range(times):
            span = tracer.start_span("span")
            span.add_event("loaded", attributes)
            span.end()

    return native(work)


def extract_inject() -> Callable[[int], None]:
    from otlpfast.propagation import TraceContextTextMapPropagator

    propagator = TraceContextTextMapPropagator()
    came = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}

    def run(n: int) -> None:
        for _ in range(n):
            propagator.inject({}, propagator.extract(came))

    return run


def links_at_start() -> Callable[[int], None]:
    from opentelemetry.trace import Link, SpanContext

    links = [
        Link(SpanContext(7, 8, True), {"app.rows": 17, "app.table": "items"}),
        Link(SpanContext(7, 9, True)),
    ]

    def work(tracer: Any, times: int) -> None:
        for _ in range(times):
            tracer.start_span("span", links=links).end()

    return native(work)


BATCHED = "encode_spans, a span of a batch"  # whose loop has a round for a batch, not for a span
OPERATIONS: dict[str, Callable[[], Callable[[int], None]]] = {
    "SpanQueue.put, a span of 10 attributes and 1 event": queue_put,
    BATCHED: encode_batch,
    "AttributePool: acquire, 5 appends, release": attribute_pool,
    "PaddedCounters.add": counter_add,
    "start_span, end": start_end,
    "with start_as_current_span": with_current_span,
    "start_span, 10 × set_attribute, end": set_attribute,
    "the same, redacted by keys": redacted_by_keys,
    "the same, by the default rules": redacted,
    "start_span, set_attributes of 5, end": set_attributes_5,
    "start_span, add_event with 2 attributes, end": add_event_2,
    "with start_as_current_span, sampled out": sampled_out_with,
    "extract, inject a traceparent": extract_inject,
    "start_span with 2 links, end": links_at_start,
}


def run_operation(name: str, n: int) -> None:
    """What a child under callgrind does."""
    import gc
    import random

    from otlpfast import IMPLEMENTATION

    if IMPLEMENTATION != "c":
        raise SystemExit("the gate counts the compiled core: build it, and unset OTLPFAST_IMPL")
    random.seed(1)  # the SDK's ids come from there
    run = (OPERATIONS.get(name) or empty)()
    gc.disable()  # a collection walks all that was imported, now and then
    run(n)


# --- counting


class Unmeasurable(Exception):
    """Why nothing could be counted."""


def child(library: str | Path = "") -> dict[str, str]:
    """The environment of a process that counts; ``library``: where to take otlpfast from, if not as ever."""
    fixed = {"PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1", "OTLPFAST_IMPL": "c"}
    path = {"PYTHONPATH": str(Path(library).resolve())} if library else {}
    return {**os.environ, **fixed, **path}


def instructions(name: str, n: int, library: str | Path = "") -> int:
    """Instructions of a whole process that does an operation n times."""
    command = [
        "valgrind",
        "--tool=callgrind",
        "--callgrind-out-file=/dev/null",
        sys.executable,
        "-m",
        "bench.gate",
    ]
    try:
        finished = subprocess.run(
            # A command of one length for each n: with another all addresses are others, and start-up's cost.
            [*command, "--run", name, f"{n:05}"],
            cwd=BASELINE.parents[1],
            env=child(library),
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError as error:
        raise Unmeasurable("valgrind is not installed: on Debian and Ubuntu, apt install valgrind") from error
    counted = re.search(r"Collected : (\d+)", finished.stderr)
    if finished.returncode or not counted:
        raise Unmeasurable(finished.stderr.strip()[-2000:] or f"valgrind ended with {finished.returncode}")
    return int(counted[1])


def measure(operations: Iterable[str] = tuple(OPERATIONS), library: str | Path = "") -> Counts:
    """Instructions of one operation, for each of these."""
    names = ["an empty loop", *operations]
    runs = [(name, n) for name in names for n in (FEW, MANY)]
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        totals = dict(
            zip(runs, pool.map(lambda run: instructions(run[0], run[1], library), runs), strict=True)
        )
    each = {name: (totals[name, MANY] - totals[name, FEW]) / (MANY - FEW) for name in names}
    loop = {name: 0 if name == BATCHED else each["an empty loop"] for name in names}
    return {name: round(each[name] - loop[name], 1) for name in names[1:]}


def _compiler() -> str:
    for command in ((os.environ.get("CC") or "gcc").split()[0], "cc"):
        try:
            found = subprocess.run([command, "-dumpfullversion"], capture_output=True, text=True, check=True)
        except (OSError, subprocess.CalledProcessError):
            continue
        return f"gcc {found.stdout.strip()}"
    return "unknown compiler"


def _cython() -> str:
    try:
        return version("Cython")
    except PackageNotFoundError:
        return "unknown"


def key() -> str:
    """What the counts depend on besides otlpfast."""
    pgo = "--enable-optimizations" in (sysconfig.get_config_var("CONFIG_ARGS") or "")
    interpreter = f"{platform.python_implementation()} {platform.python_version()}{' PGO' if pgo else ''}"
    system = f"{platform.system()} {platform.machine()} {' '.join(platform.libc_ver())}"
    return "; ".join((interpreter, f"Cython {_cython()}", _compiler(), system.strip()))


# --- comparing


def regressions(counts: Mapping[str, float], baseline: Mapping[str, float]) -> list[str]:
    """The operations that take more than the baseline and its tolerance allow, each with how much."""
    return [
        f"{name}: {baseline[name]:.1f} → {count:.1f} instructions ({count / baseline[name] - 1:+.2%})"
        for name, count in counts.items()
        if name in baseline and count > baseline[name] * (1 + TOLERANCE)
    ]


def report(counts: Counts, baseline: Mapping[str, float]) -> None:
    for name, count in counts.items():
        was = baseline.get(name)
        change = "no baseline" if was is None else f"{count / was - 1:+.2%} of {was:.1f}"
        print(f"{name:<52} {count:>10.1f} instructions   {change}")


def main(arguments: list[str] | None = None) -> int:
    """0 where nothing got slower, 1 on a regression, 2 where nothing could be counted."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.gate", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--update", action="store_true", help="make what is counted the baseline")
    parser.add_argument(
        "--only", action="append", choices=OPERATIONS, metavar="OPERATION", help="count these"
    )
    parser.add_argument("--baseline", type=Path, default=BASELINE, help="the file to compare with")
    parser.add_argument("--run", nargs=2, metavar=("OPERATION", "N"), help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    if chosen.run:
        run_operation(chosen.run[0], int(chosen.run[1]))
        return 0
    return gate(chosen.baseline, chosen.only, update=chosen.update)


def gate(file: Path, only: Sequence[str] | None, update: bool) -> int:
    """Counts and compares; the exit status."""
    known: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    here = key()
    try:
        counts = measure(only or OPERATIONS)
    except Unmeasurable as error:
        print(f"nothing was counted: {error}", file=sys.stderr)
        return 2
    baseline = known.get(here, {})
    print(here)
    report(counts, baseline)
    if update:
        kept = {**baseline, **counts} if only else counts
        file.write_text(json.dumps({**known, here: kept}, indent=2, sort_keys=True) + "\n")
        print(f"{file.name} has these counts now")
        return 0
    if not baseline:
        print(f"{file.name} has no counts for this; --update adds them")
        return 0
    slower = regressions(counts, baseline)
    for line in slower:
        print(f"regression: {line}")
    if not slower and any(count < baseline.get(name, 0) * (1 - TOLERANCE) for name, count in counts.items()):
        print("better than the baseline: --update keeps it that way")
    return 1 if slower else 0


if __name__ == "__main__":
    sys.exit(main())

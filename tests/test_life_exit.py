"""The order of things at the interpreter's end, tasks that are cancelled, and subinterpreters."""

from __future__ import annotations

import asyncio
import atexit
import json
import logging
import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk import trace as sdk

import otlpfast
from otlpfast import BatchSpanProcessor, OTLPSpanExporter, TracerProvider

from .collector import Collector
from .exporting import collector_fixture  # noqa: F401
from .pipeline import NEVER_MILLIS, account, end_spans, names, ran, run

KINDS: dict[str, Any] = {"otlpfast": TracerProvider, "sdk": sdk.TracerProvider}


def provider(endpoint: str, kind: str) -> tuple[Any, BatchSpanProcessor]:
    """As an application makes one: it shuts down when the interpreter ends."""
    made = KINDS[kind]()
    processor = BatchSpanProcessor(OTLPSpanExporter(endpoint), schedule_delay_millis=NEVER_MILLIS)
    made.add_span_processor(processor)
    return made, processor


# --- the end of the interpreter


class Dies:
    """Ends spans when it is collected, which is after everything else."""

    tracer: Any = None

    def __del__(self) -> None:
        if self.tracer is not None:
            end_spans(self.tracer, 2, "finaliser")


_kept: list[Any] = []


def ends_spans_at_every_turn(endpoint: str, kind: str, with_threads: bool) -> None:
    """Functions of atexit run in the opposite order of their registration; the first has the last word."""
    logging.getLogger("otlpfast").addHandler(logging.NullHandler())
    logging.getLogger("otlpfast").propagate = False
    seen: list[Any] = []
    atexit.register(lambda: print(json.dumps(seen), flush=True))
    atexit.register(lambda: (end_spans(made, 3, "too late"), seen.append(processor.stats())))
    made, processor = provider(endpoint, kind)
    atexit.register(lambda: end_spans(made, 4, "in time"))
    _kept.append(dies := Dies())
    dies.tracer = made.get_tracer("tests")
    end_spans(made, 5, "usual")
    if with_threads:
        for number in range(3):
            threading.Thread(target=for_ever, args=(made, number), daemon=True).start()


def for_ever(made: Any, number: int) -> None:
    while True:
        end_spans(made, 10, f"thread {number}")


@pytest.mark.parametrize("kind", KINDS)
def test_spans_of_atexit_functions_arrive_or_are_counted(collector: Collector, kind: str) -> None:
    finished = run(ends_spans_at_every_turn, collector.endpoint, kind, False)
    assert (finished.returncode, finished.stderr) == (0, "")
    assert finished.value == [account(12, exported=9, shutdown=3)]
    expected = [("usual", 5), ("in time", 4)]
    assert Counter(names(collector.spans)) == Counter(f"{who} {i}" for who, n in expected for i in range(n))


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_crashes_while_daemon_threads_go_on(collector: Collector, kind: str) -> None:
    finished = run(ends_spans_at_every_turn, collector.endpoint, kind, True)
    assert finished.returncode == 0
    assert "Traceback" not in finished.stderr
    assert "Fatal" not in finished.stderr
    assert {f"usual {n}" for n in range(5)} <= set(names(collector.spans))
    (stats,) = finished.value
    assert stats["dropped"]["shutdown"] >= 3


# --- asyncio


async def counting(tracer: Any, name: str) -> AsyncIterator[int]:
    with tracer.start_as_current_span(name):
        for number in range(3):
            yield number


async def cancels_and_abandons(tracer: Any) -> None:
    entered = asyncio.Event()

    async def for_ever() -> None:
        with tracer.start_as_current_span("cancelled"):
            entered.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(for_ever())
    await entered.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

    begun = counting(tracer, "closed in another task")
    await begun.__anext__()
    await asyncio.create_task(begun.aclose())  # type: ignore[attr-defined]

    async for _ in counting(tracer, "collected"):
        break

    left = counting(tracer, "closed by the loop")
    await left.__anext__()
    _kept.append(left)


def runs_a_loop(endpoint: str) -> None:
    logging.basicConfig(level=logging.DEBUG)
    logging.getLogger("asyncio").setLevel(logging.WARNING)
    made, processor = provider(endpoint, "otlpfast")
    _kept.append(made)
    asyncio.run(cancels_and_abandons(made.get_tracer("tests")))
    assert processor.force_flush()


def test_tasks_that_are_cancelled_and_generators_that_are_closed_elsewhere(collector: Collector) -> None:
    """All arrive, and nothing is logged: otlpfast's provider makes no noise of contexts that are gone."""
    assert ran(runs_a_loop, collector.endpoint) is None
    assert Counter(names(collector.spans)) == Counter(
        ["cancelled", "closed in another task", "collected", "closed by the loop"]
    )


# --- subinterpreters

_IN_A_SUBINTERPRETER = """
import sys
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters
if sys.argv[1] == "after":
    from otlpfast import TracerProvider
code = f'''
import sys
sys.path[:] = {sys.path!r}
try:
    from otlpfast import TracerProvider
except ImportError as error:
    print(error, flush=True)
'''
kinds = [(), ("legacy",)] if sys.version_info >= (3, 13) else [{}, {"isolated": False}]
for kind in kinds:
    made = interpreters.create(*kind) if sys.version_info >= (3, 13) else interpreters.create(**kind)
    failed = interpreters.run_string(made, code)
    assert failed is None, failed
    interpreters.destroy(made)
import otlpfast
print(otlpfast.IMPLEMENTATION)
"""


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_subinterpreter_is_told_that_it_can_not_have_it(when: str) -> None:
    """Whatever it imported first, the main interpreter can use it."""
    pytest.importorskip("_interpreters" if sys.version_info >= (3, 13) else "_xxsubinterpreters")
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(otlpfast.__file__).parents[1]),
        "OTLPFAST_IMPL": otlpfast.IMPLEMENTATION,
    }
    command = [sys.executable, "-c", _IN_A_SUBINTERPRETER, when]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    *refusals, implementation = done.stdout.splitlines()
    assert implementation == otlpfast.IMPLEMENTATION
    assert refusals
    for refusal in refusals:
        assert refusal.startswith("otlpfast can't be imported in a subinterpreter: import it in the main")

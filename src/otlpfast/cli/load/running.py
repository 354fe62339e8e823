"""The load command's order of events: a sink, a pipeline, the threads, the account."""

from __future__ import annotations

import argparse
import logging
import os
import time
from contextlib import ExitStack
from typing import Any

from otlpfast.cli.console import Console
from otlpfast.cli.demo.children import Child, Deadline, DemoError
from otlpfast.cli.demo.runs import traces_endpoint
from otlpfast.cli.receiver import GRPC_METHOD
from otlpfast.export.config import mask_url

from .histogram import cost_of_measuring
from .pacing import Paced, cost_of_pacing, operation
from .pipelines import GRPC, Pipeline, build
from .report import Result

_GRACE = 120.0  # seconds beyond the load for start, last exports and account
_PACING_SECONDS = 1.0  # of the load generator alone, at most
_SHOWN = 3  # complaints
_HTTP_PATH = "/v1/traces"


class LoadError(RuntimeError):
    """What keeps the load from going on; its text is for the user."""


class _Complaints(logging.Handler):
    """Counts what the pipeline logs, and keeps the first of it: a drop a line is no report."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._count = 0
        self._kept: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self._count += 1
        if self._count <= _SHOWN:
            self._kept.append(record.getMessage())

    def lines(self) -> list[str]:
        more = self._count - len(self._kept)
        return [*self._kept, f"... and {more:,} more"] if more else self._kept


def run_load(arguments: argparse.Namespace) -> Result:
    """Runs it all; raises LoadError where that can't be."""
    console, complaints = Console(), _Complaints()
    root = logging.getLogger()
    root.addHandler(complaints)
    try:
        with ExitStack() as opened:
            sink = None if arguments.endpoint else opened.enter_context(_sink(arguments))
            endpoint = _endpoint(arguments, sink)
            pipeline = build(arguments.pipeline, arguments.protocol, endpoint)
            result = _measure(arguments, pipeline, console)
            result.settings["endpoint"] = "a sink in another process" if sink else mask_url(endpoint)
            if sink:
                path = GRPC_METHOD if arguments.protocol == GRPC else _HTTP_PATH
                result.received = sink.ask("account", path=path)["spans"]
            result.complaints = complaints.lines()
            return result
    except (DemoError, ValueError) as error:
        raise LoadError(str(error).replace("--collector", "--endpoint")) from None
    finally:
        root.removeHandler(complaints)
        console.clear()


def _sink(arguments: argparse.Namespace) -> Child:
    deadline = Deadline(arguments.duration + _GRACE)
    options = ("--grpc",) if arguments.protocol == GRPC else ()
    return Child("otlpfast.cli.receiver", options, os.environ, deadline, bare=True)


def _endpoint(arguments: argparse.Namespace, sink: Child | None) -> str:
    if sink:
        ports = sink.answer()
        grpc = arguments.protocol == GRPC
        return (
            f"http://127.0.0.1:{ports['grpc_port']}"
            if grpc
            else f"http://127.0.0.1:{ports['port']}{_HTTP_PATH}"
        )
    endpoint: str = arguments.endpoint
    return endpoint if arguments.protocol == GRPC else traces_endpoint(endpoint)


def _measure(arguments: argparse.Namespace, pipeline: Pipeline, console: Console) -> Result:
    console.step("measuring what the load generator itself costs")
    measuring = cost_of_measuring()
    seconds = min(arguments.duration / 4, _PACING_SECONDS)
    pacing = cost_of_pacing(arguments.rate, arguments.threads, seconds, arguments.burst)
    tracer = pipeline.provider.get_tracer("otlpfast.load")
    work = operation(tracer, arguments.attributes, arguments.events)
    paced = Paced(work, arguments.rate, arguments.threads, arguments.duration, arguments.burst)
    interrupted = False
    console.step(f"load for {arguments.duration:g} s (Ctrl-C ends it with a report)")
    cpu = time.process_time()
    paced.start()
    try:
        _watch(paced, pipeline, console)
    except KeyboardInterrupt:
        interrupted = True
    seconds = paced.elapsed
    latency = paced.stop()
    console.step("exporting what is left")
    pipeline.shutdown()
    return Result(
        settings=_settings(arguments),
        interrupted=interrupted,
        seconds=seconds,
        sent=latency.count,
        account=pipeline.account(),
        received=None,
        cpu_seconds=time.process_time() - cpu,
        pacing_seconds=pacing,
        measuring_seconds=measuring,
        latency=latency,
        complaints=[],
    )


def _watch(paced: Paced, pipeline: Pipeline, console: Console) -> None:
    """Shows how far it is, twice a second, until the threads are done."""
    while paced.running:
        time.sleep(min(0.5, max(paced.remaining, 0.01)))
        exported, sent, elapsed = pipeline.account()["exported"], paced.count, paced.elapsed
        console.update(
            f"{elapsed:.0f} s, {sent:,} sent, {exported:,} exported, {sent / elapsed:,.0f} spans/s"
        )


def _settings(arguments: argparse.Namespace) -> dict[str, Any]:
    names = ("rate", "threads", "attributes", "events", "burst", "duration", "protocol", "pipeline")
    return {name: getattr(arguments, name) for name in names}

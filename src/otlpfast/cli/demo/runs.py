"""The demo's order of events: sink, encoders, the runs by turns, comparison."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from otlpfast.cli.console import Console
from otlpfast.cli.demo.children import Child, Deadline, DemoError
from otlpfast.cli.demo.client import Client
from otlpfast.cli.demo.figures import Result, Row
from otlpfast.cli.demo.pipelines import BASELINE, OTLPFAST, PIPELINES, STOCK, Pipeline

_MAX_TURNS = 30
_LEAST_REQUESTS = 20  # in a turn
_SAMPLE_SPANS = 512  # one batch of real spans, on which the encoders are compared
_SAMPLE_REQUESTS = 200  # make more than that


def environment(collector: str | None, inherited: Mapping[str, str]) -> dict[str, str]:
    """The children's environment: what is set for an application here must not tilt a comparison of defaults.

    The exporters' own settings stay for a real collector: it may want headers or certificates.
    """
    kept = {
        name: value
        for name, value in inherited.items()
        if name == "OTLPFAST_IMPL"
        or not name.startswith(("OTEL_", "OTLPFAST_"))
        or (collector and name.startswith("OTEL_EXPORTER_OTLP_") and not name.endswith("_ENDPOINT"))
    }
    # Hashing differs from process to process, and with it the cost of dictionaries: here it must not.
    kept["PYTHONHASHSEED"] = "0"
    if not collector:
        kept["NO_PROXY"] = kept["no_proxy"] = "127.0.0.1"
    return kept


def traces_endpoint(collector: str) -> str:
    """The URL for traces of a collector's base URL; raises DemoError if nothing listens there."""
    url = urlsplit(collector)
    try:
        host, port = url.hostname or "", url.port or {"http": 80, "https": 443}[url.scheme]
        socket.create_connection((host, port), timeout=5).close()
    except (KeyError, ValueError):
        raise DemoError(
            f"--collector {collector!r} is not a URL that begins with http:// or https://"
        ) from None
    except OSError as failure:
        raise DemoError(f"--collector: nothing answers at {host}, port {port} ({failure})") from None
    base = collector.rstrip("/")
    return base if base.endswith("/v1/traces") else base + "/v1/traces"


@dataclass
class _Run:
    """A service with one of the pipelines, and its client."""

    pipeline: Pipeline
    service: Child
    client: Client
    cpu_by_turn: list[float] = field(default_factory=list)

    def take_turn(self, requests: int) -> None:
        self.service.ask("begin")
        self.client.send(requests)
        figures = self.service.ask("end")
        self.cpu_by_turn.append(figures["cpu_seconds"] / figures["made"] * 1e6)

    def finish(self) -> Row:
        self.client.close()
        found = self.service.ask("finish")
        accepted = found["accepted"] if self.pipeline.exports else None
        return Row(self.pipeline, found["made"], accepted, self.cpu_by_turn, found["peak_bytes"])


class Demo:
    """One demo. ``run`` leaves no process behind, however it ends."""

    def __init__(self, requests: int, collector: str | None, deadline: Deadline, console: Console) -> None:
        self._requests = requests
        self._turns = max(1, min(_MAX_TURNS, requests // _LEAST_REQUESTS))
        self._collector = traces_endpoint(collector) if collector else None
        self._deadline = deadline
        self._console = console
        self._environment = environment(collector, os.environ)

    def run(self) -> Result:
        """Runs all pipelines, each in a fresh process; raises DemoError where one can't go on."""
        with ExitStack() as opened:
            self._console.step("comparing the encoders on spans of the service")
            result, encode_microseconds = self._compare_encoders()
            sink = None if self._collector else opened.enter_context(self._child("sink"))
            base = f"http://127.0.0.1:{sink.answer()['port']}" if sink else ""
            self._console.step(
                f"starting the service {len(PIPELINES)} times: {', '.join(p.title for p in PIPELINES)}"
            )
            runs = [
                self._start(p, self._collector or base + _path(p), self._requests, opened) for p in PIPELINES
            ]
            self._take_turns(runs)
            for run in runs:
                self._console.step(f"finishing: {run.pipeline.title}")
                row = run.finish()
                row.encode_microseconds = encode_microseconds.get(run.pipeline.name)
                if sink and run.pipeline.exports:
                    account = sink.ask("account", path=_path(run.pipeline))
                    row.received, row.wire_bytes = account["spans"], account["wire_bytes"]
                result.rows.append(row)
                for complaint in run.service.complaints()[:5]:
                    self._console.note(f"{run.pipeline.title}: {complaint}")
            if sink:
                self._console.step("comparing what was received")
                comparison = sink.ask("compare", left=_path(STOCK), right=_path(OTLPFAST))
                result.traces, result.difference = comparison["traces"], comparison["difference"]
        return result

    def _child(self, module: str, *arguments: str, bare: bool = False) -> Child:
        return Child(f"otlpfast.cli.demo.{module}", arguments, self._environment, self._deadline, bare)

    def _start(
        self, pipeline: Pipeline, endpoint: str, requests: int, opened: ExitStack, keep: int = 0
    ) -> _Run:
        arguments = ("--pipeline", pipeline.name, "--endpoint", endpoint, "--keep", str(keep))
        bare = not (pipeline.imports_otlpfast or keep)
        service = opened.enter_context(self._child("service", *arguments, bare=bare))
        client = Client(service.answer()["port"], requests, self._deadline)
        opened.callback(client.close)
        return _Run(pipeline, service, client)

    def _compare_encoders(self) -> tuple[Result, dict[str, float]]:
        # In a process of its own: spans kept for this would show in a run's memory.
        with ExitStack() as opened:
            run = self._start(BASELINE, "", _SAMPLE_REQUESTS, opened, keep=_SAMPLE_SPANS)
            run.take_turn(_SAMPLE_REQUESTS)
            found = run.service.ask("encode")
        result = Result(
            self._requests,
            self._turns,
            self._collector,
            found["version"],
            found["implementation"],
            found["spans"],
            found["difference"],
        )
        return result, found["microseconds"]

    def _take_turns(self, runs: list[_Run]) -> None:
        """The pipelines by turns, so that whatever else this machine does meets them alike."""
        self._console.step(f"sending {self._requests:,} requests to each, by turns")
        sent = 0
        for turn in range(1, self._turns + 1):
            share = self._requests * turn // self._turns - sent
            sent += share
            for run in runs:
                self._console.update(f"({turn} of {self._turns}: {run.pipeline.title})")
                run.take_turn(share)


def _path(pipeline: Pipeline) -> str:
    return f"/{pipeline.name}/v1/traces"

"""The demo's order of events: a run that is looked at, the runs that are measured by turns, comparison."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from urllib.parse import urlsplit

from otlpfast.cli.console import Console
from otlpfast.cli.demo.children import Child, Deadline, DemoError
from otlpfast.cli.demo.client import Client
from otlpfast.cli.demo.figures import Load, Result, Row
from otlpfast.cli.demo.pipelines import NO_EXPORT, OTLPFAST, PIPELINES, STOCK, Pipeline
from otlpfast.export.config import mask_url

_SAMPLE_SPANS = 512  # one batch of real spans, on which the encoders are compared
_SAMPLE_REQUESTS = 200  # make more than that
_PART = 50  # requests after which the user sees how far the run has come
_COMPLAINTS = 5  # lines of a service's standard error that are shown


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
        shown = mask_url(collector)
        raise DemoError(f"--collector {shown!r} is not a URL that begins with http:// or https://") from None
    except OSError as failure:
        raise DemoError(f"--collector: nothing answers at {host}, port {port} ({failure})") from None
    base = collector.rstrip("/")
    return base if base.endswith("/v1/traces") else base + "/v1/traces"


class _Run:
    """A service process with one of the pipelines, and its client.

    ``ended``: how many spans have ended when the first, the second, ... request has. The services themselves
    don't count: that would cost the fastest most.
    """

    def __init__(self, pipeline: Pipeline, service: Child, ended: Sequence[int]) -> None:
        self.pipeline = pipeline
        self.service = service
        self.turns: list[float] = []
        self._ended = ended
        self._sent = self._made = 0

    def connect(self, deadline: Deadline) -> None:
        self._client = Client(self.service.answer()["port"], deadline)

    def disconnect(self) -> None:
        self._client.close()

    def take_turn(self, requests: int) -> None:
        self.service.ask("begin")
        self._client.send(requests)
        cpu_seconds = self.service.ask("end")["cpu_seconds"]
        self._sent += requests
        made_before, self._made = self._made, self._ended[self._sent - 1]
        self.turns.append(cpu_seconds / (self._made - made_before) * 1e6)

    def finish(self, row: Row) -> None:
        """Ends the service's work, and adds what it did to the row."""
        self.disconnect()
        found = self.service.ask("finish")
        row.cpu.append(self.turns)
        if self.pipeline.provider:
            row.made = (row.made or 0) + self._made
        if self.pipeline.exports:
            row.accepted = (row.accepted or 0) + found["accepted"]
        if found["peak_bytes"] is not None:
            row.peak_bytes = max(row.peak_bytes or 0, found["peak_bytes"])


class Demo:
    """One demo. ``run`` leaves no process behind, however it ends."""

    def __init__(self, requests: int, collector: str | None, deadline: Deadline, console: Console) -> None:
        self._load = Load.of(requests)
        self._collector = traces_endpoint(collector) if collector else None
        self._deadline = deadline
        self._console = console
        self._environment = environment(collector, os.environ)

    def run(self) -> Result:
        """Runs all pipelines, in fresh processes; raises DemoError where one can't go on."""
        self._console.step("counting the spans of the service, and comparing the encoders on them")
        result = self._observe()
        with ExitStack() as opened:
            sink = None if self._collector else opened.enter_context(self._child("sink"))
            base = f"http://127.0.0.1:{sink.answer()['port']}" if sink else ""
            for number in range(self._load.rounds):
                self._console.step(f"round {number + 1} of {self._load.rounds}: starting the services")
                self._round(number, result.rows, base)
            if sink:
                self._console.step("comparing what was received")
                self._ask_sink(sink, result)
        return result

    def _child(self, module: str, *arguments: str, bare: bool = False) -> Child:
        return Child(f"otlpfast.cli.demo.{module}", arguments, self._environment, self._deadline, bare)

    def _service(self, pipeline: Pipeline, endpoint: str, keep: int = 0) -> Child:
        arguments = ("--pipeline", pipeline.name, "--endpoint", endpoint, "--keep", str(keep))
        return self._child("service", *arguments, bare=not (pipeline.imports_otlpfast or keep))

    def _observe(self) -> Result:
        """Plays a round's requests to a service whose spans are looked at; the rounds make the same spans."""
        requests = max(_SAMPLE_REQUESTS, self._load.longest)
        with self._service(NO_EXPORT, "", keep=_SAMPLE_SPANS) as service:
            with closing(Client(service.answer()["port"], self._deadline)) as client:
                for sent in range(0, requests, _PART):
                    self._console.update(f"{sent / requests:.0%}")
                    client.send(min(_PART, requests - sent))
            service.ask("finish")
            found = service.ask("observed")
        self._ended: list[int] = found["ended_by_request"]
        rows = [
            Row(pipeline, encode_microseconds=found["microseconds"].get(pipeline.name))
            for pipeline in PIPELINES
        ]
        return Result(
            load=self._load,
            collector=mask_url(self._collector) if self._collector else None,
            version=found["version"],
            implementation=found["implementation"],
            sample=found["spans"],
            encoder_difference=found["difference"],
            rows=rows,
        )

    def _round(self, number: int, rows: list[Row], base: str) -> None:
        """All pipelines once, by turns, so that whatever else this machine does meets them alike."""
        with ExitStack() as opened:
            runs = [
                _Run(
                    row.pipeline,
                    opened.enter_context(
                        self._service(row.pipeline, self._collector or base + _path(row.pipeline))
                    ),
                    self._ended,
                )
                for row in rows
            ]
            for run in runs:
                run.connect(self._deadline)
                opened.callback(run.disconnect)
            for turn, requests in enumerate(self._load.shares(number), 1):
                for run in runs:
                    self._console.update(f"{run.pipeline.title}, turn {turn} of {self._load.turns}")
                    run.take_turn(requests)
            for run, row in zip(runs, rows, strict=True):
                self._console.update(f"{run.pipeline.title}, finishing")
                run.finish(row)
                for complaint in run.service.complaints()[:_COMPLAINTS]:
                    self._console.note(f"{run.pipeline.title}: {complaint}")

    def _ask_sink(self, sink: Child, result: Result) -> None:
        for row in result.rows:
            if row.pipeline.exports:
                account = sink.ask("account", path=_path(row.pipeline))
                row.received, row.wire_bytes = account["spans"], account["wire_bytes"]
        found = sink.ask("compare", first=_path(STOCK), others=[_path(pipeline) for pipeline in OTLPFAST])
        names = [pipeline.name for pipeline in OTLPFAST]
        result.differences = dict(zip(names, found["differences"], strict=True))


def _path(pipeline: Pipeline) -> str:
    return f"/{pipeline.name}/v1/traces"

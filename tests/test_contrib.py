"""The official instrumentations on otlpfast.TracerProvider: span trees as on the SDK's, seen by a collector.

One service (contrib_service.py), run on either provider, gets the same requests. Ids, times, ports and the
frames of the tracing itself are taken out of what arrives; all else has to be equal, down to the order of
attributes.
"""

from __future__ import annotations

import difflib
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import requests
from opentelemetry.proto.trace.v1.trace_pb2 import Span

import otlpfast

from .collector import PATIENCE, Collector, Reply
from .contrib_trees import Received
from .pipeline import starts_threads_at_exit

NEEDED = ("flask", "fastapi", "uvicorn", "sqlalchemy", "websockets")
INSTRUMENTED = ("asgi", "asyncio", "fastapi", "flask", "logging", "requests", "sqlalchemy", "threading")
for _name in (*NEEDED, *(f"opentelemetry.instrumentation.{name}" for name in INSTRUMENTED)):
    if find_spec(_name) is None:
        pytest.skip(f"{_name} is not installed: see the dependency group 'test'", allow_module_level=True)

from websockets.sync.client import connect  # noqa: E402

pytestmark = starts_threads_at_exit  # as the logging instrumentation does

SETTINGS = {
    "OTEL_SEMCONV_STABILITY_OPT_IN": "http/dup,database/dup",
    "OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SERVER_REQUEST": "x-.*",
    "OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SERVER_RESPONSE": "x-.*,content-type",
    "OTEL_PYTHON_ASYNCIO_COROUTINE_NAMES_TO_TRACE": "traced,for_ever",
    "OTEL_PYTHON_ASYNCIO_TO_THREAD_FUNCTION_NAMES_TO_TRACE": "work,go_on",
    "OTEL_PYTHON_ASYNCIO_FUTURE_TRACE_ENABLED": "true",
    "OTEL_BSP_SCHEDULE_DELAY": "200",
    "NO_PROXY": "*",
}
TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
KNOWN = (TRACE, CALLER)
LEFT_ELSEWHERE = "Failed to detach context"


class Service:
    """contrib_service.py on one of the providers, with a collector of its own; `finish()` ends it."""

    def __init__(self, which: str, folder: Path, collector: Collector, **variables: str) -> None:
        self.which, self.collector = which, collector
        folder.mkdir()
        paths = [str(Path(otlpfast.__file__).parents[1]), str(Path(__file__).parents[1])]
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("OTEL_")},
            **SETTINGS,
            "PYTHONPATH": os.pathsep.join([*paths, *filter(None, [os.environ.get("PYTHONPATH")])]),
            "OTLPFAST_IMPL": otlpfast.IMPLEMENTATION,
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.base,
            **variables,
        }
        self._said = folder / "stderr"
        with self._said.open("wb") as stderr:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.contrib_service", which],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                cwd=folder,
                env=environment,
                text=True,
            )
        self._begun = False
        self.report: dict[str, Any] = {}

    def _answer(self, line: str) -> dict[str, Any]:
        assert line, f"the service on {self.which} said nothing but\n{self._said.read_text()}"
        answer: dict[str, Any] = json.loads(line)
        return answer

    def begin(self) -> None:
        """Waits until it serves; it ends by itself where it does not."""
        assert self._process.stdout
        ports = self._answer(self._process.stdout.readline())
        self.front, self.store = ports["front"], ports["store"]

    def finish(self) -> None:
        """Ends it; all that it had to say and to deliver has come then."""
        out, _ = self._process.communicate(timeout=2 * PATIENCE)
        self.report = self._answer(out)
        assert (self._process.returncode, self._said.read_text()) == (0, "")

    def kill(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.communicate()


def caller(flags: str) -> dict[str, str]:
    """Headers of a request that comes with a trace."""
    return {
        "traceparent": f"00-{TRACE}-{CALLER}-{flags}",
        "tracestate": "vendor=x,other=y",
        "baggage": "customer=kept%20whole",
        "x-request": "first",
    }


class Client:
    """Makes requests and keeps what a user sees of the answers."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self.answers: list[Any] = []

    def ask(self, where: str, path: str, method: str = "GET", **headers: str) -> None:
        """One request, to the "front" or to the "store"."""
        url, fields = getattr(self._service, where) + path, {"Connection": "close", **headers}
        with requests.request(method, url, headers=fields, stream=True, timeout=2 * PATIENCE) as response:
            try:
                text = response.text
            except requests.exceptions.ChunkedEncodingError:
                text = "broken off"
            self.answers.append((method, path, response.status_code, response.headers.get("x-bare"), text))

    def begin(self, where: str, path: str) -> None:
        """Reads the first byte of an answer, and goes away."""
        with requests.get(
            getattr(self._service, where) + path, stream=True, timeout=2 * PATIENCE
        ) as response:
            self.answers.append((path, response.raw.read(1)))

    def talk(self, path: str, *words: str) -> None:
        """Sends words through a web socket and waits for the answer to each."""
        with connect(self._service.store.replace("http", "ws") + path, proxy=None) as socket:
            for word in words:
                socket.send(word)
                self.answers.append((path, socket.recv(PATIENCE)))


def everything(service: Service, _: Service) -> list[Any]:
    """All that the service does, once; what it answered."""
    client = Client(service)
    for path in ("/books/1", "/books/7", "/nowhere", "/fail", "/recorded", "/linked", "/unreachable"):
        client.ask("front", path)
    for path in ("/threads", "/stream", "/stream?fail=1"):
        client.ask("front", path, **{"x-request": "more"})
    client.ask("front", "/books/1", "HEAD")
    client.ask("front", "/books/1", "PURGE")
    client.begin("front", "/endless")
    for path in ("/tasks", "/abandoned", "/prices/1", "/prices/2?fail=1", "/prices/none", "/fail", "/stream"):
        client.ask("store", path)
    client.ask("store", "/orders?count=3", "POST")
    client.ask("store", "/orders", "POST")
    for path in ("/bare/any", "/own/1", "/own/none"):
        client.ask("store", path)
    client.begin("store", "/stream?endless=1")
    client.talk("/echo", "one", "two")
    client.ask("front", "/way", to=f"{service.store}/way {service.front}/way {service.store}/prices/1")
    client.ask("front", "/way", **caller("01"), to=f"{service.store}/way {service.front}/way")
    return client.answers


def as_called(service: Service, other: Service) -> list[Any]:
    """Requests with and without a caller that has decided about sampling; the last goes back and forth."""
    client = Client(service)
    client.ask("front", "/books/1")
    client.ask("store", "/tasks")
    client.ask("front", "/way", **caller("00"), to=f"{service.store}/way {service.front}/way")
    client.ask("store", "/way", **caller("02"), to=f"{service.front}/way {service.store}/way")
    client.ask("store", "/stream", **caller("01"))
    client.ask("front", "/way", **caller("03"), to=f"{other.store}/way {service.store}/way {other.front}/way")
    return client.answers


@dataclass
class Run:
    """What came of one service."""

    service: Service
    answers: list[Any]
    received: Received

    def lines(self) -> list[tuple[Any, ...]]:
        """Logger, level, message, the span's path, sampled, the name the span said that it has."""
        clean, path = self.received.clean, self.received.path
        lines = self.service.report["lines"]
        return [(name, level, clean(text), path(span), *rest) for name, level, text, _, span, *rest in lines]


Runs = dict[str, Run]
Drive = Callable[[Service, Service], list[Any]]


def both(folder: Path, drive: Drive, **variables: str) -> Runs:
    """The same requests to the service on either provider."""
    services: list[Service] = []
    with Collector() as stock, Collector() as fast:
        try:
            for which, collector in (("sdk", stock), ("otlpfast", fast)):
                services.append(Service(which, folder / which, collector, **variables))
            for service in services:
                service.begin()
            answers = [drive(*services), drive(*reversed(services))]
            for service in services:
                service.finish()
        finally:
            for service in services:
                service.kill()
        return {
            service.which: Run(service, said, Received(r.message for r in service.collector.requests))
            for service, said in zip(services, answers, strict=True)
        }


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    return both(tmp_path_factory.mktemp("runs"), everything)


@pytest.fixture(scope="module")
def switched_off(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    return both(tmp_path_factory.mktemp("off"), everything, OTEL_TRACES_SAMPLER="always_off")


@pytest.fixture(scope="module")
def called(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    sampler = {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0"}
    return both(tmp_path_factory.mktemp("called"), as_called, **sampler)


def same(ours: list[str], theirs: list[str]) -> None:
    """Fails with what is only in one of them."""
    lines = ["\n".join(text).splitlines() for text in (theirs, ours)]
    difference = "\n".join(difflib.unified_diff(*lines, "SDK", "otlpfast", n=12, lineterm=""))
    if difference:
        pytest.fail(difference)


def comparable(line: tuple[Any, ...]) -> bool:
    """Whether the line says the same in each run of the SDK, and in one of otlpfast."""
    logger, level, text = line[:3]
    if logger == "asyncio":  # in development mode it tells of sockets, and of what takes long
        return bool(level == "ERROR")
    # A block that is left in another context than it was entered in is no error here: docs/compatibility.md.
    return bool(text != LEFT_ELSEWHERE)


def same_lines(runs: Runs) -> None:
    same(*(sorted(map(repr, filter(comparable, runs[which].lines()))) for which in ("otlpfast", "sdk")))
    assert all(line[2] != LEFT_ELSEWHERE for line in runs["otlpfast"].lines())


def same_trees(runs: Runs) -> None:
    same(*(runs[which].received.trees(KNOWN) for which in ("otlpfast", "sdk")))


def test_span_trees_are_those_of_the_sdk(runs: Runs) -> None:
    same_trees(runs)
    assert runs["otlpfast"].received.resources == runs["sdk"].received.resources


def test_users_get_the_same_answers(runs: Runs, switched_off: Runs) -> None:
    assert runs["otlpfast"].answers == runs["sdk"].answers
    assert switched_off["otlpfast"].answers[:-1] == runs["sdk"].answers[:-1], "the last one tells of sampling"


def test_every_instrumentation_took_part(runs: Runs) -> None:
    """What is compared is not nothing."""
    received = runs["otlpfast"].received
    scopes = {found.scope.name for found in received.spans}
    traced = set(INSTRUMENTED) - {"logging", "threading"}  # those two make no spans
    assert scopes >= {"shop", *(f"opentelemetry.instrumentation.{name}" for name in traced)}
    assert {found.span.kind for found in received.spans} == set(range(1, 6))
    assert len(received.spans) > 150
    threads = [received.path(span.span_id.hex()) for span in received.named("work in thread 3")]
    assert threads == ["GET /threads > threads > work in thread 3"]
    (third,) = received.named("third")
    assert [received.path(link.span_id.hex()) for link in third.links] == [
        "GET /linked > first",
        "GET /linked > first > second",
    ]


def test_log_lines_carry_the_ids_of_the_spans_they_were_written_in(runs: Runs) -> None:
    same_lines(runs)
    lines = runs["otlpfast"].lines()
    inside = [(path, sampled, name) for _, _, _, path, sampled, name in lines if path != "none"]
    assert len(inside) > 60
    assert all(sampled and path.split(" > ")[-1] == name for path, sampled, name in inside)
    written = [path for _, _, text, path, *_ in lines if text == "work mapped 5"]
    assert written == ["GET /threads > threads > work mapped 5"]


def test_log_records_of_the_sdk_carry_them_too(runs: Runs) -> None:
    for run in runs.values():
        written = Counter(
            (trace.rjust(32, "0"), span.rjust(16, "0"))
            for _, _, _, trace, span, *_ in run.service.report["lines"]
        )
        records = Counter((f"{t:032x}", f"{s:016x}") for _, t, s in run.service.report["records"])
        assert len(written) > 60 and not written - records
        assert set(records) <= {("0" * 32, "0" * 16), *run.received.ids()}


def test_exemplars_point_to_spans_that_arrived(runs: Runs, switched_off: Runs) -> None:
    for run in runs.values():
        found = {(f"{t:032x}", f"{s:016x}") for _, t, s in run.service.report["exemplars"]}
        assert len(found) > 20 and found <= run.received.ids()
    measured = {
        which: {name for name, _, _ in run.service.report["exemplars"]} for which, run in runs.items()
    }
    assert measured["otlpfast"] == measured["sdk"] >= {"http.server.duration", "asyncio.process.duration"}
    assert switched_off["otlpfast"].service.report["exemplars"] == []


@pytest.mark.parametrize("which", ["sdk", "otlpfast"])
def test_times_are_in_order(runs: Runs, which: str) -> None:
    received = runs[which].received
    by_id = {found.span.span_id: found.span for found in received.spans}
    for span in by_id.values():
        assert 0 < span.start_time_unix_nano <= span.end_time_unix_nano, span.name
        if span.parent_span_id in by_id:
            parent = by_id[span.parent_span_id]
            assert parent.start_time_unix_nano <= span.start_time_unix_nano, f"{parent.name} > {span.name}"
        for event in span.events:
            given = event.name == "at"
            inside = span.start_time_unix_nano <= event.time_unix_nano <= span.end_time_unix_nano
            assert given or inside, f"{span.name}: {event.name}"


def test_every_span_arrived_once_marked_as_sampled(runs: Runs) -> None:
    run = runs["otlpfast"]
    spans = [found.span.span_id for found in run.received.spans]
    assert len(set(spans)) == len(spans)
    assert all(found.span.flags & 1 for found in run.received.spans), "the W3C flag says sampled"
    assert all(
        request.headers["content-type"] == "application/x-protobuf"
        for request in run.service.collector.requests
    )


def test_with_tracing_off_nothing_arrives_and_all_else_works(switched_off: Runs) -> None:
    assert all(run.service.collector.requests == [] for run in switched_off.values())
    same_lines(switched_off)
    lines = switched_off["otlpfast"].lines()
    assert {(path, sampled, name) for *_, path, sampled, name in lines} == {
        ("none", False, None),
        ("not sent", False, None),
    }


def test_a_callers_decision_about_sampling_is_kept(called: Runs) -> None:
    """The sampler takes no trace of its own: whatever came, came for a caller that samples."""
    same_trees(called)
    same_lines(called)
    assert called["otlpfast"].answers == called["sdk"].answers
    passed_on = [json.loads(answer[-1]) for answer in called["otlpfast"].answers if answer[1] == "/way"]
    kept = {"customer": "kept whole"}
    assert passed_on == [{"sampled": sampled, "baggage": kept} for sampled in (False, False, True)]
    received = called["otlpfast"].received
    assert {found.span.trace_id.hex() for found in received.spans} == {TRACE}
    assert {found.span.trace_state for found in received.spans} == {"vendor=x,other=y"}
    assert len(received.named("counting")) == 1, "the stream was asked for by a caller that samples, once"


def test_the_export_thread_belongs_to_no_request(tmp_path: Path) -> None:
    """It starts while a span is current, and the instrumentation of threads hands that on to new threads."""
    with Collector() as collector:
        collector.script(then=Reply(400))
        service = Service("otlpfast", tmp_path / "refused", collector)
        try:
            service.begin()
            collector.wait_for_request()
            service.finish()
        finally:
            service.kill()
    said = [
        (trace, span) for name, _, _, trace, span, *_ in service.report["lines"] if name == "otlpfast.export"
    ]
    assert said and set(said) == {("0", "0")}


def test_a_trace_goes_back_and_forth_between_both_providers(called: Runs) -> None:
    sent = [request.message for run in called.values() for request in run.service.collector.requests]
    everywhere = Received(sent)
    own = {which: {f.span.span_id for f in run.received.spans} for which, run in called.items()}
    chains = []
    for span in everywhere.named("asyncio to_thread-go_on"):
        way, served = everywhere.ancestors(span.span_id.hex()), []
        for ancestor in way:
            if ancestor.kind == Span.SPAN_KIND_SERVER:
                served += [which for which in own if ancestor.span_id in own[which]]
        chains.append(served)
    assert sorted(chains) == [
        ["otlpfast", "sdk"],
        ["otlpfast", "sdk", "otlpfast"],
        ["sdk", "otlpfast"],
        ["sdk", "otlpfast", "sdk"],
    ]
    ends = [f.span for f in everywhere.spans if everywhere.path(f.span.span_id.hex()).count("GET /way") == 4]
    assert sum(span.kind == Span.SPAN_KIND_SERVER for span in ends) == 2, "one for each that was asked first"

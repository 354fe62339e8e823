"""Collectors that are not there, hang, drip, reset connections or are not who they say; names not found."""

from __future__ import annotations

import socket
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.collector import Collector, Reply
from tests.faults import Outcome, Pipeline, counted, fault
from tests.faults.traced import Traced, say, wait_to_be_told

FOREVER = float("inf")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def at(port: int) -> str:
    return f"http://127.0.0.1:{port}/v1/traces"


# --- 1


def lives_through_an_outage(traced: Traced, endpoint: str, spool: str, outage: float, timeout: float) -> Any:
    traced.to(
        endpoint,
        exporter={"timeout": timeout},
        own={"spool_dir": spool},
        schedule_delay_millis=100,
        max_export_batch_size=100,
    )
    begun = time.monotonic()
    for number in range(100):
        traced.end_spans(10, f"turn {number}")
        time.sleep(outage / 100)
    say(time.monotonic() - begun)
    wait_to_be_told()
    traced.end_spans(10, "after")
    flushed = traced.flush()
    traced.settle()
    return {"flushed": flushed, "stats": traced.stats()}


@fault("1", "collector down", "nothing is lost within the spool's cap, and all arrives once it is back")
def collector_down(pipeline: Pipeline) -> Outcome:
    outcome, port = Outcome(), free_port()
    outage, timeout = pipeline.lasting(1.5, 20), pipeline.lasting(1, 10)
    with tempfile.TemporaryDirectory() as spool:
        arguments = (at(port), spool, outage, timeout)
        application = pipeline.start(lives_through_an_outage, *arguments, limit=60 + outage)
        application.answer()
        with Collector(port=port) as collector:
            application.tell()
            ended = application.end()
            delivered = len(collector.accepted)
    if outcome.ended_well(ended):
        outcome.delivery(delivered, 1010)
        outcome.say(f"the outage lasted {outage:g} s")
        outcome.account(ended.value["stats"], exported=1010, spooled=0)
    return outcome


# --- 2


def flushes_and_shuts_down(traced: Traced, endpoint: str, millis: int) -> Any:
    traced.to(endpoint)
    traced.end_spans(10)
    begun = time.monotonic()
    flushed = traced.flush(millis)
    flush_took, begun = time.monotonic() - begun, time.monotonic()
    with suppress(TypeError):
        traced.processor.shutdown(millis)
        traced.provider.shutdown()
        return {"flushed": flushed, "flush": flush_took, "shutdown": time.monotonic() - begun}
    traced.processor.shutdown()  # the SDK's takes no time-out
    return {"flushed": flushed, "flush": flush_took, "shutdown": time.monotonic() - begun}


@fault("2", "collector hangs", "`force_flush(1000)` and `shutdown(1000)` keep their deadline, and say so")
def hung_collector(pipeline: Pipeline) -> Outcome:
    outcome = Outcome()
    with Collector() as collector:
        collector.script(then=Reply(delay=FOREVER))
        ended = pipeline.run(flushes_and_shuts_down, collector.endpoint, 1000, limit=60)
    if outcome.ended_well(ended):
        found = ended.value
        outcome.say(f"flush took {found['flush']:.1f} s and answered {found['flushed']}", **found)
        outcome.say(f"shutdown took {found['shutdown']:.1f} s")
        # The exporter's own time-out is 10 s.
        outcome.promise(found["flush"] < 7 and found["shutdown"] < 7, "both end long before the exporter")
        outcome.promise(found["flushed"] is False, "the flush says that it failed")
    return outcome


# --- 3


def flushes(traced: Traced, endpoint: str, timeout: float, exporter: dict[str, Any] | None = None) -> Any:
    traced.to(endpoint, exporter={"timeout": timeout, **(exporter or {})})
    traced.end_spans(10)
    begun = time.monotonic()
    flushed = traced.flush()
    return {"flushed": flushed, "took": time.monotonic() - begun, "stats": traced.stats()}


@fault("3", "answer that comes in drips", "the time-out is one for all of it")
def dripped_answer(pipeline: Pipeline) -> Outcome:
    outcome = Outcome()
    timeout = pipeline.lasting(1, 3)
    with Collector() as collector:
        collector.script(then=Reply(drip=0.8 * timeout / 2, body=b"x" * 60))
        ended = pipeline.run(flushes, collector.endpoint, timeout, limit=20 * timeout)
    if outcome.ended_well(ended):
        outcome.say(f"a time-out of {timeout:g} s took {ended.value['took']:.1f} s", **ended.value)
        outcome.promise(ended.value["took"] < 8 * timeout, "the export ends long before the answer")
        outcome.promise(ended.value["flushed"] is False, "the flush says that it failed")
    else:
        outcome.say(f"a time-out of {timeout:g} s was not over after {20 * timeout:g} s")
    return outcome


# --- 4


@fault("4", "connections are reset", "tried again; duplicates are allowed")
def reset_connections(pipeline: Pipeline) -> Outcome:
    outcome = Outcome()
    resets = int(pipeline.lasting(1, 3))
    with Collector() as collector:
        collector.script(*[Reply(reset=True)] * resets)
        ended = pipeline.run(flushes, collector.endpoint, 20)
        delivered, requests = len(collector.accepted), len(collector.requests)
    if outcome.ended_well(ended):
        outcome.delivery(delivered, 10)
        outcome.say(f"{counted(resets, 'reset')}, then the answer, {ended.value['took']:.1f} s")
        outcome.promise(requests > resets, "each reset is followed by another request")
        outcome.promise(ended.value["flushed"] is True, "the flush says that it succeeded")
        outcome.account(ended.value["stats"], exported=10)
    return outcome


@fault("4b", "connections are reset for longer than the exporter's time-out", "parked, then delivered")
def resets_without_end(pipeline: Pipeline) -> Outcome:
    outcome = Outcome()
    with Collector() as collector, tempfile.TemporaryDirectory() as spool:
        collector.script(then=Reply(reset=True))
        arguments = (collector.endpoint, spool, pipeline.lasting(1.5, 20), pipeline.lasting(1, 10))
        application = pipeline.start(lives_through_an_outage, *arguments, limit=90)
        application.answer()
        requests = len(collector.requests)
        collector.script(then=Reply())
        application.tell()
        ended = application.end()
        delivered = len(collector.accepted)
    if outcome.ended_well(ended):
        outcome.delivery(delivered, 1010)
        outcome.say(f"{counted(requests, 'request')} met a reset before")
        outcome.account(ended.value["stats"], exported=1010, spooled=0)
    return outcome


# --- 13


@fault("13", "certificate that is not trusted", "fails at once, one clear line of log")
def untrusted_certificate(pipeline: Pipeline) -> Outcome:
    from tests.exporting import Certificates

    outcome = Outcome()
    with tempfile.TemporaryDirectory() as folder:
        certificates = Certificates(Path(folder))
        with Collector(certificates.server()) as collector:
            ended = pipeline.run(flushes, collector.endpoint, 10)
            connections = collector.connections_opened
    if outcome.ended_well(ended):
        outcome.say(f"gave up after {counted(connections, 'connection')} and {ended.value['took']:.1f} s")
        outcome.say(f"{counted(len(ended.logged), 'line')} of log")
        outcome.promise(connections == 1, "one connection is enough")
        outcome.promise(len(ended.logged) == 1, f"one line of log: {ended.log}")
        outcome.promise("certificate" in ended.log, "the log says why")
        outcome.promise(ended.value["flushed"] is False, "the flush says that it failed")
        outcome.account(ended.value["stats"], export_failed=10)
    return outcome


# --- 14


def has_a_name_not_found(traced: Traced, port: int, spool: str, timeout: float) -> Any:
    """The name is found in the second half only: what resolves names is replaced by what does not."""
    found, resolve = False, socket.getaddrinfo

    def getaddrinfo(host: Any, *more: Any, **named: Any) -> Any:
        if host not in ("collector.test", b"collector.test"):
            return resolve(host, *more, **named)
        if not found:
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return resolve("127.0.0.1", *more, **named)

    socket.getaddrinfo = getaddrinfo
    traced.to(
        f"http://collector.test:{port}/v1/traces",
        exporter={"timeout": timeout},
        own={"spool_dir": spool},
        schedule_delay_millis=100,
    )
    traced.end_spans(10)
    flushed, stats = traced.flush(), traced.stats()
    found = True
    traced.flush()
    traced.settle()
    return {"flushed": flushed, "then": stats, "stats": traced.stats()}


@fault("14", "the collector's name is not found", "backs off and spools; delivered once it is found")
def name_not_found(pipeline: Pipeline) -> Outcome:
    outcome = Outcome()
    with Collector() as collector, tempfile.TemporaryDirectory() as spool:
        timeout = pipeline.lasting(1, 10)
        ended = pipeline.run(has_a_name_not_found, collector.port, spool, timeout, limit=60)
        delivered = len(collector.accepted)
    if outcome.ended_well(ended):
        outcome.delivery(delivered, 10)
        outcome.say(f"the flush meanwhile answered {ended.value['flushed']}")
        outcome.account(ended.value["stats"], exported=10, spooled=0)
    return outcome

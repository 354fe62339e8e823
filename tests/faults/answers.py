"""What a collector may answer: throttling, errors, redirects, partial success, too much; HTTP and gRPC."""

from __future__ import annotations

import base64
import gzip
import os
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import grpc

from tests.collector import Collector, Reply
from tests.faults import Outcome, Pipeline, counted, fault
from tests.faults.network import flushes
from tests.faults.traced import Traced
from tests.grpc_collector import Failure, GRPCCollector

MIB = 1 << 20


# --- 5


def is_throttled(traced: Traced, endpoint: str, spool: str, timeout: float) -> Any:
    traced.to(endpoint, exporter={"timeout": timeout}, own={"spool_dir": spool}, schedule_delay_millis=100)
    traced.end_spans(10)
    traced.flush()
    traced.settle(60)
    return {"stats": traced.stats()}


@fault("5", "429 with `Retry-After` beyond the time-out", "parked or spooled, and sent when it was asked for")
def throttled(pipeline: Pipeline) -> Outcome:
    outcome, seconds = Outcome(), int(pipeline.lasting(2, 15))
    with Collector() as collector, tempfile.TemporaryDirectory() as spool:
        collector.script(Reply(429, headers={"Retry-After": str(seconds)}))
        ended = pipeline.run(is_throttled, collector.endpoint, spool, pipeline.lasting(1, 10), limit=90)
        requests, delivered = collector.requests, len(collector.accepted)
    if outcome.ended_well(ended):
        outcome.delivery(delivered, 10)
        outcome.account(ended.value["stats"], exported=10, spooled=0)
    if len(requests) > 1:
        waited = requests[1].arrived - requests[0].arrived
        outcome.say(f"asked for {seconds} s, came back after {waited:.1f} s")
        outcome.promise(waited >= seconds - 0.01, "it comes back no earlier than it was asked to")
    return outcome


# --- 6, 7


@fault("6", "503 twice", "tried again")
def unavailable_twice(pipeline: Pipeline) -> Outcome:
    outcome = Outcome()
    with Collector() as collector:
        collector.script(Reply(503), Reply(503))
        ended = pipeline.run(flushes, collector.endpoint, 20)
        requests, delivered = len(collector.requests), len(collector.accepted)
    if outcome.ended_well(ended):
        outcome.delivery(delivered, 10)
        outcome.say(f"in {counted(requests, 'request')}, {ended.value['took']:.1f} s")
        outcome.promise(requests == 3, "one request more for each")
        outcome.account(ended.value["stats"], exported=10)
    return outcome


@fault("7", "400, 500", "counted, and not sent again")
def refused(pipeline: Pipeline) -> Outcome:
    outcome = Outcome()
    for status in (400, 500):
        with Collector() as collector:
            collector.script(then=Reply(status))
            ended = pipeline.run(flushes, collector.endpoint, 10)
            requests = len(collector.requests)
        if outcome.ended_well(ended):
            outcome.say(f"{status}: {counted(requests, 'request')}, flush answered {ended.value['flushed']}")
            outcome.promise(requests == 1, f"{status} is not tried again")
            outcome.promise(ended.value["flushed"] is False, "the flush says that it failed")
            outcome.account(ended.value["stats"], exported=0, queued=0)
    return outcome


def sends_much(traced: Traced, endpoint: str, protocol: str, count: int, size: int) -> Any:
    traced.to(endpoint, protocol=protocol, exporter={"timeout": 10})
    traced.end_spans(count, text="x" * size)
    flushed = traced.flush()
    return {"flushed": flushed, "stats": traced.stats()}


@fault("7b", "413", "split, until what is not too large is delivered")
def too_large_for_http(pipeline: Pipeline) -> Outcome:
    outcome = Outcome()
    with Collector() as collector:
        collector.max_body = 100_000
        ended = pipeline.run(sends_much, collector.endpoint, "http", 64, 10_000)
        requests, delivered = len(collector.requests), len(collector.accepted)
    if outcome.ended_well(ended):
        outcome.delivery(delivered, 64)
        outcome.say(f"in {counted(requests, 'request')}, at most {collector.max_body:,} bytes allowed")
        outcome.account(ended.value["stats"], exported=64)
    return outcome


# --- 8


@fault("8", "301, 302, 307, 308", "never followed, and an error")
def redirected(pipeline: Pipeline) -> Outcome:
    outcome = Outcome()
    for status in (301, 302, 307, 308):
        with Collector() as collector, Collector() as target:
            collector.script(then=Reply(status, headers={"Location": target.endpoint}))
            ended = pipeline.run(flushes, collector.endpoint, 3)
            followed = len(target.requests)
        if outcome.ended_well(ended):
            told = "told" if ended.value["flushed"] is False or ended.log else "**not told**"
            outcome.say(f"{status}: {'**followed**' if followed else 'not followed'}, the loss {told}")
            outcome.promise(not followed, f"{status} is not followed")
            outcome.promise(ended.value["flushed"] is False and ended.log, f"{status} is an error")
            outcome.account(ended.value["stats"], exported=0, queued=0)
    return outcome


# --- 9


@fault("9", "partial success", "what was rejected is counted, once, and told of")
def partial_success(pipeline: Pipeline) -> Outcome:
    outcome = Outcome()
    with Collector() as collector:
        collector.script(then=Reply.partial_success(3, "3 spans are too old"))
        ended = pipeline.run(flushes, collector.endpoint, 10)
        requests = len(collector.requests)
    if outcome.ended_well(ended):
        told = "too old" in ended.log
        outcome.say(f"the collector's message is {'logged' if told else '**not logged**'}")
        outcome.say(f"flush answered {ended.value['flushed']}")
        outcome.promise(told, "the collector's message is logged")
        outcome.promise(requests == 1, "not sent again")
        outcome.account(ended.value["stats"], exported=7, rejected=3)
    return outcome


# --- 10, 11, 12: gRPC


def flushes_by_grpc(traced: Traced, endpoint: str, timeout: float) -> Any:
    traced.to(endpoint, protocol="grpc", exporter={"timeout": timeout})
    traced.end_spans(8)
    begun = time.monotonic()
    flushed = traced.flush()
    return {"flushed": flushed, "took": time.monotonic() - begun, "stats": traced.stats()}


@fault("10", "gRPC RetryInfo of 0.2 s", "waits for so long, and not for its own back-off", needs=("grpc",))
def retry_info(pipeline: Pipeline) -> Outcome:
    """Five times in 12 s: with a back-off of 1, 2, 4, 8 and 16 s there would be no time."""
    outcome = Outcome()
    with GRPCCollector() as collector:
        collector.script(*[Failure(grpc.StatusCode.RESOURCE_EXHAUSTED, delay=0.2)] * 5)
        ended = pipeline.run(flushes_by_grpc, collector.endpoint, 12)
        times, delivered = [request.arrived for request in collector.requests], len(collector.accepted)
    if outcome.ended_well(ended):
        outcome.delivery(delivered, 8)
        if len(times) > 1:
            outcome.say(f"the first wait was {times[1] - times[0]:.1f} s, all {ended.value['took']:.1f} s")
            outcome.promise(times[1] - times[0] >= 0.19, "it waits for as long as it was asked to")
        outcome.account(ended.value["stats"], exported=8)
    return outcome


@fault("11", "gRPC RESOURCE_EXHAUSTED without RetryInfo", "not tried again", needs=("grpc",))
def exhausted(pipeline: Pipeline) -> Outcome:
    outcome = Outcome()
    with GRPCCollector() as collector:
        collector.script(then=Failure(grpc.StatusCode.RESOURCE_EXHAUSTED, "quota exceeded"))
        ended = pipeline.run(flushes_by_grpc, collector.endpoint, 5)
        whole = sum(request.body == collector.requests[0].body for request in collector.requests)
    if outcome.ended_well(ended):
        sent = "once" if whole == 1 else f"{whole} times"
        outcome.say(f"the same request was sent {sent}, in {ended.value['took']:.1f} s")
        outcome.promise(whole == 1, "no request is sent twice")
        outcome.promise(ended.value["flushed"] is False, "the flush says that it failed")
        outcome.account(ended.value["stats"], exported=0, queued=0)
    return outcome


@fault("12", "batch over gRPC's 4 MiB", "split by size: all delivered", needs=("grpc",))
def large_batch(pipeline: Pipeline) -> Outcome:
    outcome = Outcome()
    with GRPCCollector() as collector:
        ended = pipeline.run(sends_much, collector.endpoint, "grpc", 10, MIB)
        requests, delivered = len(collector.requests), len(collector.accepted)
    if outcome.ended_well(ended):
        outcome.delivery(delivered, 10)
        outcome.say(f"10 spans of 1 MiB in {counted(requests, 'accepted request')}")
        outcome.account(ended.value["stats"], exported=10)
    return outcome


def sends_one_giant(traced: Traced, endpoint: str) -> Any:
    traced.to(endpoint, protocol="grpc", exporter={"timeout": 10})
    traced.end_spans(4, "before", text="x")
    traced.end_spans(1, "giant", text="x" * 5 * MIB)
    traced.end_spans(4, "after", text="x")
    flushed = traced.flush()
    return {"flushed": flushed, "stats": traced.stats()}


@fault("12b", "one span over gRPC's 4 MiB", "costs at most itself, and is counted", needs=("grpc",))
def giant_span(pipeline: Pipeline) -> Outcome:
    outcome = Outcome()
    with GRPCCollector() as collector:
        ended = pipeline.run(sends_one_giant, collector.endpoint)
        delivered = [span.name for span in collector.accepted]
    if outcome.ended_well(ended):
        outcome.delivery(len(delivered), 9, all_of_them=False)
        others = [name for name in delivered if not name.startswith("giant")]
        outcome.promise(len(others) == 8, "all other spans are delivered")
        outcome.account(ended.value["stats"], exported=len(delivered), queued=0)
    return outcome


# --- hostile answers, and secrets


def peaks(traced: Traced, endpoint: str) -> Any:
    """The growth of the most memory that the process ever had, in bytes."""
    traced.to(endpoint, exporter={"timeout": 10})
    traced.end_spans(1, "warm up")
    traced.flush()
    before = _peak()
    traced.end_spans(10)
    flushed = traced.flush()
    return {"flushed": flushed, "grown": _peak() - before, "stats": traced.stats()}


def _peak() -> int:
    # Not ru_maxrss where this exists: that one is inherited from the parent process.
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


@fault("S1", "answer that is a gzip bomb", "at most 4 MiB of it are read")
def response_bomb(pipeline: Pipeline) -> Outcome:
    outcome, size = Outcome(), int(pipeline.lasting(256 * MIB, 1024 * MIB))
    bomb = b"".join([gzip.compress(bytes(16 * MIB), 9)] * (size // (16 * MIB)))
    with Collector() as collector:
        collector.script(Reply(), then=Reply(headers={"Content-Encoding": "gzip"}, body=bomb))
        ended = pipeline.run(peaks, collector.endpoint)
        delivered = len(collector.accepted)
    if outcome.ended_well(ended):
        outcome.delivery(delivered, 11)
        outcome.say(f"{size // MIB} MiB inside {len(bomb) // 1024} KiB: memory grew {_mib(ended.value)}")
        outcome.promise(ended.value["grown"] < 64 * MIB, "memory does not grow with the answer")
    return outcome


def _mib(value: dict[str, Any]) -> str:
    return f"{value['grown'] / MIB:.0f} MiB"


def _token(name: str) -> str:
    return f"Bearer {name}-6f1c"


@fault("S2", "a line break in `OTEL_EXPORTER_OTLP_HEADERS`", "never sent, and no value in the log")
def header_injection(pipeline: Pipeline) -> Outcome:
    outcome = Outcome()
    headers = "authorization=Bearer%20secret-6f1c%0d%0ax-injected:%201,x-tenant=one"
    with Collector() as collector:
        ended = pipeline.run(flushes, collector.endpoint, 3, OTEL_EXPORTER_OTLP_HEADERS=headers)
        requests, delivered = collector.requests, len(collector.accepted)
    if outcome.ended_well(ended):
        leaks, injected = "secret-6f1c" in ended.log, any("x-injected" in r.headers for r in requests)
        outcome.delivery(delivered, 10)
        outcome.say(f"the token is {'**logged**' if leaks else 'not logged'}")
        outcome.promise(not leaks, "no value of a header is logged")
        outcome.promise(not injected, "no header is injected")
        outcome.promise(ended.log, "the log says that something is wrong with it")
    return outcome


@fault("S3", "`.netrc` with credentials for the collector", "not read: the configured header is sent")
def netrc(pipeline: Pipeline) -> Outcome:
    outcome = Outcome()
    with Collector() as collector, tempfile.TemporaryDirectory() as home:
        file = Path(home, ".netrc")
        file.write_text("machine 127.0.0.1 login other password other-6f1c\n")
        os.chmod(file, 0o600)
        header = {"headers": {"authorization": _token("configured")}}
        ended = pipeline.run(flushes, collector.endpoint, 10, header, HOME=home)
        sent = [request.headers["authorization"] or "" for request in collector.requests]
    if outcome.ended_well(ended):
        other = base64.b64encode(b"other:other-6f1c").decode()
        replaced = any(other in value for value in sent)
        outcome.say(
            f"the header that was sent is {'**that of .netrc**' if replaced else 'the configured one'}"
        )
        outcome.promise(set(sent) == {_token("configured")}, "the configured header is sent")
    return outcome

"""A user's program with every public name of otlpfast: mypy checks it strictly, and it runs.

Its argument is a directory that it may write to.
"""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
import re
import signal
import sys
from collections.abc import Callable, Iterable, MutableMapping, Sequence
from pathlib import Path
from typing import Any

from opentelemetry import trace as api
from opentelemetry.context import Context
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.resources import Resource, get_aggregated_resources
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased, Sampler
from opentelemetry.trace import SpanKind, Status, StatusCode
from typing_extensions import assert_type

import otlpfast
from otlpfast import (
    context,
    environment_variables,
    export,
    profiling,
    propagation,
    redaction,
    resources,
    sampling,
    trace,
    web,
)
from otlpfast.export import config, console
from otlpfast.profiling import stacks

_logger = logging.getLogger(__name__)


class Counted(SpanExporter):
    """An exporter of the user's own that takes encoded batches."""

    def __init__(self) -> None:
        self.spans = 0
        self.request = b""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Where it is given to a processor of the SDK."""
        self.spans += len(spans)
        return SpanExportResult.SUCCESS

    def export_batch(self, batch: otlpfast.SpanBatch, timeout: float | None = None) -> otlpfast.ExportOutcome:
        """Where it is given to one of otlpfast."""
        self.spans += batch.count
        self.request = bytes(batch)
        assert batch.nbytes == len(self.request) == sum(memoryview(piece).nbytes for piece in batch.buffers)
        if batch.count > 1:
            halves = batch.split()
            assert sum(half.count for half in halves) == batch.count
        return otlpfast.ExportOutcome(exported=batch.count)


def configured() -> TracerProvider:
    """One line switches it on: here with every argument."""
    return otlpfast.configure(
        service_name="shop",
        resource_attributes={"deployment.environment.name": "test"},
        sampler=ParentBased(ALWAYS_ON),
        tail_sampler=tail_sampler(),
        id_generator=RandomIdGenerator(),
        span_limits=SpanLimits(max_events=10),
        exporters=[otlpfast.OTLPSpanExporter(), console.ConsoleSpanExporter(sys.stdout)],
        span_processors=[otlpfast.SpanMetricsProcessor(MeterProvider(), dimensions=["http.route"])],
        carry_context=False,
        redaction=rules(),
    )


def rules() -> redaction.RedactionRules:
    """What must not leave the process."""
    assert redaction.RedactionRules is otlpfast.RedactionRules
    made = otlpfast.RedactionRules.default(keys=[("user.id", "hash"), "acme.*.pin"], patterns=["email"])
    assert_type(made, redaction.RedactionRules)
    redactor = made.redactor()
    assert redaction.Verdict(redactor.action("user.id")) is redaction.Verdict.HASH
    assert_type(redactor.clean("to a@example.com"), str)
    return redaction.RedactionRules.from_dict({"keys": ["x"], "patterns": ["email"], "action": "drop"})


def tail_sampler() -> sampling.TailSampler:
    """Decides when a trace has ended."""
    of_payments = sampling.TailRule(
        name="POST /pay*", kind=SpanKind.SERVER, attributes={"vip": True}, root=True
    )
    return sampling.TailSampler(errors=True, slow_seconds=0.5, rules=[of_payments], ratio=1.0)


def sampler() -> Sampler:
    """Decides when a span starts."""
    health = sampling.SamplingRule(sampling.ConsistentProbabilitySampler(0), name=re.compile("health"))
    few = sampling.SamplingRule(sampling.RateLimitingSampler(5, burst=1), attributes={"url.path": "/pay*"})
    return ParentBased(sampling.RuleBasedSampler([health, few], default=ALWAYS_ON))


def own_provider(folder: Path) -> None:
    """Provider, processors and exporters, put together by hand."""
    meters = MeterProvider()
    memory, counted = InMemorySpanExporter(), Counted()
    found = get_aggregated_resources([resources.ContainerDetector(), resources.KubernetesDetector()])
    provider = otlpfast.TracerProvider(
        sampler=sampler(), resource=found.merge(Resource({"service.name": "shop"})), meter_provider=meters
    )
    batching = otlpfast.BatchSpanProcessor(
        counted, max_queue_size=100, on_full="block", spool_dir=folder / "spool", meter_provider=meters
    )
    provider.add_span_processor(batching)
    provider.add_span_processor(otlpfast.SimpleSpanProcessor(memory, redaction=rules()))
    tracer = provider.get_tracer("shop", "1.0", attributes={"team": "orders"})
    with tracer.start_as_current_span("order", kind=SpanKind.SERVER) as span:
        span.set_attributes({"order.id": 7, "items": ["a", "b"]})
        span.add_event("paid", {"by": "card"})
        span.set_status(Status(StatusCode.OK))
        assert isinstance(tracer, otlpfast.Tracer) and isinstance(span, otlpfast.Span)
        collected(span)
    assert otlpfast.TracerProvider is trace.TracerProvider
    assert otlpfast.Tracer is trace.Tracer and otlpfast.Span is trace.Span
    assert provider.force_flush(30_000)
    account = batching.stats()
    assert account["exported"] == account["ended"] == counted.spans == 1
    assert_type(account["dropped"], dict[str, int])
    request = otlpfast.encode_spans(memory.get_finished_spans())
    assert_type(request, bytes)
    assert otlpfast.SpanBatch.from_request(request, 1).count == 1
    provider.shutdown()
    meters.shutdown()


def collected(span: api.Span) -> None:
    """What piles up in a loop, set in one go."""
    pool = otlpfast.SpanPool(attributes=8)
    with pool.wrap(span) as wrapper:
        assert_type(wrapper, otlpfast.SpanWrapper)
        wrapper.set_attribute("column", "id")
        wrapper.add_event("read", {"rows": 3})
    assert_type(pool.stats()["efficiency"], float)


def exporters() -> None:
    """OTLP over HTTP with every argument, and how addresses are read."""
    assert export.OTLPSpanExporter is otlpfast.OTLPSpanExporter
    exporter = export.OTLPSpanExporter(
        "http://127.0.0.1:4318/v1/traces",
        headers={"x-team": "orders"},
        timeout=5.0,
        compression="gzip",
        protocol="http/protobuf",
    )
    assert_type(exporter.destination, str)
    exporter.shutdown()
    endpoint = config.parse_endpoint("http://user:secret@example.com:4318/v1/traces")
    assert_type(endpoint, config.Endpoint)
    assert "secret" not in config.mask_url("http://user:secret@example.com") + endpoint.shown
    try:
        config.parse_endpoint("example.com")
    except config.Unusable as error:
        _logger.info(config.printable(str(error)))


def product(left: int, right: int) -> int:
    """In another process."""
    return left * right


def contexts() -> None:
    """The current context, carried to where Python does not take it."""
    assert context.carry is otlpfast.carry and context.carry_context is otlpfast.carry_context
    assert context.ContextPatch is otlpfast.ContextPatch
    assert_type(otlpfast.carry(product)(6, 7), int)
    with otlpfast.carry_context() as patch:
        assert_type(patch, otlpfast.ContextPatch)
    patch.undo()
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(context.carry(product), (6, 7)) == 42
        pool.close()
        pool.join()


def headers() -> None:
    """W3C headers."""
    both = propagation.CompositePropagator(
        [propagation.TraceContextTextMapPropagator(), propagation.W3CBaggagePropagator()]
    )
    given = {"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "baggage": "a=b"}
    above = both.extract(given)
    assert_type(above, Context)
    carrier: dict[str, str] = {}
    both.inject(carrier, above)
    assert carrier == given


def signals() -> None:
    """A flush before the process is ended; at once undone."""
    with otlpfast.flush_on_signal(signals=(signal.SIGTERM,)) as handling:
        assert_type(handling, otlpfast.SignalFlush)
    handling.undo()


def page() -> None:
    """The live page."""
    with web.serve("127.0.0.1:0", token="a-token-of-the-user") as server:
        assert_type(server, web.Server)
        _logger.info("%s", server.url)
    assert otlpfast.web.Server is web.Server and server.closed


@profiling.profiled
def spin(turns: int) -> int:
    """Some work to be seen in a profile."""
    return sum(i * i for i in range(turns))


@profiling.profiled(kind="threads", every=60)
async def handle(turns: int) -> int:
    """A coroutine function stays one."""
    return spin(turns)


def recordings() -> None:
    """Profiles between a start and a stop."""
    for start in (profiling.start_cpu, profiling.start_wall):
        recording: profiling.Recording = start(frequency=50, labels=True)
        try:
            start()
        except profiling.ProfilerBusyError as error:
            _logger.info("%s", error)
        assert_type(recording.stop(), profiling.Profile)
    with profiling.start_heap(sample_bytes=1 << 20, exact=True) as heap:
        assert_type(heap, profiling.HeapRecording)
        assert_type(profiling.heap_profile(), profiling.Profile)
    with profiling.start_contention(block_rate=1, mutex_fraction=1) as contention:
        assert_type(contention, profiling.Contention)
        assert profiling.block().kind == "block" and profiling.mutex().kind == "mutex"


def profilers(folder: Path) -> None:
    """Profiles by one object, and what can be asked of a profile."""
    config = profiling.ProfileConfig(kinds=("threads", "tasks"), directory=str(folder / "profiles"))
    with profiling.Profiler(config) as profiler:
        assert_type(asyncio.run(handle(1000)), int)
    assert_type(profiler.profile.top(10).rows[0].function, str)
    full = profiler.run_full_profile(0.05)
    assert_type(full, profiling.FullProfile)
    assert "threads" in full.profiles
    with profiler.start_periodic(every=60, seconds=0.05, kinds=["threads"]) as periodic:
        assert_type(periodic, profiling.PeriodicProfiles)
    calls: profiling.CallProfiles = getattr(spin, "profiles")  # noqa: B009
    assert calls.last is not None and calls.taken == 1 and calls.failed == 0
    path = calls.last.save(folder / "cpu.pb.gz")
    assert_type(profiling.Profile.load(path).total(), int)


def now() -> None:
    """What threads and tasks are doing, and a profile that is made by hand."""
    before, after = profiling.threads(), stacks.threads()
    grown = (*profiling.leaks(before, after), *stacks.leaks(stacks.tasks(), profiling.tasks()))
    assert_type(grown, "tuple[profiling.Leak, ...]")
    assert stacks.Leak is profiling.Leak
    assert profiling.text(before) and stacks.text(after) and profiling.dump() and stacks.dump()
    frame = profiling.Frame("main", "app.py", 20, 10)
    stack: profiling.Stack = (frame,)
    label: profiling.Label = ("thread", "MainThread")
    made = profiling.Profile(
        kind="threads",
        value_types=(profiling.ValueType("threads", "count"),),
        samples=(profiling.Sample(stack, (3,), (label,)),),
        time_unix_nano=before.time_unix_nano,
    )
    assert made.total() == 3 and made.focus("main").to_folded() and made.diff(made) and made.merge(made)


def statistics() -> None:
    """Statistics of the run time, and who is told when one is exceeded."""

    def tell(alert: profiling.Alert) -> None:
        _logger.warning("%s: %g, %s", alert.name, alert.value, alert.snapshot.usage.cpu_user)

    too_many = profiling.Threshold("blocks", lambda snapshot: snapshot.allocated_blocks, above=1e12)
    alerts = profiling.Alerts(more=[too_many], on_alert=tell)
    with profiling.RuntimeStatistics(alerts=alerts, meter_provider=MeterProvider()) as running:
        snapshot = running.snapshot()
        assert_type(snapshot, profiling.RuntimeSnapshot)
        assert_type(snapshot.gc_rate, "float | None")
    assert alerts.active() == ()


def served() -> None:
    """Profiles over HTTP: by a server of their own, and within the application's."""
    with profiling.enable_pprof_http("127.0.0.1:0", heap=False) as server:
        assert_type(server, profiling.PprofServer)
    profiling.disable_pprof_http()

    def wsgi(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        start_response("200 OK", [])
        return [b"of the application"]

    async def asgi(
        scope: MutableMapping[str, Any], receive: Callable[[], Any], send: Callable[[Any], Any]
    ) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})

    mounted = profiling.pprof_wsgi_app("a-token-of-the-user", app=wsgi)
    assert list(mounted({"PATH_INFO": "/"}, lambda status, headers: None)) == [b"of the application"]
    assert callable(profiling.pprof_asgi_app(unprotected=True, app=asgi, max_seconds=10))


def main(folder: Path) -> None:
    """Each of them once, and what the library says of itself."""
    assert_type(otlpfast.IMPLEMENTATION, str)
    assert_type(otlpfast.__version__, str)
    assert os.environ.get(environment_variables.OTLPFAST_IMPL, "auto") in ("auto", otlpfast.IMPLEMENTATION)
    provider = configured()
    with api.get_tracer("shop").start_as_current_span("a span", attributes={"user.id": "u-17"}):
        own_provider(folder)
    assert provider.force_flush(30_000)
    exporters()
    contexts()
    headers()
    signals()
    page()
    recordings()
    profilers(folder)
    now()
    statistics()
    served()
    provider.shutdown()
    print(otlpfast.__version__, otlpfast.IMPLEMENTATION)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

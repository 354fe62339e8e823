"""Current spans: in blocks, decorators, generators, any runtime context, other processes; and exporters."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import os
from collections.abc import Iterator
from contextvars import Token
from typing import Any

import pytest
from opentelemetry import context as context_api
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.context.context import _RuntimeContext
from opentelemetry.context.contextvars_context import ContextVarsRuntimeContext
from opentelemetry.sdk import trace as sdk
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace.export import SimpleSpanProcessor as SDKSimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags
from opentelemetry.trace import Span as APISpan
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

import otlpfast

from .forks import in_child
from .pipeline import Encoded, ran
from .spans import Keep


def made(*processors: sdk.SpanProcessor, **options: Any) -> otlpfast.TracerProvider:
    """A provider of otlpfast's that leaves nothing at exit."""
    defaults = {
        "sampler": ALWAYS_ON,
        "resource": Resource({"service.name": "test"}),
        "shutdown_on_exit": False,
    }
    provider = otlpfast.TracerProvider(**{**defaults, **options})
    for processor in processors:
        provider.add_span_processor(processor)
    return provider


@pytest.fixture
def tracer() -> Any:
    return made().get_tracer("tests", "1.0", "https://schema/1", {"a": 1})


class TestManagers:
    def test_a_stack_of_managers_takes_it(self, tracer: Any) -> None:
        with contextlib.ExitStack() as stack:
            outer = stack.enter_context(tracer.start_as_current_span("outer"))
            inner = stack.enter_context(tracer.start_as_current_span("inner"))
            assert inner.parent == outer.get_span_context()
        assert not outer.is_recording()
        assert isinstance(tracer.start_as_current_span("span"), contextlib.AbstractContextManager)

    def test_nothing_starts_before_it_is_entered(self) -> None:
        keep = Keep()
        tracer = made(keep).get_tracer("t")
        manager = tracer.start_as_current_span("span")
        assert trace.get_current_span() is trace.INVALID_SPAN
        with manager:
            assert keep.spans == []
        assert len(keep.spans) == 1

    def test_what_it_decorates_keeps_its_name_and_kind(self, tracer: Any) -> None:
        @tracer.start_as_current_span("plain")
        def plain(a: int, *, b: int = 2) -> int:
            """Adds."""
            return a + b

        @tracer.start_as_current_span("coroutine")
        async def coroutine() -> APISpan:
            await asyncio.sleep(0)
            return trace.get_current_span()

        assert (plain.__name__, plain.__doc__, plain(1, b=3)) == ("plain", "Adds.", 4)
        assert plain.__wrapped__(1) == 3
        assert inspect.signature(plain) == inspect.signature(plain.__wrapped__)
        assert inspect.iscoroutinefunction(coroutine)
        first, second = asyncio.run(both(coroutine))
        assert first is not second
        assert not first.is_recording()

    def test_every_call_of_what_it_decorates_has_a_span_of_its_own_also_within_each_other(self) -> None:
        keep = Keep()

        class Service:
            @made(keep).get_tracer("t").start_as_current_span("call")
            def call(self, depth: int) -> int:
                return depth if depth == 0 else self.call(depth - 1)

        assert Service().call(2) == 0
        inner, middle, outer = keep.spans
        assert (inner.parent, middle.parent, outer.parent) == (middle.context, outer.context, None)

    def test_one_that_is_entered_and_dropped_ends_its_span_and_leaves_no_context(self, tracer: Any) -> None:
        span = tracer.start_as_current_span("span").__enter__()
        assert not span.is_recording()
        assert trace.get_current_span() is trace.INVALID_SPAN

    def test_a_generator_that_is_closed_elsewhere_ends_its_span(self, tracer: Any) -> None:
        def work() -> Iterator[Any]:
            with tracer.start_as_current_span("work") as span:
                yield span

        running: Any = work()
        span = next(running)
        running.close()
        assert not span.is_recording()
        assert span.events == ()

    def test_the_users_exception_passes_untouched(self, tracer: Any) -> None:
        error = ValueError("mine")
        with pytest.raises(ValueError) as caught, tracer.start_as_current_span("span"):
            raise error
        assert caught.value is error
        assert error.__context__ is None


async def both(work: Any) -> list[APISpan]:
    return list(await asyncio.gather(work(), work()))


class OneThread(_RuntimeContext):
    """A runtime context on a stack."""

    def __init__(self) -> None:
        self.stack = [Context()]

    def attach(self, context: Context) -> Token[Context]:
        self.stack.append(context)
        return len(self.stack)  # type: ignore[return-value]

    def get_current(self) -> Context:
        return self.stack[-1]

    def detach(self, token: Token[Context]) -> None:
        del self.stack[token - 1 :]  # type: ignore[operator]


class TestContexts:
    @pytest.mark.parametrize("runtime", [ContextVarsRuntimeContext, OneThread])
    def test_any_runtime_context_carries_spans(
        self, tracer: Any, monkeypatch: pytest.MonkeyPatch, runtime: Any
    ) -> None:
        monkeypatch.setattr(context_api, "_RUNTIME_CONTEXT", runtime())
        with tracer.start_as_current_span("outer") as outer:
            assert trace.get_current_span() is outer
            with tracer.start_as_current_span("inner") as inner:
                assert trace.get_current_span() is inner
                assert inner.parent == outer.get_span_context()
            assert trace.get_current_span() is outer
        assert trace.get_current_span() is trace.INVALID_SPAN

    def test_a_runtime_context_may_be_replaced_between_spans(
        self, tracer: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for runtime in (OneThread(), ContextVarsRuntimeContext(), OneThread(), context_api._RUNTIME_CONTEXT):
            monkeypatch.setattr(context_api, "_RUNTIME_CONTEXT", runtime)
            with tracer.start_as_current_span("outer") as outer, tracer.start_span("inner") as inner:
                assert inner.parent == outer.get_span_context()
            assert tracer.start_span("root").parent is None

    def test_what_else_is_in_the_context_stays_and_the_context_comes_back(self, tracer: Any) -> None:
        token = context_api.attach(context_api.set_value("key", "value"))
        before = context_api.get_current()
        try:
            with tracer.start_as_current_span("span"):
                within = context_api.get_current()
                assert type(within) is Context
                assert context_api.get_value("key") == "value"
                with pytest.raises(ValueError):
                    within["key"] = "other"
            assert context_api.get_current() is before
        finally:
            context_api.detach(token)

    def test_a_context_that_was_kept_stays_as_it_was(self, tracer: Any) -> None:
        with tracer.start_as_current_span("first") as first:
            kept = context_api.get_current()
        with tracer.start_as_current_span("second"):
            pass
        assert trace.get_current_span(kept) is first
        assert tracer.start_span("child", kept).parent == first.get_span_context()

    def test_propagators_carry_it_to_another_service_and_back(self, tracer: Any) -> None:
        carrier: dict[str, str] = {}
        with tracer.start_as_current_span("client") as client:
            TraceContextTextMapPropagator().inject(carrier)
        context = client.get_span_context()
        assert carrier["traceparent"] == (
            f"00-{trace.format_trace_id(context.trace_id)}-{trace.format_span_id(context.span_id)}-03"
        )
        server = tracer.start_span("server", TraceContextTextMapPropagator().extract(carrier))
        assert server.parent.is_remote
        assert (server.parent.trace_id, server.parent.span_id) == (context.trace_id, context.span_id)

    @pytest.mark.parametrize("sampler", [ALWAYS_ON, ALWAYS_OFF])
    def test_log_records_carry_the_ids_of_the_current_span(self, sampler: Any) -> None:
        from opentelemetry._logs import LogRecord
        from opentelemetry.sdk._logs import LoggerProvider
        from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor

        exporter, loggers = InMemoryLogRecordExporter(), LoggerProvider(shutdown_on_exit=False)
        loggers.add_log_record_processor(SimpleLogRecordProcessor(exporter))
        with made(sampler=sampler).get_tracer("t").start_as_current_span("span") as span:
            loggers.get_logger("logger").emit(LogRecord(body="text"))
        (log,) = exporter.get_finished_logs()
        context = span.get_span_context()
        found = (log.log_record.trace_id, log.log_record.span_id, log.log_record.trace_flags)
        assert found == (context.trace_id, context.span_id, context.trace_flags)

    def test_exemplars_carry_the_ids_of_the_current_span(self, tracer: Any) -> None:
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.export import InMemoryMetricReader

        reader = InMemoryMetricReader()
        meters = MeterProvider([reader], shutdown_on_exit=False)
        counter = meters.get_meter("meter").create_counter("counter")
        with tracer.start_as_current_span("span") as span:
            counter.add(1)
        data: Any = reader.get_metrics_data()
        (point,) = data.resource_metrics[0].scope_metrics[0].metrics[0].data.data_points
        (exemplar,) = point.exemplars
        context = span.get_span_context()
        assert (exemplar.trace_id, exemplar.span_id) == (context.trace_id, context.span_id)
        meters.shutdown()

    def test_a_remote_parent_of_any_kind_is_one(self, tracer: Any) -> None:
        remote = SpanContext(7, 8, True, TraceFlags(1))
        child = tracer.start_span("child", trace.set_span_in_context(NonRecordingSpan(remote)))
        assert child.parent is remote
        assert child.get_span_context().trace_id == 7


def proxied() -> list[Any]:
    """A tracer that was got before there was a provider."""
    tracer = trace.get_tracer("early")
    before = tracer.start_span("before").is_recording()
    keep = Keep()
    trace.set_tracer_provider(made(keep))
    with tracer.start_as_current_span("outer"), trace.get_tracer("late").start_as_current_span("inner"):
        pass
    scopes = [span.instrumentation_scope.name for span in keep.spans if span.instrumentation_scope]
    assert isinstance(trace.get_tracer_provider(), otlpfast.TracerProvider)
    return [before, scopes, keep.spans[0].parent == keep.spans[1].context]


class _Telling(sdk.SpanProcessor):
    def shutdown(self) -> None:
        print('"shut down"', flush=True)


def left(shutdown_on_exit: bool) -> str:
    """A provider that is left at exit."""
    provider = made(_Telling(), shutdown_on_exit=shutdown_on_exit)
    assert (provider._atexit_handler is not None) is shutdown_on_exit
    return "returned"


class TestProcesses:
    def test_tracers_from_before_the_provider_was_set_use_it(self) -> None:
        assert ran(proxied) == [False, ["late", "early"], True]

    def test_the_provider_is_shut_down_at_exit_if_it_should_be(self) -> None:
        assert ran(left, True) == "shut down"
        assert ran(left, False) == "returned"

    def test_a_forked_childs_spans_have_the_resource_of_the_child(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("OTEL_EXPERIMENTAL_RESOURCE_DETECTORS", "process")
        keep = Keep()
        provider = made(keep, resource=Resource.create({}))
        tracer: Any = provider.get_tracer("t")
        parents = provider.resource.attributes["process.pid"]

        def work() -> list[Any]:
            tracer.start_span("span").end()
            assert tracer.resource is provider.resource
            return [keep.spans[-1].resource.attributes["process.pid"], os.getpid()]

        child, own = in_child(work)
        assert child == own != parents
        assert provider.resource.attributes["process.pid"] == parents

    def test_a_forked_child_and_its_parent_make_different_ids(self) -> None:
        tracer = made().get_tracer("t")
        tracer.start_span("warm")

        def ids() -> list[int]:
            return [tracer.start_span("span").get_span_context().trace_id for _ in range(100)]

        assert not set(in_child(ids)) & set(in_child(ids)) & set(ids())


class TestExporters:
    def test_the_sdks_exporters_and_processors_take_its_spans(self) -> None:
        exporter = InMemorySpanExporter()
        tracer = made(SDKSimpleSpanProcessor(exporter)).get_tracer("t")
        with tracer.start_as_current_span("outer"), tracer.start_as_current_span("inner"):
            pass
        assert [span.name for span in exporter.get_finished_spans()] == ["inner", "outer"]

    @pytest.mark.parametrize("holder", [sdk.SynchronousMultiSpanProcessor, sdk.ConcurrentMultiSpanProcessor])
    def test_anothers_holder_of_processors_is_used(self, holder: Any) -> None:
        keep, exporter = Keep(), Encoded()
        active: Any = holder()
        provider = made(otlpfast.SimpleSpanProcessor(exporter), keep, active_span_processor=active)
        assert provider._active_span_processor is active
        provider.get_tracer("t").start_span("span").end()
        assert [span.name for span in keep.spans] == [span.name for span in exporter.spans] == ["span"]
        provider.shutdown()
        if holder is sdk.ConcurrentMultiSpanProcessor:
            active._executor.shutdown()

    def test_a_processor_that_comes_later_sees_the_spans_that_end_from_then_on(self) -> None:
        keep = Keep()
        provider = made()
        tracer = provider.get_tracer("t")
        live = tracer.start_span("live")
        provider.add_span_processor(keep)
        live.end()
        assert [span.name for span in keep.spans] == ["live"]

"""What other code reaches for in a TracerProvider, a Tracer and a Span of the SDK is there in otlpfast's."""

from __future__ import annotations

import copy
import inspect
import pickle
import threading
import weakref
from abc import ABC
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.context import Context
from opentelemetry.sdk import trace as sdk
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON
from opentelemetry.trace import NonRecordingSpan
from opentelemetry.trace import Span as APISpan

import otlpfast

from .pipeline import Encoded
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


@pytest.fixture
def span(tracer: Any) -> Iterator[Any]:
    with tracer.start_span("span", attributes={"a": "secret", "b": [1]}) as started:
        yield started


class TestKinds:
    def test_providers_and_tracers_are_those_of_the_api_and_of_the_sdk(self, tracer: Any) -> None:
        for module in (trace, sdk, otlpfast):
            assert isinstance(made(), module.TracerProvider)
            assert isinstance(tracer, module.Tracer)

    def test_a_span_is_all_that_the_sdks_is(self, span: Any) -> None:
        for kind in (APISpan, sdk.ReadableSpan, sdk.Span, sdk._Span, otlpfast.Span):
            assert isinstance(span, kind)
        assert not isinstance(span, NonRecordingSpan)

    def test_the_class_of_a_span_inherits_in_the_sdks_order(self, span: Any) -> None:
        assert span.__class__ is otlpfast.Span
        assert span.__class__.__mro__ == (otlpfast.Span, *sdk._Span.__mro__)
        assert issubclass(otlpfast.Span, ABC)

    def test_a_span_that_is_not_sampled_records_nothing(self) -> None:
        span = made(sampler=ALWAYS_OFF).get_tracer("t").start_span("span")
        assert isinstance(span, NonRecordingSpan)
        assert not isinstance(span, sdk.ReadableSpan)
        assert not span.is_recording()
        assert span.get_span_context().is_valid
        assert repr(span) == f"NonRecordingSpan({span.get_span_context()!r})"

    def test_a_processor_gets_the_live_span_and_then_a_readable_one_that_shares_its_containers(self) -> None:
        class Both(Keep):
            def on_start(self, span: sdk.Span, parent_context: Context | None = None) -> None:
                self.started = span

        both = Both()
        live = made(both).get_tracer("t").start_span("span", attributes={"a": 1})
        live.end()
        (ended,) = both.spans
        assert both.started is live
        assert type(ended) is sdk.ReadableSpan
        assert ended._attributes is both.started._attributes
        assert ended._events is both.started._events

    def test_providers_tracers_and_processors_of_others_may_inherit_from_it(self) -> None:
        class Prefixing(otlpfast.TracerProvider):
            def get_tracer(self, *args: Any, **options: Any) -> Any:
                self.asked = args
                return super().get_tracer(*args, **options)

        provider = Prefixing(shutdown_on_exit=False, sampler=ALWAYS_ON)
        assert provider.get_tracer("t").start_span("span").is_recording()
        assert provider.asked == ("t",)


class TestMaking:
    def test_takes_the_arguments_that_the_sdks_provider_takes(self) -> None:
        assert parameters(otlpfast.TracerProvider.__init__) == parameters(sdk.TracerProvider.__init__)

    @pytest.mark.parametrize("method", ["start_span", "start_as_current_span"])
    def test_tracers_take_the_arguments_that_the_sdks_take(self, method: str) -> None:
        assert parameters(getattr(otlpfast.Tracer, method)) == parameters(getattr(sdk.Tracer, method))

    @pytest.mark.parametrize(
        "method",
        [
            *("set_attribute", "set_attributes", "add_event", "add_link", "record_exception", "end", "start"),
            *("is_recording", "get_span_context"),
        ],
    )
    def test_spans_take_the_arguments_that_the_sdks_take(self, span: Any, method: str) -> None:
        wanted = {name: default for name, (_, default) in parameters(getattr(sdk.Span, method)).items()}
        found = {name: default for name, (_, default) in parameters(getattr(span, method)).items()}
        del wanted["self"]
        assert found == wanted

    def test_a_span_is_made_by_a_tracer_alone(self, span: Any) -> None:
        with pytest.raises(TypeError, match="Span must be instantiated via a tracer"):
            otlpfast.Span("span", span.get_span_context())
        if otlpfast.IMPLEMENTATION == "c":
            with pytest.raises(TypeError):
                type(span)()

    def test_a_tracer_may_be_made_with_the_sdks_arguments(self, tracer: Any) -> None:
        keep = Keep()
        provider = made(keep)
        own = otlpfast.Tracer(
            ALWAYS_ON,
            provider.resource,
            provider._active_span_processor,
            provider.id_generator,
            tracer.instrumentation_info,
            provider._span_limits,
            tracer._instrumentation_scope,
        )
        with own.start_as_current_span("span"):
            pass
        assert [span.name for span in keep.spans] == ["span"]
        assert keep.spans[0].instrumentation_scope is tracer._instrumentation_scope

    def test_the_same_scope_gets_the_same_tracer(self) -> None:
        provider = made()
        tracer: Any = provider.get_tracer("t", "1", "https://schema/1", {"a": 1})
        assert provider.get_tracer("t", "1", "https://schema/1", {"a": 1}) is tracer
        assert provider.get_tracer("t", "2", "https://schema/1", {"a": 1}) is not tracer
        assert provider.get_tracer("t", "1", "https://schema/1", {"a": 2}) is not tracer
        assert provider._tracers[tracer._instrumentation_scope] is tracer

    def test_threads_that_ask_at_once_get_the_same_tracer(self) -> None:
        provider, found, barrier = made(), [], threading.Barrier(8)

        def ask() -> None:
            barrier.wait(20)
            found.append(provider.get_tracer("t"))

        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert len(found) == 8
        assert set(map(id, found)) == {id(provider.get_tracer("t"))}

    def test_a_disabled_sdk_gives_tracers_that_do_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
        provider = made()
        assert provider._disabled
        assert type(provider.get_tracer("t")) is trace.NoOpTracer

    def test_an_id_generator_need_not_say_whether_its_ids_are_random(self) -> None:
        class Bare:
            def generate_trace_id(self) -> int:
                return 7

            def generate_span_id(self) -> int:
                return 8

        span = made(id_generator=Bare()).get_tracer("t").start_span("span")
        assert isinstance(span, sdk.Span)
        context = span.get_span_context()
        assert (context.trace_id, context.span_id, context.trace_flags) == (7, 8, 1)


def parameters(function: Any) -> dict[str, tuple[Any, Any]]:
    """The names, kinds and defaults of a function's parameters."""
    found = inspect.signature(function).parameters
    return {name: (parameter.kind, parameter.default) for name, parameter in found.items()}


class TestFields:
    def test_a_provider_shows_what_the_sdks_shows(self) -> None:
        exporter, limits = Encoded(), sdk.SpanLimits(max_events=3)
        exporter._endpoint = "http://collector"  # type: ignore[attr-defined]
        provider = made(span_limits=limits)
        provider.add_span_processor(otlpfast.SimpleSpanProcessor(exporter))
        assert provider.sampler is ALWAYS_ON
        assert provider.resource is provider._resource
        assert provider._span_limits is limits
        assert provider.id_generator.is_trace_id_random()
        assert provider._atexit_handler is None
        processor: Any = provider._active_span_processor._span_processors[0]
        assert processor.span_exporter._endpoint == "http://collector"

    def test_a_tracer_shows_what_the_sdks_shows(self) -> None:
        provider = made()
        tracer: Any = provider.get_tracer("t", "1")
        assert tracer.sampler is provider.sampler
        assert tracer.resource is provider.resource
        assert tracer.span_processor is provider._active_span_processor
        assert tracer.id_generator is provider.id_generator
        assert tracer._span_limits is provider._span_limits
        assert (tracer.instrumentation_info.name, tracer.instrumentation_info.version) == ("t", "1")
        assert tracer._instrumentation_scope.name == "t"
        assert tracer._is_enabled()

    def test_what_is_set_on_a_tracer_holds_for_the_spans_to_come(self, tracer: Any) -> None:
        keep = Keep()
        before = tracer.start_span("before")
        tracer.resource = Resource({"service.name": "other"})
        tracer.span_processor = keep
        before.end()
        assert keep.spans == []
        tracer.start_span("after").end()
        assert [span.resource.attributes["service.name"] for span in keep.spans] == ["other"]
        tracer._set_tracer_config(sdk._TracerConfig(is_enabled=False))
        assert not tracer._is_enabled()
        assert not tracer.start_span("none").is_recording()

    @pytest.mark.parametrize(
        "name",
        [
            *("_name", "_context", "_kind", "_parent", "_start_time", "_end_time", "_attributes", "_events"),
            *("_links", "_status", "_resource", "_instrumentation_scope", "_instrumentation_info"),
            *("_sampler", "_limits", "_lock", "_span_processor", "_record_exception"),
            *("_set_status_on_exception", "_record_end_metrics", "_trace_config"),
        ],
    )
    def test_an_underscore_field_may_be_read_and_set(self, span: Any, name: str) -> None:
        before = getattr(span, name)
        for value in ({"_start_time": 5, "_end_time": 6}.get(name, before), before):
            setattr(span, name, value)
            assert getattr(span, name) == value
        assert name in dir(span)

    def test_its_lock_is_one(self, span: Any) -> None:
        assert span._lock is span._lock
        with span._lock:
            assert span._name == "span"

    def test_amazons_way_to_redact(self) -> None:
        # aws-opentelemetry-distro edits what the span it is given shares with the live one.
        class Redacting(sdk.SpanProcessor):
            def on_end(self, span: sdk.ReadableSpan) -> None:
                assert isinstance(span._attributes, BoundedAttributes)
                with span._attributes._lock:
                    span._attributes._dict["a"] = "redacted"
                span._kind = trace.SpanKind.CLIENT

        exporter = Encoded()
        provider = made(otlpfast.SimpleSpanProcessor(exporter), Redacting())
        provider.get_tracer("t").start_span("span", attributes={"a": "secret"}).end()
        (message,) = exporter.spans
        assert message.attributes[0].value.string_value == "redacted"
        assert message.kind == message.SPAN_KIND_CLIENT

    def test_azures_way_to_rename(self) -> None:
        class Renaming(sdk.SpanProcessor):
            def on_end(self, span: sdk.ReadableSpan) -> None:
                span._name = "renamed"

        exporter = Encoded()
        provider = made(otlpfast.SimpleSpanProcessor(exporter), Renaming())
        provider.get_tracer("t").start_span("span").end()
        assert [message.name for message in exporter.spans] == ["renamed"]

    def test_the_view_of_attributes_follows_the_span_and_is_read_only(self, span: Any) -> None:
        view = span.attributes
        span.set_attribute("later", True)
        assert view["later"] is True
        assert view.get("missing") is None
        with pytest.raises(TypeError):
            view["b"] = 1

    def test_instrumentation_info_is_deprecated_where_it_is_read(self, span: Any) -> None:
        with pytest.warns(DeprecationWarning, match="instrumentation_scope") as told:
            assert span.instrumentation_info.name == "tests"
        assert told[0].filename == __file__


class TestObjects:
    def test_a_span_takes_attributes_of_its_own(self, span: Any) -> None:
        span.mine = {"a": 1}
        assert vars(span)["mine"] == {"a": 1}
        del span.mine
        assert not hasattr(span, "mine")

    def test_a_span_that_is_not_sampled_takes_attributes_too(self) -> None:
        span: Any = made(sampler=ALWAYS_OFF).get_tracer("t").start_span("span")
        span.mine = 1
        assert (span.mine, vars(span)["mine"], copy.copy(span).mine) == (1, 1, 1)
        assert weakref.ref(span)() is span

    def test_a_span_may_be_weakly_referenced_and_hashed(self, tracer: Any) -> None:
        span = tracer.start_span("span")
        kept: weakref.WeakKeyDictionary[Any, str] = weakref.WeakKeyDictionary({span: "kept"})
        reference = weakref.ref(span)
        assert reference() is span
        assert kept[span] == "kept"
        assert {span: 1}[span] == 1
        del span
        assert reference() is None
        assert not kept

    def test_a_copy_shares_the_containers_and_nothing_else(self, span: Any) -> None:
        span.mine = "own"
        twin = copy.copy(span)
        assert twin is not span
        assert twin.mine == "own"
        assert isinstance(twin, sdk.Span)
        twin.update_name("twin")
        twin.set_attribute("shared", True)
        assert (span.name, span.attributes["shared"]) == ("span", True)
        twin.end()
        assert span.is_recording()

    def test_a_deep_copy_is_refused_as_by_the_sdk_or_complete(self, span: Any) -> None:
        try:
            twin = copy.deepcopy(span)
        except TypeError:
            return
        twin.set_attribute("own", True)
        assert "own" not in span.attributes
        assert twin.get_span_context() == span.get_span_context()

    def test_an_ended_span_may_be_deeply_copied(self, span: Any) -> None:
        ended = span._readable_span()
        assert copy.deepcopy(ended).to_json() == ended.to_json()

    def test_what_can_be_pickled_of_the_sdk_can_be_pickled_here(self, span: Any) -> None:
        context = span.get_span_context()
        assert pickle.loads(pickle.dumps(context)) == context
        unsampled = made(sampler=ALWAYS_OFF).get_tracer("t").start_span("span")
        thawed = pickle.loads(pickle.dumps(unsampled))
        assert thawed.get_span_context() == unsampled.get_span_context()
        with pytest.raises(TypeError):
            pickle.dumps(span)

    def test_a_tracer_may_be_copied_and_given_attributes(self, tracer: Any) -> None:
        tracer.mine = 1
        twin = copy.copy(tracer)
        assert twin.mine == 1
        assert twin.start_span("span").resource is tracer.resource

    @pytest.mark.parametrize("leave", ["end", "with", "use_span", "current"])
    def test_a_method_that_is_replaced_on_a_span_is_the_one_called(self, tracer: Any, leave: str) -> None:
        calls = []

        def watch(span: Any) -> None:
            end = span.end

            def ending(*args: Any) -> None:
                calls.append(span)
                end(*args)

            span.end = ending

        if leave == "current":
            with tracer.start_as_current_span("span") as span:
                watch(span)
        else:
            span = tracer.start_span("span")
            watch(span)
            if leave == "end":
                span.end()
            else:
                with span if leave == "with" else trace.use_span(span, end_on_exit=True):
                    pass
        assert calls == [span]
        assert not span.is_recording()

    def test_methods_may_be_called_through_the_classes(self, tracer: Any, span: Any) -> None:
        otlpfast.Span.set_attribute(span, "k", 1)
        sdk.Span.set_attribute(span, "l", 2)
        sdk.Span.add_event(span, "event")
        sdk.ReadableSpan.to_json(span)
        assert (span.attributes["k"], span.attributes["l"], len(span.events)) == (1, 2, 1)
        for kind in (sdk.Tracer, otlpfast.Tracer):
            with kind.start_as_current_span(tracer, "current") as current:
                assert trace.get_current_span() is current
                assert isinstance(current, otlpfast.Span)
            assert not current.is_recording()
            assert isinstance(kind.start_span(tracer, "unbound"), sdk.Span)

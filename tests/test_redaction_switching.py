"""Redaction by argument, variable and file; in children, threads and handlers; and beside spans."""

from __future__ import annotations

import gc
import json
import logging
import pickle
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk import trace as sdk
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import otlpfast
from otlpfast import BatchSpanProcessor, SimpleSpanProcessor, SpanMetricsProcessor
from otlpfast._log import warn
from otlpfast._shown import shown
from otlpfast.environment_variables import OTLPFAST_REDACTION
from otlpfast.profiling import _landmarks
from otlpfast.profiling._labels import ThreadNames, Work
from otlpfast.profiling._native import sampler
from otlpfast.redaction import RedactionRules

from .collector import Collector
from .exporting import collector_fixture  # noqa: F401
from .forks import in_child
from .metering import NewMeters, meters_fixture  # noqa: F401
from .pipeline import NEVER_MILLIS, Encoded, account, in_threads, ran
from .planted import BY_NAME, EMAIL, RESOURCE, SCOPE_ATTRIBUTES, found_in, harmless, plant, values_of
from .spans import hand_made, provider
from .starting import NO_INSTRUMENTATION, finished, python, run
from .traced import native

RULES = RedactionRules.default()
Processor = Callable[..., Any]


@pytest.fixture(params=[BatchSpanProcessor, SimpleSpanProcessor])
def kind(request: pytest.FixtureRequest) -> Processor:
    made: Processor = request.param
    return made


@pytest.fixture(autouse=True)
def _no_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(OTLPFAST_REDACTION, raising=False)


def name_after(processor: Any, exporter: Encoded, name: str = f"of {EMAIL}") -> str:
    native(processor).get_tracer("tests").start_span(name).end()
    assert processor.force_flush()
    [span] = exporter.spans
    return span.name


# --- switching it on


def test_without_rules_nothing_is_changed(kind: Processor) -> None:
    exporter = Encoded()
    assert name_after(kind(exporter), exporter) == f"of {EMAIL}"


def test_what_are_no_rules_is_refused(kind: Processor) -> None:
    with pytest.raises(TypeError, match=r"redaction='default': RedactionRules are allowed"):
        kind(Encoded(), redaction="default")
    with pytest.raises(TypeError, match="redaction"):
        SpanMetricsProcessor(redaction=True)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="redaction"):
        otlpfast.configure(redaction={})  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["default", " default "])
def test_the_variable_switches_the_default_rules_on(
    kind: Processor, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(OTLPFAST_REDACTION, text)
    exporter = Encoded()
    assert name_after(kind(exporter), exporter) == "of [REDACTED]"


def test_the_variable_names_a_file(kind: Processor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "rules.json"
    path.write_text(json.dumps({"patterns": [{"regex": "cust-[0-9]+"}], "mask": "~"}))
    monkeypatch.setenv(OTLPFAST_REDACTION, str(path))
    exporter = Encoded()
    assert name_after(kind(exporter), exporter, f"of cust-17 {EMAIL}") == f"of ~ {EMAIL}"


def test_an_argument_wins_over_the_variable(kind: Processor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(OTLPFAST_REDACTION, "default")
    exporter = Encoded()
    assert name_after(kind(exporter, redaction=RedactionRules()), exporter) == f"of {EMAIL}"


@pytest.mark.parametrize("text", [None, "{", '{"kyes": []}', '{"patterns": ["mail"]}'])
def test_a_wrong_file_is_an_error_in_the_log_and_the_default_rules(
    kind: Processor,
    text: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    path = tmp_path / "rules.json"
    if text is not None:
        path.write_text(text)
    monkeypatch.setenv(OTLPFAST_REDACTION, str(path))
    exporter = Encoded()
    assert name_after(kind(exporter), exporter) == "of [REDACTED]"
    [record] = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert record.levelno == logging.ERROR
    assert f"{OTLPFAST_REDACTION}={str(path)!r} can't be followed" in record.getMessage()
    assert "THE DEFAULT RULES ARE USED" in record.getMessage()


CONFIGURED = f"""
import otlpfast
from otlpfast.redaction import RedactionRules
provider = otlpfast.configure({{}})
provider.get_tracer("app").start_span("of {EMAIL}", attributes={{{{"password": "x"}}}}).end()
"""


@pytest.mark.parametrize(
    ("argument", "variables"),
    [
        ("redaction=RedactionRules.default()", {}),
        ("", {OTLPFAST_REDACTION: "default"}),
        ("redaction=RedactionRules.default()", {"OTLPFAST_DISABLED": "true"}),
        ("", {OTLPFAST_REDACTION: "default", "OTLPFAST_DISABLED": "true"}),
    ],
    ids=["argument", "variable", "argument, switched off", "variable, switched off"],
)
def test_configure(collector: Collector, argument: str, variables: dict[str, str]) -> None:
    python(CONFIGURED.format(argument), collector, **variables)
    [span] = collector.wait_for_spans(1)
    assert span.name == "of [REDACTED]"
    assert values_of(span.attributes) == {"password": "[REDACTED]"}


BY_FILE = f"""
import sys, types
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SimpleSpanProcessor
package = types.ModuleType("opentelemetry.configuration")
tracing = types.ModuleType("opentelemetry.configuration._tracer_provider")
tracing.TracerProvider, tracing.SimpleSpanProcessor = TracerProvider, SimpleSpanProcessor
if sys.argv[1:] != ["another"]:
    tracing.BatchSpanProcessor = BatchSpanProcessor
def configure_sdk(config):
    provider = tracing.TracerProvider()
    provider.add_span_processor(tracing.SimpleSpanProcessor(ConsoleSpanExporter()))
    trace.set_tracer_provider(provider)
package.load_config_file, package.configure_sdk = str, configure_sdk
package._tracer_provider, package.__path__ = tracing, []
sys.modules.update({{module.__name__: module for module in (package, tracing)}})
from otlpfast.autoconfigure import OtlpfastConfigurator
OtlpfastConfigurator().configure()
trace.get_tracer("app").start_span("of {EMAIL}", attributes={{"password": "hunter2"}}).end()
"""


@pytest.mark.parametrize("off", ["false", "true"])
def test_a_declarative_file(off: str) -> None:
    """As the package of that name would follow it."""
    done = python(BY_FILE, OTEL_CONFIG_FILE="otel.yaml", OTLPFAST_REDACTION="default", OTLPFAST_DISABLED=off)
    assert '"name": "of [REDACTED]"' in done.stdout
    assert EMAIL not in done.stdout and "hunter2" not in done.stdout


@pytest.mark.parametrize("off", ["false", "true"])
def test_a_declarative_file_that_another_release_follows_its_own_way(off: str) -> None:
    code = BY_FILE.replace("sys.argv[1:]", '["another"]')
    done = python(code, OTEL_CONFIG_FILE="otel.yaml", OTLPFAST_REDACTION="default", OTLPFAST_DISABLED=off)
    assert done.stdout == ""
    assert "nothing is configured" in done.stderr and "OTLPFAST_REDACTION" in done.stderr


@pytest.mark.parametrize("off", ["false", "true"])
def test_run(collector: Collector, off: str, tmp_path: Path) -> None:
    app = "from opentelemetry import trace\ntrace.get_tracer('app').start_span('of joe@example.com').end()\n"
    (tmp_path / "app.py").write_text(app)
    variables = {**NO_INSTRUMENTATION, OTLPFAST_REDACTION: "default", "OTLPFAST_DISABLED": off}
    variables["OTEL_EXPORTER_OTLP_PROTOCOL"] = "http/protobuf"
    done = finished(run("app.py"), collector, cwd=tmp_path, **variables)
    assert done.returncode == 0, done.stderr
    assert [span.name for span in collector.wait_for_spans(1)] == ["of [REDACTED]"]


def test_the_sdks_classes_redact_what_they_export_when_otlpfast_is_switched_off() -> None:
    from otlpfast import _stock

    for make in (_stock.BatchSpanProcessor, _stock.SimpleSpanProcessor):
        exporter = InMemorySpanExporter()
        processor = make(exporter, redaction=RULES)
        source = native(processor, kind=sdk.TracerProvider, resource=RESOURCE)
        expected = plant(source.get_tracer("tests", attributes=SCOPE_ATTRIBUTES), octets=False)
        assert processor.force_flush()
        spans = exporter.get_finished_spans()
        assert len(spans) == expected and found_in(*(span.to_json() for span in spans)) == []
        processor.shutdown()


# --- copies for exporters that want spans


def test_a_copy_has_all_that_is_harmless() -> None:
    before, after = InMemorySpanExporter(), InMemorySpanExporter()
    source = native(SimpleSpanProcessor(before), SimpleSpanProcessor(after, redaction=RULES))
    harmless(source.get_tracer("tests", "1.0", "https://schema", {"level": 1}))
    for plain, redacted in zip(before.get_finished_spans(), after.get_finished_spans(), strict=True):
        assert isinstance(redacted, ReadableSpan) and type(redacted) is ReadableSpan
        for name in ("name", "context", "parent", "kind", "start_time", "end_time", "attributes"):
            assert getattr(redacted, name) == getattr(plain, name)
        for name in ("resource", "instrumentation_scope", "dropped_attributes", "dropped_events"):
            assert getattr(redacted, name) == getattr(plain, name)
        assert redacted.status.status_code is plain.status.status_code
        assert redacted.status.description == plain.status.description
        assert [(e.name, e.timestamp, dict(e.attributes or {})) for e in redacted.events] == [
            (e.name, e.timestamp, dict(e.attributes or {})) for e in plain.events
        ]


def test_the_span_itself_is_left_as_it_is(kind: Processor) -> None:
    span = hand_made(name=EMAIL, attributes={"password": "x", "list": [EMAIL]})
    for exporter in (Encoded(), InMemorySpanExporter()):
        processor = kind(exporter, redaction=RULES)
        processor.on_end(span)
        assert processor.force_flush()
    assert span.name == EMAIL and dict(span.attributes or {}) == {"password": "x", "list": [EMAIL]}


def test_a_span_that_cannot_be_copied_is_dropped_and_counted() -> None:
    exporter = InMemorySpanExporter()
    processor = BatchSpanProcessor(exporter, schedule_delay_millis=NEVER_MILLIS, redaction=RULES)
    good = hand_made(name=EMAIL)
    bad = hand_made()
    for span in (good, bad):
        processor.on_end(span)
    bad._context = None  # since it ended
    assert not processor.force_flush()
    assert [span.name for span in exporter.get_finished_spans()] == ["[REDACTED]"]
    assert processor.stats() == account(2, exported=1, encode_error=1)
    processor.shutdown()


# --- forks, threads, handlers and finalisers


def test_a_child_redacts_its_own_spans(kind: Processor) -> None:
    exporter = Encoded()
    processor = kind(exporter, redaction=RULES)
    tracer = native(processor, resource=RESOURCE).get_tracer("tests", attributes=SCOPE_ATTRIBUTES)
    expected = plant(tracer)
    assert processor.force_flush()

    def child() -> list[Any]:
        exporter.batches.clear()
        ended = plant(tracer)
        assert processor.force_flush()
        return [ended, len(exporter.spans), found_in(*exporter.batches)]

    assert in_child(child) == [expected, expected, []]


def test_threads_share_rules(kind: Processor) -> None:
    exporter = Encoded()
    processor = kind(exporter, redaction=RULES)
    tracer = native(processor, resource=RESOURCE).get_tracer("tests", attributes=SCOPE_ATTRIBUTES)
    in_threads(4, lambda number: [plant(tracer) for _ in range(3)])  # type: ignore[arg-type,return-value]
    assert processor.force_flush()
    assert len(exporter.spans) == 4 * 3 * 3 and found_in(*exporter.batches) == []


def tell(tracer: Any) -> None:
    # Not the current one: what a finaliser makes current can crash CPython 3.11.
    span = tracer.start_span(f"of {EMAIL}", attributes={"password": BY_NAME[0], "list": [EMAIL, {EMAIL: 1}]})
    span.add_event(f"to {EMAIL}", {"secret": BY_NAME[1]})
    span.end()


class Telling:
    """Ends a span of its own where it is looked at, and where it dies."""

    def __init__(self, tracer: Any) -> None:
        self.tracer = tracer
        self.itself = self  # so that it dies in a collection

    def __str__(self) -> str:
        tell(self.tracer)
        return f"told by {EMAIL}"

    def __del__(self) -> None:
        tell(self.tracer)


def in_the_middle(exporter_kind: str) -> list[Any]:
    """Handlers, finalisers and ``__str__`` end spans while others are redacted."""
    logging.disable()  # the SDK tells of attributes that are no plain values
    exporter = Encoded() if exporter_kind == "encoded" else InMemorySpanExporter()
    processor = BatchSpanProcessor(
        exporter, 10_000_000, NEVER_MILLIS, max_queue_bytes=2**40, redaction=RedactionRules.default()
    )
    found: list[str] = []
    for make in (native, provider):
        tracer = make(processor, resource=RESOURCE).get_tracer("tests", attributes=SCOPE_ATTRIBUTES)
        signal.signal(signal.SIGALRM, lambda *_, tracer=tracer: tell(tracer))
        signal.setitimer(signal.ITIMER_REAL, 0.002, 0.005)
        gc.set_threshold(50)
        for _ in range(40):
            with tracer.start_as_current_span(f"of {EMAIL}") as span:
                span.set_attribute("telling", Telling(tracer))  # type: ignore[arg-type]
                span.add_event(f"told {EMAIL}", {"mail": EMAIL, "token": BY_NAME[2]})
        signal.setitimer(signal.ITIMER_REAL, 0)
    gc.set_threshold(700)
    gc.collect()
    flushed = processor.force_flush()
    if isinstance(exporter, Encoded):
        found = found_in(*exporter.batches)
    else:
        found = found_in(*(repr((s.name, s.attributes, s.events)) for s in exporter.get_finished_spans()))
    stats = processor.stats()
    return [flushed, stats["ended"] == stats["exported"] >= 2 * 40 * 3, found]


@pytest.mark.parametrize("exporter_kind", ["encoded", "objects"])
def test_spans_that_end_in_the_middle_are_redacted_too(exporter_kind: str) -> None:
    assert ran(in_the_middle, exporter_kind) == [True, True, []]


def test_rules_go_to_another_process_whether_they_were_used_or_not() -> None:
    rules = RedactionRules(keys=[("a*", "hash")], patterns=["email"], hash_key="k")
    for _ in range(2):
        copy = pickle.loads(pickle.dumps(rules))
        assert copy == rules and copy.redactor().hash("x") == rules.redactor().hash("x")


# --- what is shown beside spans


def test_span_metrics_show_none(meters: NewMeters) -> None:
    metered = meters()
    processor = SpanMetricsProcessor(
        metered.provider, dimensions=["login.password", "mail", "region"], redaction=RULES
    )
    tracer = native(processor).get_tracer("tests")
    attributes = {"login.password": BY_NAME[0], "mail": EMAIL, "region": "eu"}
    for number in range(3):
        tracer.start_span(f"GET /users/{number}{EMAIL}", attributes=attributes).end()
    [point] = metered.points("traces.span.metrics.calls")
    assert point.value == 3
    assert point.attributes["span.name"] == "GET /users/[REDACTED]"
    assert [point.attributes[name] for name in ("login.password", "mail", "region")] == [
        "[REDACTED]",
        "[REDACTED]",
        "eu",
    ]
    metered.collect()
    assert found_in(repr(metered.collect())) == []


def test_span_metrics_have_one_series_of_what_is_hidden(meters: NewMeters) -> None:
    metered = meters()
    rules = RedactionRules(allow=["region"], patterns=["email"], action="drop")
    processor = SpanMetricsProcessor(
        metered.provider, dimensions=["region", "user.id"], max_series=3, redaction=rules
    )
    tracer = native(processor).get_tracer("tests")
    for number in range(10):
        attributes = {"region": "eu", "user.id": f"user {number}"}
        tracer.start_span(f"GET /users/{number}{EMAIL}", attributes=attributes).end()
    [point] = metered.points("traces.span.metrics.calls")
    assert point.value == 10
    assert point.attributes["region"] == "eu" and "user.id" not in point.attributes


class Broken(sdk.sampling.Sampler):  # type: ignore[attr-defined,misc,name-defined]
    def should_sample(self, *_: Any, **__: Any) -> Any:
        raise ValueError(f"no rule for {EMAIL}")

    def get_description(self) -> str:
        return "Broken"


def test_log_lines_show_none(caplog: pytest.LogCaptureFixture) -> None:
    from otlpfast._given import _log

    processor = SimpleSpanProcessor(Encoded(), redaction=RULES)
    _log._start()  # whatever was logged before
    native(processor, sampler=Broken()).get_tracer("tests").start_span(f"GET /users/{EMAIL}")
    assert any("start_span('GET /users/[REDACTED]') raised ValueError" in text for text in caplog.messages)
    warn(logging.getLogger("otlpfast.tests"), "100 %% of %s", EMAIL)
    assert caplog.messages[-1] == "100 % of [REDACTED]"
    assert found_in(*caplog.messages) == []


def shown_with_and_without() -> list[str]:
    processor = SimpleSpanProcessor(Encoded(), redaction=RedactionRules.default())
    texts = [shown(EMAIL)]
    del processor
    gc.collect()
    return [*texts, shown(EMAIL)]


def test_nothing_is_hidden_once_no_processor_redacts() -> None:
    assert ran(shown_with_and_without) == ["[REDACTED]", EMAIL]


def test_labels_of_profiles_show_none() -> None:
    processor = SimpleSpanProcessor(Encoded(), redaction=RULES)
    names = ThreadNames()
    labels = dict(Work(0, 7, 8, f"GET /users/{EMAIL}").labels(names))
    assert labels["span_name"] == "GET /users/[REDACTED]"
    if sampler is not None:
        _landmarks.learn()
        with native(processor).get_tracer("tests").start_as_current_span(f"GET /users/{EMAIL}"):
            assert sampler.current_labels()["span_name"] == "GET /users/[REDACTED]"

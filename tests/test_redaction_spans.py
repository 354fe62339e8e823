"""No planted secret gets anywhere: not to a collector, a console, a spool or a page, from either provider."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk import trace as sdk
from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SpanExporter
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from otlpfast import BatchSpanProcessor, SimpleSpanProcessor, web
from otlpfast.export.console import ConsoleSpanExporter as TreeExporter
from otlpfast.redaction import RedactionRules

from .collector import Collector, Reply
from .exporting import Make, collector_fixture, make_fixture  # noqa: F401
from .pages import ask, page_fixture  # noqa: F401
from .pipeline import NEVER_MILLIS, Encoded
from .planted import RESOURCE, SCOPE_ATTRIBUTES, SECRETS, found_in, harmless, plant, values_of
from .spooling import posix
from .test_processor_chain import Onlooker
from .traced import native

RULES = RedactionRules.default()

Providers = Callable[..., sdk.TracerProvider]


def of_otlpfast(*processors: SpanProcessor) -> sdk.TracerProvider:
    return native(*processors, resource=RESOURCE)


def of_the_sdk(*processors: SpanProcessor) -> sdk.TracerProvider:
    return native(*processors, kind=sdk.TracerProvider, resource=RESOURCE)


def of_the_sdk_with_another_after(*processors: SpanProcessor) -> sdk.TracerProvider:
    """So that spans are kept until they are exported."""
    return of_the_sdk(*processors, Onlooker())


@pytest.fixture(
    params=[of_otlpfast, of_the_sdk, of_the_sdk_with_another_after], ids=lambda made: made.__name__
)
def provider(request: pytest.FixtureRequest) -> Providers:
    made: Providers = request.param
    return made


def batch(exporter: SpanExporter, **settings: Any) -> BatchSpanProcessor:
    return BatchSpanProcessor(
        exporter, schedule_delay_millis=NEVER_MILLIS, **{"redaction": RULES, **settings}
    )


def simple(exporter: SpanExporter) -> SimpleSpanProcessor:
    return SimpleSpanProcessor(exporter, redaction=RULES)


@pytest.fixture(params=[batch, simple], ids=["batch", "simple"])
def processor(request: pytest.FixtureRequest) -> Callable[[SpanExporter], Any]:
    made: Callable[[SpanExporter], Any] = request.param
    return made


Processors = Callable[[SpanExporter], Any]


def planted(source: sdk.TracerProvider, octets: bool = True) -> int:
    return plant(source.get_tracer("tests", "1.0", attributes=SCOPE_ATTRIBUTES), octets)


def test_what_is_planted_would_be_seen() -> None:
    exporter = Encoded()
    source = of_otlpfast(SimpleSpanProcessor(exporter))
    planted(source)
    assert set(found_in(*exporter.batches)) == set(SECRETS)


def test_a_collector_gets_none(
    collector: Collector, make: Make, provider: Providers, processor: Processors
) -> None:
    ours = processor(make(collector))
    expected = planted(provider(ours))
    assert ours.force_flush()
    spans = collector.wait_for_spans(expected)
    assert found_in(*(request.body for request in collector.requests)) == []
    assert len(spans) == expected and ours.stats()["exported"] == expected
    first, login, renamed = sorted(spans, key=lambda span: ("GET" not in span.name, span.name != "login"))
    assert first.name.startswith("GET /users/") and first.status.message.startswith("no account of ")
    assert login.events[0].name == "exception"
    exception = values_of(login.events[0].attributes)
    assert exception["exception.type"].endswith("LoginError")
    assert "Traceback (most recent call last)" in exception["exception.stacktrace"]
    assert renamed.name.startswith("pay with ")
    ours.shutdown()


def test_exporters_of_spans_get_none(provider: Providers, processor: Processors) -> None:
    kept, text, tree = InMemorySpanExporter(), io.StringIO(), io.StringIO()
    for exporter in (kept, ConsoleSpanExporter(out=text), TreeExporter(tree)):
        ours = processor(exporter)
        expected = planted(provider(ours), octets=False)  # which the SDK can't show as JSON
        assert ours.force_flush()
        assert ours.stats()["exported"] == expected
    seen = [span.to_json() for span in kept.get_finished_spans()]
    assert len(seen) == expected
    scopes = [str(scope) for span in kept.get_finished_spans() if (scope := span.instrumentation_scope)]
    assert found_in(*seen, text.getvalue(), tree.getvalue(), *scopes) == []
    assert all(json.loads(span)["resource"]["attributes"]["service.name"] == "shop" for span in seen)
    assert "login" in text.getvalue() and "login" in tree.getvalue()


@posix
def test_a_spool_has_none(make: Make, provider: Providers, tmp_path: Path) -> None:
    with Collector() as collector:
        collector.script(then=Reply(503))
        ours = batch(make(collector), spool_dir=tmp_path)
        expected = planted(provider(ours))
        ours.force_flush(0)
        ours.shutdown(2000)
        files = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
        assert ours.stats()["spooled"] == expected
        assert any(b"LoginError" in data for data in files)
        assert found_in(*files, *(request.body for request in collector.requests)) == []


@pytest.mark.parametrize("exporter", [Encoded, InMemorySpanExporter])
def test_the_page_shows_none(
    page: web.Server, provider: Providers, processor: Processors, exporter: type[SpanExporter]
) -> None:
    ours = processor(exporter())
    planted(provider(ours))
    assert ours.force_flush()
    answers = [ask(page.url, path).body for path in ("/api/traces", "/api/operations", "/api/stats")]
    traces = json.loads(answers[0])["traces"]
    assert len(traces) == 3
    answers += [ask(page.url, f"/api/traces/{trace['trace_id']}").body for trace in traces]
    assert any(b"LoginError" in answer for answer in answers)
    assert found_in(*answers) == []


def test_what_is_harmless_stays_as_it_is(provider: Providers) -> None:
    plain, redacted = Encoded(), Encoded()
    both = [BatchSpanProcessor(plain, schedule_delay_millis=NEVER_MILLIS), batch(redacted)]
    source = provider(*both)
    harmless(source.get_tracer("tests"))
    assert all(ours.force_flush() for ours in both)
    assert len(plain.spans) == 2
    assert plain.spans == redacted.spans


def test_only_what_is_secret_goes(provider: Providers) -> None:
    exporter = Encoded()
    ours = batch(exporter)
    planted(provider(ours))
    assert ours.force_flush()
    [span] = [span for span in exporter.spans if span.name.startswith("GET")]
    values = values_of(span.attributes)
    assert values["url.full"].startswith("https://") and "item=7" in values["url.full"]
    assert values["payment.note"].startswith("paid by ") and ", then " in values["payment.note"]
    assert values["keys"].values[1].string_value == "none"
    login = {pair.key: pair.value for pair in values["login"].values}
    assert login["user"].string_value == "alice" and login["password"].string_value == RULES.mask
    assert values["long"].startswith("x" * 300) and values["long"].endswith("z" * 1000)
    assert values["é"].startswith("ümläut 東 ") and values["é"].endswith(" 😀")
    assert values["client_secret"] == RULES.mask

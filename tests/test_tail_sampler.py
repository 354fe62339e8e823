"""How a tail sampler is configured: by arguments, by a file, by a variable; and what is said of mistakes."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import SpanKind, Status, StatusCode

from otlpfast import TracerProvider
from otlpfast._tail_sampling import tail_sampler_of
from otlpfast.sampling import TailRule, TailSampler

from .exporting import make_fixture  # noqa: F401
from .pipeline import Batching, Encoded, batching_fixture  # noqa: F401
from .starting import python

VARIABLE = "OTLPFAST_TAIL_SAMPLING"


def written(folder: Path, content: object) -> str:
    path = folder / "tail.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return str(path)


def test_the_defaults_can_be_used_as_they_are() -> None:
    sampler = TailSampler()
    assert (sampler.errors, sampler.slow_seconds, sampler.ratio, sampler.rules) == (True, 1.0, 0.1, ())
    assert str(sampler) == "errors, 1 s, 0.1 of the rest"
    assert str(TailSampler(errors=False, slow_seconds=None)) == "0.1 of all"
    assert str(TailSampler(rules=[TailRule(name="a")])) == "errors, 1 s, 1 rules, 0.1 of the rest"


def test_equal_samplers_are_equal_and_none_can_be_changed() -> None:
    assert TailSampler(rules=[TailRule(name="a")]) == TailSampler(rules=(TailRule(name="a"),))
    with pytest.raises(AttributeError):
        TailSampler().ratio = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("settings", "error", "text"),
    [
        ({"errors": 1}, TypeError, "errors=1"),
        ({"slow_seconds": -1}, ValueError, "slow_seconds=-1"),
        ({"slow_seconds": "1"}, TypeError, "slow_seconds='1'"),
        ({"slow_seconds": float("nan")}, ValueError, "slow_seconds=nan"),
        ({"ratio": 1.1}, ValueError, "ratio=1.1"),
        ({"ratio": None}, TypeError, "ratio=None"),
        ({"rules": TailRule()}, TypeError, "a sequence of TailRule"),
        ({"rules": ["GET"]}, TypeError, "TailRule objects are allowed, not str"),
        ({"max_bytes": 0}, ValueError, "max_bytes=0"),
        ({"max_bytes": 1e6}, TypeError, "max_bytes=1000000.0"),
        ({"decision_seconds": 0}, ValueError, "decision_seconds=0"),
        ({"remembered_traces": True}, TypeError, "remembered_traces=True"),
        ({"remembered_traces": 2**31}, ValueError, "remembered_traces=2147483648"),
    ],
)
def test_a_wrong_argument_is_named(settings: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=re.escape(text)):
        TailSampler(**settings)


@pytest.mark.parametrize(
    ("settings", "error", "text"),
    [
        ({"name": 1}, TypeError, "a pattern"),
        ({"kind": "server"}, TypeError, "kind='server'"),
        ({"attributes": ["a"]}, TypeError, "attributes=['a']"),
        ({"root": "yes"}, TypeError, "root='yes'"),
        ({"ratio": 2}, ValueError, "ratio=2"),
    ],
)
def test_a_wrong_argument_of_a_rule_is_named(
    settings: dict[str, Any], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=re.escape(text)):
        TailRule(**settings)


def test_a_processor_takes_nothing_else(batching: Batching) -> None:
    with pytest.raises(TypeError, match=r"tail_sampler=0\.1: an otlpfast\.sampling\.TailSampler"):
        batching(Encoded(), tail_sampler=0.1)


def test_a_file_says_the_same_as_the_arguments(tmp_path: Path) -> None:
    rules = [{"name": "GET /health*", "root": True, "ratio": 0}, {"kind": "client", "attributes": {"n": 1}}]
    settings = {"errors": False, "slow_seconds": None, "ratio": 0.5, "max_bytes": 1000, "decision_seconds": 1}
    assert tail_sampler_of(written(tmp_path, {**settings, "rules": rules})) == TailSampler(
        errors=False,
        slow_seconds=None,
        ratio=0.5,
        max_bytes=1000,
        decision_seconds=1,
        rules=[
            TailRule(name="GET /health*", root=True, ratio=0),
            TailRule(kind=SpanKind.CLIENT, attributes={"n": 1}),
        ],
    )


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("{", "is no JSON"),
        ([], "an object with some of errors, slow_seconds"),
        ({"percent": 5}, "an object with some of errors, slow_seconds"),
        ({"ratio": 5}, "ratio=5: a number from 0 to 1"),
        ({"rules": {}}, '"rules" is a list'),
        ({"rules": [{}, {"nam": "a"}]}, "rule 2: an object with some of name, kind"),
        ({"rules": [{"kind": "web"}]}, "rule 1: kind 'web' is not known; allowed: internal, server"),
        ({"rules": [{"attributes": 1}]}, "rule 1: attributes=1"),
    ],
)
def test_a_wrong_file_says_where(tmp_path: Path, content: object, text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(text)):
        tail_sampler_of(written(tmp_path, content))


def test_the_variable_is_for_processors_that_are_given_nothing(
    batching: Batching, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(VARIABLE, "default")
    assert batching(Encoded()).tail_sampler == TailSampler()
    mine = TailSampler(ratio=1)
    assert batching(Encoded(), tail_sampler=mine).tail_sampler is mine
    monkeypatch.setenv(VARIABLE, written(tmp_path, {"ratio": 0.5}))
    assert batching(Encoded()).tail_sampler == TailSampler(ratio=0.5)


@pytest.mark.parametrize("value", ["no-such-file.json", "{folder}"])
def test_a_wrong_variable_is_one_warning_and_all_traces_are_kept(
    batching: Batching,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    value: str,
) -> None:
    monkeypatch.setenv(VARIABLE, value.format(folder=tmp_path))
    assert batching(Encoded()).tail_sampler is None
    (record,) = caplog.records
    text = record.getMessage()
    assert VARIABLE in text
    assert "all traces are kept" in text
    assert "default, or the path of a JSON file" in text


CONFIGURED = """
import logging, otlpfast
from otlpfast.sampling import TailSampler
logging.basicConfig(level=logging.INFO, format="%(message)s")
class Nowhere:
    destination = "nowhere"
    def export(self, spans): ...
    def shutdown(self): ...
otlpfast.configure(service_name="shop", exporters=[Nowhere()]{more})
"""


@pytest.mark.parametrize("more", ["", ", tail_sampler=TailSampler(ratio=0.5)"])
def test_the_start_up_line_tells_of_it(more: str) -> None:
    done = python(CONFIGURED.format(more=more), **{VARIABLE: "" if more else "default"})
    share = "0.5" if more else "0.1"
    assert f"then tail sampling (errors, 1 s, {share} of the rest), service shop" in done.stderr


def test_a_rule_that_fails_matches_nothing(batching: Batching) -> None:
    class Moody(str):
        def __eq__(self, other: object) -> bool:
            raise ValueError("not now")

        __hash__ = None  # type: ignore[assignment]

    exporter = Encoded()
    sampler = TailSampler(slow_seconds=None, ratio=0, rules=[TailRule(name="*")])
    processor = batching(exporter, tail_sampler=sampler)
    provider = TracerProvider(sampler=ALWAYS_ON, shutdown_on_exit=False)
    provider.add_span_processor(processor)
    tracer = provider.get_tracer("tests")
    span: Any = tracer.start_span("a")
    span._name = Moody("b")
    span.end()
    tracer.start_span("c").end()
    assert processor.force_flush()
    assert processor.stats()["ended"] == 2


def test_metrics_tell_why_traces_were_kept_and_count_no_loss(
    batching: Batching, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED", "true")
    reader = InMemoryMetricReader()
    meters = MeterProvider([reader])
    sampler = TailSampler(slow_seconds=None, ratio=0, rules=[TailRule(name="keep*")])
    processor = batching(Encoded(), tail_sampler=sampler, meter_provider=meters)
    provider = TracerProvider(sampler=ALWAYS_ON, shutdown_on_exit=False)
    provider.add_span_processor(processor)
    tracer = provider.get_tracer("tests")
    for name in ("keep it", "a", "b"):
        with tracer.start_as_current_span(name):
            tracer.start_span("child").end()
    with tracer.start_as_current_span("bad") as span:
        span.set_status(Status(StatusCode.ERROR))
    processor.force_flush()
    waits = tracer.start_span("root")
    with tracer.start_as_current_span("open"):
        tracer.start_span("child").end()
        found = collected(reader)
    waits.end()
    verdicts = "otlpfast.tail_sampling.traces"
    assert {key: found[verdicts][key] for key in ("error", "slow", "rule", "ratio", "sampled_out")} == {
        "error": 1, "slow": 0, "rule": 1, "ratio": 0, "sampled_out": 2
    }  # fmt: skip
    assert found["otlpfast.tail_sampling.early"] == {"": 0}
    assert found["otlpfast.tail_sampling.sampled_out"] == {"": 4}
    assert found["otlpfast.tail_sampling.spans"] == {"": 1}
    assert found["otlpfast.tail_sampling.usage"][""] > 0
    assert found["otel.sdk.processor.span.queue.size"] == {"": 0}
    processed = found["otel.sdk.processor.span.processed"]
    assert processed.pop("") == 7
    assert not any(processed.values())
    meters.shutdown()


def collected(reader: InMemoryMetricReader) -> dict[str, dict[str, Any]]:
    """For each metric its values, by what its attributes say beside the component."""
    data: Any = reader.get_metrics_data()
    found: dict[str, dict[str, Any]] = {}
    for metric in data.resource_metrics[0].scope_metrics[0].metrics:
        for point in metric.data.data_points:
            found.setdefault(metric.name, {})[label(point.attributes)] = getattr(point, "value", None)
    return found


def label(attributes: Mapping[str, Any]) -> str:
    return "".join(str(v) for k, v in attributes.items() if not k.startswith("otel.component"))

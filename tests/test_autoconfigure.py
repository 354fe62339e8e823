"""Switching on by one line of code and by auto-instrumentation, in processes of their own."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from opentelemetry.sdk.trace.sampling import DEFAULT_ON

import otlpfast
from otlpfast.autoconfigure import _by_the_sdk, _take_over

from .collector import Collector
from .exporting import collector_fixture  # noqa: F401
from .pipeline import names
from .starting import LINE, NO_INSTRUMENTATION, TRACED, finished, python

CONFIGURATOR = "from otlpfast.autoconfigure import OtlpfastConfigurator as C; C().configure(**{arguments})\n"
SHOW = """
from opentelemetry import _logs, metrics, trace
import logging
provider = trace.get_tracer_provider()
service = provider.resource.attributes["service.name"]
print(type(provider).__module__, service, provider.sampler.get_description())
for processor in provider._active_span_processor._span_processors:
    exporter = getattr(processor, "span_exporter", None)
    print(type(processor).__module__, type(exporter).__module__, type(exporter).__name__)
print(type(metrics.get_meter_provider()).__module__, type(_logs.get_logger_provider()).__module__)
print(any("opentelemetry" in type(handler).__module__ for handler in logging.getLogger().handlers))
"""
# What the SDK has deprecated of itself: its handler of the logging module.
SDKS_OWN = ",".join(
    f"ignore::DeprecationWarning:opentelemetry.sdk.{module}"
    for module in ("_configuration", "_logs._internal")
)
SPAN = "\nfrom opentelemetry import trace; trace.get_tracer('app').start_span('a span').end()"


def configured(**arguments: object) -> str:
    return CONFIGURATOR.format(arguments=arguments)


def test_one_line_sends_spans(collector: Collector) -> None:
    done = python(f"import otlpfast; print(otlpfast.configure(service_name='shop')){SPAN}", collector)
    assert done.stdout.startswith("<otlpfast.trace.TracerProvider ")
    assert done.stderr == ""
    assert names(collector.wait_for_spans(1)) == ["a span"]
    [resource] = collector.requests[0].message.resource_spans
    assert "shop" in {attribute.value.string_value for attribute in resource.resource.attributes}


def test_arguments_of_configure() -> None:
    code = (
        "import otlpfast\n"
        "from opentelemetry.sdk.trace import SpanLimits, SpanProcessor, sampling\n"
        "from opentelemetry.sdk.trace.export import ConsoleSpanExporter\n"
        "otlpfast.configure(service_name='x', resource_attributes={'a': 1}, sampler=sampling.ALWAYS_OFF,\n"
        "    span_limits=SpanLimits(max_events=3), exporters=[ConsoleSpanExporter()],\n"
        "    span_processors=[SpanProcessor()])\n"
    )
    code += SHOW + "print(provider._span_limits.max_events, provider.resource.attributes['a'])"
    done = python(code, OTEL_SERVICE_NAME="y", OTEL_TRACES_SAMPLER="always_on")
    assert done.stdout.splitlines() == [
        "otlpfast.trace x AlwaysOffSampler",
        "opentelemetry.sdk.trace builtins NoneType",
        "otlpfast.processor opentelemetry.sdk.trace.export ConsoleSpanExporter",
        "opentelemetry.metrics._internal opentelemetry._logs._internal",
        "False",
        "3 1",
    ]


@pytest.mark.parametrize(
    "argument",
    [
        {"service_name": 1},
        {"resource_attributes": ["a"]},
        {"sampler": "always_on"},
        {"id_generator": 3},
        {"exporters": 3},
        {"exporters": ["otlp"]},
        {"span_processors": [3]},
    ],
    ids=str,
)
def test_a_wrong_argument_raises_and_names_itself(argument: dict[str, object]) -> None:
    with pytest.raises(TypeError, match=next(iter(argument))):
        otlpfast.configure(**argument)  # type: ignore[arg-type]


def test_a_second_configure_is_one_warning_and_changes_nothing() -> None:
    code = "import otlpfast\nprint(otlpfast.configure(exporters=()) is otlpfast.configure(service_name='b'))"
    done = python(code)
    assert done.stdout == "True\n"
    assert done.stderr.count("\n") == 1
    assert "configure() changes nothing: there is a global tracer provider already" in done.stderr


def test_the_configurator(collector: Collector) -> None:
    done = python(configured() + SHOW + SPAN, collector, OTEL_SERVICE_NAME="shop")
    assert done.stdout.splitlines() == [
        f"otlpfast.trace shop {DEFAULT_ON.get_description()}",
        "otlpfast.processor otlpfast.export.exporter OTLPSpanExporter",
        "opentelemetry.sdk.metrics._internal opentelemetry.sdk._logs._internal",
        "False",
    ]
    expected = f"{LINE}http/protobuf to {collector.endpoint}, sampler parentbased_always_on, service shop\n"
    assert done.stderr == expected
    assert names(collector.wait_for_spans(1)) == ["a span"]


def test_each_standard_variable_means_what_it_means(collector: Collector) -> None:
    code = configured() + SHOW.replace("processor in", "processor in sorted(") .replace(
        "_span_processors:", "_span_processors, key=lambda p: type(p.span_exporter).__name__):"
    ) + "print(provider._span_limits.max_events, provider.resource.attributes['a'])" + SPAN  # fmt: skip
    done = python(
        code,
        collector,
        OTEL_TRACES_EXPORTER="console,otlpfast",
        OTEL_TRACES_SAMPLER="traceidratio",
        OTEL_TRACES_SAMPLER_ARG="1.0",
        OTEL_SERVICE_NAME="shop",
        OTEL_RESOURCE_ATTRIBUTES="a=b,service.name=other",
        OTEL_SPAN_EVENT_COUNT_LIMIT="7",
        OTEL_METRICS_EXPORTER="console",
        OTEL_LOGS_EXPORTER="console",
        OTEL_PYTHON_LOGGING_AUTO_INSTRUMENTATION_ENABLED="true",
        OTLPFAST_QUIET="true",
        PYTHONWARNINGS=SDKS_OWN,
    )
    lines = done.stdout.splitlines()
    assert lines[:6] == [
        "otlpfast.trace shop TraceIdRatioBased{1.0}",
        "otlpfast.processor opentelemetry.sdk.trace.export ConsoleSpanExporter",
        "otlpfast.processor otlpfast.export.exporter OTLPSpanExporter",
        "opentelemetry.sdk.metrics._internal opentelemetry.sdk._logs._internal",
        "True",
        "7 b",
    ]
    assert '"name": "a span"' in done.stdout
    assert names(collector.wait_for_spans(1)) == ["a span"]


def test_a_configurator_of_others_can_pass_what_the_sdks_takes(collector: Collector) -> None:
    code = (
        "from otlpfast import OTLPSpanExporter\n"
        "from otlpfast.autoconfigure import OtlpfastConfigurator\n"
        "from opentelemetry.sdk.trace import SpanProcessor, sampling\n"
        "from opentelemetry.sdk.trace.export import SimpleSpanProcessor\n"
        "OtlpfastConfigurator().configure(\n"
        "    auto_instrumentation_version='1.2', trace_exporter_names=['otlpfast'],\n"
        "    sampler=sampling.ALWAYS_ON, resource_attributes={'a': 1}, span_processors=[SpanProcessor()],\n"
        "    export_span_processor=SimpleSpanProcessor,\n"
        f"    exporter_args_map={{OTLPSpanExporter: {{'endpoint': '{collector.endpoint}'}}}})\n"
    )
    done = python(code + SHOW + SPAN, OTLPFAST_QUIET="true")
    assert done.stdout.splitlines()[1:-2] == [
        "opentelemetry.sdk.trace builtins NoneType",
        "opentelemetry.sdk.trace.export otlpfast.export.exporter OTLPSpanExporter",
    ]
    [resource] = collector.wait_for_request().message.resource_spans
    assert {"telemetry.auto.version", "a"} <= {attribute.key for attribute in resource.resource.attributes}


def test_sdk_disabled_is_said() -> None:
    done = python(configured() + TRACED, OTEL_SDK_DISABLED="true", OTEL_TRACES_EXPORTER="none")
    assert done.stderr == f"{LINE}exports nothing, nothing is recorded: OTEL_SDK_DISABLED=true\n"


def test_grpc_without_grpcio_is_one_warning(collector: Collector) -> None:
    code = "import sys; sys.modules['grpc'] = None\n" + configured() + SPAN
    done = python(code, collector, OTEL_EXPORTER_OTLP_PROTOCOL="grpc", OTLPFAST_QUIET="true")
    assert done.stderr.count("\n") == 1
    for word in ("OTEL_EXPORTER_OTLP_PROTOCOL", "pip install otlpfast[grpc]", "http/protobuf"):
        assert word in done.stderr
    assert names(collector.wait_for_spans(1)) == ["a span"]


@pytest.mark.parametrize("chosen", ["OTEL_PYTHON_CONFIGURATOR", "OTEL_PYTHON_DISTRO"])
def test_opentelemetry_instrument(collector: Collector, chosen: str, tmp_path: Path) -> None:
    pytest.importorskip("opentelemetry.instrumentation.auto_instrumentation")
    (tmp_path / "app.py").write_text(TRACED)
    start = "from opentelemetry.instrumentation.auto_instrumentation import run; run()"
    command = [sys.executable, "-c", start, "--service_name", "shop", sys.executable, "app.py"]
    done = finished(command, collector, cwd=tmp_path, **NO_INSTRUMENTATION, **{chosen: "otlpfast"})
    assert done.returncode == 0, done.stderr
    assert done.stdout == "otlpfast.trace\n"
    assert f"to {collector.endpoint}, sampler parentbased_always_on, service shop" in done.stderr
    assert names(collector.wait_for_spans(1)) == ["a span"]


def test_the_exporter_alone_under_the_sdks_configurator(collector: Collector) -> None:
    code = "from opentelemetry.sdk._configuration import _OTelSDKConfigurator as C; C().configure()\n"
    done = python(code + TRACED, collector, OTEL_TRACES_EXPORTER="otlpfast")
    assert done.stdout == "opentelemetry.sdk.trace\n"
    assert names(collector.wait_for_spans(1)) == ["a span"]


def test_a_failing_instrumentation_leaves_the_others_alone(caplog: pytest.LogCaptureFixture) -> None:
    pytest.importorskip("opentelemetry.instrumentation.distro")
    from otlpfast.distro import OtlpfastDistro

    class Entry:
        name = "broken"

        def load(self) -> object:
            raise RuntimeError("no good")

    OtlpfastDistro().load_instrumentor(Entry())  # type: ignore[arg-type]
    assert caplog.messages == [
        "the instrumentation broken can't be used and is left out: RuntimeError: no good"
    ]


FILE = """\
file_format: "1.0-rc.1"
resource: {{attributes: [{{name: service.name, value: by a file}}]}}
tracer_provider:
  limits: {{event_count_limit: 5}}
  sampler: {{always_on: {{}}}}
  processors:
    - batch: {{schedule_delay: 1000, exporter: {{otlpfast: {{endpoint: "{endpoint}"}}}}}}
    - simple: {{exporter: {{console: {{}}}}}}
"""


def test_a_declarative_file(collector: Collector, tmp_path: Path) -> None:
    pytest.importorskip("opentelemetry.configuration", exc_type=ImportError)  # also one of another release
    path = tmp_path / "otel.yaml"
    path.write_text(FILE.format(endpoint=collector.endpoint))
    done = python(configured() + SHOW + SPAN, OTEL_CONFIG_FILE=str(path))
    assert done.stdout.splitlines()[:3] == [
        "otlpfast.trace by a file AlwaysOnSampler",
        "otlpfast.processor otlpfast.export.exporter OTLPSpanExporter",
        "otlpfast.processor opentelemetry.sdk.trace.export ConsoleSpanExporter",
    ]
    assert done.stderr == f"otlpfast: configured by the file {path} (OTEL_CONFIG_FILE)\n"
    assert names(collector.wait_for_spans(1)) == ["a span"]


def test_a_declarative_file_without_the_package_is_one_warning() -> None:
    code = "import sys; sys.modules['opentelemetry.configuration'] = None\n" + configured() + "print('app')"
    done = python(code, OTEL_CONFIG_FILE="otel.yaml")
    assert done.stdout == "app\n"
    assert done.stderr.count("\n") == 1
    assert "OTEL_CONFIG_FILE='otel.yaml'" in done.stderr
    assert "pip install opentelemetry-configuration" in done.stderr


def test_a_signal_that_is_none_of_ours_leaves_the_spans_alone(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(named: list[str]) -> None:
        raise RuntimeError(f"nothing of {named}")

    monkeypatch.setenv("OTEL_METRICS_EXPORTER", "papyrus")
    _by_the_sdk("metrics", "OTEL_METRICS_EXPORTER", broken)
    first, second = caplog.messages
    assert first.startswith(
        "OTEL_METRICS_EXPORTER='papyrus' can't be followed, no metrics are exported (Runtime"
    )
    assert "allowed: " in first and "none, otlp" in first
    assert second == "the SDK can't set up its metrics: RuntimeError: nothing of []"


def test_propagators_that_can_not_be_taken_over_are_the_apis_own(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("otlpfast._globals.take_over", lambda: 1 / 0)
    _take_over()
    assert caplog.messages == ["the API's own propagators are used: ZeroDivisionError: division by zero"]


def test_importing_otlpfast_loads_nothing_of_opentelemetry() -> None:
    loaded = "[name for name in sys.modules if name.startswith(('opentelemetry', 'ssl', 'http'))]"
    assert python(f"import sys, otlpfast.cli.run; print({loaded})").stdout == "[]\n"


def test_every_name_is_there() -> None:
    for name in otlpfast.__all__:
        assert getattr(otlpfast, name) is not None
        assert name in dir(otlpfast)
    with pytest.raises(AttributeError, match="nonsense"):
        otlpfast.nonsense  # type: ignore[attr-defined]  # noqa: B018

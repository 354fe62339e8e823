"""What ``OTEL_*`` variables name of a provider, and that a wrong one is one warning and the default."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import sampling
from opentelemetry.sdk.trace.export import ConsoleSpanExporter
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

import otlpfast
from otlpfast import _components as components
from otlpfast.export import console

Patch, Log = pytest.MonkeyPatch, pytest.LogCaptureFixture


def told(caplog: Log) -> str:
    """The one warning there is."""
    assert len(caplog.records) == 1, caplog.messages
    assert caplog.records[0].levelno == logging.WARNING
    return caplog.messages[0]


@pytest.mark.parametrize(
    ("value", "names"),
    [
        (None, ["otlpfast"]),
        ("", ["otlpfast"]),
        ("otlp", ["otlp"]),
        ("OTLP", ["otlp"]),
        (" console , otlpfast,console,", ["console", "otlpfast"]),
        ("none", []),
        ("None", []),
    ],
)
def test_exporters(monkeypatch: Patch, caplog: Log, value: str | None, names: list[str]) -> None:
    if value is not None:
        monkeypatch.setenv("OTEL_TRACES_EXPORTER", value)
    assert components.exporter_names() == names
    assert not caplog.records


def test_exporters_of_each_name() -> None:
    kinds = {"otlpfast": otlpfast.OTLPSpanExporter, "otlp": otlpfast.OTLPSpanExporter}
    kinds |= {"console": ConsoleSpanExporter, "otlpfast_console": console.ConsoleSpanExporter}
    for name, kind in kinds.items():
        [exporter] = components.make_exporters([name], {})
        assert type(exporter) is kind
        exporter.shutdown()


@pytest.mark.parametrize(("value", "names"), [("papyrus", ["otlpfast"]), ("papyrus,console", ["console"])])
def test_an_exporter_that_is_not_known(monkeypatch: Patch, caplog: Log, value: str, names: list[str]) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", value)
    assert components.exporter_names() == names
    for word in ("OTEL_TRACES_EXPORTER='papyrus'", "console", "otlp,", "none"):
        assert word in told(caplog)


def test_arguments_for_an_exporter() -> None:
    arguments = {otlpfast.OTLPSpanExporter: {"endpoint": "http://localhost:1/there"}}
    [exporter] = components.make_exporters(["otlpfast"], arguments)
    assert isinstance(exporter, otlpfast.OTLPSpanExporter)
    assert exporter.destination == "http/protobuf to http://localhost:1/there"


def test_an_exporter_that_raises_is_left_out(caplog: Log) -> None:
    made = components.make_exporters(["console", "otlpfast"], {ConsoleSpanExporter: {"secret": "hunter2"}})
    assert [type(exporter) for exporter in made] == [otlpfast.OTLPSpanExporter]
    assert "OTEL_TRACES_EXPORTER='console'" in told(caplog)
    assert "hunter2" not in told(caplog)


@pytest.mark.parametrize("protocol", ["", "grpc", "http/protobuf"])
def test_otlp_without_a_protocol_is_what_it_is_for_the_sdk(monkeypatch: Patch, protocol: str) -> None:
    """gRPC where the official exporter of that protocol is installed, which the SDK would take then."""
    pytest.importorskip("grpc")
    there = components.installed("opentelemetry_traces_exporter") | {"otlp_proto_grpc": None}
    monkeypatch.setattr(components, "installed", lambda group: there)
    if protocol:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
    [exporter] = components.make_exporters(["otlp"], {})
    assert exporter.destination.startswith(f"{protocol or 'grpc'} to ")  # type: ignore[attr-defined]
    [exporter] = components.make_exporters(["otlpfast"], {})
    assert exporter.destination.startswith(f"{protocol or 'http/protobuf'} to ")  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("name", "argument", "description"),
    [
        ("always_on", None, "AlwaysOnSampler"),
        ("ALWAYS_OFF", None, "AlwaysOffSampler"),
        ("parentbased_always_on", None, sampling.DEFAULT_ON.get_description()),
        ("parentbased_always_off", None, sampling.DEFAULT_OFF.get_description()),
        ("traceidratio", "0.25", "TraceIdRatioBased{0.25}"),
        ("traceidratio", None, "TraceIdRatioBased{1.0}"),
        ("parentbased_traceidratio", "0.5", sampling.ParentBasedTraceIdRatio(0.5).get_description()),
    ],
)
def test_samplers(monkeypatch: Patch, caplog: Log, name: str, argument: str | None, description: str) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", name)
    if argument is not None:
        monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", argument)
    sampler, shown = components.make_sampler()
    assert sampler is not None and sampler.get_description() == description
    assert shown.partition(" ")[0] == name.lower()
    assert not caplog.records


@pytest.fixture(name="install")
def install_fixture(monkeypatch: Patch, tmp_path: Path) -> Callable[[str, str], None]:
    """Installs a package with an entry point ``mine`` of a group."""

    def install(group: str, target: str) -> None:
        folder = tmp_path / "mine-1.0.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n")
        (folder / "entry_points.txt").write_text(f"[{group}]\nmine = {target}\n")
        monkeypatch.syspath_prepend(str(tmp_path))

    return install


Install = Callable[[str, str], None]


def test_an_exporter_that_is_none(install: Install, caplog: Log) -> None:
    install("opentelemetry_traces_exporter", "builtins:dict")
    assert components.make_exporters(["mine"], {}) == []
    assert told(caplog) == ("OTEL_TRACES_EXPORTER='mine' is not a SpanExporter but a dict: no spans go there")


@pytest.mark.parametrize(
    ("target", "problem"),
    [("builtins:repr", "gave a str, no Sampler"), ("builtins:int", "raised ValueError: ")],
)
def test_a_sampler_that_is_none(
    install: Install, monkeypatch: Patch, caplog: Log, target: str, problem: str
) -> None:
    install("opentelemetry_traces_sampler", target)
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "mine")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "x")
    assert components.make_sampler() == (sampling.DEFAULT_ON, "parentbased_always_on")
    for words in ("OTEL_TRACES_SAMPLER='mine' with OTEL_TRACES_SAMPLER_ARG='x'", problem):
        assert words in told(caplog)


@pytest.mark.parametrize(
    ("target", "problem"),
    [("builtins:dict", "gave a dict, no IdGenerator"), ("builtins:setattr", "raised TypeError: ")],
)
def test_an_id_generator_that_is_none(
    install: Install, monkeypatch: Patch, caplog: Log, target: str, problem: str
) -> None:
    install("opentelemetry_id_generator", target)
    monkeypatch.setenv("OTEL_PYTHON_ID_GENERATOR", "mine")
    assert components.make_id_generator() is None
    assert f"OTEL_PYTHON_ID_GENERATOR='mine' {problem}" in told(caplog)


def test_an_id_generator_of_another_package(install: Install, monkeypatch: Patch) -> None:
    install("opentelemetry_id_generator", "opentelemetry.sdk.trace.id_generator:RandomIdGenerator")
    monkeypatch.setenv("OTEL_PYTHON_ID_GENERATOR", "mine")
    assert isinstance(components.make_id_generator(), RandomIdGenerator)


def test_the_default_sampler_is_left_to_the_provider() -> None:
    assert components.make_sampler() == (None, "parentbased_always_on")


@pytest.mark.parametrize("ratio", ["half", "1.5", "-1", "nan", "inf"])
def test_a_ratio_that_is_none(monkeypatch: Patch, caplog: Log, ratio: str) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "traceidratio")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", ratio)
    sampler, shown = components.make_sampler()
    assert sampler is not None and sampler.get_description() == "TraceIdRatioBased{1.0}"
    assert shown == "traceidratio 1"
    assert f"OTEL_TRACES_SAMPLER_ARG={ratio!r}" in told(caplog)
    assert "a number from 0.0 to 1.0" in told(caplog)


@pytest.mark.parametrize(
    ("name", "what"), [("rate_limiting", "spans a second"), ("consistent_probability", "share")]
)
def test_an_argument_of_a_sampler_of_ours_that_is_no_number(
    monkeypatch: Patch, caplog: Log, name: str, what: str
) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", f"otlpfast_{name}")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "many")
    assert components.make_sampler() == (sampling.DEFAULT_ON, "parentbased_always_on")
    assert "with OTEL_TRACES_SAMPLER_ARG='many' raised ValueError: 'many' is no number: " in told(caplog)
    assert what in told(caplog)


def test_a_sampler_that_is_not_known(monkeypatch: Patch, caplog: Log) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "lottery")
    assert components.make_sampler() == (sampling.DEFAULT_ON, "parentbased_always_on")
    assert "OTEL_TRACES_SAMPLER='lottery'" in told(caplog)
    assert "parentbased_traceidratio" in told(caplog)


def test_id_generators(monkeypatch: Patch, caplog: Log) -> None:
    for name in ("", "random"):
        monkeypatch.setenv("OTEL_PYTHON_ID_GENERATOR", name)
        assert components.make_id_generator() is None
    assert not caplog.records
    monkeypatch.setenv("OTEL_PYTHON_ID_GENERATOR", "dice")
    assert components.make_id_generator() is None
    assert "OTEL_PYTHON_ID_GENERATOR='dice'" in told(caplog)
    assert "random" in told(caplog)

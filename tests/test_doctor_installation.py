"""``otlpfast doctor`` of what is installed: versions, implementation, others; and of variables' names."""

from __future__ import annotations

import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from otlpfast.cli.doctor import installation

from .collector import Collector, Reply
from .doctoring import Doctor, doctor_fixture, finding, install, problems, the_problem  # noqa: F401
from .exporting import collector_fixture  # noqa: F401

Patch = pytest.MonkeyPatch


def test_a_variable_that_is_misspelt(doctor: Doctor, collector: Collector) -> None:
    said = doctor("--endpoint", collector.endpoint, OTLPFAST_SPOOLDIR="/x", OTEL_SERVICENAME="shop")
    assert the_problem(said)["text"] == "OTLPFAST_SPOOLDIR is not known"
    assert the_problem(said)["fix"] == "OTLPFAST_SPOOL_DIR?"
    hints = [f for f in said["findings"] if f["level"] == "hint"]
    assert ("OTEL_SERVICENAME is not one that is known here", "OTEL_SERVICE_NAME?") in [
        (hint["text"], hint["fix"]) for hint in hints
    ]


def test_variables_of_the_build_are_known(doctor: Doctor, collector: Collector) -> None:
    said = doctor("--endpoint", collector.endpoint, OTLPFAST_BUILD="require", OTLPFAST_PGO="1")
    assert said["ok"]


def test_other_distros(doctor: Doctor, collector: Collector, monkeypatch: Patch, tmp_path: Path) -> None:
    install(tmp_path, "rival", "1.0")
    entry_points = tmp_path / "rival-1.0.dist-info" / "entry_points.txt"
    entry_points.write_text(
        "[opentelemetry_configurator]\nrival = json:loads\n"
        "[opentelemetry_environment_variables]\nrival = module_that_is_nowhere\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    said = doctor("--endpoint", collector.endpoint)
    assert finding(said, "configurator")["level"] == "hint"
    assert "rival" in finding(said, "configurator")["text"]
    assert finding(said, "configurator")["fix"] == "set OTEL_PYTHON_CONFIGURATOR=otlpfast"
    said = doctor("--endpoint", collector.endpoint, OTEL_PYTHON_CONFIGURATOR="rival")
    assert finding(said, "configurator")["fix"] == "OTEL_PYTHON_CONFIGURATOR=otlpfast"
    said = doctor("--endpoint", collector.endpoint, OTEL_PYTHON_CONFIGURATOR="nobody")
    assert "OTEL_PYTHON_CONFIGURATOR='nobody' is not installed" in the_problem(said)["text"]


def test_releases_that_are_too_old_or_do_not_fit(
    doctor: Doctor, collector: Collector, monkeypatch: Patch, tmp_path: Path
) -> None:
    install(tmp_path, "opentelemetry-sdk", "1.2.3")
    monkeypatch.syspath_prepend(str(tmp_path))
    old, mixed = problems(doctor("--endpoint", collector.endpoint))
    assert "opentelemetry-sdk 1.2.3 is older than the oldest that is supported" in old["text"]
    assert "pip install --upgrade 'opentelemetry-sdk>=" in old["fix"]
    assert "the API and the SDK are not of one release" in mixed["text"]
    assert mixed["fix"] == "pip install --upgrade opentelemetry-api opentelemetry-sdk"


def test_otlpfast_that_is_not_installed(doctor: Doctor, collector: Collector, monkeypatch: Patch) -> None:
    def no_requirements(name: str) -> list[str]:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(installation, "requires", no_requirements)
    assert the_problem(doctor("--endpoint", collector.endpoint))["fix"] == "pip install otlpfast"


def test_an_implementation_that_can_not_be_loaded(doctor: Doctor, monkeypatch: Patch) -> None:
    monkeypatch.delitem(sys.modules, "otlpfast._impl")
    said = doctor(OTLPFAST_IMPL="pigeon")
    assert the_problem(said)["check"] == "implementation"
    assert "OTLPFAST_IMPL='pigeon': one of auto" in the_problem(said)["text"]
    assert "unset OTLPFAST_IMPL" in the_problem(said)["fix"]
    assert said["settings"] == [], "there is nothing that would follow them"


def test_which_implementation_runs_and_why(doctor: Doctor, collector: Collector, monkeypatch: Patch) -> None:
    monkeypatch.setattr("otlpfast._impl.IMPLEMENTATION", "py")
    found = finding(doctor("--endpoint", collector.endpoint, OTLPFAST_IMPL="py"), "implementation")
    assert (found["level"], found["fix"]) == ("hint", "unset OTLPFAST_IMPL")
    found = finding(doctor("--endpoint", collector.endpoint, OTLPFAST_IMPL="auto"), "implementation")
    assert "no compiled core was built for this Python" in found["text"]
    assert "OTLPFAST_BUILD=require" in found["fix"]
    monkeypatch.setattr("otlpfast._choice.DISABLED", True)
    said = doctor("--endpoint", collector.endpoint)
    assert finding(said, "implementation")["text"] == "none is used: OTLPFAST_DISABLED=true"
    assert finding(said, "switch")["fix"] == "unset OTLPFAST_DISABLED"


def test_switched_off_by_the_standard_variable(doctor: Doctor, collector: Collector) -> None:
    said = doctor("--endpoint", collector.endpoint, OTEL_SDK_DISABLED="true")
    assert the_problem(said)["fix"] == "unset OTEL_SDK_DISABLED"


def test_no_instrumentation(doctor: Doctor, collector: Collector, monkeypatch: Patch) -> None:
    monkeypatch.setattr(installation, "has_instrumentation", lambda: False)
    found = finding(doctor("--endpoint", collector.endpoint), "instrumentation")
    assert (found["level"], found["fix"][:29]) == ("hint", "pip install 'otlpfast[auto]' ")


def test_servers_that_need_a_hint(
    doctor: Doctor, collector: Collector, monkeypatch: Patch, tmp_path: Path
) -> None:
    install(tmp_path, "uwsgi", "2.0")
    install(tmp_path, "gevent", "25.1")
    monkeypatch.syspath_prepend(str(tmp_path))
    said = doctor("--endpoint", collector.endpoint)
    assert said["ok"]
    assert "uwsgi --enable-threads" in [f["fix"] for f in said["findings"] if f["check"] == "fork"]
    assert "EXPERIMENTAL_GEVENT_PATCH=patch_all" in finding(said, "gevent")["fix"]


def test_a_clock_that_was_never_set(doctor: Doctor, collector: Collector, monkeypatch: Patch) -> None:
    collector.script(then=Reply(headers={"Date": "yesterday"}))
    monkeypatch.setattr(installation, "_OLDEST_CLOCK", float("inf"))
    assert "(NTP)" in the_problem(doctor("--endpoint", collector.endpoint))["fix"]

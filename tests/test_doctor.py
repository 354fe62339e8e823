"""``otlpfast doctor`` against real servers: what is right, what is wrong, and what it says to do about it."""

from __future__ import annotations

import email.utils
import json
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from otlpfast.cli import main

from .collector import Collector, Reply
from .exporting import SECRET, Certificates, certificates_fixture, collector_fixture, free_port  # noqa: F401

Patch, Capture = pytest.MonkeyPatch, pytest.CaptureFixture[str]
Doctor = Callable[..., dict[str, Any]]


@pytest.fixture(name="doctor")
def doctor_fixture(monkeypatch: Patch, capsys: Capture) -> Doctor:
    """What ``otlpfast doctor --json`` says, with variables."""
    monkeypatch.setenv("GRPC_VERBOSITY", "NONE")  # as the doctor would, and for longer
    for name in ("http_proxy", "all_proxy", "no_proxy", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)

    def ask(*arguments: str, **variables: str) -> dict[str, Any]:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        status = main(["doctor", "--json", *arguments])
        said: dict[str, Any] = json.loads(capsys.readouterr().out)
        assert status == (0 if said["ok"] else 1)
        assert said["ok"] == (not problems(said))
        return said

    return ask


def problems(said: dict[str, Any]) -> list[dict[str, str]]:
    found = [finding for finding in said["findings"] if finding["level"] == "problem"]
    assert all(finding["fix"] for finding in found)
    return found


def the_problem(said: dict[str, Any]) -> dict[str, str]:
    assert len(problems(said)) == 1, problems(said)
    return problems(said)[0]


def setting(said: dict[str, Any], name: str) -> tuple[str, str]:
    return next((s["value"], s["source"]) for s in said["settings"] if s["name"] == name)


def finding(said: dict[str, Any], check: str) -> dict[str, str]:
    found: dict[str, str] = next(f for f in said["findings"] if f["check"] == check)
    return found


def test_all_is_well(doctor: Doctor, collector: Collector) -> None:
    said = doctor(OTEL_EXPORTER_OTLP_ENDPOINT=collector.base, OTEL_SERVICE_NAME="shop")
    assert said["ok"]
    assert collector.wait_for_request().body == b""
    assert "took an empty export in" in finding(said, "collector")["text"]
    assert setting(said, "endpoint") == (collector.endpoint, "OTEL_EXPORTER_OTLP_ENDPOINT")
    assert setting(said, "service.name") == ("shop", "OTEL_SERVICE_NAME")
    assert setting(said, "protocol") == ("http/protobuf", "default")


def test_arguments_win(doctor: Doctor, collector: Collector) -> None:
    said = doctor("--endpoint", collector.endpoint, OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:1")
    assert setting(said, "endpoint") == (collector.endpoint, "--endpoint")
    assert said["ok"]


@pytest.mark.parametrize("argument", ["--endpoint=foo", "--protocol=foo", "--timeout=0", "--timeout=x"])
def test_a_wrong_argument_is_a_usage_error(capsys: Capture, argument: str) -> None:
    with pytest.raises(SystemExit) as raised:
        main(["doctor", argument])
    assert raised.value.code == 2
    assert argument.partition("=")[0] in capsys.readouterr().err


def test_secrets_are_masked(doctor: Doctor, collector: Collector) -> None:
    collector.script(Reply(401, body=f"no {SECRET}".encode(), headers={"content-type": "text/plain"}))
    port = collector.port
    said = doctor(
        OTEL_EXPORTER_OTLP_HEADERS=f"authorization=Bearer%20{SECRET},x=y",
        OTEL_EXPORTER_OTLP_ENDPOINT=f"http://user:{SECRET}@127.0.0.1:{port}",
    )
    assert SECRET not in json.dumps(said)
    assert setting(said, "headers") == ("authorization=***, x=***", "OTEL_EXPORTER_OTLP_HEADERS")
    assert setting(said, "endpoint")[0] == f"http://***@127.0.0.1:{port}/v1/traces"
    assert "HTTP 401" in the_problem(said)["text"]
    assert "OTEL_EXPORTER_OTLP_HEADERS" in the_problem(said)["fix"]


def test_a_closed_port(doctor: Doctor) -> None:
    said = doctor(OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{free_port()}")
    assert the_problem(said)["check"] == "port"
    assert "connection refused" in the_problem(said)["text"]
    assert "start a collector there" in the_problem(said)["fix"]


def test_a_name_that_nobody_knows(doctor: Doctor) -> None:
    said = doctor(OTEL_EXPORTER_OTLP_ENDPOINT="http://collector.invalid:4318")
    assert the_problem(said)["check"] == "dns"
    assert "'collector.invalid'" in the_problem(said)["text"]


def test_a_server_that_says_nothing(doctor: Doctor) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        said = doctor("--timeout", "0.3", OTEL_EXPORTER_OTLP_ENDPOINT=endpoint)
    assert "timed out" in the_problem(said)["text"]


def test_a_wrong_path(doctor: Doctor, collector: Collector) -> None:
    collector.script(then=Reply(404))
    said = doctor(OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=collector.base)
    assert "HTTP 404" in the_problem(said)["text"]
    assert "/v1/traces" in the_problem(said)["fix"]


def test_a_certificate_that_is_not_trusted(doctor: Doctor, certificates: Certificates) -> None:
    with Collector(certificates.server()) as collector:
        said = doctor(OTEL_EXPORTER_OTLP_ENDPOINT=collector.base)
        assert "certificate verify failed" in the_problem(said)["text"]
        assert "OTEL_EXPORTER_OTLP_CERTIFICATE" in the_problem(said)["fix"]
        said = doctor(OTEL_EXPORTER_OTLP_CERTIFICATE=certificates.ca)
        assert said["ok"]
        assert certificates.ca in setting(said, "trusted")[0]


def test_http_to_a_port_that_speaks_tls(doctor: Doctor, certificates: Certificates) -> None:
    with Collector(certificates.server()) as collector:
        said = doctor(OTEL_EXPORTER_OTLP_ENDPOINT=collector.base.replace("https", "http"))
    assert "https://" in the_problem(said)["fix"]


def test_https_to_a_port_that_speaks_no_tls(doctor: Doctor, collector: Collector) -> None:
    said = doctor(OTEL_EXPORTER_OTLP_ENDPOINT=collector.base.replace("http", "https"))
    assert "http://" in the_problem(said)["fix"]


@pytest.mark.parametrize(("offset", "words"), [(3600, "behind"), (-3600, "ahead of")])
def test_clocks_that_differ(doctor: Doctor, collector: Collector, offset: int, words: str) -> None:
    collector.script(Reply(headers={"Date": email.utils.formatdate(time.time() + offset, usegmt=True)}))
    said = doctor(OTEL_EXPORTER_OTLP_ENDPOINT=collector.base)
    assert the_problem(said)["check"] == "clock"
    assert f"{words} the collector's" in the_problem(said)["text"]


def test_clocks_that_agree(doctor: Doctor, collector: Collector) -> None:
    collector.script(Reply(headers={"Date": email.utils.formatdate(usegmt=True)}))
    assert finding(doctor(OTEL_EXPORTER_OTLP_ENDPOINT=collector.base), "clock")["level"] == "ok"


def test_a_proxy_is_shown_without_its_password(doctor: Doctor, collector: Collector) -> None:
    proxy = f"http://me:{SECRET}@127.0.0.1:{collector.port}"
    said = doctor(OTEL_EXPORTER_OTLP_ENDPOINT="http://collector.invalid:4318", http_proxy=proxy)
    assert said["ok"]
    assert collector.requests[0].path == "http://collector.invalid:4318/v1/traces"
    assert setting(said, "proxy") == (f"http://***@127.0.0.1:{collector.port}", "http_proxy")
    assert SECRET not in json.dumps(said)


@pytest.mark.parametrize(
    ("variable", "value", "shown"),
    [
        ("OTEL_BSP_MAX_QUEUE_SIZE", "many", "queue"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "-1", "timeout"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "pigeon", "protocol"),
        ("OTEL_TRACES_SAMPLER", "lottery", "sampler"),
        ("OTEL_TRACES_EXPORTER", "papyrus", "exporters"),
    ],
)
def test_a_wrong_variable(
    doctor: Doctor, collector: Collector, variable: str, value: str, shown: str
) -> None:
    said = doctor("--endpoint", collector.endpoint, **{variable: value})
    assert the_problem(said)["check"] == "variables"
    assert variable in the_problem(said)["text"] and value in the_problem(said)["text"]
    assert setting(said, shown)[1] == f"default ({variable} is wrong)"


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
    folder = tmp_path / "rival-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: rival\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text("[opentelemetry_configurator]\nrival = json:loads\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    said = doctor("--endpoint", collector.endpoint)
    assert finding(said, "configurator")["level"] == "hint"
    assert "rival" in finding(said, "configurator")["text"]
    assert finding(said, "configurator")["fix"] == "set OTEL_PYTHON_CONFIGURATOR=otlpfast"
    said = doctor("--endpoint", collector.endpoint, OTEL_PYTHON_CONFIGURATOR="nobody")
    assert "OTEL_PYTHON_CONFIGURATOR='nobody' is not installed" in the_problem(said)["text"]


def test_no_exporter_by_otlp_is_no_problem(doctor: Doctor) -> None:
    said = doctor(OTEL_TRACES_EXPORTER="console")
    assert said["ok"]
    assert "OTEL_TRACES_EXPORTER=console" in finding(said, "collector")["text"]


def test_people_get_a_page(capsys: Capture, monkeypatch: Patch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{free_port()}")
    assert main(["doctor"]) == 1
    page = capsys.readouterr().out
    for words in ("configuration\n", "checks\n", "PROBLEM  port", "-> start a collector", "1 problem\n"):
        assert words in page
    assert "\x1b" not in page


# --- gRPC


@pytest.fixture(name="grpc_collector")
def grpc_collector_fixture() -> Any:
    pytest.importorskip("grpc")
    from .grpc_collector import GRPCCollector

    with GRPCCollector() as running:
        yield running


def test_grpc(doctor: Doctor, grpc_collector: Any) -> None:
    said = doctor(OTEL_EXPORTER_OTLP_ENDPOINT=grpc_collector.endpoint, OTEL_EXPORTER_OTLP_PROTOCOL="grpc")
    assert said["ok"]
    assert grpc_collector.wait_for_request(1).body == b""
    assert setting(said, "protocol") == ("grpc", "OTEL_EXPORTER_OTLP_PROTOCOL")


def test_http_to_a_port_that_speaks_grpc(doctor: Doctor, grpc_collector: Any) -> None:
    said = doctor(OTEL_EXPORTER_OTLP_ENDPOINT=grpc_collector.endpoint)
    assert "OTEL_EXPORTER_OTLP_PROTOCOL=grpc" in the_problem(said)["fix"]
    assert "4318" in the_problem(said)["fix"]


def test_grpc_to_a_port_that_speaks_http(doctor: Doctor, collector: Collector) -> None:
    pytest.importorskip("grpc")
    said = doctor("--protocol", "grpc", OTEL_EXPORTER_OTLP_ENDPOINT=collector.base)
    assert "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf" in the_problem(said)["fix"]
    assert "4317" in the_problem(said)["fix"]


def test_grpc_that_refuses(doctor: Doctor, grpc_collector: Any) -> None:
    import grpc

    from .grpc_collector import Failure

    grpc_collector.script(Failure(grpc.StatusCode.UNAUTHENTICATED))
    said = doctor("--protocol", "grpc", OTEL_EXPORTER_OTLP_ENDPOINT=grpc_collector.endpoint)
    assert "gRPC UNAUTHENTICATED" in the_problem(said)["text"]
    assert "OTEL_EXPORTER_OTLP_HEADERS" in the_problem(said)["fix"]


def test_grpc_with_a_certificate_that_is_not_trusted(doctor: Doctor, certificates: Certificates) -> None:
    grpc = pytest.importorskip("grpc")
    from .grpc_collector import GRPCCollector

    pair = (
        Path(certificates.path("server.key")).read_bytes(),
        Path(certificates.path("server")).read_bytes(),
    )
    with GRPCCollector(grpc.ssl_server_credentials([pair])) as collector:
        said = doctor("--protocol", "grpc", OTEL_EXPORTER_OTLP_ENDPOINT=collector.endpoint)
        assert "certificate verify failed" in the_problem(said)["text"]
        assert "OTEL_EXPORTER_OTLP_CERTIFICATE" in the_problem(said)["fix"]
        assert doctor("--protocol", "grpc", OTEL_EXPORTER_OTLP_CERTIFICATE=certificates.ca)["ok"]

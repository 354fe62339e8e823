"""``otlpfast doctor`` against real servers: what is right, what is wrong, and what it says to do about it."""

from __future__ import annotations

import email.utils
import json
import socket
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from otlpfast.cli import main
from otlpfast.cli.doctor import reach

from .collector import Collector, Reply
from .doctoring import (  # noqa: F401
    Capture,
    Doctor,
    Patch,
    doctor_fixture,
    finding,
    refusing_fixture,
    setting,
    the_problem,
)
from .exporting import SECRET, Certificates, certificates_fixture, collector_fixture  # noqa: F401


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
    said = capsys.readouterr().err.splitlines()[-1]
    option, _, value = argument.partition("=")
    assert option in said and f"'{value}'" in said and "allowed" in said


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


def test_a_closed_port(doctor: Doctor, refusing: int) -> None:
    said = doctor(OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{refusing}")
    assert the_problem(said)["check"] == "port"
    assert "connection refused" in the_problem(said)["text"]
    assert "start a collector there" in the_problem(said)["fix"]


def test_the_port_of_the_other_protocol_is_open(
    doctor: Doctor, collector: Collector, refusing: int, monkeypatch: Patch
) -> None:
    monkeypatch.setattr(reach, "_HTTP_PORT", collector.port)
    monkeypatch.setattr(reach, "_GRPC_PORT", refusing)
    said = doctor(OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{refusing}")
    assert the_problem(said)["fix"] == (
        f"port {collector.port} is open: set OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf "
        f"and OTEL_EXPORTER_OTLP_ENDPOINT={collector.base}"
    )


def test_a_firewall_that_says_nothing(doctor: Doctor, monkeypatch: Patch) -> None:
    def wait(*_: object) -> socket.socket:
        raise TimeoutError

    monkeypatch.setattr(socket, "create_connection", wait)
    said = doctor(OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:4318")
    assert "no answer in time (a firewall?)" in the_problem(said)["text"]


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


def test_http_to_the_usual_port_of_grpc(doctor: Doctor, collector: Collector, monkeypatch: Patch) -> None:
    monkeypatch.setattr(reach, "_GRPC_PORT", collector.port)
    collector.script(Reply(415))
    fix = the_problem(doctor(OTEL_EXPORTER_OTLP_ENDPOINT=collector.base))["fix"]
    assert f"port {collector.port} is usually for gRPC: OTEL_EXPORTER_OTLP_PROTOCOL=grpc" in fix


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


def test_a_sampler_that_takes_nothing(doctor: Doctor, collector: Collector) -> None:
    said = doctor("--endpoint", collector.endpoint, OTEL_TRACES_SAMPLER="always_off")
    assert finding(said, "sampler")["fix"] == "OTEL_TRACES_SAMPLER=parentbased_always_on"


def test_a_configuration_file(doctor: Doctor, collector: Collector, tmp_path: Path) -> None:
    said = doctor("--endpoint", collector.endpoint, OTEL_CONFIG_FILE=str(tmp_path / "otel.yaml"))
    assert setting(said, "configuration file") == (str(tmp_path / "otel.yaml"), "OTEL_CONFIG_FILE")
    assert "the file counts" in finding(said, "configuration")["text"]


def test_no_exporter_by_otlp_is_no_problem(doctor: Doctor) -> None:
    said = doctor(OTEL_TRACES_EXPORTER="console")
    assert said["ok"]
    assert "OTEL_TRACES_EXPORTER=console" in finding(said, "collector")["text"]


def test_people_get_a_page(capsys: Capture, monkeypatch: Patch, refusing: int) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{refusing}")
    assert main(["doctor"]) == 1
    page = capsys.readouterr().out
    for words in ("configuration\n", "checks\n", "PROBLEM  port", "-> start a collector", "1 problem\n"):
        assert words in page
    assert "\x1b" not in page
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    assert main(["doctor"]) == 1
    assert "\x1b[1;31mPROBLEM " in capsys.readouterr().out
    monkeypatch.setenv("NO_COLOR", "1")
    assert main(["doctor"]) == 1
    assert "\x1b" not in capsys.readouterr().out


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


@pytest.mark.parametrize(
    ("code", "fix"),
    [("UNAUTHENTICATED", "OTEL_EXPORTER_OTLP_HEADERS"), ("INTERNAL", "is it an OTLP endpoint?")],
)
def test_grpc_that_refuses(doctor: Doctor, grpc_collector: Any, code: str, fix: str) -> None:
    import grpc

    from .grpc_collector import Failure

    grpc_collector.script(Failure(grpc.StatusCode[code]))
    said = doctor("--protocol", "grpc", OTEL_EXPORTER_OTLP_ENDPOINT=grpc_collector.endpoint)
    assert f"gRPC {code}" in the_problem(said)["text"]
    assert fix in the_problem(said)["fix"]


def test_grpc_without_grpcio(doctor: Doctor, collector: Collector, monkeypatch: Patch) -> None:
    monkeypatch.setitem(sys.modules, "grpc", None)
    said = doctor(OTEL_EXPORTER_OTLP_ENDPOINT=collector.base, OTEL_EXPORTER_OTLP_PROTOCOL="grpc")
    assert (
        "OTEL_EXPORTER_OTLP_PROTOCOL=grpc can't be followed, http/protobuf is used"
        in the_problem(said)["text"]
    )
    assert "otlpfast[grpc]" in the_problem(said)["text"]
    assert setting(said, "protocol") == ("http/protobuf", "default (OTEL_EXPORTER_OTLP_PROTOCOL is wrong)")


def test_the_protocol_that_the_sdk_would_take(
    doctor: Doctor, grpc_collector: Any, monkeypatch: Patch
) -> None:
    monkeypatch.setattr("otlpfast._components.sdk_would_take_grpc", lambda: True)
    said = doctor(OTEL_EXPORTER_OTLP_ENDPOINT=grpc_collector.endpoint, OTEL_TRACES_EXPORTER="otlp")
    assert said["ok"]
    protocol = ("grpc", "default of otlp (opentelemetry-exporter-otlp-proto-grpc is installed)")
    assert setting(said, "protocol") == protocol


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

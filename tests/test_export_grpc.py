"""The OTLP/gRPC exporter against real gRPC servers."""

from __future__ import annotations

import importlib.metadata
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans as official_encode
from opentelemetry.sdk.trace.export import SpanExportResult

from otlpfast.batch import ExportOutcome
from otlpfast.export.grpc_settings import parse_target

from .collector import PATIENCE
from .exporting import (  # noqa: F401
    EXPORTED,
    FAILED,
    REJECTED,
    SECRET,
    Certificates,
    batch,
    certificates_fixture,
    free_port,
    one_warning,
    spans,
    warnings,
)
from .grpc_collector import Failure, GRPCCollector, Make, collector_fixture, make_fixture, partial  # noqa: F401

Code = grpc.StatusCode


def read(path: str) -> bytes:
    return Path(path).read_bytes()


def server_tls(certificates: Certificates, *, ask_client: bool = False) -> grpc.ServerCredentials:
    pair = (read(certificates.path("server.key")), read(certificates.path("server")))
    return grpc.ssl_server_credentials([pair], read(certificates.ca) if ask_client else None, ask_client)


# --- what is sent


def test_the_request_is_what_the_official_encoder_makes(collector: GRPCCollector, make: Make) -> None:
    exporter = make(collector)
    assert exporter.export(spans()) is SpanExportResult.SUCCESS
    assert exporter.export_batch(batch()) == EXPORTED
    first, second = collector.requests
    message = official_encode(spans())
    assert type(message).FromString(first.body).resource_spans[0].scope_spans[0].spans[2].name == "span 2"
    for resource in message.resource_spans:
        for scope in resource.scope_spans:
            for span in scope.spans:
                span.flags |= 1  # which the official encoder leaves out: see docs/compatibility.md
    assert first.body == second.body == message.SerializeToString()


def test_headers_become_metadata(
    collector: GRPCCollector, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "X-Env=a%20b,x-both=env")
    make(collector, headers={"X-Both": "argument", "trace-bin": "é"}).export_batch(batch())
    metadata = collector.requests[0].metadata
    assert metadata["x-env"] == "a b"
    assert metadata["x-both"] == "argument"
    assert metadata["trace-bin"] == "é".encode()
    assert metadata["user-agent"].startswith("OTel-OTLP-Exporter-Python/")
    assert "otlpfast" in metadata["user-agent"]


def test_credentials_of_the_url_become_basic_authorization(collector: GRPCCollector, make: Make) -> None:
    exporter = make(f"http://user:{SECRET}@127.0.0.1:{collector.port}/path")
    assert exporter.export_batch(batch()) == EXPORTED
    assert collector.requests[0].metadata["authorization"].startswith("Basic ")
    assert exporter._endpoint == f"127.0.0.1:{collector.port}"
    assert SECRET not in repr(exporter)


@pytest.mark.parametrize("name", ["x~y", "grpc-timeout"])
def test_a_header_that_grpc_cannot_send_is_refused(name: str, make: Make) -> None:
    with pytest.raises(ValueError, match="headers: ") as caught:
        make(headers={name: SECRET})
    assert SECRET not in str(caught.value)


def test_a_variable_with_a_header_that_grpc_cannot_send_gets_a_warning(
    collector: GRPCCollector, make: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", f"a=1,b={SECRET}%C3%A9")
    assert make(collector).export_batch(batch()) == EXPORTED
    assert "printable ASCII" in one_warning(caplog)
    assert SECRET not in caplog.text
    assert "b" not in collector.requests[0].metadata


@pytest.mark.parametrize("value", ["gzip", "GZIP", grpc.Compression.Gzip])
def test_gzip_makes_the_request_smaller_on_the_wire(value: Any, make: Make) -> None:
    received = bytearray()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def take() -> None:
            connection, _ = server.accept()
            with connection:
                connection.sendall(b"\0\0\0\4\0\0\0\0\0")  # an empty SETTINGS frame
                while data := connection.recv(65536):
                    received.extend(data)

        thread = threading.Thread(target=take)
        thread.start()
        exporter = make(f"http://127.0.0.1:{server.getsockname()[1]}", compression=value, timeout=1)
        assert exporter.export_batch(batch(text="x" * 20_000)) == FAILED
        exporter.shutdown(0)
        thread.join(PATIENCE)
    assert b"\x1f\x8b" in received
    assert len(received) < 10_000


@pytest.mark.parametrize("value", ["none", "gzip", "deflate"])
def test_the_collector_reads_every_compression(value: str, collector: GRPCCollector, make: Make) -> None:
    assert make(collector, compression=value).export_batch(batch(text="x" * 20_000)) == EXPORTED
    assert len(collector.requests[0].body) > 60_000


def test_zstd_is_refused_because_grpcio_has_none(
    collector: GRPCCollector, make: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    said = "'zstd' works over HTTP alone: grpcio has none; allowed: none, gzip, deflate"
    with pytest.raises(ValueError, match=f"compression={said}"):
        make(collector, compression="zstd")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd")
    assert make(collector).export_batch(batch()) == EXPORTED
    assert one_warning(caplog) == f"OTEL_EXPORTER_OTLP_COMPRESSION={said}; using the default, none"


def test_export_of_what_is_no_sequence_fails_with_a_warning(
    collector: GRPCCollector, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    wrong: Any = iter(spans())
    assert make(collector).export(wrong) is SpanExportResult.FAILURE
    assert one_warning(caplog) == "could not encode 'list_iterator' as spans: TypeError"


# --- where it goes


def test_a_unix_socket(tmp_path: Path, make: Make) -> None:
    target = f"unix://{tmp_path}/collector"
    with GRPCCollector(address=target) as collector:
        assert make(target, insecure=True).export_batch(batch()) == EXPORTED
        assert len(collector.requests) == 1


def test_an_endpoint_without_a_scheme_is_secure_unless_told_otherwise(
    collector: GRPCCollector, make: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    bare = f"127.0.0.1:{collector.port}"
    assert make(bare, timeout=3).export_batch(batch()) == FAILED
    assert "TLS failed (does the endpoint speak http://" in one_warning(caplog)
    assert make(bare, insecure=True).export_batch(batch()) == EXPORTED
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_INSECURE", "true")
    assert make(bare).export_batch(batch()) == EXPORTED
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", bare)
    assert make().export_batch(batch()) == EXPORTED


@pytest.mark.parametrize(
    ("text", "target", "secure"),
    [
        ("http://c:4317", "dns:///c:4317", False),
        ("https://c", "dns:///c:443", True),
        ("HTTPS://c:1/v1/traces?a=b", "dns:///c:1", True),
        ("http://[::1]:4317", "dns:///[::1]:4317", False),
        ("c:4317", "c:4317", True),
        ("c", "c", True),
        ("unix:/run/c", "unix:/run/c", True),
        ("dns:///c:4317", "dns:///c:4317", True),
    ],
)
def test_endpoints(text: str, target: str, secure: bool) -> None:
    place = parse_target(text)
    assert (place.target, place.secure) == (target, secure)


def test_what_looks_like_credentials_in_a_target_is_not_shown() -> None:
    assert SECRET not in repr(parse_target(f"unix://u:{SECRET}@c"))


@pytest.mark.parametrize("text", ["", "ftp://c", "c:0", "c:70000", "a b", "http://", "c/v1", f"u:{SECRET}@c"])
def test_wrong_endpoints_raise(text: str, make: Make) -> None:
    with pytest.raises(ValueError, match="endpoint='") as caught:
        make(text)
    assert SECRET not in str(caught.value)


def test_an_endpoint_of_another_type_raises(make: Make) -> None:
    wrong: Any = 4317
    with pytest.raises(TypeError, match=r"endpoint must be a str, host:port, .*; it is of type int"):
        make(wrong)


def test_a_variable_that_is_neither_true_nor_false(
    make: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_INSECURE", "yes")
    make("127.0.0.1:4317")
    said = "OTEL_EXPORTER_OTLP_INSECURE='yes' is not allowed; allowed: true, false; using the default, False"
    assert one_warning(caplog) == said


def test_credentials_for_an_insecure_endpoint(
    collector: GRPCCollector, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    exporter = make(collector, credentials=grpc.ssl_channel_credentials())
    assert one_warning(caplog) == f"credentials are not used: {collector.endpoint} is an insecure endpoint"
    assert exporter.export_batch(batch()) == EXPORTED


def test_a_key_without_its_certificate(make: Make, certificates: Certificates) -> None:
    key = certificates.path("client.key")
    with pytest.raises(ValueError, match=r"client_key_file='.*' is a client key without"):
        make("https://127.0.0.1:4317", client_key_file=key)
    with pytest.raises(ValueError, match=r"client_certificate_file='.*' cannot be used with its key"):
        make(
            "https://127.0.0.1:4317",
            client_key_file=certificates.path("server.key"),
            client_certificate_file=certificates.path("client"),
        )


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_tls_with_a_ca_of_our_own(make: Make, certificates: Certificates, host: str) -> None:
    with GRPCCollector(server_tls(certificates)) as collector:
        exporter = make(f"https://{host}:{collector.port}", certificate_file=certificates.ca)
        assert exporter.export_batch(batch()) == EXPORTED


def test_mutual_tls(make: Make, certificates: Certificates, monkeypatch: pytest.MonkeyPatch) -> None:
    with GRPCCollector(server_tls(certificates, ask_client=True)) as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_CERTIFICATE", certificates.ca)
        assert make(collector, timeout=1).export_batch(batch()) == FAILED
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_CLIENT_KEY", certificates.path("client.key"))
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE", certificates.path("client"))
        assert make(collector).export_batch(batch()) == EXPORTED
        assert len(collector.requests) == 1


def test_a_certificate_that_is_not_trusted_is_said_plainly_and_at_once(
    make: Make, certificates: Certificates, caplog: pytest.LogCaptureFixture
) -> None:
    with GRPCCollector(server_tls(certificates)) as collector:
        assert make(collector, timeout=PATIENCE).export_batch(batch()) == FAILED
    text = one_warning(caplog)
    assert "TLS: certificate verify failed" in text
    assert text.endswith("trusted: the CAs that come with gRPC")


class Entry:
    """An entry point of a credential provider."""

    def __init__(self, load: Callable[[], Any]) -> None:
        self.load = load


def test_a_credential_provider(
    make: Make,
    certificates: Certificates,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    trusting = grpc.ssl_channel_credentials(read(certificates.ca))

    def broken() -> grpc.ChannelCredentials:
        raise RuntimeError(SECRET)

    found: dict[str, Any] = {"good": lambda: trusting, "broken": broken, "wrong": lambda: SECRET}

    def entry_points(*, group: str, name: str) -> list[Entry]:
        assert group == "opentelemetry_otlp_credential_provider"
        return [Entry(lambda: found[name])] if name in found else []

    monkeypatch.setattr(importlib.metadata, "entry_points", entry_points)
    variable = "OTEL_PYTHON_EXPORTER_OTLP_GRPC_CREDENTIAL_PROVIDER"
    with GRPCCollector(server_tls(certificates)) as collector:
        for name in ("broken", "wrong", "missing"):
            monkeypatch.setenv(variable, name)
            make(collector)
        assert len(warnings(caplog)) == 3
        assert all(text.startswith(f"{variable}='") for text in warnings(caplog))
        assert SECRET not in caplog.text
        monkeypatch.setenv(variable.replace("GRPC_", "GRPC_TRACES_"), "good")
        assert make(collector).export_batch(batch()) == EXPORTED
        monkeypatch.delenv(variable.replace("GRPC_", "GRPC_TRACES_"))
        assert make(collector, credentials=trusting).export_batch(batch()) == EXPORTED


# --- what the answers mean


@pytest.mark.parametrize(("count", "outcome"), [(2, ExportOutcome(1, 2)), (99, REJECTED)])
def test_a_partial_success_is_counted_and_logged(
    count: int, outcome: ExportOutcome, collector: GRPCCollector, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    collector.script(partial(count, f"no {SECRET}"))
    assert make(collector, headers={"x-key": SECRET}).export_batch(batch()) == outcome
    assert one_warning(caplog).endswith(f"rejected {min(count, 3)} of 3 spans: no ***")
    assert len(collector.requests) == 1


@pytest.mark.parametrize(
    "code",
    [
        Code.CANCELLED,
        Code.DEADLINE_EXCEEDED,
        Code.ABORTED,
        Code.OUT_OF_RANGE,
        Code.UNAVAILABLE,
        Code.DATA_LOSS,
    ],
)
def test_retryable_failures_are_tried_again(
    code: Code, collector: GRPCCollector, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    collector.script(Failure(code), Failure(code, delay=0.05))
    assert make(collector).export_batch(batch()) == EXPORTED
    assert len(collector.requests) == 3
    assert not caplog.records


@pytest.mark.parametrize(
    "code", [Code.INVALID_ARGUMENT, Code.UNAUTHENTICATED, Code.INTERNAL, Code.RESOURCE_EXHAUSTED]
)
def test_other_failures_are_not_tried_again(
    code: Code, collector: GRPCCollector, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    collector.script(Failure(code, f"not with {SECRET}\n"))
    assert make(collector, headers={"authorization": f"Bearer {SECRET}"}).export_batch(batch()) == REJECTED
    assert len(collector.requests) == 1
    assert f"refused 3 spans: gRPC {code.name} (not with ***" in one_warning(caplog)


def test_the_usual_port_of_http_gets_a_hint(
    collector: GRPCCollector, make: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("otlpfast.export.grpc._HTTP_PORT", collector.port)
    collector.script(Failure(Code.RESOURCE_EXHAUSTED, delay=3600.0))
    assert make(collector).export_batch(batch()) == FAILED
    hint = f"port {collector.port} is usually for OTLP/HTTP, OTLP/gRPC usually has 4317"
    assert hint in one_warning(caplog)


def test_resource_exhausted_with_retry_info_waits_as_long_as_it_says(
    collector: GRPCCollector, make: Make
) -> None:
    collector.script(Failure(Code.RESOURCE_EXHAUSTED, delay=0.3))
    start = time.monotonic()
    assert make(collector).export_batch(batch()) == EXPORTED
    assert time.monotonic() - start >= 0.3
    assert len(collector.requests) == 2


def test_a_retry_info_beyond_the_deadline_gives_up_at_once(
    collector: GRPCCollector, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    collector.script(Failure(Code.UNAVAILABLE, delay=7200))
    assert make(collector, timeout=3600).export_batch(batch()) == FAILED
    assert "gRPC UNAVAILABLE (scripted)" in one_warning(caplog)


def test_a_collector_that_comes_back_gets_the_spans(make: Make) -> None:
    port = free_port()
    done: list[ExportOutcome] = []
    exporter = make(f"http://127.0.0.1:{port}", timeout=PATIENCE)
    thread = threading.Thread(target=lambda: done.append(exporter.export_batch(batch())))
    thread.start()
    with GRPCCollector(address=f"127.0.0.1:{port}") as collector:
        collector.wait_for_request(1)
        thread.join(PATIENCE)
    assert done == [EXPORTED]

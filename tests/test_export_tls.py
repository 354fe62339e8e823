"""TLS and mutual TLS with certificates made for the test."""

from __future__ import annotations

import socket

import pytest

from .collector import Collector, Reply
from .exporting import (  # noqa: F401
    EXPORTED,
    FAILED,
    Certificates,
    Make,
    batch,
    certificates_fixture,
    collector_fixture,
    make_fixture,
    one_warning,
)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_tls_with_a_ca_of_our_own(
    make: Make, certificates: Certificates, caplog: pytest.LogCaptureFixture, host: str
) -> None:
    with Collector(certificates.server()) as collector:
        exporter = make(f"https://{host}:{collector.port}/v1/traces", certificate_file=certificates.ca)
        for _ in range(3):
            assert exporter.export_batch(batch()) == EXPORTED
        assert len({request.connection for request in collector.requests}) == 1
    assert not caplog.records


def test_tls_replaces_a_kept_connection_that_was_closed(make: Make, certificates: Certificates) -> None:
    with Collector(certificates.server()) as collector:
        exporter = make(collector, certificate_file=certificates.ca)
        collector.script(Reply(close_after=True))
        assert exporter.export_batch(batch()) == EXPORTED
        collector.wait_for_closed_connections(1)
        assert exporter.export_batch(batch()) == EXPORTED
        collector.script(Reply(hang_up=True))
        assert exporter.export_batch(batch()) == EXPORTED
        assert len(collector.requests) == 4


def test_mutual_tls(make: Make, certificates: Certificates, caplog: pytest.LogCaptureFixture) -> None:
    with Collector(certificates.server(ask_client=True)) as collector:
        known = {
            "certificate_file": certificates.ca,
            "client_certificate_file": certificates.path("client"),
            "client_key_file": certificates.path("client.key"),
        }
        assert make(collector, **known).export_batch(batch()) == EXPORTED
        assert not caplog.records
        unknown = make(collector, certificate_file=certificates.ca)
        assert unknown.export_batch(batch()) == FAILED
        assert len(collector.requests) == 1
    assert collector.endpoint in one_warning(caplog)


def test_a_certificate_that_is_not_trusted_is_said_plainly(
    make: Make, certificates: Certificates, caplog: pytest.LogCaptureFixture
) -> None:
    with Collector(certificates.server()) as collector:
        assert make(collector).export_batch(batch()) == FAILED
        assert collector.requests == []
    text = one_warning(caplog)
    assert "TLS: certificate verify failed (" in text
    assert text.endswith("trusted: the system's CAs")


def test_a_certificate_for_another_host_is_said_plainly(
    make: Make, certificates: Certificates, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = socket.getaddrinfo
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda host, *a, **k: real("127.0.0.1" if "other" in host else host, *a, **k)
    )
    with Collector(certificates.server()) as collector:
        exporter = make(f"https://other.example:{collector.port}/", certificate_file=certificates.ca)
        assert exporter.export_batch(batch()) == FAILED
    text = one_warning(caplog)
    assert "TLS: certificate verify failed (Hostname mismatch" in text
    assert text.endswith(f"trusted: the CA file '{certificates.ca}' (certificate_file)")


def test_https_to_a_port_that_speaks_http_is_said_plainly(
    collector: Collector, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    make(collector.endpoint.replace("http:", "https:")).export_batch(batch())
    assert "does the endpoint speak http:// rather than https://?" in one_warning(caplog)

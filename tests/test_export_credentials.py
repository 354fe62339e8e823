"""Requests over a session of requests: the argument, and the one that a credential provider makes."""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import requests
from opentelemetry.instrumentation.requests import RequestsInstrumentor

from otlpfast import BatchSpanProcessor, TracerProvider
from otlpfast.batch import ExportOutcome
from otlpfast.export.connection import Late
from otlpfast.export.session import _plain

from .collector import PATIENCE, Collector, Reply
from .exporting import (  # noqa: F401
    EXPORTED,
    FAILED,
    NEVER,
    REJECTED,
    SECRET,
    Certificates,
    Make,
    batch,
    certificates_fixture,
    collector_fixture,
    free_port,
    make_fixture,
    one_warning,
    spans,
    warnings,
)

GENERIC = "OTEL_PYTHON_EXPORTER_OTLP_HTTP_CREDENTIAL_PROVIDER"
TRACES = "OTEL_PYTHON_EXPORTER_OTLP_HTTP_TRACES_CREDENTIAL_PROVIDER"


class Bearer(requests.Session):
    """Adds a token that is new for each request, as sessions of cloud providers do."""

    count = 0

    def request(self, *args: Any, **kwargs: Any) -> requests.Response:
        self.count += 1
        kwargs["headers"] = {**kwargs["headers"], "authorization": f"Bearer {SECRET}-{self.count}"}
        return super().request(*args, **kwargs)


PROVIDER = f"""
import requests
def good():
    session = requests.Session()
    session.headers["authorization"] = "Bearer {SECRET}"
    return session
def wrong(): return "{SECRET}"
def failing(): raise RuntimeError("{SECRET}")
"""


@pytest.fixture(name="_provider")
def provider_fixture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed package with entry points `good`, `wrong`, `failing` and `missing`."""
    (tmp_path / "credentials_of_a_test.py").write_text(PROVIDER)
    metadata = tmp_path / "credentials_of_a_test-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: credentials-of-a-test\nVersion: 1.0\n")
    names = ("good", "wrong", "failing", "missing")
    lines = "".join(f"{name} = credentials_of_a_test:{name}\n" for name in names)
    (metadata / "entry_points.txt").write_text(f"[opentelemetry_otlp_credential_provider]\n{lines}")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "credentials_of_a_test", raising=False)


@pytest.mark.parametrize("variable", [GENERIC, TRACES])
@pytest.mark.usefixtures("_provider")
def test_a_credential_provider_s_session_sends_the_spans(
    collector: Collector, make: Make, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "good")
    exporter = make(collector, headers={"x-tenant": "blue"}, compression="gzip")
    for _ in range(2):
        assert exporter.export_batch(batch()) == EXPORTED
    request = collector.wait_for_request()
    assert request.headers["authorization"] == f"Bearer {SECRET}"
    assert request.headers["x-tenant"] == "blue"
    assert request.headers["content-type"] == "application/x-protobuf"
    assert request.headers["content-encoding"] == "gzip"
    assert [span.name for span in request.spans] == ["span 0", "span 1", "span 2"]
    assert collector.connections_opened == 1


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("wrong", "it gave a str and not a requests.Session"),
        ("failing", "it raised RuntimeError"),
        ("missing", "it raised AttributeError"),
        ("unknown", "there is none of that name"),
    ],
)
@pytest.mark.usefixtures("_provider")
def test_a_provider_that_does_not_work_gets_one_warning_without_its_secrets(
    collector: Collector,
    make: Make,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    name: str,
    problem: str,
) -> None:
    monkeypatch.setenv(TRACES, name)
    assert make(collector).export_batch(batch()) == EXPORTED
    text = one_warning(caplog)
    assert text.startswith(f"{TRACES}={name!r}: ")
    assert problem in text
    assert SECRET not in caplog.text


@pytest.mark.usefixtures("_provider")
def test_a_provider_for_a_unix_socket_is_left_out(
    make: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(GENERIC, "good")
    make("unix:///run/otel.sock")
    assert one_warning(caplog) == (
        "a credential provider cannot be used with a unix socket; going without it"
    )


@pytest.mark.usefixtures("_provider")
def test_a_provider_without_requests_says_what_is_missing(
    collector: Collector, make: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(GENERIC, "good")
    monkeypatch.setitem(sys.modules, "requests", None)
    assert make(collector).export_batch(batch()) == EXPORTED
    said = f"{GENERIC}='good': the package requests is not installed; going without it"
    assert one_warning(caplog) == said


@pytest.mark.parametrize(
    ("raised", "plain"),
    [
        (requests.ConnectionError(ConnectionResetError()), ConnectionResetError),
        (requests.ReadTimeout("read timed out"), Late),
        (requests.ConnectionError("pool"), ConnectionResetError),
        (requests.exceptions.ChunkedEncodingError("cut"), ConnectionResetError),
        (requests.exceptions.InvalidSchema("no adapter"), RuntimeError),
    ],
)
def test_what_requests_raises_is_what_the_system_said(raised: Exception, plain: type[Exception]) -> None:
    assert type(_plain(raised)) is plain


def test_a_session_that_adds_a_token_to_each_request_is_asked_each_time(
    collector: Collector, make: Make
) -> None:
    collector.script(Reply(503, headers={"Retry-After": "0"}))
    exporter = make(collector, session=Bearer())
    assert exporter.export_batch(batch()) == EXPORTED
    tokens = [request.headers["authorization"] for request in collector.requests]
    assert tokens == [f"Bearer {SECRET}-1", f"Bearer {SECRET}-2"]
    assert SECRET not in repr(exporter)


def test_a_session_s_own_auth_is_used_and_netrc_is_not(
    collector: Collector, make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text(f"machine 127.0.0.1 login a password {SECRET}\n")
    (tmp_path / "netrc").chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with_auth = requests.Session()
    with_auth.auth = ("me", "pass")
    assert make(collector, session=with_auth).export_batch(batch()) == EXPORTED
    assert make(collector, session=requests.Session()).export_batch(batch()) == EXPORTED
    assert [request.headers["authorization"] for request in collector.requests] == [
        "Basic bWU6cGFzcw==",
        None,
    ]


@pytest.mark.parametrize(("status", "outcome"), [(400, REJECTED), (500, FAILED), (307, FAILED)])
def test_answers_mean_what_they_mean_otherwise(
    collector: Collector, make: Make, status: int, outcome: ExportOutcome
) -> None:
    collector.script(Reply(status, headers={"Location": "/elsewhere"}))
    assert make(collector, session=requests.Session()).export_batch(batch()) == outcome
    assert len(collector.requests) == 1


def test_partial_success_is_read_over_a_session(collector: Collector, make: Make) -> None:
    collector.script(Reply.partial_success(2), Reply(413))
    exporter = make(collector, session=requests.Session())
    assert exporter.export_batch(batch()) == ExportOutcome(exported=1, rejected=2)
    assert exporter.export_batch(batch()) == EXPORTED  # in halves


def test_tls_over_a_session_trusts_the_exporter_s_file_and_no_other(
    make: Make, certificates: Certificates, caplog: pytest.LogCaptureFixture
) -> None:
    files = {
        "client_key_file": certificates.path("client.key"),
        "client_certificate_file": certificates.path("client"),
    }
    with Collector(certificates.server(ask_client=True)) as collector:
        trusting = make(collector, session=requests.Session(), certificate_file=certificates.ca, **files)
        assert trusting.export_batch(batch()) == EXPORTED
        distrustful = make(collector, session=requests.Session(), timeout=PATIENCE)
        assert distrustful.export_batch(batch()) == FAILED
    assert "certificate verify failed" in one_warning(caplog)


def test_a_session_keeps_the_deadline_even_when_an_answer_drips_in(
    collector: Collector, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    collector.script(Reply(drip=0.05), Reply(delay=NEVER))
    exporter = make(collector, session=requests.Session(), timeout=0.5)
    for _ in range(2):
        start = time.monotonic()
        assert exporter.export_batch(batch()) == FAILED
        assert time.monotonic() - start < 5
    assert "timed out after 0.5 s waiting for the answer" in one_warning(caplog)


def test_a_refused_connection_of_a_session_is_explained(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    exporter = make(f"http://127.0.0.1:{free_port()}/", session=requests.Session(), timeout=0.7)
    assert exporter.export_batch(batch()) == FAILED
    assert "connection refused (is the collector running" in one_warning(caplog)


def test_shutdown_cuts_off_a_request_of_a_session(collector: Collector, make: Make) -> None:
    collector.script(Reply(delay=NEVER))
    exporter = make(collector, session=requests.Session(), timeout=5000)
    outcomes: list[ExportOutcome] = []
    thread = threading.Thread(target=lambda: outcomes.append(exporter.export_batch(batch())), daemon=True)
    thread.start()
    collector.wait_for_request()
    exporter.shutdown(100)
    thread.join(PATIENCE)
    assert outcomes == [FAILED]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_makes_its_own_connection_over_a_session(collector: Collector, make: Make) -> None:
    exporter = make(collector, session=requests.Session())
    assert exporter.export_batch(batch()) == EXPORTED
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            code = 0 if exporter.export_batch(batch(), timeout=10) == EXPORTED else 1
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert exporter.export_batch(batch()) == EXPORTED
    connections = [request.connection for request in collector.requests]
    assert connections[0] == connections[2] != connections[1]


def test_requests_of_a_session_are_not_traced_themselves(collector: Collector, make: Make) -> None:
    provider = TracerProvider(shutdown_on_exit=False)
    processor = BatchSpanProcessor(make(collector, session=requests.Session()), schedule_delay_millis=20)
    provider.add_span_processor(processor)
    RequestsInstrumentor().instrument(tracer_provider=provider)
    try:
        provider.get_tracer("scope").start_span("one").end()
        assert processor.force_flush()
    finally:
        RequestsInstrumentor().uninstrument()
        provider.shutdown()
    assert [span.name for span in collector.spans] == ["one"]


def test_what_is_no_session_is_refused(make: Make, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"session must be a requests\.Session; it is of type str"):
        make("http://localhost:4318/v1/traces", session="x")
    with pytest.raises(ValueError, match="session cannot be used with an endpoint that is a unix socket"):
        make(f"unix://{tmp_path}/otel.sock", session=requests.Session())

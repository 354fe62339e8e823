"""Unix sockets as endpoints."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from otlpfast.batch import ExportOutcome

from .collector import PATIENCE, Collector
from .exporting import (  # noqa: F401
    EXPORTED,
    FAILED,
    Make,
    batch,
    collector_fixture,
    free_port,
    make_fixture,
    one_warning,
    spans,
)


class Relay:
    """A unix socket whose connections are led to a TCP port."""

    def __init__(self, path: Path, port: int) -> None:
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(path))
        self._server.listen()
        self._port = port
        self.connections = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._server.accept()
            except OSError:
                return
            self.connections += 1
            far = socket.create_connection(("127.0.0.1", self._port))
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    @staticmethod
    def _pump(source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        finally:
            source.close()

    def close(self) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()


@pytest.fixture(name="relay")
def relay_fixture(tmp_path: Path, collector: Collector) -> Iterator[Relay]:
    relay = Relay(tmp_path / "otel.sock", collector.port)
    yield relay
    relay.close()


needs_unix = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="needs unix sockets")


@needs_unix
@pytest.mark.parametrize(
    ("form", "path"),
    [
        (lambda socket: f"unix://{socket}", "/v1/traces"),
        (lambda socket: f"http+unix://{str(socket).replace('/', '%2F')}/v1/traces", "/v1/traces"),
        (lambda socket: f"http+unix://{str(socket).replace('/', '%2F')}/other", "/other"),
    ],
)
def test_spans_go_over_a_unix_socket(
    collector: Collector,
    make: Make,
    relay: Relay,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    form: Callable[[Path], str],
    path: str,
) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")  # not for unix sockets
    exporter = make(form(tmp_path / "otel.sock"), headers={"x-tenant": "blue"})
    for _ in range(3):
        assert exporter.export_batch(batch()) == EXPORTED
    assert relay.connections == 1
    request = collector.wait_for_request()
    assert (request.path, request.headers["host"], request.headers["x-tenant"]) == (path, "localhost", "blue")


@needs_unix
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_makes_its_own_unix_connection(
    collector: Collector, make: Make, relay: Relay, tmp_path: Path
) -> None:
    exporter = make(f"unix://{tmp_path}/otel.sock")
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
    assert relay.connections == 2


@needs_unix
def test_a_unix_socket_that_is_not_there_yet_is_waited_for(
    collector: Collector, make: Make, tmp_path: Path
) -> None:
    exporter = make(f"unix://{tmp_path}/late.sock", timeout=PATIENCE)
    outcomes: list[ExportOutcome] = []
    thread = threading.Thread(target=lambda: outcomes.append(exporter.export_batch(batch())))
    thread.start()
    relay = Relay(tmp_path / "late.sock", collector.port)
    thread.join(PATIENCE)
    relay.close()
    assert outcomes == [EXPORTED]


@needs_unix
def test_a_missing_unix_socket_is_named_in_the_warning(
    make: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert make(f"unix://{tmp_path}/no.sock", timeout=0.7).export_batch(batch()) == FAILED
    assert f"could not deliver 3 spans to unix://{tmp_path}/no.sock: no such file" in one_warning(caplog)


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        ("unix://", "has no absolute path"),
        ("unix:///", "has no absolute path"),
        ("unix://host/path", "has a host"),
        ("unix:///path?a=b", "has a query"),
        ("unix:///" + "x" * 200, "no unix socket can have"),
        ("unix:///a%00b", "no unix socket can have"),
        ("http+unix://relative/v1/traces", "has no absolute path"),
    ],
)
def test_an_endpoint_that_is_no_unix_socket_says_why(make: Make, wrong: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        make(wrong)


@needs_unix
def test_the_generic_variable_may_name_a_unix_socket(
    collector: Collector, make: Make, relay: Relay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = str(tmp_path / "otel.sock").replace("/", "%2F")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http+unix://{place}")
    exporter = make(None)  # type: ignore[arg-type]
    assert exporter.export_batch(batch()) == EXPORTED
    assert collector.wait_for_request().path == "/v1/traces"
    assert exporter.export(spans()).name == "SUCCESS"

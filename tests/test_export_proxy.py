"""Proxies by the usual variables."""

from __future__ import annotations

import base64
import http.client
import select
import socket
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from otlpfast.cli import main
from otlpfast.export.config import parse_endpoint
from otlpfast.export.proxy import find_proxy

from .collector import PATIENCE, Collector
from .exporting import (  # noqa: F401
    EXPORTED,
    FAILED,
    SECRET,
    Certificates,
    Make,
    batch,
    certificates_fixture,
    collector_fixture,
    free_port,
    make_fixture,
    one_warning,
)

BASIC = "Basic " + base64.b64encode(f"me:{SECRET}".encode()).decode()


@dataclass
class Asked:
    """What a proxy was asked for."""

    line: str
    authorization: str | None
    names: set[str] = field(default_factory=set)


class Proxy(ThreadingHTTPServer):
    """An HTTP proxy that sends everything to one port of 127.0.0.1, whatever the host's name."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, port: int, refusals: tuple[int, ...] = ()) -> None:
        self.target, self.refusals = port, list(refusals)
        self.asked: list[Asked] = []
        super().__init__(("127.0.0.1", 0), _Handler)
        self.place = f"127.0.0.1:{self.server_address[1]}"
        self.thread = threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()
        self.thread.join(PATIENCE)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away is part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Proxy

    def _refused(self) -> bool:
        names = {name.lower() for name in self.headers}
        self.server.asked.append(Asked(self.requestline, self.headers["proxy-authorization"], names))
        if not self.server.refusals:
            return False
        self.send_response(self.server.refusals.pop(0))
        self.send_header("content-length", "0")
        self.end_headers()
        return True

    def do_CONNECT(self) -> None:
        self.close_connection = True
        if self._refused():
            return
        with socket.create_connection(("127.0.0.1", self.server.target)) as far:
            self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            ends = {self.connection: far, far: self.connection}
            while True:
                for ready in select.select(list(ends), [], [], PATIENCE)[0]:
                    data = ready.recv(65536)
                    if not data:
                        return
                    ends[ready].sendall(data)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if self._refused():
            return
        far = http.client.HTTPConnection("127.0.0.1", self.server.target, timeout=PATIENCE)
        kept = {k: v for k, v in self.headers.items() if k.lower() != "proxy-authorization"}
        far.request("POST", "/" + self.path.split("/", 3)[3], body, kept)
        answer = far.getresponse()
        data = answer.read()
        self.send_response(answer.status)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
        far.close()

    def log_message(self, format: str, *args: object) -> None:
        """Tests read what was asked, not a log."""


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


# --- http


@pytest.mark.parametrize("variable", ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"])
def test_http_goes_through_the_proxy(
    collector: Collector, make: Make, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    with Proxy(collector.port) as proxy:
        monkeypatch.setenv(variable, f"http://me:{SECRET}@{proxy.place}/")
        exporter = make("http://collector.invalid:4318/v1/traces?a=b")
        assert exporter.export_batch(batch()) == EXPORTED
        assert exporter.export_batch(batch()) == EXPORTED
    assert [asked.line for asked in proxy.asked] == [
        "POST http://collector.invalid:4318/v1/traces?a=b HTTP/1.1"
    ] * 2
    assert proxy.asked[0].authorization == BASIC
    request = collector.wait_for_request()
    assert request.headers["host"] == "collector.invalid:4318"
    assert request.path == "/v1/traces?a=b"


def test_lower_case_wins_and_a_scheme_may_be_missing(
    collector: Collector, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Proxy(collector.port) as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_port()}")
        monkeypatch.setenv("http_proxy", proxy.place)
        assert make("http://collector.invalid/").export_batch(batch()) == EXPORTED
    assert proxy.asked[0].authorization is None


def test_a_cgi_program_does_not_believe_its_client_s_proxy_header(
    collector: Collector, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUEST_METHOD", "GET")
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_port()}")
    assert make(collector).export_batch(batch()) == EXPORTED


# --- https


def test_https_goes_through_a_tunnel_and_only_the_proxy_sees_its_credentials(
    make: Make, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Collector(certificates.server()) as collector, Proxy(collector.port) as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_port()}")
        monkeypatch.setenv("HTTPS_PROXY", f"http://me:{SECRET}@{proxy.place}")
        exporter = make(
            f"https://localhost:{collector.port}/v1/traces",
            certificate_file=certificates.ca,
            headers={"authorization": "Bearer abc"},
        )
        for _ in range(3):
            assert exporter.export_batch(batch()) == EXPORTED
        assert [asked.line for asked in proxy.asked] == [f"CONNECT localhost:{collector.port} HTTP/1.1"]
        assert proxy.asked[0].authorization == BASIC
        assert "authorization" not in proxy.asked[0].names
        headers = collector.wait_for_request().headers
        assert headers["authorization"] == "Bearer abc"
        assert headers["proxy-authorization"] is None


def test_the_certificate_behind_a_tunnel_is_checked(
    make: Make, certificates: Certificates, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with Collector(certificates.server()) as collector, Proxy(collector.port) as proxy:
        monkeypatch.setenv("https_proxy", proxy.place)
        exporter = make("https://other.invalid/", certificate_file=certificates.ca)
        assert exporter.export_batch(batch()) == FAILED
    assert "certificate verify failed" in one_warning(caplog)


def test_a_proxy_that_refuses_the_tunnel_is_named_without_its_password(
    make: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with Proxy(0, refusals=(407,)) as proxy:
        monkeypatch.setenv("https_proxy", f"http://me:{SECRET}@{proxy.place}")
        exporter = make("https://collector.invalid/", timeout=PATIENCE)
        assert exporter.export_batch(batch()) == FAILED
    assert len(proxy.asked) == 1
    text = one_warning(caplog)
    assert "HTTP 407: are the credentials in the proxy's URL right?" in text
    assert f"proxy http://***@{proxy.place}" in text
    assert SECRET not in text + repr(exporter) + repr(
        find_proxy(parse_endpoint("https://collector.invalid/"))
    )


def test_the_doctor_says_what_to_do_about_a_proxy_that_refuses(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with Proxy(0, refusals=(403,)) as proxy:
        monkeypatch.setenv("https_proxy", proxy.place)
        assert main(["doctor", "--endpoint", "https://collector.invalid/v1/traces"]) == 1
    assert "-> set NO_PROXY to the collector's host" in capsys.readouterr().out


def test_a_proxy_that_is_overloaded_is_asked_again(
    make: Make, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Collector(certificates.server()) as collector, Proxy(collector.port, refusals=(503,)) as proxy:
        monkeypatch.setenv("https_proxy", proxy.place)
        exporter = make(f"https://localhost:{collector.port}/", certificate_file=certificates.ca)
        assert exporter.export_batch(batch()) == EXPORTED
    assert len(proxy.asked) == 2


def test_a_proxy_that_is_silent_costs_the_timeout_and_no_more(
    make: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("https_proxy", f"127.0.0.1:{silent.getsockname()[1]}")
        assert make("https://collector.invalid/", timeout=0.4).export_batch(batch()) == FAILED
    assert "timed out after 0.4 s waiting for the proxy" in one_warning(caplog)


def test_a_proxy_that_is_not_there_is_what_the_warning_is_about(
    make: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("http_proxy", f"http://me:{SECRET}@127.0.0.1:{free_port()}")
    assert make("http://collector.invalid/", timeout=0.7).export_batch(batch()) == FAILED
    assert "it went to the proxy http://***@127.0.0.1:" in one_warning(caplog)
    assert SECRET not in caplog.text


@pytest.mark.parametrize(
    "wrong", ["socks5://me:{}@127.0.0.1:1080", "http://me:{}@:x", "http://me:{} @host:1"]
)
def test_a_proxy_that_cannot_be_used_gets_one_warning_without_its_password(
    collector: Collector,
    make: Make,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    wrong: str,
) -> None:
    monkeypatch.setenv("http_proxy", wrong.format(SECRET))
    assert make(collector).export_batch(batch()) == EXPORTED
    text = one_warning(caplog)
    assert text.startswith("http_proxy='")
    assert "is not a proxy that can be used; allowed: http://host:port" in text
    assert SECRET not in text


# --- no_proxy


@pytest.mark.parametrize(
    ("exceptions", "host", "direct"),
    [
        ("*", "collector.example", True),
        ("collector.example", "collector.example", True),
        ("COLLECTOR.example", "collector.EXAMPLE", True),
        ("example", "collector.example", True),
        (".example", "collector.example", True),
        ("*.example", "collector.example", True),
        ("other, collector.example other2", "collector.example", True),
        ("collector.example:4318", "collector.example", True),
        ("collector.example:80", "collector.example", False),
        ("ollector.example", "collector.example", False),
        pytest.param("collector.example:" + "9" * 5000, "collector.example", False, id="port of 5000 digits"),
        ("", "collector.example", False),
        (".", "collector.example", False),
        ("10.0.0.0/8", "10.1.2.3", True),
        ("10.0.0.0/8", "11.1.2.3", False),
        ("10.1.2.3", "10.1.2.3", True),
        ("10.1.2.3:4318", "10.1.2.3", True),
        ("1.2.3", "10.1.2.3", False),
        ("fd00::/8", "[fd00::1]", True),
        ("[fd00::1]", "[fd00::1]", True),
        ("[fd00::1]:4318", "[fd00::1]", True),
        ("fd01::1", "[fd00::1]", False),
    ],
)
def test_no_proxy_names_exceptions(
    monkeypatch: pytest.MonkeyPatch, exceptions: str, host: str, direct: bool
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:3128")
    monkeypatch.setenv("NO_PROXY", exceptions)
    proxy = find_proxy(parse_endpoint(f"http://{host}:4318/v1/traces"))
    assert (proxy is None) == direct


def test_an_exception_goes_straight_to_the_collector(
    collector: Collector, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("no_proxy", "localhost,127.0.0.1")
    assert make(collector).export_batch(batch()) == EXPORTED

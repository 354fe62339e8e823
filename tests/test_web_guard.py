"""Who may see the live page, and that nothing secret is on it."""

from __future__ import annotations

import base64
import logging
import socket
from collections.abc import Iterator

import pytest

from otlpfast import OTLPSpanExporter, web
from otlpfast.web.guard import resolve, split_address

from .collector import PATIENCE, Collector
from .exporting import SECRET, collector_fixture, make_fixture  # noqa: F401
from .pages import ask, page_fixture  # noqa: F401
from .pipeline import Batching, batching_fixture, end_spans  # noqa: F401
from .spans import provider

PATHS = ("/", "/static/page.js", "/api", "/api/stats", "/api/traces", "/api/operations", "/events")


@pytest.fixture(name="closed")
def closed_fixture() -> Iterator[web.Server]:
    """A page that takes a token."""
    with web.serve("127.0.0.1:0", token=SECRET) as served:
        yield served


# --- names of this machine


@pytest.mark.parametrize(
    "name", ["localhost", "LOCALHOST:80", "127.0.0.1:1", "127.9.9.9", "[::1]:4320", "shop.localhost"]
)
def test_names_of_this_machine_are_answered(page: web.Server, name: str) -> None:
    assert ask(page.url, "/api", host=name).status == 200


@pytest.mark.parametrize(
    "name",
    [
        "evil.example",
        "evil.example:4320",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "192.0.2.1",
        "",
    ],
)
def test_another_name_that_points_here_is_not_answered(page: web.Server, name: str) -> None:
    for path in PATHS:
        answer = ask(page.url, path, host=name)
        assert answer.status == 421 and len(answer.body) < 200


def test_a_request_without_a_name_is_not_answered(page: web.Server) -> None:
    host, port = page.url.split("/")[2].split(":")
    with socket.create_connection((host, int(port)), PATIENCE) as sock:
        sock.sendall(b"GET /api/stats HTTP/1.0\r\n\r\n")
        assert b" 421 " in sock.recv(4096)


# --- headers of every answer


def test_every_answer_forbids_what_the_page_does_not_need(page: web.Server, closed: web.Server) -> None:
    answers = [ask(page.url, path, "HEAD") for path in (*PATHS, "/nothing")]
    answers += [ask(page.url, "/", "POST"), ask(page.url, "/", host="evil.example"), ask(closed.url)]
    for answer in answers:
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
        assert "unsafe" not in policy and "frame-ancestors 'none'" in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
        assert answer.headers["server"] == "otlpfast"
        assert "access-control-allow-origin" not in answer.headers


# --- the token


def test_without_the_token_nothing_is_shown(closed: web.Server) -> None:
    for path in PATHS:
        answer = ask(closed.url, path)
        assert answer.status == 401 and answer.headers["www-authenticate"] == 'Bearer realm="otlpfast"'
        assert ask(closed.url, path + "?token=wrong").status == 401
        assert ask(closed.url, path, authorization="Bearer wrong").status == 401
        assert ask(closed.url, path, authorization=f"Basic {SECRET}").status == 401
        assert ask(closed.url, path, cookie=f"otlpfast={SECRET}").status == 401


def test_the_token_in_a_header(closed: web.Server) -> None:
    answer = ask(closed.url, "/api/stats", authorization=f"Bearer {SECRET}")
    assert answer.status == 200 and "set-cookie" not in answer.headers
    assert ask(closed.url, "/", authorization=f"bearer  {SECRET}").status == 200


def test_the_token_in_the_address_becomes_a_cookie_that_is_another_one(closed: web.Server) -> None:
    welcome = ask(closed.url, f"/?token={SECRET}")
    assert (welcome.status, welcome.headers["location"]) == (303, "/")
    cookie, *properties = welcome.headers["set-cookie"].split("; ")
    assert set(properties) == {"Path=/", "HttpOnly", "SameSite=Lax"}
    assert SECRET not in cookie
    for path in ("/", "/static/page.js", "/api/stats"):
        assert ask(closed.url, path, cookie=f"a=b; {cookie}; c=d").status == 200
    assert ask(closed.url, "/", cookie=cookie[:-1]).status == 401
    direct = ask(closed.url, f"/api/stats?token={SECRET}")
    assert direct.status == 200 and direct.headers["set-cookie"].startswith(cookie)


def test_the_cookie_of_another_page_is_not_taken(closed: web.Server) -> None:
    with web.serve(token=SECRET) as another:
        cookie = ask(another.url, f"/?token={SECRET}").headers["set-cookie"].split(";")[0]
    assert ask(closed.url, "/", cookie=cookie).status == 401


def test_the_token_is_never_shown(closed: web.Server, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        answers = [ask(closed.url, f"{path}?token={SECRET}") for path in PATHS if path != "/events"]
        answers.append(ask(closed.url, f"/nothing?token={SECRET}"))
    for answer in answers:
        assert SECRET not in str(answer.headers) and SECRET.encode() not in answer.body
    assert SECRET not in closed.url + repr(closed) + caplog.text


def test_elsewhere_than_on_loopback_it_takes_a_token() -> None:
    for address in ("0.0.0.0:0", "[::]:0", "192.0.2.1:80"):
        with pytest.raises(ValueError, match="is not of this machine alone: it takes a token"):
            web.serve(address)
    with web.serve("0.0.0.0:0", token=SECRET) as page:
        assert page.url.startswith("http://127.0.0.1:")
        assert ask(page.url, "/api").status == 401
        # Whoever knows the token may call this machine as they like.
        assert ask(page.url, "/api", host="my-server.example", authorization=f"Bearer {SECRET}").status == 200


# --- arguments


@pytest.mark.parametrize("token", ["", "two words", "tök", "a\r\nb", 3, b"bytes"])
def test_what_is_no_token_is_refused_and_not_shown(token: object) -> None:
    with pytest.raises((TypeError, ValueError), match="token") as raised:
        web.serve(token=token)  # type: ignore[arg-type]
    assert not token or str(token) not in str(raised.value)


@pytest.mark.parametrize(
    "address",
    [
        "",
        "here",
        "127.0.0.1",
        "127.0.0.1:",
        ":80",
        "127.0.0.1:65536",
        "::1:80",
        "http://127.0.0.1:80",
        "a b:80",
        80,
    ],
)
def test_what_is_no_address_is_refused_and_what_is_allowed_said(address: object) -> None:
    with pytest.raises((TypeError, ValueError), match=r"HOST:PORT, such as 127\.0\.0\.1:4320"):
        web.serve(address)  # type: ignore[arg-type]


def test_credentials_in_an_address_are_not_shown() -> None:
    with pytest.raises(ValueError, match="HOST:PORT") as raised:
        web.serve(f"http://me:{SECRET}@127.0.0.1:80")
    assert SECRET not in str(raised.value)


def test_addresses() -> None:
    assert split_address("4320") == ("127.0.0.1", 4320)
    assert split_address(" [::1]:0 ") == ("::1", 0)
    assert split_address("localhost:80") == ("localhost", 80)
    assert resolve("127.8.8.8:80").is_loopback and resolve("[::1]:80").is_loopback
    assert resolve("[::ffff:127.0.0.1]:80").is_loopback
    assert not resolve("0.0.0.0:80").is_loopback and not resolve("10.0.0.1:80").is_loopback


def test_a_port_in_use_is_an_os_error(page: web.Server) -> None:
    with pytest.raises(OSError):
        web.serve(page.url.split("/")[2])


# --- secrets of the exporter


def test_credentials_and_headers_of_the_exporter_are_not_shown(
    page: web.Server, batching: Batching, collector: Collector
) -> None:
    endpoint = collector.endpoint.replace("http://", f"http://alice:{SECRET}@") + f"?key={SECRET}"
    processor = batching(OTLPSpanExporter(endpoint, headers={"x-api-key": SECRET, "authorization": SECRET}))
    end_spans(provider(processor), 1)
    processor.force_flush()
    assert collector.wait_for_request().headers["x-api-key"] == SECRET
    encoded = base64.b64encode(f"alice:{SECRET}".encode())
    trace_id = ask(page.url, "/api/traces").json["traces"][0]["trace_id"]
    for path in (*PATHS[:-1], f"/api/traces/{trace_id}"):
        body = ask(page.url, path).body
        assert SECRET.encode() not in body and encoded not in body
    assert b"http://***@127.0.0.1" in ask(page.url, "/api/stats").body
